-- name: begin
BEGIN

-- name: commit
COMMIT

-- name: rollback
ROLLBACK

-- name: savepoint
SAVEPOINT one_write

-- name: rollback_to_savepoint
ROLLBACK TO SAVEPOINT one_write

-- name: release_savepoint
RELEASE SAVEPOINT one_write

-- name: prepare_session
SELECT set_config('TimeZone', 'UTC', false),
       set_config('lock_timeout', %(lock_timeout)s, false),
       set_config('synchronous_commit', %(synchronous_commit)s, false)

-- name: now
SELECT clock_timestamp()

-- name: notify
SELECT pg_notify(%(channel)s, '')

-- name: listen
LISTEN {channel}

-- name: new_run
-- With `guard`, only if that run stands at a checkpoint of this transaction: a child is started with its parent's save, or not
-- at all; and not when a save is handed in again that had put its run to rest, for that is to change nothing.
WITH run AS (
    INSERT INTO {schema}.runs (
        run_id, workflow, version, status, position, revision, attempts, created_at, updated_at, due_at, owner, fence, digest,
        single_flight, parent, queue, queue_key, priority, start_at, place, snapshot
    )
    SELECT %(run_id)s::text, %(workflow)s::text, %(version)s::integer, 'Resuming', %(position)s::text, 0, 0, clock, clock,
        CASE WHEN %(worker)s::text IS NOT NULL THEN clock + %(lease)s::interval
             WHEN %(queue)s::text IS NULL THEN COALESCE(%(start_at)s::timestamptz, clock) END,
        %(worker)s::text, CASE WHEN %(worker)s::text IS NULL THEN 0 ELSE 1 END, %(digest)s::text,
        %(single_flight)s::text, %(parent)s::text, %(queue)s::text, %(queue_key)s::text, %(priority)s::integer,
        %(start_at)s::timestamptz,
        CASE WHEN %(queue)s::text IS NOT NULL THEN CASE WHEN %(worker)s::text IS NULL THEN 0 ELSE 1 END END,
        %(snapshot)s::text
    FROM clock_timestamp() AS clock
    WHERE %(guard)s::text IS NULL OR EXISTS (
        SELECT FROM {schema}.runs
        WHERE run_id = %(guard)s::text AND fence = %(guard_fence)s::bigint AND revision = %(guard_revision)s::bigint
            AND updated_at >= now()
    )
    ON CONFLICT DO NOTHING
    RETURNING run_id, created_at
), labelled AS (
    INSERT INTO {schema}.labels (run_id, name, value, created_at)
    SELECT run.run_id, label.name, label.value, run.created_at
    FROM run, unnest(%(label_names)s::text[], %(label_values)s::text[]) AS label (name, value)
)
SELECT EXISTS (SELECT FROM run),
    EXISTS (SELECT FROM {schema}.runs WHERE run_id = %(run_id)s::text),
    (SELECT run_id FROM {schema}.runs WHERE workflow = %(workflow)s::text AND single_flight = %(single_flight)s::text)

-- name: save
-- `num_nonnulls`, here and below, and not IS NOT NULL: while no run has an owner the index of those that have one seems to be the
-- shortest way to any run, and a plan that is kept would go on to read all of it.
-- `updated_at` is never before the transaction began, whatever becomes of the clock: what comes with the save goes by it.
UPDATE {schema}.runs
SET snapshot = %(snapshot)s, revision = %(revision)s, attempts = 0, error = NULL, updated_at = GREATEST(now(), clock_timestamp())
WHERE run_id = %(run_id)s AND fence = %(fence)s AND num_nonnulls(owner) = 1

-- name: saves
-- Of several runs, and otherwise the same as `save`. The LIMIT takes nothing away: nobody knows how much it leaves, so that few
-- rows are expected, and each is looked up by its key. Without it a plan for any number of them would read small tables whole,
-- and go on to do so once they have grown.
UPDATE {schema}.runs
SET snapshot = saved.snapshot, revision = saved.revision, attempts = 0, error = NULL,
    updated_at = GREATEST(now(), clock_timestamp())
