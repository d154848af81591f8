-- What a creation with an Idempotency-Key was first answered. `output` is what the waiters for its
-- run were told; a run is `repeatable` if it has a key.
CREATE TABLE idempotency_keys (
    principal TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    expires_at TEXT NOT NULL,
    answer TEXT NOT NULL,
    run_id TEXT,
    output TEXT,
    PRIMARY KEY (principal, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_keys_expiring ON idempotency_keys (expires_at);
CREATE INDEX idempotency_keys_of_run ON idempotency_keys (run_id) WHERE run_id IS NOT NULL;
ALTER TABLE runs ADD COLUMN repeatable INTEGER NOT NULL DEFAULT 0;
