-- What a batch is made of. Each may be done twice.

-- name: save
-- The revision never goes back: an earlier batch may be handed in again.
UPDATE {prefix}runs SET snapshot = ?1, revision = ?2, updated_at = ?3, attempts = 0, error = NULL
WHERE run_id = ?4 AND fence = ?5 AND owner IS NOT NULL AND revision <= ?2

-- name: save_8
-- Up to eight of them: run, fence, revision and snapshot of each. Rows that are not needed are NULL, which is no run.
UPDATE {prefix}runs SET snapshot = saved.column4, revision = saved.column3, updated_at = ?1, attempts = 0, error = NULL
FROM (VALUES
    (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?)
) AS saved
WHERE run_id = saved.column1 AND fence = saved.column2 AND owner IS NOT NULL AND revision <= saved.column3

-- name: save_64
UPDATE {prefix}runs SET snapshot = saved.column4, revision = saved.column3, updated_at = ?1, attempts = 0, error = NULL
FROM (VALUES
    (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?),
    (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?),
    (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?),
    (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?),
    (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?),
    (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?),
    (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?),
    (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?)
) AS saved
WHERE run_id = saved.column1 AND fence = saved.column2 AND owner IS NOT NULL AND revision <= saved.column3

-- name: lease
SELECT owner IS NOT NULL, revision, attempts FROM {prefix}runs WHERE run_id = ? AND fence = ?

-- name: save_at_rest
UPDATE {prefix}runs SET
    snapshot = ?4,
    revision = ?3,
    updated_at = ?5,
    attempts = 0,
    error = ?7,
    owner = NULL,
    version = COALESCE(?6, version),
    status = ?8,
    position = ?9,
    finished_at = CASE WHEN ?10 THEN COALESCE(finished_at, ?5) END,
    single_flight = CASE WHEN ?10 THEN NULL ELSE single_flight END,
    place = CASE
        WHEN queue IS NULL OR ?10 THEN NULL
        WHEN ?8 = 'Paused' THEN NULLIF(place, 1)
        ELSE COALESCE(place, 1)
    END,
    due_at = CASE
        WHEN place = 0 AND NOT ?10 THEN NULL
        WHEN ?8 <> 'Paused' AND EXISTS (SELECT 1 FROM {prefix}inbox WHERE run_id = ?1 AND status = 'new') THEN ?5
        ELSE ?11
    END,
    wake_at = ?11
WHERE run_id = ?1 AND fence = ?2 AND owner IS NOT NULL AND revision <= ?3

-- name: set_back
UPDATE {prefix}runs SET
    updated_at = :now,
    attempts = :attempts,
    error = :error,
    owner = NULL,
    status = CASE WHEN :retry_at IS NULL AND finished_at IS NULL THEN 'Paused' ELSE status END,
    place = CASE WHEN :retry_at IS NULL THEN NULLIF(place, 1) ELSE place END,
    due_at = CASE
        WHEN place = 0 THEN NULL
        WHEN :retry_at IS NOT NULL AND EXISTS (SELECT 1 FROM {prefix}inbox WHERE run_id = :run_id AND status = 'new') THEN :now
        ELSE :retry_at
    END,
    wake_at = :retry_at
WHERE run_id = :run_id

-- name: release
UPDATE {prefix}runs SET
    owner = NULL,
    attempts = 0,
    error = CASE WHEN finished_at IS NULL THEN NULL ELSE error END,
    status = CASE WHEN finished_at IS NULL THEN 'Resuming' ELSE status END,
    place = CASE WHEN queue IS NULL OR finished_at IS NOT NULL THEN NULL ELSE COALESCE(place, 1) END,
    due_at = CASE WHEN place = 0 THEN NULL ELSE :now END,
    wake_at = :now
WHERE run_id = :run_id AND (owner IS NULL OR due_at <= :now)

-- name: give_up
UPDATE {prefix}runs SET owner = NULL, due_at = CASE WHEN place = 0 THEN NULL ELSE :now END, wake_at = :now
WHERE run_id = :run_id AND fence = :fence AND owner IS NOT NULL

-- name: start
INSERT INTO {prefix}runs (
    run_id, workflow, version, status, position, revision, attempts, fence, owner, due_at, wake_at, start_at, created_at,
    updated_at, single_flight, parent, queue, queue_key, priority, place, digest, labels, snapshot
) VALUES (?, ?, ?, 'Resuming', ?, 0, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING

-- name: label
INSERT INTO {prefix}labels (name, value, created_at, run_id) VALUES (?, ?, ?, ?)

-- name: post
INSERT INTO {prefix}inbox (id, run_id, kind, status, key, body, created_at)
SELECT ?, run_id, ?, 'new', ?, ?, ? FROM {prefix}runs WHERE run_id = ? AND finished_at IS NULL
ON CONFLICT DO NOTHING

-- name: why_not_posted
SELECT EXISTS (SELECT 1 FROM {prefix}inbox WHERE id = ?1) OR EXISTS (SELECT 1 FROM {prefix}inbox WHERE run_id = ?2 AND key = ?3)
FROM {prefix}runs WHERE run_id = ?2

-- name: knock
-- A run that nobody owns is due at once when it has a new message, unless it is Paused, waits in a queue, or is to begin later.
UPDATE {prefix}runs SET due_at = ?1
WHERE run_id = ?2 AND owner IS NULL AND status <> 'Paused' AND place IS NOT 0 AND (due_at IS NULL OR due_at > ?1)
    AND (revision > 0 OR start_at <= ?1)

-- name: take
UPDATE {prefix}inbox SET status = ?1, answer = ?2, body = CASE WHEN ?1 <> 'done' THEN body END
WHERE id = ?3 AND run_id = ?4

-- name: find_message
SELECT run_id, status = 'new' FROM {prefix}inbox WHERE id = ?

-- name: withdraw
DELETE FROM {prefix}inbox WHERE id = ?

-- name: go_back_to_sleep
-- The message that woke the run was taken back.
UPDATE {prefix}runs SET due_at = wake_at
WHERE run_id = ?1 AND owner IS NULL AND status <> 'Paused' AND place IS NOT 0
    AND NOT EXISTS (SELECT 1 FROM {prefix}inbox WHERE run_id = ?1 AND status = 'new')

-- name: remember
INSERT INTO {prefix}history (run_id, number, revision, thread_id, attempt, position, started_at, duration, error)
VALUES (?1, (SELECT COALESCE(MAX(number), 0) + 1 FROM {prefix}history WHERE run_id = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT DO NOTHING

-- name: publish
INSERT INTO {prefix}published (run_id, number, published_at, body)
SELECT run_id, (SELECT COALESCE(MAX(number), 0) + 1 FROM {prefix}published WHERE run_id = ?1), ?2, ?3
FROM {prefix}runs WHERE run_id = ?1

-- name: ends_of_life
SELECT run_id, created_at, labels, owner, due_at FROM {prefix}runs WHERE run_id = ?

-- name: over_before
SELECT run_id, created_at, labels, owner, due_at FROM {prefix}runs INDEXED BY {prefix}runs_finished
WHERE finished_at < ? AND owner IS NULL ORDER BY finished_at LIMIT ?

-- name: delete_label
DELETE FROM {prefix}labels WHERE name = ? AND value = ? AND created_at = ? AND run_id = ?

-- name: delete_inbox
DELETE FROM {prefix}inbox WHERE run_id = ?

-- name: delete_history
DELETE FROM {prefix}history WHERE run_id = ?

-- name: delete_published
DELETE FROM {prefix}published WHERE run_id = ?

-- name: delete_run
DELETE FROM {prefix}runs WHERE run_id = ?