FROM (
    SELECT * FROM unnest(%(run_ids)s::text[], %(fences)s::bigint[], %(revisions)s::bigint[], %(snapshots)s::text[])
        AS given (run_id, fence, revision, snapshot)
    LIMIT (SELECT cardinality(%(run_ids)s::text[]))
) AS saved
WHERE runs.run_id = saved.run_id AND runs.fence = saved.fence AND num_nonnulls(runs.owner) = 1

-- name: rest
-- A run that waits in its queue is not due, whoever moved it meanwhile; one that was paused has its place again.
UPDATE {schema}.runs
SET snapshot = %(snapshot)s, revision = %(revision)s, attempts = 0, error = %(error)s, updated_at = GREATEST(now(), clock_timestamp()),
    owner = NULL, version = COALESCE(%(version)s::integer, version), status = %(status)s, position = %(position)s,
    finished_at = CASE WHEN %(over)s::boolean THEN COALESCE(finished_at, clock_timestamp()) END,
    single_flight = CASE WHEN NOT %(over)s::boolean THEN single_flight END,
    place = CASE
        WHEN queue IS NULL OR %(over)s::boolean THEN NULL
        WHEN %(paused)s::boolean THEN NULLIF(place, 1)
        ELSE COALESCE(place, 1) END,
    due_at = CASE
        WHEN place = 0 AND NOT %(over)s::boolean THEN NULL
        WHEN NOT %(paused)s::boolean AND EXISTS (
            SELECT FROM {schema}.inbox
            WHERE inbox.run_id = %(run_id)s::text AND inbox.status = 'new' AND inbox.id <> ALL (%(taken)s::text[])
        ) THEN clock_timestamp()
        ELSE %(wake_at)s::timestamptz END
WHERE run_id = %(run_id)s AND fence = %(fence)s AND num_nonnulls(owner) = 1
RETURNING CASE
    WHEN due_at <= clock_timestamp() OR (queue IS NOT NULL AND (%(over)s::boolean OR %(paused)s::boolean))
    THEN pg_notify(%(channel)s, '') END

-- name: standing
-- Whether runs stand where writes have left them that changed no row: then those were made before.
SELECT run_id, fence, revision, attempts FROM {schema}.runs WHERE run_id = ANY (%(run_ids)s::text[])

-- name: take
UPDATE {schema}.inbox
SET status = %(status)s, answer = %(answer)s, body = CASE WHEN %(status)s::text = 'done' THEN '' ELSE body END
WHERE id = %(id)s AND run_id = %(run_id)s AND EXISTS (
    SELECT FROM {schema}.runs
    WHERE runs.run_id = %(run_id)s::text AND fence = %(fence)s::bigint AND revision = %(revision)s::bigint
        AND updated_at >= now()
)

-- name: add_history
INSERT INTO {schema}.history (run_id, revision, thread_id, attempt, position, started_at, duration, error)
SELECT run_id, %(revision)s::bigint, %(thread_id)s::text, %(attempt)s::integer, %(position)s::text,
    %(started_at)s::timestamptz, %(duration)s::interval, %(error)s::text
FROM {schema}.runs
WHERE run_id = %(run_id)s::text AND fence = %(fence)s::bigint
    AND (%(saved)s::bigint IS NULL OR (runs.revision = %(saved)s::bigint AND updated_at >= now()))
ON CONFLICT DO NOTHING

