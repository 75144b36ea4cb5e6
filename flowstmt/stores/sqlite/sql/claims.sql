-- Who moves what.

-- name: due
-- One workflow at a time: what a worker doesn't know, however much of it is due, costs it nothing.
SELECT due_at, rowid FROM {prefix}runs INDEXED BY {prefix}runs_due
WHERE workflow = ? AND due_at <= ? AND version <= ? ORDER BY due_at LIMIT ?

-- name: next_due
SELECT due_at FROM {prefix}runs INDEXED BY {prefix}runs_due
WHERE workflow = ? AND due_at > ? AND version <= ? ORDER BY due_at LIMIT 1

-- name: claimable
SELECT rowid, owner, due_at FROM {prefix}runs WHERE run_id = ?

-- name: claim
UPDATE {prefix}runs SET
    owner = ?,
    fence = fence + 1,
    due_at = ?,
    status = CASE WHEN finished_at IS NULL AND status <> 'Paused' THEN 'Resuming' ELSE status END
WHERE rowid = ?

-- name: claimed
SELECT run_id, workflow, fence, attempts, snapshot, status, error FROM {prefix}runs WHERE rowid = ?

-- name: unseen
SELECT id, run_id, kind, body, key, created_at, status FROM {prefix}inbox INDEXED BY {prefix}inbox_run
WHERE run_id = ? AND status IN ('new', 'kept') ORDER BY number

-- name: renew
UPDATE {prefix}runs SET due_at = ? WHERE run_id = ? AND fence = ? AND owner = ?

-- name: mail
SELECT mail.id, mail.run_id, mail.kind, mail.body, mail.key, mail.created_at, mail.status
FROM {prefix}runs AS run INDEXED BY {prefix}runs_owner
CROSS JOIN {prefix}inbox AS mail INDEXED BY {prefix}inbox_run
WHERE run.owner = ? AND mail.run_id = run.run_id AND mail.status = 'new' ORDER BY mail.number

-- name: places
SELECT COUNT(*) FROM {prefix}runs INDEXED BY {prefix}runs_placed WHERE place = 1 AND queue = ?

-- name: places_of_key
SELECT COUNT(*) FROM {prefix}runs INDEXED BY {prefix}runs_placed WHERE place = 1 AND queue = ? AND queue_key = ?

-- name: waiting
-- The runs of a key that is full are passed over inside the index.
SELECT rowid, queue_key FROM {prefix}runs INDEXED BY {prefix}runs_waiting
WHERE place = 0 AND queue = :queue AND start_at <= :now
    AND (:per_key IS NULL OR queue_key IS NULL OR queue_key NOT IN (
        SELECT queue_key FROM {prefix}runs INDEXED BY {prefix}runs_placed
        WHERE place = 1 AND queue = :queue AND queue_key IS NOT NULL GROUP BY queue_key HAVING COUNT(*) >= :per_key
    ))
    AND owner IS NULL AND status <> 'Paused'
ORDER BY priority DESC, created_at, run_id LIMIT :limit

-- name: admit
UPDATE {prefix}runs SET place = 1, due_at = ?1, wake_at = ?1 WHERE rowid = ?2

-- name: admitted_since
SELECT COUNT(*) FROM {prefix}admissions INDEXED BY {prefix}admissions_recent WHERE queue = ? AND admitted_at > ?

-- name: note_admission
INSERT INTO {prefix}admissions (queue, admitted_at) VALUES (?, ?)

-- name: forget_admissions
DELETE FROM {prefix}admissions WHERE queue = ? AND admitted_at <= ?
