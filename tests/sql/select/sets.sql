-- UNION, INTERSECT and EXCEPT of anything.
CREATE TABLE ss_a (id int8 PRIMARY KEY, k int, t text, n numeric, f float8, ts timestamptz);
CREATE TABLE ss_b (id int8, line int, k int, t varchar(10), PRIMARY KEY (id, line));
CREATE TABLE ss_c (code text PRIMARY KEY, k int2, w numeric(6,2));
CREATE TABLE ss_r (id int PRIMARY KEY, name text);
CREATE TABLE ss_u (id int PRIMARY KEY, k int, t text);
INSERT INTO ss_a VALUES
  (1, 1, 'a', 1.5, 1.5, '2020-01-01 00:00+00'), (2, 2, '', 2, 2, '2020-01-01 02:00+02'), (3, 2, 'ä', 'NaN', 'NaN', '2021-06-30 12:00-05'), (4, NULL, NULL, NULL, NULL, NULL),
  (5, -1, 'Z', -2.5, '-Infinity', 'infinity'), (6, 0, 'a', 'Infinity', 'Infinity', '-infinity'), (7, 3, '日本', 0, 0, '1999-12-31 23:59:59+00'), (8, 3, 'naïve', 40, 40, '2020-01-01 00:00+00'),
  (9, 7, 'b', 1.25, 1e100, NULL), (10, NULL, 'z', 12345678901234567890.123, 0.5, '2024-02-29 00:00+13'), (-1, 1, 'B', -0.1, -1, '2020-01-01 00:00+00'), (-2, 5, 'b', 3, 3, NULL);