-- name: post
-- A run that has come to its end with this very save may have a message for itself.
WITH run AS (
    SELECT finished_at FROM {schema}.runs WHERE run_id = %(run_id)s::text
), message AS (
    INSERT INTO {schema}.inbox (id, run_id, kind, key, status, body, created_at)
    SELECT %(id)s::text, %(run_id)s::text, %(kind)s::text, %(key)s::text, 'new', %(body)s::text, clock_timestamp()
    FROM run
    WHERE (finished_at IS NULL OR (%(guard)s::text = %(run_id)s::text AND finished_at >= now()))
        AND (%(guard)s::text IS NULL OR EXISTS (
        SELECT FROM {schema}.runs
        WHERE run_id = %(guard)s::text AND fence = %(guard_fence)s::bigint AND revision = %(guard_revision)s::bigint
            AND updated_at >= now()
    ))
    ON CONFLICT DO NOTHING
    RETURNING id
)
SELECT CASE
    WHEN EXISTS (SELECT FROM message) THEN 'posted'
    WHEN NOT EXISTS (SELECT FROM run) THEN 'unknown'
    WHEN NOT EXISTS (SELECT FROM run WHERE finished_at IS NOT NULL) THEN 'duplicate'
    WHEN EXISTS (
        SELECT FROM {schema}.inbox
        WHERE id = %(id)s::text OR (run_id = %(run_id)s::text AND key = %(key)s::text)
    ) THEN 'duplicate'
    ELSE 'over' END

-- name: withdraw
-- One that is not there was withdrawn before: this is the same again.
WITH message AS (
    SELECT status FROM {schema}.inbox WHERE id = %(id)s::text
), withdrawn AS (
    DELETE FROM {schema}.inbox WHERE id = %(id)s::text AND status = 'new'
    RETURNING id
)
SELECT EXISTS (SELECT FROM withdrawn) OR NOT EXISTS (SELECT FROM message)

-- name: publish
WITH told AS (
    INSERT INTO {schema}.published (run_id, id, at, body)
    SELECT run_id, %(id)s::uuid, clock_timestamp(), %(body)s::text
    FROM {schema}.runs
    WHERE run_id = %(run_id)s::text
        AND NOT (%(again)s::boolean AND EXISTS (
            SELECT FROM {schema}.published WHERE published.run_id = %(run_id)s::text AND published.id = %(id)s::uuid
        ))
)
SELECT EXISTS (SELECT FROM {schema}.runs WHERE run_id = %(run_id)s::text)

-- name: setback
UPDATE {schema}.runs
SET attempts = %(attempts)s, error = %(error)s, updated_at = clock_timestamp(), owner = NULL,
    status = CASE WHEN finished_at IS NULL AND %(retry_at)s::timestamptz IS NULL THEN 'Paused' ELSE status END,
    place = CASE WHEN %(retry_at)s::timestamptz IS NULL THEN NULLIF(place, 1) ELSE place END,
    due_at = CASE WHEN place = 0 THEN NULL ELSE %(retry_at)s::timestamptz END
WHERE run_id = %(run_id)s AND fence = %(fence)s AND num_nonnulls(owner) = 1
RETURNING CASE WHEN queue IS NOT NULL AND %(retry_at)s::timestamptz IS NULL THEN pg_notify(%(channel)s, '') END

-- name: release
UPDATE {schema}.runs
SET attempts = 0, error = CASE WHEN finished_at IS NOT NULL THEN error END, updated_at = clock_timestamp(), owner = NULL,
    status = CASE WHEN finished_at IS NULL THEN 'Resuming' ELSE status END,
    place = CASE WHEN queue IS NOT NULL AND finished_at IS NULL THEN COALESCE(place, 1) END,
    due_at = CASE WHEN place = 0 THEN NULL ELSE clock_timestamp() END
WHERE run_id = %(run_id)s AND (owner IS NULL OR due_at <= clock_timestamp())
RETURNING run_id

-- name: hand_back
-- A run that is paused stays so: to be due is the end of a pause.
UPDATE {schema}.runs
SET owner = NULL, updated_at = clock_timestamp(),
    due_at = CASE
        WHEN place = 0 OR (finished_at IS NULL AND status = 'Paused') THEN NULL
        ELSE clock_timestamp() END
WHERE run_id = %(run_id)s AND fence = %(fence)s AND num_nonnulls(owner) = 1
RETURNING run_id

