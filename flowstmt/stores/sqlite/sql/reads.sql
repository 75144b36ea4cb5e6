-- What is asked without writing. There is one list for each filter that leads, each along its index; other filters are
-- checked on the way. A page goes on below (before_at, before_id); all ends of what was asked are always given.

-- name: get
SELECT
    run_id, workflow, version, status, position, revision, attempts, created_at, updated_at, due_at, finished_at, owner, fence,
    digest, error, labels, single_flight, parent, queue, queue_key, priority, snapshot
FROM {prefix}runs WHERE run_id = ?

-- name: get_in_flight
SELECT
    run_id, workflow, version, status, position, revision, attempts, created_at, updated_at, due_at, finished_at, owner, fence,
    digest, error, labels, single_flight, parent, queue, queue_key, priority, snapshot
FROM {prefix}runs WHERE workflow = ? AND single_flight = ?

-- name: list_by_created
SELECT
    run_id, workflow, version, status, position, revision, attempts, created_at, updated_at, due_at, finished_at, owner, fence,
    digest, error, labels, single_flight, parent, queue, queue_key, priority
FROM {prefix}runs INDEXED BY {prefix}runs_created
WHERE created_at >= :from_at AND (created_at, run_id) < (:before_at, :before_id)
    AND (:workflow IS NULL OR workflow = :workflow) AND (:status IS NULL OR status = :status)
    AND (:position IS NULL OR position = :position)
    AND (:parent IS NULL OR parent = :parent) AND (:queue IS NULL OR queue = :queue)
    AND (:wake_before IS NULL OR (owner IS NULL AND due_at < :wake_before))
ORDER BY created_at DESC, run_id DESC LIMIT :limit

-- name: list_by_workflow
SELECT
    run_id, workflow, version, status, position, revision, attempts, created_at, updated_at, due_at, finished_at, owner, fence,
    digest, error, labels, single_flight, parent, queue, queue_key, priority
FROM {prefix}runs INDEXED BY {prefix}runs_workflow
WHERE workflow = :workflow AND created_at >= :from_at AND (created_at, run_id) < (:before_at, :before_id)
    AND (:status IS NULL OR status = :status) AND (:position IS NULL OR position = :position)
    AND (:parent IS NULL OR parent = :parent)
    AND (:queue IS NULL OR queue = :queue) AND (:wake_before IS NULL OR (owner IS NULL AND due_at < :wake_before))
ORDER BY created_at DESC, run_id DESC LIMIT :limit

-- name: list_by_status
SELECT
    run_id, workflow, version, status, position, revision, attempts, created_at, updated_at, due_at, finished_at, owner, fence,
    digest, error, labels, single_flight, parent, queue, queue_key, priority
FROM {prefix}runs INDEXED BY {prefix}runs_status
WHERE status = :status AND created_at >= :from_at AND (created_at, run_id) < (:before_at, :before_id)
    AND (:workflow IS NULL OR workflow = :workflow) AND (:position IS NULL OR position = :position)
    AND (:parent IS NULL OR parent = :parent)
    AND (:queue IS NULL OR queue = :queue) AND (:wake_before IS NULL OR (owner IS NULL AND due_at < :wake_before))
ORDER BY created_at DESC, run_id DESC LIMIT :limit

-- name: list_by_position
SELECT
    run_id, workflow, version, status, position, revision, attempts, created_at, updated_at, due_at, finished_at, owner, fence,
    digest, error, labels, single_flight, parent, queue, queue_key, priority
FROM {prefix}runs INDEXED BY {prefix}runs_position
WHERE position = :position AND created_at >= :from_at AND (created_at, run_id) < (:before_at, :before_id)
    AND (:workflow IS NULL OR workflow = :workflow) AND (:status IS NULL OR status = :status)
    AND (:parent IS NULL OR parent = :parent)
    AND (:queue IS NULL OR queue = :queue) AND (:wake_before IS NULL OR (owner IS NULL AND due_at < :wake_before))
ORDER BY created_at DESC, run_id DESC LIMIT :limit

