-- What was decided and how it went, in the order of the results: appended to at one end, cut at the
-- other. No owner, step or part of an arm is ''.
CREATE TABLE experience (
    number INTEGER PRIMARY KEY,
    decision_id TEXT NOT NULL,
    at TEXT NOT NULL,
    owner TEXT NOT NULL,
    workflow TEXT NOT NULL,
    step TEXT NOT NULL,
    mode TEXT NOT NULL,
    variant TEXT NOT NULL,
    pool TEXT NOT NULL,
    steps INTEGER NOT NULL,
    width INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    load REAL NOT NULL,
    duration REAL NOT NULL,
    success INTEGER NOT NULL,
    cost REAL NOT NULL,
    reward REAL NOT NULL
);
CREATE INDEX experience_best ON experience (workflow, step, reward DESC, number DESC);

-- What it comes to, for each way to do something: sums over all results, and what is believed.
CREATE TABLE experience_arms (
    owner TEXT NOT NULL,
    workflow TEXT NOT NULL,
    step TEXT NOT NULL,
    mode TEXT NOT NULL,
    variant TEXT NOT NULL,
    pool TEXT NOT NULL,
    tried INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    duration REAL NOT NULL,
    cost REAL NOT NULL,
    reward REAL NOT NULL,
    last_at TEXT NOT NULL,
    belief TEXT NOT NULL,
    PRIMARY KEY (workflow, step, owner, mode, variant, pool)
) WITHOUT ROWID;
CREATE INDEX experience_arms_by_age ON experience_arms (last_at);
