-- A thread that was given a time to live: see ttl.py. All three are NULL for one that lives for ever.
ALTER TABLE threads ADD COLUMN ttl_minutes REAL;
ALTER TABLE threads ADD COLUMN ttl_strategy TEXT;
ALTER TABLE threads ADD COLUMN expires_at TEXT;
CREATE INDEX threads_expiring ON threads (expires_at) WHERE expires_at IS NOT NULL;
