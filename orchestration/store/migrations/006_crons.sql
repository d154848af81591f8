-- `next_run_date` is when a cron is due next, in whole seconds; NULL while it is not to run at all.
-- `maker` is who made it and what that lets them do, with which its runs are made too.
CREATE TABLE crons (
    cron_id TEXT PRIMARY KEY,
    assistant_id TEXT NOT NULL,
    thread_id TEXT,
    schedule TEXT NOT NULL,
    timezone TEXT,
    end_time TEXT,
    enabled INTEGER NOT NULL,
    on_run_completed TEXT CHECK (on_run_completed IN ('delete', 'keep')),
    user_id TEXT,
    maker TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    next_run_date TEXT,
    metadata TEXT NOT NULL,
    payload TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX crons_due ON crons (next_run_date) WHERE next_run_date IS NOT NULL;
CREATE INDEX crons_of_thread ON crons (thread_id) WHERE thread_id IS NOT NULL;
CREATE INDEX crons_of_assistant ON crons (assistant_id);
CREATE INDEX crons_created ON crons (created_at);
