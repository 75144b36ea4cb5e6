-- Texts compare byte by byte (COLLATE "C"), as in the other stores: pages of a list then go on in the same order everywhere.
--
-- A checkpoint without rest changes no column that is indexed, and there is room on the page for its new row (fillfactor):
-- PostgreSQL then writes no index at all (a HOT update), and old rows are cleared away without a vacuum.
-- Snapshots are not compressed: pglz takes several times as long as all the rest of a save. They are text and not json, which
-- would be parsed at each save; `snapshot::jsonb` is there for queries.
CREATE TABLE {schema}.runs (
    run_id text COLLATE "C" NOT NULL,
    workflow text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    status text COLLATE "C" NOT NULL,
    position text COLLATE "C" NOT NULL,
    revision bigint NOT NULL,
    attempts integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- While the run is owned, the end of the lease; otherwise when it is due by itself.
    due_at timestamptz,
    finished_at timestamptz,
    owner text COLLATE "C",
    fence bigint NOT NULL,
    digest text COLLATE "C" NOT NULL,
    error text COLLATE "C",
    -- NULL once the run is over.
    single_flight text COLLATE "C",
    parent text COLLATE "C",
    queue text COLLATE "C",
    queue_key text COLLATE "C",
    priority integer NOT NULL,
    -- Not before this is a run of a queue let in.
    start_at timestamptz,
    -- In a queue: 0 waits to be let in, 1 was let in; NULL: has given up its place, or was never in a queue.
    place smallint,
    snapshot text COLLATE "C" NOT NULL,
    PRIMARY KEY (run_id)
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05
);

ALTER TABLE {schema}.runs ALTER COLUMN snapshot SET STORAGE EXTERNAL;

CREATE INDEX runs_due ON {schema}.runs (due_at, workflow) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX runs_single_flight ON {schema}.runs (workflow, single_flight) WHERE single_flight IS NOT NULL;
CREATE INDEX runs_created ON {schema}.runs (created_at, run_id);
CREATE INDEX runs_workflow ON {schema}.runs (workflow, created_at, run_id);
CREATE INDEX runs_status ON {schema}.runs (status, created_at, run_id);
CREATE INDEX runs_position ON {schema}.runs (position, created_at, run_id);
CREATE INDEX runs_parent ON {schema}.runs (parent, created_at, run_id) WHERE parent IS NOT NULL;
CREATE INDEX runs_queue ON {schema}.runs (queue, created_at, run_id) WHERE queue IS NOT NULL;
CREATE INDEX runs_finished ON {schema}.runs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX runs_under_way ON {schema}.runs (queue, queue_key) WHERE place = 1;
CREATE INDEX runs_queued ON {schema}.runs (queue, priority DESC, created_at, run_id) WHERE place = 0;
CREATE INDEX runs_owned ON {schema}.runs (owner) WHERE owner IS NOT NULL;

-- No foreign keys: they would lock the run's row for as long as a sender's transaction takes.
CREATE TABLE {schema}.labels (
    run_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (run_id, name)
);
CREATE INDEX labels_value ON {schema}.labels (name, value, created_at, run_id);

CREATE TABLE {schema}.inbox (
    number bigint GENERATED ALWAYS AS IDENTITY,
    id text COLLATE "C" NOT NULL,
    run_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    key text COLLATE "C",
    status text COLLATE "C" NOT NULL,
    body text COLLATE "C" NOT NULL,
    answer text COLLATE "C",
    created_at timestamptz NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX inbox_key ON {schema}.inbox (run_id, key) WHERE key IS NOT NULL;
CREATE INDEX inbox_new ON {schema}.inbox (run_id) WHERE status = 'new';
CREATE INDEX inbox_status ON {schema}.inbox (run_id, status, number);

CREATE TABLE {schema}.history (
    number bigint GENERATED ALWAYS AS IDENTITY,
    run_id text COLLATE "C" NOT NULL,
    revision bigint NOT NULL,
    thread_id text COLLATE "C" NOT NULL,
    attempt integer NOT NULL,
    position text COLLATE "C" NOT NULL,
    started_at timestamptz NOT NULL,
    duration interval NOT NULL,
    error text COLLATE "C",
    PRIMARY KEY (run_id, revision, thread_id, attempt, started_at)
);
CREATE INDEX history_order ON {schema}.history (run_id, number);

CREATE TABLE {schema}.published (
    number bigint GENERATED ALWAYS AS IDENTITY,
    run_id text COLLATE "C" NOT NULL,
    -- The store's own: a publication whose commit had an unknown outcome is known by it.
    id uuid NOT NULL,
    at timestamptz NOT NULL,
    body text COLLATE "C" NOT NULL,
    PRIMARY KEY (run_id, number)
);

-- How many were let in, and when: for limits of rate. Runs may have been deleted since.
CREATE TABLE {schema}.admissions (
    queue text COLLATE "C" NOT NULL,
    admitted_at timestamptz NOT NULL,
    runs integer NOT NULL
);
CREATE INDEX admissions_queue ON {schema}.admissions (queue, admitted_at);
