-- The threads that were deleted and of which runs, events or checkpoints are left: see
-- gone_threads.py.
CREATE TABLE threads_gone (thread_id TEXT PRIMARY KEY) WITHOUT ROWID;
