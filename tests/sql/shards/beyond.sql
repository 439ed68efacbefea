-- Statements over several shards that need more than partial aggregates and sorts: exact, or refused; never wrong.
CREATE TABLE sb (id int8 PRIMARY KEY, g int, v text, n numeric);
CREATE TABLE sc (id int8 PRIMARY KEY, other int8, w text);
CREATE TABLE sd (code text PRIMARY KEY, w int);
CREATE TABLE se (id int PRIMARY KEY, name text);
CREATE TABLE sf (id int PRIMARY KEY, name text);
INSERT INTO sb SELECT i, i % 6, 'v' || i % 9, i / 4.0 FROM generate_series(1, 120) i;
INSERT INTO sc SELECT i, 121 - i, 'w' || i % 4 FROM generate_series(1, 120) i;
INSERT INTO sd SELECT 'v' || i, i FROM generate_series(0, 8) i;
INSERT INTO se SELECT i, 'se ' || i FROM generate_series(0, 5) i;
INSERT INTO sf SELECT i, 'sf ' || i FROM generate_series(0, 5) i;
-- distribute: SELECT create_distributed_table('sb', 'id')
-- distribute: SELECT create_distributed_table('sc', 'id')
-- distribute: SELECT create_distributed_table('sd', 'code')
-- distribute: SELECT create_reference_table('se')
-- exact-or-refused
SELECT id, row_number() OVER (ORDER BY n DESC) FROM sb ORDER BY id LIMIT 5;
-- exact-or-refused
SELECT g, id, rank() OVER (PARTITION BY g ORDER BY id) FROM sb ORDER BY g, id LIMIT 9;
-- exact-or-refused
SELECT id, sum(n) OVER (PARTITION BY id) FROM sb ORDER BY id LIMIT 3;
-- exact-or-refused
SELECT count(*) FROM sb JOIN sc ON sc.other = sb.id;
-- exact-or-refused
SELECT count(*) FROM sb JOIN sd ON sd.code = sb.v;
-- exact-or-refused
SELECT sb.id, sc.w FROM sb JOIN sc ON sc.other = sb.id WHERE sb.id = 5;
-- exact-or-refused
SELECT count(*) FROM sb, sc;
-- exact-or-refused
SELECT count(*) FROM sb JOIN sf ON sf.id = sb.g;
-- exact-or-refused
SELECT sf.name, count(*) FROM sf LEFT JOIN sb ON sf.id = sb.g GROUP BY sf.name ORDER BY 1;
-- exact-or-refused
SELECT se.name, count(sb.id) FROM se LEFT JOIN sb ON se.id = sb.g GROUP BY se.name ORDER BY 1;
-- exact-or-refused
SELECT count(*) FROM se FULL JOIN sb ON se.id = sb.g;
-- exact-or-refused
SELECT se.name FROM se WHERE NOT EXISTS (SELECT 1 FROM sb WHERE sb.g = se.id) ORDER BY 1;
-- exact-or-refused
SELECT count(*) FROM sb WHERE id IN (SELECT other FROM sc WHERE w = 'w1');
-- exact-or-refused
SELECT count(*) FROM sb WHERE NOT EXISTS (SELECT 1 FROM sc WHERE sc.other = sb.id AND sc.w = 'w1');
-- exact-or-refused
SELECT count(*) FROM sb WHERE n > (SELECT avg(n) FROM sb);
-- exact-or-refused
SELECT id, (SELECT count(*) FROM sc WHERE sc.other < sb.id) FROM sb ORDER BY id LIMIT 3;
-- exact-or-refused
SELECT v FROM sb UNION SELECT w FROM sc ORDER BY 1;
-- exact-or-refused
SELECT id FROM sb UNION ALL SELECT id FROM sc ORDER BY 1 LIMIT 6;
-- exact-or-refused
SELECT id FROM sb EXCEPT SELECT other FROM sc WHERE id > 100 ORDER BY 1 LIMIT 6;
-- exact-or-refused
SELECT v FROM sb WHERE id = 1 UNION ALL SELECT v FROM sb WHERE id = 2 ORDER BY 1;
-- exact-or-refused
SELECT count(*) FROM (SELECT DISTINCT g, v FROM sb) x;
-- exact-or-refused
SELECT max(c) FROM (SELECT g, count(*) AS c FROM sb GROUP BY g) x;
-- exact-or-refused
SELECT x.g, count(*) FROM (SELECT g, id FROM sb ORDER BY id LIMIT 20) x GROUP BY x.g ORDER BY 1;
-- exact-or-refused
WITH t AS (SELECT g, sum(n) AS s FROM sb GROUP BY g) SELECT t.g, t.s, se.name FROM t JOIN se ON se.id = t.g ORDER BY 1;
-- exact-or-refused
WITH RECURSIVE r AS (SELECT id, other, 1 AS depth FROM sc WHERE id = 1 UNION ALL SELECT sc.id, sc.other, depth + 1 FROM sc JOIN r ON sc.id = r.other WHERE depth < 4) SELECT * FROM r ORDER BY depth;
-- exact-or-refused
SELECT DISTINCT ON (g) g, id FROM sb ORDER BY g, n DESC;
-- exact-or-refused
SELECT g, array_agg(id ORDER BY id) FROM sb WHERE id < 30 GROUP BY g ORDER BY g;
-- exact-or-refused
SELECT g, string_agg(DISTINCT v, ',' ORDER BY v) FROM sb GROUP BY g ORDER BY g;
-- exact-or-refused
SELECT g, v, count(*) FROM sb GROUP BY GROUPING SETS ((g), (v), ()) ORDER BY g, v, 3;
-- exact-or-refused
SELECT corr(id, n), regr_slope(n, id), stddev_pop(n), var_samp(id) FROM sb WHERE id < 10;
-- exact-or-refused
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY n) FROM sb;
-- exact-or-refused
SELECT jsonb_object_agg(id, v) FROM sb WHERE id < 5;
-- exact-or-refused
SELECT id FROM sb ORDER BY id FOR UPDATE LIMIT 3;
-- exact-or-refused
SELECT id FROM sb WHERE g = 1 ORDER BY id FETCH FIRST 3 ROWS WITH TIES;
-- exact-or-refused
SELECT count(*) FROM sb TABLESAMPLE BERNOULLI (100);
-- exact-or-refused
SELECT g, generate_series(1, 2) AS s, count(*) FROM sb GROUP BY g ORDER BY g, s;
-- exact-or-refused
SELECT sb.id, x.i FROM sb, generate_series(1, 2) x (i) ORDER BY 1, 2 LIMIT 5;
-- exact-or-refused
SELECT sb.id, j.k FROM sb, LATERAL (SELECT sc.w AS k FROM sc WHERE sc.id = sb.id) j ORDER BY 1 LIMIT 5;
-- exact-or-refused
SELECT a.id FROM sb a LEFT JOIN sc b ON a.id = b.id AND b.w = 'w1' WHERE b.id IS NULL ORDER BY 1 LIMIT 5;
-- exact-or-refused
SELECT a.g, count(b.id) FROM sb a LEFT JOIN sc b ON b.id = a.id AND b.other > 60 GROUP BY a.g ORDER BY 1;
-- exact-or-refused
SELECT count(*) FROM pg_class c JOIN sb ON sb.v = c.relname;
-- Where rows are has no meaning.
-- exact-or-refused
SELECT count(DISTINCT tableoid) FROM sb;
-- exact-or-refused
DELETE FROM sb WHERE ctid IN (SELECT ctid FROM sb WHERE g = 99);
-- Volatile and stable functions.
-- exact-or-refused
SELECT count(DISTINCT random()) = 120 FROM sb;
-- exact-or-refused
SELECT count(DISTINCT now()), count(DISTINCT statement_timestamp()) FROM sb;
-- exact-or-refused
SELECT count(DISTINCT r) FROM (SELECT random() AS r FROM sb) x;
-- exact-or-refused
SELECT count(*) FROM sb WHERE random() >= 0;
-- exact-or-refused
SELECT count(DISTINCT current_schema()), min(current_schema()) FROM sb;
-- exact-or-refused
SELECT min(current_database()), max(current_user) FROM sb;
-- Changes of keys and across shards; each undone.
BEGIN;
-- exact-or-refused
UPDATE sb SET id = id + 1000 WHERE id = 5;
ROLLBACK;
BEGIN;
-- exact-or-refused
UPDATE sb SET n = sc.id FROM sc WHERE sc.other = sb.id;
ROLLBACK;
BEGIN;
-- exact-or-refused
DELETE FROM sb USING sc WHERE sc.other = sb.id AND sc.w = 'w2';
ROLLBACK;
BEGIN;
-- exact-or-refused
INSERT INTO sb SELECT id + 1000, other, w FROM sc;
ROLLBACK;
BEGIN;
-- exact-or-refused
INSERT INTO sc SELECT other + 1000, id FROM sc;
ROLLBACK;
BEGIN;
-- exact-or-refused
INSERT INTO sf SELECT id + 100, v FROM sb WHERE g = 1;
ROLLBACK;
BEGIN;
-- exact-or-refused
INSERT INTO sb (id, v) SELECT id + 2000, name FROM sf;
ROLLBACK;
BEGIN;
-- exact-or-refused
WITH d AS (DELETE FROM sb WHERE g = 2 RETURNING *) SELECT count(*), sum(id) FROM d;
ROLLBACK;
BEGIN;
-- exact-or-refused
MERGE INTO sb USING sc ON sb.id = sc.id WHEN MATCHED AND sc.w = 'w1' THEN DELETE WHEN MATCHED THEN UPDATE SET v = sc.w;
ROLLBACK;
BEGIN;
-- exact-or-refused
UPDATE sb SET n = (SELECT max(n) FROM sb) WHERE id = 3;
ROLLBACK;
BEGIN;
-- exact-or-refused
INSERT INTO se SELECT 100 + g, 'x' FROM sb GROUP BY g;
ROLLBACK;
BEGIN;
-- exact-or-refused
CREATE TABLE sb_as AS SELECT g, count(*) FROM sb GROUP BY g;
ROLLBACK;
BEGIN;
-- exact-or-refused
CREATE MATERIALIZED VIEW sb_mv AS SELECT g, count(*) FROM sb GROUP BY g;
ROLLBACK;
SELECT count(*), sum(n) FROM sb;
SELECT count(*) FROM sc;
DROP TABLE sb, sc, sd, se, sf;