-- name: wake_for_messages
UPDATE {schema}.runs
SET due_at = now()
WHERE run_id IN (
    SELECT runs.run_id FROM {schema}.runs
    WHERE EXISTS (
            SELECT FROM {schema}.inbox WHERE inbox.run_id = runs.run_id AND inbox.status = 'new'
        )
        AND runs.owner IS NULL AND runs.status <> 'Paused' AND (runs.due_at IS NULL OR runs.due_at > now())
        AND runs.place IS DISTINCT FROM 0 AND (runs.revision > 0 OR runs.start_at IS NULL OR runs.start_at <= now())
    FOR UPDATE SKIP LOCKED
)

-- name: claim
WITH due AS (
    SELECT run_id, due_at FROM {schema}.runs
    WHERE due_at <= now() AND workflow = ANY (%(workflows)s::text[])
        AND version <= (%(versions)s::integer[])[array_position(%(workflows)s::text[], workflow)]
    ORDER BY due_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE {schema}.runs
    SET owner = %(worker)s, fence = fence + 1, due_at = clock_timestamp() + %(lease)s::interval,
        status = CASE WHEN finished_at IS NULL AND status <> 'Paused' THEN 'Resuming' ELSE status END
    FROM due
    WHERE runs.run_id = due.run_id
    RETURNING runs.run_id, workflow, fence, attempts, snapshot, status, error, due.due_at
)
SELECT run_id, workflow, fence, attempts, snapshot, status, error FROM claimed ORDER BY due_at

-- name: next_due
SELECT clock_timestamp(), (
    SELECT due_at FROM {schema}.runs
    WHERE due_at IS NOT NULL AND workflow = ANY (%(workflows)s::text[])
        AND version <= (%(versions)s::integer[])[array_position(%(workflows)s::text[], workflow)]
    ORDER BY due_at
    LIMIT 1
)

-- name: claim_run
UPDATE {schema}.runs
SET owner = %(worker)s, fence = fence + 1, due_at = clock_timestamp() + %(lease)s::interval,
    status = CASE WHEN finished_at IS NULL AND status <> 'Paused' THEN 'Resuming' ELSE status END
WHERE run_id = %(run_id)s AND (owner IS NULL OR due_at <= clock_timestamp())
RETURNING run_id, workflow, fence, attempts, snapshot, status, error

-- name: open_messages
SELECT id, run_id, kind, body, key, created_at, status FROM {schema}.inbox
WHERE run_id = ANY (%(run_ids)s::text[]) AND status IN ('new', 'kept')
ORDER BY number

-- name: renew
UPDATE {schema}.runs
SET due_at = clock_timestamp() + %(lease)s::interval
FROM unnest(%(run_ids)s::text[], %(fences)s::bigint[]) AS held (run_id, fence)
WHERE runs.run_id = held.run_id AND runs.fence = held.fence AND runs.owner = %(worker)s
RETURNING runs.run_id

-- name: mail
SELECT inbox.id, inbox.run_id, inbox.kind, inbox.body, inbox.key, inbox.created_at, inbox.status
FROM {schema}.inbox JOIN {schema}.runs ON runs.run_id = inbox.run_id
WHERE inbox.status = 'new' AND runs.owner = %(worker)s
ORDER BY inbox.number

-- name: is_queued
SELECT EXISTS (
    SELECT FROM {schema}.runs
    WHERE queue = %(queue)s AND place = 0 AND status <> 'Paused' AND owner IS NULL AND (start_at IS NULL OR start_at <= now())
)

-- name: lock_queue
-- Not the lock of a row, which would be a write each time that somebody looks and finds no room.
SELECT pg_advisory_xact_lock(hashtextextended('flowstmt queue ' || %(schema)s::text || ' ' || %(queue)s::text, 0))

-- name: under_way
SELECT queue_key, count(*) FROM {schema}.runs
WHERE queue = %(queue)s AND place = 1
GROUP BY queue_key

-- name: forget_admissions
DELETE FROM {schema}.admissions WHERE queue = %(queue)s AND admitted_at <= clock_timestamp() - %(per)s::interval

-- name: admitted
SELECT COALESCE(sum(runs), 0)::bigint FROM {schema}.admissions WHERE queue = %(queue)s

