-- What an assistant was at each of its versions. `assistants` has the one in use, whichever that is.
CREATE TABLE assistant_versions (
    assistant_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    graph_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    created_at TEXT NOT NULL,
    config TEXT NOT NULL,
    context TEXT NOT NULL,
    metadata TEXT NOT NULL,
    PRIMARY KEY (assistant_id, version)
) WITHOUT ROWID;
INSERT INTO assistant_versions
SELECT assistant_id, version, graph_id, name, description, updated_at, config, context, metadata
FROM assistants;

-- An index for each order that a search can ask for, of all assistants and of one graph's.
-- Assistants are written rarely.
CREATE INDEX assistants_by_created ON assistants (created_at);
CREATE INDEX assistants_by_updated ON assistants (updated_at);
CREATE INDEX assistants_by_name ON assistants (name);
CREATE INDEX assistants_of_graph_by_created ON assistants (graph_id, created_at);
CREATE INDEX assistants_of_graph_by_updated ON assistants (graph_id, updated_at);
CREATE INDEX assistants_of_graph_by_name ON assistants (graph_id, name);
