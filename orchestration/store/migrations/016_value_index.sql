-- What threads are found by when a search asks for their values (value_index.py): one row for each
-- value of a thread's that is in no list. Nothing is kept here before the first such search: it has
-- all threads looked through, and each one after it those that changed since.
CREATE TABLE value_terms (
    term BLOB NOT NULL,
    thread_id TEXT NOT NULL,
    PRIMARY KEY (term, thread_id)
) WITHOUT ROWID;
CREATE INDEX value_terms_of_thread ON value_terms (thread_id);

-- One row as soon as the index is used: the threads up to `place` were looked through, or all (NULL).
CREATE TABLE value_index (place TEXT);

-- The threads that show other values than their terms say.
CREATE TABLE values_changed (thread_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TRIGGER values_shown AFTER UPDATE OF state_values ON threads
WHEN EXISTS (SELECT 1 FROM value_index)
BEGIN
    INSERT OR IGNORE INTO values_changed VALUES (NEW.thread_id);
END;
CREATE TRIGGER values_gone AFTER DELETE ON threads
WHEN EXISTS (SELECT 1 FROM value_index)
BEGIN
    DELETE FROM values_changed WHERE thread_id = OLD.thread_id;
    DELETE FROM value_terms WHERE thread_id = OLD.thread_id;
END;
