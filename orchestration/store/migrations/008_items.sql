-- The store that graphs share. `namespace` has a dot after each label, so that a namespace and all
-- below it are one range. `value` comes last: what is searched by stands before it.
CREATE TABLE items (
    item_id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    expires_at REAL, -- seconds since 1970
    ttl REAL, -- minutes
    value TEXT NOT NULL
);
CREATE UNIQUE INDEX items_by_name ON items (namespace, key);
CREATE INDEX items_by_update ON items (updated_at, namespace);
CREATE INDEX items_by_expiry ON items (expires_at) WHERE expires_at IS NOT NULL;

-- What the texts of an item mean: a vector of length 1, of float32, for each.
CREATE TABLE item_vectors (
    item_id INTEGER NOT NULL REFERENCES items (item_id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    vector BLOB NOT NULL,
    PRIMARY KEY (item_id, path)
);
