-- Every search of threads has an index to walk in its order, or a small set to sort: see
-- thread_search.py. A thread's stored status comes first, so that one index serves a search with
-- and without a status; without one, the three are merged.
DROP INDEX threads_created;
CREATE INDEX threads_created ON threads (status, created_at);
CREATE INDEX threads_updated ON threads (status, updated_at);
CREATE INDEX threads_state_updated ON threads (status, state_updated_at);

-- One row for every value in a thread's metadata (terms.py), written with the metadata.
CREATE TABLE thread_terms (
    term BLOB NOT NULL,
    created_at TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    PRIMARY KEY (term, created_at, thread_id)
) WITHOUT ROWID;

-- What a list of runs asks for besides all of them. A run that succeeds is in none of these.
CREATE INDEX runs_failed ON runs (thread_id, status, created_at)
    WHERE NOT ephemeral AND status IN ('error', 'timeout', 'interrupted');
DROP INDEX runs_dead;
CREATE INDEX runs_dead ON runs (updated_at) WHERE dead_letter IS NOT NULL;
