-- Set-returning and other functions, types of every kind, users' own functions and views, whole rows: over shards.
CREATE TYPE xf_mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE xf_pair AS (x int, y text);
CREATE DOMAIN xf_small AS int CHECK (VALUE < 100);
CREATE TABLE xf_a (id int8 PRIMARY KEY, k int, t text, n numeric, f float8, ts timestamptz, a int[], ta text[], j jsonb, js json, r int4range, m xf_mood, p xf_pair, s xf_small, by bytea, iv interval, d date, u uuid);
CREATE TABLE xf_b (code text PRIMARY KEY, k int, j jsonb);
CREATE TABLE xf_r (id int PRIMARY KEY, name text);
CREATE TABLE xf_u (id int PRIMARY KEY, k int, t text);
INSERT INTO xf_a VALUES
  (1, 1, 'a', 1.0, 1, '2020-01-01 00:00+00', '{1,2,3}', '{a,b}', '{"a": 1, "b": [1, 2]}', '{"a": 1, "a": 2}', '[1,5)', 'happy', '(1,one)', 5, '\x00ff', '1 day', '2020-01-01', '00000000-0000-0000-0000-000000000001'),
  (2, 2, '', 1.00, 1.5, '2020-01-01 02:00+02', '{}', '{}', '{}', '{}', 'empty', 'sad', '(2,)', -5, '', '24 hours', '2020-02-29', NULL),
  (3, 2, 'ä,ö', 'NaN', 'NaN', '2021-06-30 12:00-05', '{NULL,7}', '{NULL,"x y",ä}', '[1, "x", null, {"a": {"b": "deep"}}]', '[1,2]', '(,10]', 'ok', '(,"a ""q"" b")', NULL, '\xdeadbeef', '1 month', 'infinity', 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
  (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (5, -1, 'Z', -2.5, '-Infinity', 'infinity', '{{1,2},{3,4}}', '{"",z}', '"text"', 'null', '[5,5]', 'happy', '(,)', 99, '\x61', '-1 year 2 mons', '-infinity', NULL),
  (6, 0, 'a', 'Infinity', 'Infinity', '-infinity', '[0:1]={5,6}', '{a}', 'null', '1.50', '[3,)', 'sad', '(6,ä)', 0, '\x6162', '00:00:01.5', '1999-12-31', NULL),
  (7, 3, '日本 語', 0.000, 0, '1999-12-31 23:59:59.123456+00', '{9}', '{日本}', '{"a": "ä", "n": -1.50}', '"s"', '[-3,2)', NULL, '(7,seven)', 7, NULL, NULL, '2024-02-29', NULL),
  (8, 3, 'naïve', 40, '-0', '2020-01-01 00:00+00', '{8,8}', NULL, '{"a": null}', '{"x":[]}', NULL, 'ok', NULL, 8, '\x', '0', NULL, NULL);
INSERT INTO xf_b VALUES ('a', 1, '{"v": 1}'), ('b', 2, '[3, 4]'), ('', 3, NULL), ('ä', NULL, '{"v": "x"}'), ('Z', -1, '1'), ('日本', 2, 'null');
INSERT INTO xf_r VALUES (-1, 'minus'), (0, ''), (1, 'one'), (2, 'zwei'), (3, NULL);
INSERT INTO xf_u VALUES (1, 1, 'a'), (2, 2, 'ä'), (3, NULL, NULL), (4, 3, '');
-- distribute: SELECT create_distributed_table('xf_a', 'id')
-- distribute: SELECT create_distributed_table('xf_b', 'code')
-- distribute: SELECT create_reference_table('xf_r')
SELECT id, pg_typeof(s), sum(s) OVER () FROM xf_a ORDER BY id;
-- params: 1
CREATE VIEW xf_joined AS SELECT a.id, a.t, b.code, r.name FROM xf_a a JOIN xf_b b ON a.k = b.k LEFT JOIN xf_r r ON r.id = a.k;
CREATE VIEW xf_union AS SELECT id, t FROM xf_a UNION ALL SELECT id, t FROM xf_u;
SELECT v.id, v.code, v.name FROM xf_joined v WHERE v.name LIKE 'z%' ORDER BY 1, 2;
SELECT id, count(*) FROM xf_union GROUP BY id HAVING count(*) > 1 ORDER BY id;
DROP TABLE xf_a, xf_b, xf_r, xf_u;
DROP DOMAIN xf_small;
DROP TYPE xf_pair, xf_mood;
