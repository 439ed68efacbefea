-- The directory: database `atoll` of the home group. Run as the superuser in one transaction; running it again changes nothing.

CREATE SCHEMA IF NOT EXISTS atoll;
REVOKE ALL ON SCHEMA atoll FROM PUBLIC;

-- Home is the one with the least id.
CREATE TABLE IF NOT EXISTS atoll.groups (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    epoch bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS atoll.nodes (
    name text PRIMARY KEY,
    group_id int NOT NULL REFERENCES atoll.groups,
    zone text NOT NULL,
    capacity float8 NOT NULL CHECK (capacity > 0),
    agent_address text NOT NULL,
    agent_socket text NOT NULL
);

CREATE TABLE IF NOT EXISTS atoll.databases (
    name text PRIMARY KEY,
    -- Whether all of it has been created; clients cannot connect before.
    ready boolean NOT NULL DEFAULT false
);

CREATE TABLE IF NOT EXISTS atoll.colocations (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    database text NOT NULL REFERENCES atoll.databases ON UPDATE CASCADE ON DELETE CASCADE,
    -- hash, range, directory or schema
    method text NOT NULL,
    -- NULL until a first table claims the group.
    key_type text,
    shard_count int NOT NULL
);

CREATE TABLE IF NOT EXISTS atoll.shards (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    colocation_id int NOT NULL REFERENCES atoll.colocations ON DELETE CASCADE,
    -- Both ends included; NULL for a shard that holds only ranges or assigned keys.
    hash_from bigint,
    hash_to bigint,
    CHECK (hash_from <= hash_to),
    UNIQUE (colocation_id, hash_from)
);

-- From which key on which shard of a co-location group with method `range` holds the rows, up to the next entry.
CREATE TABLE IF NOT EXISTS atoll.ranges (
    colocation_id int NOT NULL REFERENCES atoll.colocations ON DELETE CASCADE,
    -- As every setting reads it; NULL: below all keys.
    key_from text,
    shard_id int NOT NULL REFERENCES atoll.shards ON UPDATE CASCADE,
    UNIQUE NULLS NOT DISTINCT (colocation_id, key_from)
);

-- Keys that are in another shard than their hash says.
CREATE TABLE IF NOT EXISTS atoll.assigned_keys (
    colocation_id int NOT NULL REFERENCES atoll.colocations ON DELETE CASCADE,
    hash bigint NOT NULL,
    -- For people.
    key text NOT NULL,
    shard_id int NOT NULL REFERENCES atoll.shards ON UPDATE CASCADE,
    PRIMARY KEY (colocation_id, hash)
);

-- Schemas whose tables are together on one shard.
CREATE TABLE IF NOT EXISTS atoll.schemas (
    database text NOT NULL REFERENCES atoll.databases ON UPDATE CASCADE ON DELETE CASCADE,
    schema text NOT NULL,
    colocation_id int NOT NULL REFERENCES atoll.colocations,
    PRIMARY KEY (database, schema)
);

CREATE TABLE IF NOT EXISTS atoll.placements (
    shard_id int PRIMARY KEY REFERENCES atoll.shards ON UPDATE CASCADE ON DELETE CASCADE,
    group_id int NOT NULL REFERENCES atoll.groups,
    epoch bigint NOT NULL DEFAULT 1,
    state text NOT NULL DEFAULT 'active'
);

CREATE TABLE IF NOT EXISTS atoll.tables (
    database text NOT NULL REFERENCES atoll.databases ON UPDATE CASCADE ON DELETE CASCADE,
    schema text NOT NULL,
    name text NOT NULL,
    -- Its co-location group's, or `reference`.
    method text NOT NULL,
    -- NULL for tables of a distributed schema.
    key_column text,
    key_type text,
    colocation_id int REFERENCES atoll.colocations,
    PRIMARY KEY (database, schema, name),
    CHECK ((method = 'reference') = (colocation_id IS NULL)),
    CHECK ((key_column IS NULL) = (method IN ('reference', 'schema')) AND (key_type IS NULL) = (key_column IS NULL))
);

-- One row per change (several are merged into one from time to time, keeping their sum), so that a version is a sum: transactions
-- that change different things never wait for one another, and a version grows whenever one of them commits.
CREATE TABLE IF NOT EXISTS atoll.changes (
    -- The logical database whose catalog changed; NULL for the directory.
    database text,
    weight bigint NOT NULL DEFAULT 1
);

CREATE OR REPLACE VIEW atoll.version AS
    SELECT coalesce(sum(weight), 0)::bigint AS version FROM atoll.changes WHERE database IS NULL;

CREATE OR REPLACE VIEW atoll.catalog_version AS
    SELECT database, sum(weight)::bigint AS version FROM atoll.changes WHERE database IS NOT NULL GROUP BY database;

-- For people.
CREATE OR REPLACE VIEW atoll.shards_by_name AS
    SELECT shards.id AS shard, colocations.database, groups.name AS "group", placements.epoch, placements.state,
           shards.hash_from, shards.hash_to, colocations.id AS colocation
    FROM atoll.shards
    JOIN atoll.colocations ON colocations.id = shards.colocation_id
    JOIN atoll.placements ON placements.shard_id = shards.id
    JOIN atoll.groups ON groups.id = placements.group_id
    ORDER BY shards.id;

CREATE OR REPLACE VIEW atoll.nodes_by_name AS
    SELECT nodes.name AS node, groups.name AS "group", groups.epoch, zone, capacity, agent_address, agent_socket
    FROM atoll.nodes JOIN atoll.groups ON groups.id = nodes.group_id
    ORDER BY groups.id, nodes.name;
