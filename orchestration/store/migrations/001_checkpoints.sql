-- LangGraph's tables, as langgraph-checkpoint-sqlite makes them, so that its tools can read the
-- file, and a file that it made can be used here. Deleting a thread or a run walks the primary
-- keys; another index would have to be paid for with every checkpoint.
CREATE TABLE IF NOT EXISTS checkpoints (
    thread_id TEXT NOT NULL,
    checkpoint_ns TEXT NOT NULL DEFAULT '',
    checkpoint_id TEXT NOT NULL,
    parent_checkpoint_id TEXT,
    type TEXT,
    checkpoint BLOB,
    metadata BLOB,
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id)
);
CREATE TABLE IF NOT EXISTS writes (
    thread_id TEXT NOT NULL,
    checkpoint_ns TEXT NOT NULL DEFAULT '',
    checkpoint_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    task_path TEXT NOT NULL DEFAULT '',
    idx INTEGER NOT NULL,
    channel TEXT NOT NULL,
    type TEXT,
    value BLOB,
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
);

-- Ours: the writes of a checkpoint as they were before a later run resumed it (resumptions.py).
CREATE TABLE writes_before_run (
    thread_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    checkpoint_ns TEXT NOT NULL,
    checkpoint_id TEXT NOT NULL,
    task_id TEXT,
    task_path TEXT,
    idx INTEGER,
    channel TEXT,
    type TEXT,
    value BLOB
);
CREATE INDEX writes_before_run_of_run ON writes_before_run (thread_id, run_id);
