-- The size functions: of tables on one shard or many, and of those that the transaction itself has made, filled, or locked.
CREATE TABLE plain_size (id int PRIMARY KEY, v text);
CREATE TABLE key_size (id int PRIMARY KEY, v text);
CREATE TABLE ref_size (id int PRIMARY KEY);
-- distribute: SELECT create_distributed_table('key_size', 'id')
SELECT pg_relation_size('plain_size'), pg_table_size('key_size') >= 0, pg_indexes_size('plain_size') > 0;
INSERT INTO plain_size SELECT i, repeat('x', 20) FROM generate_series(1, 500) i;
INSERT INTO key_size SELECT i, repeat('x', 20) FROM generate_series(1, 500) i;
SELECT pg_relation_size('plain_size') > 0, pg_relation_size('key_size') > 0, pg_total_relation_size('key_size') > pg_relation_size('key_size');
SELECT pg_relation_size('plain_size'::regclass), pg_relation_size('pg_class') > 0, pg_database_size(current_database()) > 0;
SELECT relname, pg_relation_size(oid) > 0 FROM pg_class WHERE relname IN ('plain_size', 'key_size', 'ref_size', 'plain_size_pkey') ORDER BY 1;
-- words-differ
SELECT pg_relation_size('no_such_table');
BEGIN;
CREATE TABLE made_size (id int PRIMARY KEY, v text);
SELECT pg_relation_size('made_size'), pg_total_relation_size('made_size') > 0;
INSERT INTO made_size SELECT i, 'x' FROM generate_series(1, 10) i;
SELECT pg_relation_size('made_size') > 0;
TRUNCATE plain_size;
SELECT pg_relation_size('plain_size'), pg_relation_size('key_size') > 0;
LOCK TABLE key_size IN ACCESS EXCLUSIVE MODE;
SELECT pg_relation_size('key_size') > 0;
COMMIT;
SELECT pg_relation_size('made_size') > 0, pg_relation_size('plain_size');
DROP TABLE made_size;
-- words-differ
SELECT pg_relation_size('made_size');
