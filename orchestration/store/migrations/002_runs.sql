-- A thread is busy while it has a pending or running run. That is never stored, so it cannot be
-- wrong; `status` is what the thread shows when it is not busy.
CREATE TABLE threads (
    thread_id TEXT PRIMARY KEY,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    state_updated_at TEXT,
    status TEXT NOT NULL DEFAULT 'idle' CHECK (status IN ('idle', 'interrupted', 'error')),
    metadata TEXT NOT NULL DEFAULT '{}',
    config TEXT NOT NULL DEFAULT '{}',
    interrupts TEXT NOT NULL DEFAULT '{}',
    error TEXT,
    state_values TEXT
) WITHOUT ROWID;
CREATE INDEX threads_created ON threads (created_at);

CREATE TABLE runs (
    run_id TEXT PRIMARY KEY,
    thread_id TEXT NOT NULL,
    assistant_id TEXT NOT NULL,
    graph_id TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    due_at TEXT,
    priority INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    token TEXT,
    timeout REAL,
    tenant TEXT,
    ephemeral INTEGER NOT NULL,
    resumable INTEGER NOT NULL,
    multitask_strategy TEXT NOT NULL,
    dead_letter TEXT,
    error TEXT,
    metadata TEXT NOT NULL,
    kwargs TEXT NOT NULL
) WITHOUT ROWID;
-- A run without a thread of its own is deleted when it ends; it is in no index that only lists need.
CREATE INDEX runs_of_thread ON runs (thread_id, created_at) WHERE NOT ephemeral;
CREATE INDEX runs_unfinished ON runs (thread_id) WHERE status IN ('pending', 'running');
CREATE INDEX runs_dead ON runs (dead_letter) WHERE dead_letter IS NOT NULL;

CREATE TABLE run_events (
    run_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (run_id, number)
) WITHOUT ROWID;

CREATE TABLE assistants (
    assistant_id TEXT PRIMARY KEY,
    graph_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    version INTEGER NOT NULL DEFAULT 1,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    config TEXT NOT NULL DEFAULT '{}',
    context TEXT NOT NULL DEFAULT '{}',
    metadata TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX assistants_of_graph ON assistants (graph_id);
