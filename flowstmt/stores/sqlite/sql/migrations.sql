-- Which migrations were done. This table is the one thing that no migration may change.

-- name: create_migrations
CREATE TABLE IF NOT EXISTS {prefix}migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)

-- name: find_migrations
SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{prefix}migrations'

-- name: list_migrations
SELECT number, name FROM {prefix}migrations ORDER BY number

-- name: add_migration
INSERT INTO {prefix}migrations (number, name, applied_at) VALUES (?, ?, ?)
