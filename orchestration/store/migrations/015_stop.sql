-- What a working run was told (`interrupt`, `rollback`), and is to do after a crash too.
ALTER TABLE runs ADD COLUMN stop TEXT;