-- name: list_by_parent
SELECT
    run_id, workflow, version, status, position, revision, attempts, created_at, updated_at, due_at, finished_at, owner, fence,
    digest, error, labels, single_flight, parent, queue, queue_key, priority
FROM {prefix}runs INDEXED BY {prefix}runs_parent
WHERE parent = :parent AND created_at >= :from_at AND (created_at, run_id) < (:before_at, :before_id)
    AND (:workflow IS NULL OR workflow = :workflow) AND (:status IS NULL OR status = :status)
    AND (:position IS NULL OR position = :position)
    AND (:queue IS NULL OR queue = :queue) AND (:wake_before IS NULL OR (owner IS NULL AND due_at < :wake_before))
ORDER BY created_at DESC, run_id DESC LIMIT :limit

-- name: list_by_queue
SELECT
    run_id, workflow, version, status, position, revision, attempts, created_at, updated_at, due_at, finished_at, owner, fence,
    digest, error, labels, single_flight, parent, queue, queue_key, priority
FROM {prefix}runs INDEXED BY {prefix}runs_queue
WHERE queue = :queue AND created_at >= :from_at AND (created_at, run_id) < (:before_at, :before_id)
    AND (:workflow IS NULL OR workflow = :workflow) AND (:status IS NULL OR status = :status)
    AND (:position IS NULL OR position = :position)
    AND (:parent IS NULL OR parent = :parent) AND (:wake_before IS NULL OR (owner IS NULL AND due_at < :wake_before))
ORDER BY created_at DESC, run_id DESC LIMIT :limit

-- name: list_by_wake
-- The newest of those that are due soon: what decides is in the index, however many they are.
SELECT
    run_id, workflow, version, status, position, revision, attempts, created_at, updated_at, due_at, finished_at, owner, fence,
    digest, error, labels, single_flight, parent, queue, queue_key, priority
FROM {prefix}runs WHERE rowid IN (
    SELECT rowid FROM {prefix}runs INDEXED BY {prefix}runs_wake
    WHERE owner IS NULL AND due_at < :wake_before
        AND created_at >= :from_at AND (created_at, run_id) < (:before_at, :before_id)
        AND (:workflow IS NULL OR workflow = :workflow) AND (:status IS NULL OR status = :status)
        AND (:position IS NULL OR position = :position)
        AND (:parent IS NULL OR parent = :parent) AND (:queue IS NULL OR queue = :queue)
    ORDER BY created_at DESC, run_id DESC LIMIT :limit
)
ORDER BY created_at DESC, run_id DESC

-- name: list_by_label
SELECT
    run.run_id, workflow, version, status, position, revision, attempts, run.created_at, updated_at, due_at, finished_at,
    owner, fence,
    digest, error, labels, single_flight, parent, queue, queue_key, priority
FROM {prefix}labels AS label CROSS JOIN {prefix}runs AS run
WHERE label.name = :label_name AND label.value = :label_value
    AND label.created_at >= :from_at AND (label.created_at, label.run_id) < (:before_at, :before_id)
    AND run.run_id = label.run_id
    AND (:workflow IS NULL OR workflow = :workflow) AND (:status IS NULL OR status = :status)
    AND (:position IS NULL OR position = :position)
    AND (:parent IS NULL OR parent = :parent) AND (:queue IS NULL OR queue = :queue)
    AND (:wake_before IS NULL OR (owner IS NULL AND due_at < :wake_before))
ORDER BY label.created_at DESC, label.run_id DESC LIMIT :limit

-- name: history
SELECT revision, thread_id, position, attempt, started_at, duration, error FROM {prefix}history
WHERE run_id = ? AND number > ? ORDER BY number LIMIT ?

-- name: published
SELECT number, published_at, body FROM {prefix}published WHERE run_id = ? AND number > ? ORDER BY number LIMIT ?

-- name: answer
SELECT id, status, answer FROM {prefix}inbox WHERE id = ? AND status IN ('done', 'dead')

-- name: messages
SELECT id, run_id, kind, body, key, created_at, status FROM {prefix}inbox INDEXED BY {prefix}inbox_run
WHERE run_id = ? AND status = ? ORDER BY number LIMIT ?