-- name: queued
SELECT run_id, queue_key FROM {schema}.runs
WHERE queue = %(queue)s AND place = 0 AND status <> 'Paused' AND owner IS NULL
    AND (start_at IS NULL OR start_at <= now())
    AND (queue_key IS NULL OR queue_key <> ALL (%(full)s::text[]))
ORDER BY priority DESC, created_at, run_id
LIMIT %(limit)s

-- name: admit
UPDATE {schema}.runs
SET place = 1, due_at = clock_timestamp()
WHERE run_id = ANY (%(run_ids)s::text[]) AND place = 0 AND status <> 'Paused' AND owner IS NULL

-- name: add_admissions
INSERT INTO {schema}.admissions (queue, admitted_at, runs) VALUES (%(queue)s, clock_timestamp(), %(runs)s)

-- name: purge
WITH old AS (
    SELECT run_id FROM {schema}.runs
    WHERE finished_at < %(finished_before)s AND owner IS NULL
    ORDER BY finished_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), labels_deleted AS (
    DELETE FROM {schema}.labels USING old WHERE labels.run_id = old.run_id
), messages_deleted AS (
    DELETE FROM {schema}.inbox USING old WHERE inbox.run_id = old.run_id
), history_deleted AS (
    DELETE FROM {schema}.history USING old WHERE history.run_id = old.run_id
), published_deleted AS (
    DELETE FROM {schema}.published USING old WHERE published.run_id = old.run_id
), deleted AS (
    DELETE FROM {schema}.runs USING old WHERE runs.run_id = old.run_id RETURNING runs.run_id
)
SELECT count(*) FROM deleted

-- name: purge_strays
-- Messages that were posted while their run was being deleted.
DELETE FROM {schema}.inbox
WHERE status = 'new' AND NOT EXISTS (SELECT FROM {schema}.runs WHERE runs.run_id = inbox.run_id)

-- name: lock_run
SELECT owner IS NOT NULL AND due_at > clock_timestamp(), owner FROM {schema}.runs WHERE run_id = %(run_id)s FOR UPDATE

-- name: delete
WITH labels_deleted AS (
    DELETE FROM {schema}.labels WHERE run_id = %(run_id)s
), messages_deleted AS (
    DELETE FROM {schema}.inbox WHERE run_id = %(run_id)s
), history_deleted AS (
    DELETE FROM {schema}.history WHERE run_id = %(run_id)s
), published_deleted AS (
    DELETE FROM {schema}.published WHERE run_id = %(run_id)s
)
DELETE FROM {schema}.runs WHERE run_id = %(run_id)s

-- name: get
SELECT run_id, workflow, version, status, position, revision, attempts, created_at, updated_at, due_at, finished_at, owner,
    fence, digest, error, single_flight, parent, queue, queue_key, priority,
    (SELECT json_object_agg(name, value)::text FROM {schema}.labels WHERE labels.run_id = runs.run_id), snapshot
FROM {schema}.runs
WHERE run_id = %(run_id)s

-- name: get_in_flight
SELECT run_id, workflow, version, status, position, revision, attempts, created_at, updated_at, due_at, finished_at, owner,
    fence, digest, error, single_flight, parent, queue, queue_key, priority,
    (SELECT json_object_agg(name, value)::text FROM {schema}.labels WHERE labels.run_id = runs.run_id), snapshot
FROM {schema}.runs
WHERE workflow = %(workflow)s AND single_flight = %(single_flight)s

-- name: list
-- Planned anew each time, so that the parts of filters that were not asked for are gone from the plan.
SELECT run_id, workflow, version, status, position, revision, attempts, created_at, updated_at, due_at, finished_at, owner,
    fence, digest, error, single_flight, parent, queue, queue_key, priority,
    (SELECT json_object_agg(name, value)::text FROM {schema}.labels WHERE labels.run_id = runs.run_id), NULL
