-- One row per run whose end is told to somebody. `due_at` is when the next attempt is due, NULL
-- once there is none; `receiver` is the host and port of the URL; the payload is dropped when it
-- was delivered.
CREATE TABLE webhook_deliveries (
    delivery_id TEXT PRIMARY KEY,
    run_id TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    url TEXT NOT NULL,
    receiver TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'delivered', 'failed', 'gone')),
    created_at TEXT NOT NULL,
    due_at TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    attempted_at TEXT,
    answer INTEGER,
    error TEXT,
    payload TEXT
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at, receiver) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_deliveries_of_run ON webhook_deliveries (run_id);
CREATE INDEX webhook_deliveries_created ON webhook_deliveries (created_at);