INSERT INTO ss_b VALUES (1, 1, 1, 'a'), (1, 2, 2, 'ä'), (2, 1, NULL, ''), (2, 2, 3, '日本'), (3, 1, 3, NULL), (3, 2, 3, 'a'), (5, 1, -1, 'z'), (5, 2, 0, 'Z'), (6, 1, 10, 'naïve'), (20, 1, 2, 'q');
INSERT INTO ss_c VALUES ('a', 1, 1), ('b', 2, 1.5), ('', 3, 0), ('ä', NULL, NULL), ('Z', -1, -2.5), ('日本', 7, 40), ('x', 0, 'NaN');
INSERT INTO ss_r VALUES (-1, 'minus'), (0, ''), (1, 'one'), (2, 'zwei'), (3, NULL), (4, 'a'), (8, 'ä');
INSERT INTO ss_u VALUES (1, 1, 'a'), (2, 2, 'ä'), (3, NULL, NULL), (4, 3, ''), (5, 3, '日本'), (6, -1, 'Z'), (7, 100, 'nobody');
-- distribute: SELECT create_distributed_table('ss_a', 'id')
-- distribute: SELECT create_distributed_table('ss_b', 'id')
-- distribute: SELECT create_distributed_table('ss_c', 'code')
-- distribute: SELECT create_reference_table('ss_r')
-- Each kind.
SELECT k FROM ss_a UNION SELECT k FROM ss_b;
SELECT k FROM ss_a UNION ALL SELECT k FROM ss_b;
SELECT k FROM ss_a INTERSECT SELECT k FROM ss_b;
SELECT k FROM ss_a INTERSECT ALL SELECT k FROM ss_b;
SELECT k FROM ss_a EXCEPT SELECT k FROM ss_c;
SELECT k FROM ss_a EXCEPT ALL SELECT k FROM ss_c;
SELECT k FROM ss_a UNION DISTINCT SELECT k FROM ss_a;
SELECT t FROM ss_a INTERSECT SELECT code FROM ss_c ORDER BY 1;
SELECT id, k FROM ss_a EXCEPT SELECT id, k FROM ss_b ORDER BY id;
SELECT id, k FROM ss_a INTERSECT SELECT id, k FROM ss_b;
SELECT id FROM ss_a UNION SELECT id FROM ss_b ORDER BY id;
SELECT * FROM ss_a WHERE k = 2 UNION SELECT * FROM ss_a WHERE t = 'a' ORDER BY 1;
TABLE ss_r UNION ALL SELECT k, t FROM ss_a;
TABLE ss_b INTERSECT TABLE ss_b;
-- With reference and unsharded tables, VALUES and no table.
SELECT name FROM ss_r UNION SELECT t FROM ss_a;
SELECT id FROM ss_r EXCEPT SELECT k FROM ss_a;
SELECT k FROM ss_a EXCEPT SELECT id FROM ss_r;
SELECT k, t FROM ss_u INTERSECT SELECT k, t FROM ss_a;
SELECT k, t FROM ss_u UNION ALL SELECT k, t FROM ss_a UNION ALL SELECT id, name FROM ss_r;
SELECT t FROM ss_u EXCEPT SELECT code FROM ss_c EXCEPT SELECT name FROM ss_r;
VALUES (1, 'a'), (2, 'b') UNION SELECT k, t FROM ss_a;
SELECT k, t FROM ss_a INTERSECT VALUES (1, 'a'), (2, ''), (NULL, NULL), (NULL, 'z');
SELECT k FROM ss_a UNION VALUES (NULL), (7) ORDER BY k;
SELECT 0 UNION ALL SELECT count(*) FROM ss_a UNION ALL SELECT 100;
SELECT k FROM ss_a WHERE id = 1 UNION ALL SELECT k FROM ss_a WHERE id = 3;
SELECT k FROM ss_a WHERE id = 1 UNION ALL SELECT k FROM ss_a WHERE id = 1;
SELECT k FROM ss_a WHERE id = 3 UNION SELECT id FROM ss_r;
SELECT k FROM ss_a WHERE id = 3 UNION SELECT id FROM ss_u WHERE id < 3;
SELECT k FROM ss_a WHERE false UNION ALL SELECT k FROM ss_b WHERE false;
SELECT generate_series(1, 3) EXCEPT SELECT k FROM ss_a;
-- Nested and mixed.
(SELECT k FROM ss_a UNION SELECT k FROM ss_b) INTERSECT SELECT k FROM ss_c;
SELECT k FROM ss_a UNION (SELECT k FROM ss_b INTERSECT SELECT k FROM ss_c);
SELECT k FROM ss_a UNION SELECT k FROM ss_b INTERSECT SELECT k FROM ss_c;
SELECT k FROM ss_a EXCEPT (SELECT k FROM ss_b EXCEPT SELECT k FROM ss_c);
(SELECT k FROM ss_a EXCEPT SELECT k FROM ss_b) EXCEPT SELECT k FROM ss_c;
SELECT k FROM ss_a UNION ALL SELECT k FROM ss_b UNION SELECT k FROM ss_c;
SELECT k FROM ss_a UNION SELECT k FROM ss_b UNION ALL SELECT k FROM ss_c;
((SELECT k FROM ss_a)) UNION ALL ((SELECT k FROM ss_b EXCEPT ALL SELECT k FROM ss_a));
SELECT id FROM ss_a WHERE id IN (SELECT id FROM ss_b UNION SELECT k FROM ss_c);
SELECT id FROM ss_a WHERE k IN (SELECT k FROM ss_b EXCEPT SELECT k FROM ss_c);
SELECT id FROM ss_a a WHERE EXISTS (SELECT 1 FROM ss_b b WHERE b.k = a.k INTERSECT SELECT 1 FROM ss_c c WHERE c.code = a.t);
SELECT x.k, count(*) FROM (SELECT k FROM ss_a UNION ALL SELECT k FROM ss_b UNION ALL SELECT k FROM ss_u) x GROUP BY x.k ORDER BY 1;
SELECT x.k, r.name FROM (SELECT k FROM ss_a UNION SELECT k FROM ss_b) x LEFT JOIN ss_r r ON r.id = x.k ORDER BY 1;
SELECT a.id, x.what FROM ss_a a JOIN (SELECT id, 'b' AS what FROM ss_b UNION ALL SELECT id, 'u' FROM ss_u) x ON x.id = a.id ORDER BY 1, 2;
SELECT a.id, l.v FROM ss_a a, LATERAL (SELECT a.k AS v UNION SELECT b.k FROM ss_b b WHERE b.t = a.t UNION ALL SELECT 1000) l;
WITH x AS (SELECT k FROM ss_a UNION SELECT k FROM ss_c) SELECT count(*), (SELECT count(*) FROM x y WHERE y.k > 0) FROM x;
SELECT count(*) FROM (SELECT id FROM ss_a UNION SELECT id FROM ss_b) x;
SELECT ARRAY(SELECT k FROM ss_a UNION SELECT k FROM ss_b ORDER BY 1);
-- ORDER BY and LIMIT, of arms and of the whole.
SELECT id, t FROM ss_a UNION ALL SELECT id, t FROM ss_b ORDER BY id, t LIMIT 5;
SELECT id, t FROM ss_a UNION ALL SELECT id, t FROM ss_b ORDER BY 2 DESC NULLS LAST, 1 OFFSET 3 LIMIT 4;
(SELECT id FROM ss_a ORDER BY id LIMIT 3) UNION ALL (SELECT id FROM ss_b ORDER BY id DESC, line LIMIT 2);
(SELECT id FROM ss_a ORDER BY k DESC NULLS LAST, id LIMIT 3) UNION ALL (SELECT id FROM ss_u ORDER BY id DESC LIMIT 2) ORDER BY 1;
(SELECT k FROM ss_a ORDER BY id LIMIT 3) EXCEPT (SELECT k FROM ss_b ORDER BY id, line LIMIT 3);
(SELECT t FROM ss_a ORDER BY t LIMIT 2) UNION (SELECT code FROM ss_c ORDER BY code DESC LIMIT 2) ORDER BY 1 FETCH FIRST 3 ROWS ONLY;
SELECT k AS x FROM ss_a UNION SELECT k AS y FROM ss_b ORDER BY x;
SELECT k x, t FROM ss_a UNION SELECT k, code FROM ss_c ORDER BY t DESC NULLS FIRST, x;
SELECT t FROM ss_a UNION SELECT t FROM ss_b ORDER BY t COLLATE "C" DESC;
SELECT k FROM ss_a UNION ALL SELECT k FROM ss_b ORDER BY k FETCH FIRST 2 ROWS WITH TIES;
-- params: 2::int8, 'a'
-- params: 0::int8, NULL
SELECT id FROM ss_a WHERE t = $2 UNION ALL SELECT id FROM ss_b ORDER BY 1 LIMIT $1;
-- params: 5, 1
SELECT k FROM ss_a WHERE k < $1 EXCEPT SELECT $2::int;
-- Types that differ.
SELECT k FROM ss_a UNION SELECT id FROM ss_b;
SELECT x.k::float8 FROM (SELECT k FROM ss_a UNION SELECT w FROM ss_c) x;
SELECT k FROM ss_c UNION SELECT k FROM ss_a;
SELECT x.k::float8 FROM (SELECT k FROM ss_a INTERSECT SELECT w FROM ss_c) x;
SELECT k FROM ss_a EXCEPT SELECT f FROM ss_a;
SELECT n FROM ss_a UNION ALL SELECT f FROM ss_a WHERE f < 100;
SELECT t FROM ss_a UNION SELECT t FROM ss_b;
SELECT t FROM ss_b UNION SELECT 'longer than ten characters';
SELECT t FROM ss_b UNION ALL SELECT t FROM ss_b ORDER BY 1;
SELECT w FROM ss_c UNION ALL SELECT w FROM ss_c;
SELECT w FROM ss_c UNION ALL SELECT k FROM ss_c;
SELECT ts FROM ss_a UNION SELECT '2020-01-01 00:00+00' ORDER BY 1;
SELECT ts FROM ss_a UNION SELECT date '2020-01-01';
SELECT NULL UNION SELECT k FROM ss_a;
SELECT k, NULL FROM ss_a UNION SELECT k, t FROM ss_b;
SELECT 'x', k FROM ss_a UNION SELECT t, 1 FROM ss_b;
SELECT NULL FROM ss_a UNION SELECT NULL FROM ss_b;
SELECT 'a' FROM ss_a UNION ALL SELECT 'b' FROM ss_c;
SELECT '1' UNION SELECT k FROM ss_a;
SELECT ARRAY[k] FROM ss_a UNION SELECT ARRAY[1.5] FROM ss_c;
SELECT count(*), 'a' FROM ss_a UNION ALL SELECT count(*), 'b' FROM ss_b UNION ALL SELECT sum(k), 'c' FROM ss_c ORDER BY 2;
SELECT k, count(*) FROM ss_a GROUP BY k UNION ALL SELECT NULL, count(*) FROM ss_a ORDER BY 1, 2;
SELECT k, sum(n) FROM ss_a WHERE n < 1000 GROUP BY k EXCEPT SELECT k, sum(w) FROM ss_c GROUP BY k;
SELECT DISTINCT k FROM ss_a UNION ALL SELECT DISTINCT k FROM ss_b;
SELECT id, rank() OVER (ORDER BY k) FROM ss_a UNION ALL SELECT line, count(*) FROM ss_b GROUP BY line;
SELECT a.id, b.line FROM ss_a a JOIN ss_b b ON a.k = b.k EXCEPT SELECT id, line FROM ss_b;
SELECT FROM ss_a UNION ALL SELECT FROM ss_r;
-- What is wrong is wrong.
SELECT k, t FROM ss_a UNION SELECT k FROM ss_b;
SELECT k FROM ss_a UNION SELECT t FROM ss_b;
SELECT k FROM ss_a UNION SELECT 'x';
SELECT k FROM ss_a UNION SELECT k FROM ss_b ORDER BY id;
SELECT k FROM ss_a UNION SELECT k FROM ss_b ORDER BY k + 1;
SELECT k FROM ss_a ORDER BY k UNION SELECT k FROM ss_b;
SELECT '{}'::json FROM ss_a UNION SELECT '{}'::json FROM ss_b;
DROP TABLE ss_a, ss_b, ss_c, ss_r, ss_u;
