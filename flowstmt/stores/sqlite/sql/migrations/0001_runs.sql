-- Instants are microseconds since 1970, UTC; documents are UTF-8 JSON in blobs.

CREATE TABLE {prefix}runs (
    run_id TEXT NOT NULL PRIMARY KEY,
    workflow TEXT NOT NULL,
    version INTEGER NOT NULL,
    status TEXT NOT NULL,
    position TEXT NOT NULL,
    revision INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    owner TEXT,
    due_at INTEGER, -- while it is owned: when the lease ends; else when it can go on by itself
    wake_at INTEGER, -- when it would be due without its new messages
    start_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER,
    single_flight TEXT, -- given up when the run is over
    parent TEXT,
    queue TEXT,
    queue_key TEXT,
    priority INTEGER NOT NULL,
    place INTEGER, -- in its queue: 0 waits for one, 1 has one
    digest TEXT NOT NULL,
    labels TEXT NOT NULL, -- a JSON object; the table of labels is for finding runs
    error BLOB,
    snapshot BLOB NOT NULL -- last: what comes before it is read without it
);

-- A checkpoint without rest changes none of the columns that are indexed.
-- What a worker can claim: due timers, due runs and leases that ran out alike.
CREATE INDEX {prefix}runs_due ON {prefix}runs (workflow, due_at, version) WHERE due_at IS NOT NULL;
CREATE INDEX {prefix}runs_owner ON {prefix}runs (owner) WHERE owner IS NOT NULL;
CREATE UNIQUE INDEX {prefix}runs_flight ON {prefix}runs (workflow, single_flight) WHERE single_flight IS NOT NULL;
CREATE INDEX {prefix}runs_finished ON {prefix}runs (finished_at) WHERE finished_at IS NOT NULL;

-- One for each filter of a list.
CREATE INDEX {prefix}runs_created ON {prefix}runs (created_at, run_id);
CREATE INDEX {prefix}runs_workflow ON {prefix}runs (workflow, created_at, run_id);
CREATE INDEX {prefix}runs_status ON {prefix}runs (status, created_at, run_id, workflow);
CREATE INDEX {prefix}runs_position ON {prefix}runs (position, created_at, run_id, workflow);
CREATE INDEX {prefix}runs_parent ON {prefix}runs (parent, created_at, run_id) WHERE parent IS NOT NULL;
CREATE INDEX {prefix}runs_queue ON {prefix}runs (queue, created_at, run_id) WHERE queue IS NOT NULL;
CREATE INDEX {prefix}runs_wake ON {prefix}runs (due_at, created_at, run_id, workflow, owner)
    WHERE owner IS NULL AND due_at IS NOT NULL;

-- Who waits in a queue, in the order in which they are let in, and who is in it.
CREATE INDEX {prefix}runs_waiting ON {prefix}runs (queue, priority DESC, created_at, run_id, queue_key, start_at, place)
    WHERE place = 0;
CREATE INDEX {prefix}runs_placed ON {prefix}runs (queue, queue_key, place) WHERE place = 1;

CREATE TABLE {prefix}labels (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    PRIMARY KEY (name, value, created_at, run_id)
) WITHOUT ROWID;

-- A message that was taken stays, without its body: its key is not taken twice, and its sender may ask for the answer.
CREATE TABLE {prefix}inbox (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    run_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    key TEXT,
    created_at INTEGER NOT NULL,
    answer BLOB,
    body BLOB
);
CREATE INDEX {prefix}inbox_run ON {prefix}inbox (run_id, status, number);
CREATE UNIQUE INDEX {prefix}inbox_key ON {prefix}inbox (run_id, key) WHERE key IS NOT NULL;

CREATE TABLE {prefix}history (
    run_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    thread_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    position TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    duration INTEGER NOT NULL,
    error TEXT,
    PRIMARY KEY (run_id, number)
) WITHOUT ROWID;
CREATE UNIQUE INDEX {prefix}history_attempt ON {prefix}history (run_id, revision, thread_id, attempt, started_at);

CREATE TABLE {prefix}published (
    run_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    published_at INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (run_id, number)
) WITHOUT ROWID;

-- When runs of a queue were let in, for as long as its rate looks back.
CREATE TABLE {prefix}admissions (
    queue TEXT NOT NULL,
    admitted_at INTEGER NOT NULL
);
CREATE INDEX {prefix}admissions_recent ON {prefix}admissions (queue, admitted_at);
