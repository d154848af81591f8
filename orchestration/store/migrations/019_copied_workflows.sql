-- The workflow that a copied thread goes on with: the run that was given it is not copied.
CREATE TABLE copied_workflows (thread_id TEXT PRIMARY KEY, workflow TEXT NOT NULL) WITHOUT ROWID;
CREATE TRIGGER copied_workflows_gone AFTER DELETE ON threads
BEGIN
    DELETE FROM copied_workflows WHERE thread_id = OLD.thread_id;
END;