FROM {schema}.runs
WHERE (%(workflow)s::text IS NULL OR workflow = %(workflow)s::text)
    AND (%(status)s::text IS NULL OR status = %(status)s::text)
    AND (%(position)s::text IS NULL OR position = %(position)s::text)
    AND (%(parent)s::text IS NULL OR parent = %(parent)s::text)
    AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
    AND (%(created_from)s::timestamptz IS NULL OR created_at >= %(created_from)s::timestamptz)
    AND (%(created_before)s::timestamptz IS NULL OR created_at < %(created_before)s::timestamptz)
    AND (%(wake_before)s::timestamptz IS NULL OR (due_at < %(wake_before)s::timestamptz AND owner IS NULL))
    AND (%(after_at)s::timestamptz IS NULL
        OR (created_at, run_id) < (%(after_at)s::timestamptz, %(after_id)s::text COLLATE "C"))
ORDER BY created_at DESC, run_id DESC
LIMIT %(limit)s

-- name: list_labelled
SELECT runs.run_id, workflow, version, status, position, revision, attempts, runs.created_at, updated_at, due_at, finished_at,
    owner, fence, digest, error, single_flight, parent, queue, queue_key, priority,
    (SELECT json_object_agg(name, value)::text FROM {schema}.labels WHERE labels.run_id = runs.run_id), NULL
FROM {schema}.labels AS label JOIN {schema}.runs ON runs.run_id = label.run_id
WHERE label.name = %(label_name)s::text AND label.value = %(label_value)s::text
    AND (%(workflow)s::text IS NULL OR workflow = %(workflow)s::text)
    AND (%(status)s::text IS NULL OR status = %(status)s::text)
    AND (%(position)s::text IS NULL OR position = %(position)s::text)
    AND (%(parent)s::text IS NULL OR parent = %(parent)s::text)
    AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
    AND (%(created_from)s::timestamptz IS NULL OR label.created_at >= %(created_from)s::timestamptz)
    AND (%(created_before)s::timestamptz IS NULL OR label.created_at < %(created_before)s::timestamptz)
    AND (%(wake_before)s::timestamptz IS NULL OR (due_at < %(wake_before)s::timestamptz AND owner IS NULL))
    AND (%(after_at)s::timestamptz IS NULL
        OR (label.created_at, label.run_id) < (%(after_at)s::timestamptz, %(after_id)s::text COLLATE "C"))
ORDER BY label.created_at DESC, label.run_id DESC
LIMIT %(limit)s

-- name: history
SELECT revision, thread_id, position, attempt, started_at, duration, error FROM {schema}.history
WHERE run_id = %(run_id)s
ORDER BY number
OFFSET %(after)s LIMIT %(limit)s

-- name: published
SELECT number, at, body FROM {schema}.published
WHERE run_id = %(run_id)s AND number > %(after)s
ORDER BY number
LIMIT %(limit)s

-- name: answers
SELECT id, status, answer FROM {schema}.inbox WHERE id = ANY (%(ids)s::text[]) AND status IN ('done', 'dead')

-- name: messages
SELECT id, run_id, kind, body, key, created_at, status FROM {schema}.inbox
WHERE run_id = %(run_id)s AND status = %(status)s
ORDER BY number
LIMIT %(limit)s

-- name: database
-- Which tables of which database of which server a connection sees.
SELECT (SELECT system_identifier FROM pg_control_system()),
    (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),
    (SELECT pg_class.oid::bigint FROM pg_class JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
     WHERE nspname = %(schema)s AND relname = 'runs')

-- name: lock_migrations
SELECT pg_advisory_xact_lock(hashtextextended('flowstmt migrations of ' || %(schema)s::text, 0))

-- name: has_schema
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %(schema)s),
    EXISTS (SELECT FROM pg_tables WHERE schemaname = %(schema)s AND tablename = 'migrations')

-- name: create_schema
CREATE SCHEMA {schema}

-- name: create_migrations
CREATE TABLE {schema}.migrations (
    number integer NOT NULL,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (number)
)

-- name: migrations
SELECT number, name FROM {schema}.migrations ORDER BY number

-- name: add_migration
INSERT INTO {schema}.migrations (number, name) VALUES (%(number)s, %(name)s)
