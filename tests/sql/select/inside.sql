-- Queries over shards inside transactions, after writes, under settings, prepared, copied; beside tables of every kind.
CREATE TABLE si_a (id int8 PRIMARY KEY, k int, t text, ts timestamptz DEFAULT '2020-01-01 00:00+00');
CREATE TABLE si_c (code text PRIMARY KEY, k int, f float8, by bytea, iv interval, d date);
CREATE TABLE si_r (id int PRIMARY KEY, name text);
CREATE TABLE si_u (id int PRIMARY KEY, k int, t text);
INSERT INTO si_a (id, k, t) SELECT i, i % 4, CASE WHEN i % 5 = 0 THEN NULL ELSE 't' || i % 3 END FROM generate_series(1, 16) i;
INSERT INTO si_c VALUES ('t0', 0, 0.1, '\x00', '1 day', '2020-01-31'), ('t1', 1, 1e20, '\x6162', '1 year 2 mons', '0044-03-15 BC'), ('t2', 2, 'NaN', NULL, '-00:00:01', 'infinity'), ('x', NULL, 1.0 / 3, '', NULL, NULL);
INSERT INTO si_r VALUES (0, 'zero'), (1, 'one'), (2, NULL);
INSERT INTO si_u VALUES (1, 1, 't1'), (2, 2, 't2'), (3, 3, NULL);
-- distribute: SELECT create_distributed_table('si_a', 'id')
-- distribute: SELECT create_distributed_table('si_c', 'code')
-- distribute: SELECT create_reference_table('si_r')
-- What the transaction wrote, it reads.
BEGIN;
INSERT INTO si_a (id, k, t) VALUES (101, 2, 'x'), (102, NULL, 't1');
UPDATE si_c SET k = 9 WHERE code = 't1';
INSERT INTO si_r VALUES (9, 'nine');
UPDATE si_u SET k = 9 WHERE id = 3;
SELECT a.id, c.code FROM si_a a JOIN si_c c ON c.code = a.t WHERE a.id > 10;
SELECT c.code, r.name, u.id FROM si_c c LEFT JOIN si_r r ON r.id = c.k LEFT JOIN si_u u ON u.k = c.k;
SAVEPOINT s;
DELETE FROM si_a WHERE k = 2;
SELECT k, count(*) FROM si_a GROUP BY k ORDER BY k;
SELECT count(*) FROM si_a a, si_c c WHERE a.k >= c.k;
ROLLBACK TO s;
SELECT k, count(*) FROM si_a GROUP BY k ORDER BY k;
SELECT id, (SELECT count(*) FROM si_c c WHERE c.k > a.k) FROM si_a a WHERE t = 'x' OR id < 3;
WITH RECURSIVE x AS (SELECT id, k FROM si_a WHERE id = 101 UNION SELECT a.id, a.k FROM si_a a JOIN x ON a.id = x.k) SELECT * FROM x;
-- session: other
SELECT count(*), (SELECT count(*) FROM si_c WHERE k = 9) FROM si_a;
ROLLBACK;
SELECT count(*), (SELECT count(*) FROM si_c WHERE k = 9) FROM si_a;
-- After an error, by savepoint.
BEGIN;
SAVEPOINT s;
SELECT 1 / (a.k - c.k) FROM si_a a CROSS JOIN si_c c;
ROLLBACK TO s;
SELECT count(*) FROM si_a a CROSS JOIN si_c c;
SAVEPOINT s2;
SELECT count(*) FROM si_a a JOIN si_c c ON a.k = c.k;
RELEASE s2;
SELECT count(*) FROM si_a a LEFT JOIN si_c c ON a.k = c.k;
COMMIT;
-- The stricter levels.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM si_a a JOIN si_c c ON a.k = c.k;
SELECT a.id, rank() OVER (ORDER BY a.k, c.code) FROM si_a a JOIN si_c c ON c.code = a.t;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM si_a a JOIN si_c c ON a.k = c.k;
SELECT count(*) FROM si_u u JOIN si_a a ON u.k = a.k;
COMMIT;
-- Several in one message.
SELECT count(*) FROM si_a a JOIN si_c c ON a.k = c.k\; SELECT max(c.code) FROM si_a a JOIN si_c c ON a.t = c.code\; SELECT 1;
BEGIN\; SELECT count(*) FROM si_a a JOIN si_c c ON a.k = c.k\; INSERT INTO si_a (id, k) VALUES (500, 1)\; SELECT count(*) FROM si_a a JOIN si_c c ON a.k = c.k\; ROLLBACK;
-- Settings that change what values look like, here and there.
SET TIME ZONE 'Asia/Kathmandu';
SET DateStyle = 'German, DMY';
SELECT a.ts, a.ts::text, c.d, c.d::text, '03.04.2020'::date, extract(hour FROM a.ts) FROM si_a a JOIN si_c c ON c.k = a.k WHERE a.id < 6;
SELECT ts::text, ts::date, count(*) FROM si_a GROUP BY 1, 2;
SELECT max(ts)::text, min(d)::text, string_agg(d::text, ',' ORDER BY code), json_agg(ts ORDER BY id) FROM si_a JOIN si_c ON code = t;
SELECT d::text FROM si_c UNION SELECT ts::text FROM si_a ORDER BY 1;
RESET DateStyle;
RESET TIME ZONE;
SET IntervalStyle = 'iso_8601';
SET bytea_output = 'escape';
SET extra_float_digits = -10;
SELECT c.iv, c.iv::text, c.by, c.by::text, c.f, c.f::text, a.id FROM si_a a JOIN si_c c ON c.k = a.k WHERE a.id < 6;
SELECT string_agg(iv::text, ';' ORDER BY code), string_agg(f::text, ';' ORDER BY code), string_agg(by::text, ';' ORDER BY code) FROM si_c;
SELECT f::text, count(*) FROM si_c GROUP BY 1 ORDER BY 1;
RESET IntervalStyle;
RESET bytea_output;
RESET extra_float_digits;
SET transform_null_equals = on;
SELECT count(*) FROM si_a a JOIN si_c c ON a.k = c.k WHERE a.t = NULL;
RESET transform_null_equals;
SET my.value = 'mine';
SELECT current_setting('my.value'), count(*) FROM si_a a JOIN si_c c ON a.k = c.k;
SELECT id, current_setting('my.value') || t FROM si_a ORDER BY id LIMIT 2;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT a.id, c.code FROM si_a a LEFT JOIN si_c c ON a.k = c.k;
RESET ALL;
-- Prepared.
PREPARE si_p (int, text) AS SELECT a.id, c.code FROM si_a a JOIN si_c c ON a.k = c.k AND a.k >= $1 WHERE a.t <> $2 ORDER BY 1;
EXECUTE si_p (1, 't0');
EXECUTE si_p (0, 't1');
EXECUTE si_p (NULL, 'x');
PREPARE si_q AS SELECT (SELECT count(*) FROM si_c c WHERE c.k <= a.k) AS x, count(*) FROM si_a a WHERE a.id > $1 GROUP BY 1 ORDER BY 1;
EXECUTE si_q (3);
EXECUTE si_q ('10');
INSERT INTO si_c (code, k) VALUES ('new', 0);
EXECUTE si_q (3);
DELETE FROM si_c WHERE code = 'new';
DEALLOCATE si_p;
DEALLOCATE si_q;
-- Copied.
COPY (SELECT a.id, c.code, a.ts FROM si_a a JOIN si_c c ON a.k = c.k ORDER BY 1, 2) TO STDOUT;
COPY (SELECT k, count(*), array_agg(id ORDER BY id) FROM si_a GROUP BY k ORDER BY k) TO STDOUT (FORMAT csv, HEADER);
COPY (SELECT u.id, a.t FROM si_u u LEFT JOIN si_a a ON a.k = u.k ORDER BY u.id, a.id) TO STDOUT (NULL 'nil', DELIMITER '|');
-- Beside partitioned and inheriting tables, materialized views, views and sequences.
CREATE TABLE si_part (id int, k int) PARTITION BY RANGE (id);
CREATE TABLE si_part1 PARTITION OF si_part FOR VALUES FROM (0) TO (10);
CREATE TABLE si_part2 PARTITION OF si_part DEFAULT;
INSERT INTO si_part SELECT i, i % 3 FROM generate_series(1, 15) i;
SELECT p.id, a.id FROM si_part p JOIN si_a a ON a.id = p.id + 1 AND a.k = p.k;
SELECT p.k, count(a.id) FROM si_part2 p LEFT JOIN si_a a ON a.k = p.k GROUP BY p.k ORDER BY 1;
CREATE TABLE si_child (extra text) INHERITS (si_u);
INSERT INTO si_child VALUES (10, 1, 't1', 'child');
SELECT u.id, a.id FROM si_u u JOIN si_a a ON a.k = u.k AND a.t = u.t;
SELECT u.id, a.id FROM ONLY si_u u JOIN si_a a ON a.k = u.k AND a.t = u.t;
SELECT u.extra, a.id FROM si_child u JOIN si_a a ON a.k = u.k AND a.t = u.t;
CREATE MATERIALIZED VIEW si_mat AS SELECT k, count(*) AS c FROM si_u GROUP BY k;
SELECT m.k, m.c, a.id FROM si_mat m JOIN si_a a ON a.k = m.k WHERE a.id < 8;
DROP MATERIALIZED VIEW si_mat;
CREATE VIEW si_view AS SELECT id, k FROM si_u WHERE k > 1;
SELECT v.id, a.id FROM si_view v JOIN si_a a ON a.k = v.k WHERE a.id < 8;
DROP VIEW si_view;
DROP TABLE si_child, si_part;
CREATE SEQUENCE si_seq START 5;
SELECT s.last_value, count(*) FROM si_seq s, si_a a GROUP BY 1;
DROP SEQUENCE si_seq;
-- Columns that came and went.
ALTER TABLE si_a DROP COLUMN ts, ADD COLUMN extra int DEFAULT 7, ADD COLUMN twice int GENERATED ALWAYS AS (k * 2) STORED;
SELECT * FROM si_a ORDER BY id LIMIT 2;
SELECT a.*, c.code FROM si_a a JOIN si_c c ON c.code = a.t AND a.twice = 2 * c.k;
SELECT x.* FROM (SELECT * FROM si_a) x JOIN si_c c ON c.k = x.k WHERE x.id < 4;
SELECT twice, sum(extra) FROM si_a GROUP BY twice ORDER BY 1;
ALTER TABLE si_c RENAME COLUMN k TO kk;
SELECT a.id, c.kk FROM si_a a JOIN si_c c ON c.kk = a.k WHERE a.id < 4;
ALTER TABLE si_c RENAME TO si_c2;
SELECT a.id, c.kk FROM si_a a JOIN si_c2 c ON c.kk = a.k WHERE a.id < 4;
-- Volatile functions.
SELECT count(DISTINCT r) > 1 FROM (SELECT random() AS r FROM si_a a JOIN si_c2 c ON c.kk = a.k) x;
SELECT count(DISTINCT now()), count(DISTINCT clock_timestamp()) > 0 FROM si_a a JOIN si_c2 c ON c.kk = a.k;
SELECT count(*) FROM si_a a JOIN si_c2 c ON c.kk = a.k AND random() >= 0;
-- any-values
SELECT id, random() FROM si_a ORDER BY id;
-- any-values
SELECT a.id, gen_random_uuid() FROM si_a a JOIN si_c2 c ON c.kk = a.k ORDER BY random();
SELECT count(DISTINCT g) FROM (SELECT gen_random_uuid() AS g FROM si_a) x;
SELECT count(*) FROM si_a a WHERE a.k = (SELECT floor(random())::int);
DROP TABLE si_a, si_c2, si_r, si_u;
