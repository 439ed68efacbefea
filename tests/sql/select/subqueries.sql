-- Subqueries correlated off the distribution key, in every clause.
CREATE TABLE sq_a (id int8 PRIMARY KEY, k int, t text, n numeric, ts timestamptz);
CREATE TABLE sq_b (id int8, line int, k int, t text, n numeric, PRIMARY KEY (id, line));
CREATE TABLE sq_c (code text PRIMARY KEY, k int, w float8);
CREATE TABLE sq_r (id int PRIMARY KEY, name text);
CREATE TABLE sq_u (id int PRIMARY KEY, k int, t text);
INSERT INTO sq_a VALUES
  (1, 1, 'a', 1.0, '2020-01-01 00:00+00'), (2, 2, '', 1.10, '2020-01-01 02:00+02'), (3, 2, 'ä', 'NaN', '2021-06-30 12:00-05'), (4, NULL, NULL, NULL, NULL),
  (5, -1, 'Z', -2.5, 'infinity'), (6, 0, 'a', 'Infinity', '-infinity'), (7, 3, '日本', 0.000, '1999-12-31 23:59:59+00'), (8, 3, 'naïve', 40, '2020-01-01 00:00+00'),
  (9, 7, 'b', 1.50, NULL), (10, NULL, 'z', 12345678901234567890.123, '2024-02-29 00:00+13'), (-1, 1, 'B', -0.1, '2020-01-01 00:00+00'), (-2, 5, 'b', 3, NULL);
INSERT INTO sq_b VALUES
  (1, 1, 1, 'a', 1), (1, 2, 2, 'ä', 2.5), (2, 1, NULL, '', NULL), (2, 2, 3, '日本', 'NaN'), (3, 1, 3, NULL, 4), (3, 2, 3, 'a', 0.25), (5, 1, -1, 'z', -1), (5, 2, 0, 'Z', 7),
  (6, 1, 10, 'naïve', 8), (7, 1, 7, 'b', 9), (8, 1, 1, 'a', 10.125), (11, 1, 9, 'x', 11), (12, 1, NULL, NULL, 12), (-1, 1, 1, 'B', 13), (20, 1, 2, 'q', 14);
INSERT INTO sq_c VALUES ('a', 1, 1), ('b', 2, 1.5), ('', 3, 'NaN'), ('ä', NULL, NULL), ('Z', -1, -2.5), ('日本', 7, 0), ('x', 0, 'Infinity'), ('q', 5, 3);
INSERT INTO sq_r VALUES (-1, 'minus'), (0, ''), (1, 'one'), (2, 'zwei'), (3, NULL), (4, 'a'), (8, 'ä');
INSERT INTO sq_u VALUES (1, 1, 'a'), (2, 2, 'ä'), (3, NULL, NULL), (4, 3, ''), (5, 3, '日本'), (6, -1, 'Z'), (7, 100, 'nobody');
-- distribute: SELECT create_distributed_table('sq_a', 'id')
-- distribute: SELECT create_distributed_table('sq_b', 'id')
-- distribute: SELECT create_distributed_table('sq_c', 'code')
-- distribute: SELECT create_reference_table('sq_r')
-- In the list of columns.
SELECT id, (SELECT count(*) FROM sq_b b WHERE b.k = a.k) AS c FROM sq_a a;
SELECT id, (SELECT sum(b.n) FROM sq_b b WHERE b.k = a.k), (SELECT max(w) FROM sq_c c WHERE c.k < a.k) FROM sq_a a;
SELECT id, (SELECT c.w FROM sq_c c WHERE c.code = a.t) FROM sq_a a;
SELECT id, (SELECT name FROM sq_r r WHERE r.id = a.k), (SELECT t FROM sq_u u WHERE u.id = a.k) FROM sq_a a;
SELECT r.id, (SELECT count(*) FROM sq_a a WHERE a.k = r.id) FROM sq_r r;
SELECT u.id, (SELECT min(a.t) FROM sq_a a WHERE a.k = u.k), EXISTS (SELECT 1 FROM sq_c c WHERE c.code = u.t) FROM sq_u u;
SELECT id, ARRAY(SELECT b.id FROM sq_b b WHERE b.k = a.k ORDER BY b.id, b.line) AS bs FROM sq_a a;
SELECT id, k + (SELECT count(*) FROM sq_b WHERE sq_b.t = sq_a.t) * 2 FROM sq_a;
SELECT id, coalesce((SELECT c.k FROM sq_c c WHERE c.code = a.t), -999) FROM sq_a a;
SELECT id, CASE WHEN k > (SELECT avg(k) FROM sq_b) THEN (SELECT 'more than ' || min(k) FROM sq_c) WHEN k IS NULL THEN 'none' ELSE (SELECT max(name) FROM sq_r WHERE sq_r.id < k) END FROM sq_a;
SELECT id, CASE (SELECT count(*) FROM sq_b b WHERE b.k = a.k) WHEN 0 THEN 'zero' WHEN 1 THEN 'one' ELSE 'many' END FROM sq_a a ORDER BY id;
SELECT id, (SELECT string_agg(b.t, ',' ORDER BY b.t, b.id) FROM sq_b b WHERE b.k BETWEEN a.k - 1 AND a.k + 1) FROM sq_a a;
SELECT id, (SELECT b.n FROM sq_b b WHERE b.k >= a.k ORDER BY b.k, b.id, b.line LIMIT 1) FROM sq_a a;
SELECT id, (SELECT b.n FROM sq_b b WHERE b.k <= a.k ORDER BY b.k DESC, b.id, b.line OFFSET 1 LIMIT 1) FROM sq_a a;
SELECT id, (SELECT row_to_json(x) FROM (SELECT c.code, c.k FROM sq_c c WHERE c.k = a.k) x) FROM sq_a a;
SELECT id, (SELECT a.k) AS same, (SELECT a.t || x FROM (VALUES ('!')) v (x)) FROM sq_a a;
SELECT id, greatest((SELECT max(k) FROM sq_b b WHERE b.t = a.t), (SELECT min(k) FROM sq_c c WHERE c.code = a.t), a.k) FROM sq_a a;
SELECT id, k = ANY (SELECT b.k FROM sq_b b WHERE b.id <> a.id), k > ALL (SELECT b.k FROM sq_b b WHERE b.t = a.t) FROM sq_a a;
SELECT count(*), (SELECT max(id) FROM sq_b) FROM sq_a;
SELECT sum((SELECT count(*) FROM sq_b b WHERE b.k = a.k)) FROM sq_a a;
SELECT (SELECT count(*) FROM sq_a), (SELECT count(*) FROM sq_b), (SELECT count(*) FROM sq_c), (SELECT count(*) FROM sq_r), (SELECT count(*) FROM sq_u);
SELECT (SELECT id FROM sq_a WHERE k = 2);
SELECT id, (SELECT b.id FROM sq_b b WHERE b.k = a.k) FROM sq_a a WHERE k = 3;
-- In WHERE.
SELECT id FROM sq_a a WHERE k > (SELECT avg(b.k) FROM sq_b b WHERE b.id <= a.id);
SELECT id FROM sq_a a WHERE (SELECT count(*) FROM sq_b b WHERE b.k = a.k) > 1;
SELECT id FROM sq_a a WHERE n = (SELECT max(n) FROM sq_a x WHERE x.k = a.k);
SELECT id FROM sq_a a WHERE n >= ALL (SELECT n FROM sq_b b WHERE b.k = a.k);
SELECT id FROM sq_a a WHERE n < ANY (SELECT n FROM sq_b b WHERE b.k = a.k);
SELECT id FROM sq_a a WHERE t = SOME (SELECT code FROM sq_c c WHERE c.k IS NOT NULL AND c.k <> a.k);
SELECT id FROM sq_a a WHERE t <> ALL (SELECT code FROM sq_c);
SELECT id FROM sq_a a WHERE k = ANY (ARRAY(SELECT k FROM sq_c WHERE w > 0));
SELECT id FROM sq_a a WHERE (k, t) = (SELECT c.k, c.code FROM sq_c c WHERE c.code = a.t);
SELECT id FROM sq_a a WHERE (k, n) > (SELECT min(b.k), min(b.n) FROM sq_b b WHERE b.t = a.t);
SELECT id FROM sq_a a WHERE ROW(k, id) IN (SELECT b.line, b.id FROM sq_b b WHERE b.id = a.id);
SELECT id FROM sq_a a WHERE (k, t) IN (SELECT b.k, b.t FROM sq_b b WHERE b.n > a.n);
SELECT id FROM sq_a a WHERE EXISTS (SELECT 1 FROM sq_b b WHERE b.k = a.k AND b.id <> a.id);
SELECT id FROM sq_a a WHERE EXISTS (SELECT 1 FROM sq_b b WHERE b.id = a.id AND b.k <> a.k);
SELECT id FROM sq_a a WHERE EXISTS (SELECT 1 FROM sq_b b WHERE b.id = a.id) AND NOT EXISTS (SELECT 1 FROM sq_c c WHERE c.code = a.t);
SELECT id FROM sq_a a WHERE EXISTS (SELECT 1 FROM sq_b b WHERE b.k = a.k) OR a.t IN (SELECT code FROM sq_c WHERE w IS NULL);
SELECT id FROM sq_a a WHERE NOT (k IN (SELECT k FROM sq_b WHERE t = a.t)) IS TRUE;
SELECT id FROM sq_a a WHERE (k IN (SELECT k FROM sq_b)) IS NULL;
SELECT id FROM sq_a a WHERE k BETWEEN (SELECT min(k) FROM sq_b b WHERE b.id > a.id) AND (SELECT max(k) FROM sq_c);
SELECT id FROM sq_a a WHERE t LIKE (SELECT max(name) FROM sq_r) || '%' OR t LIKE (SELECT min(b.t) FROM sq_b b WHERE b.k = a.k) || '%';
SELECT id FROM sq_a a WHERE id = (SELECT max(id) FROM sq_a);
SELECT id FROM sq_a a WHERE id = (SELECT min(b.id) FROM sq_b b WHERE b.id > a.k AND b.id > 0);
SELECT u.id FROM sq_u u WHERE k > (SELECT count(*) FROM sq_a a WHERE a.t < u.t);
SELECT r.id FROM sq_r r WHERE EXISTS (SELECT 1 FROM sq_a a JOIN sq_b b ON a.k = b.k WHERE a.id + b.id = r.id);
SELECT id FROM sq_a a WHERE ts = (SELECT max(ts) FROM sq_a x WHERE x.k = a.k);
-- In FROM.
SELECT x.k, x.c, c.code FROM (SELECT k, count(*) AS c FROM sq_a GROUP BY k) x JOIN sq_c c ON c.k = x.k;
SELECT a.id, l.s FROM sq_a a CROSS JOIN LATERAL (SELECT sum(n) AS s FROM sq_b b WHERE b.k = a.k) l;
SELECT a.id, l.* FROM sq_a a LEFT JOIN LATERAL (SELECT b.id AS bid, b.line, c.code FROM sq_b b LEFT JOIN sq_c c ON c.code = b.t WHERE b.k = a.k) l ON l.bid <> a.id;
SELECT a.id, l1.m, l2.c FROM sq_a a, LATERAL (SELECT max(k) AS m FROM sq_b b WHERE b.t <= a.t) l1, LATERAL (SELECT count(*) AS c FROM sq_c c WHERE c.k < l1.m) l2;
SELECT * FROM (SELECT id, (SELECT count(*) FROM sq_b b WHERE b.k = a.k) AS c FROM sq_a a) x WHERE c > 0 ORDER BY c DESC, id;
SELECT x.c, count(*) FROM (SELECT (SELECT count(*) FROM sq_b b WHERE b.k = a.k) AS c FROM sq_a a) x GROUP BY x.c ORDER BY 1;
SELECT * FROM (SELECT DISTINCT k FROM sq_a) x, LATERAL (SELECT b.id FROM sq_b b WHERE b.k = x.k ORDER BY b.id LIMIT 1) l;
SELECT * FROM (VALUES (1, (SELECT max(id) FROM sq_a)), (2, (SELECT min(id) FROM sq_b))) v (a, b);
SELECT v.x, a.id FROM (VALUES (1), (2), (NULL)) v (x) LEFT JOIN sq_a a ON a.k = v.x;
SELECT g, (SELECT count(*) FROM sq_a WHERE k < g) FROM generate_series(0, (SELECT max(line) FROM sq_b)) g;
-- In ON.
SELECT a.id, b.id, b.line FROM sq_a a JOIN sq_b b ON b.id = a.id AND b.n > (SELECT avg(w) FROM sq_c WHERE w < 'Infinity');
SELECT a.id, c.code FROM sq_a a LEFT JOIN sq_c c ON c.k = (SELECT max(b.k) FROM sq_b b WHERE b.id = a.id);
SELECT a.id, c.code FROM sq_a a LEFT JOIN sq_c c ON c.code = a.t AND EXISTS (SELECT 1 FROM sq_b b WHERE b.k = c.k);
SELECT a.id, b.id FROM sq_a a LEFT JOIN sq_b b ON a.id = b.id AND b.k IN (SELECT k FROM sq_a x WHERE x.id <> a.id);
-- In GROUP BY, HAVING, ORDER BY, LIMIT.
SELECT (SELECT name FROM sq_r r WHERE r.id = a.k) AS name, count(*) FROM sq_a a GROUP BY (SELECT name FROM sq_r r WHERE r.id = a.k) ORDER BY 1;
SELECT (SELECT count(*) FROM sq_b b WHERE b.k = a.k) AS c, count(*), min(id) FROM sq_a a GROUP BY 1 ORDER BY 1;
SELECT k, count(*) FROM sq_a GROUP BY k HAVING count(*) >= (SELECT count(*) FROM sq_b b WHERE b.k = sq_a.k) ORDER BY k;
SELECT k, max(n) FROM sq_a GROUP BY k HAVING k IN (SELECT k FROM sq_c) ORDER BY k;
SELECT k FROM sq_a GROUP BY k HAVING max(id) > ALL (SELECT line FROM sq_b b WHERE b.k = sq_a.k);
SELECT k, (SELECT max(b.id) FROM sq_b b WHERE b.k = a.k), count(*) FROM sq_a a GROUP BY k ORDER BY k NULLS FIRST;
SELECT k, (SELECT count(*) FROM sq_b b WHERE b.line < count(a.id)) FROM sq_a a GROUP BY k ORDER BY k;
SELECT k, (SELECT sum(a.id) FROM sq_b b WHERE b.id = 3 AND b.line = 1) FROM sq_a a GROUP BY k ORDER BY k;
SELECT id FROM sq_a a ORDER BY (SELECT count(*) FROM sq_b b WHERE b.k = a.k), id;
SELECT id FROM sq_a a ORDER BY (SELECT max(w) FROM sq_c c WHERE c.k <= a.k) DESC NULLS LAST, id LIMIT 5;
SELECT id, k FROM sq_a ORDER BY k = ANY (SELECT k FROM sq_c), id DESC;
SELECT id FROM sq_a ORDER BY id LIMIT (SELECT count(*) FROM sq_r) OFFSET (SELECT min(line) FROM sq_b);
SELECT id FROM sq_a ORDER BY id LIMIT (SELECT count(*) / 4 FROM sq_a);
SELECT id, (SELECT b.id FROM sq_b b ORDER BY b.id, b.line LIMIT 1 OFFSET a.k) FROM sq_a a WHERE a.k >= 0;
SELECT DISTINCT ON ((SELECT name FROM sq_r r WHERE r.id = a.k)) id, k FROM sq_a a ORDER BY (SELECT name FROM sq_r r WHERE r.id = a.k), id;
SELECT DISTINCT (SELECT count(*) FROM sq_c c WHERE c.k > a.k) FROM sq_a a;
-- In aggregates, windows and functions' arguments.
SELECT count(*) FILTER (WHERE k IN (SELECT k FROM sq_c)), sum(id) FILTER (WHERE EXISTS (SELECT 1 FROM sq_b b WHERE b.k = sq_a.k)) FROM sq_a;
SELECT string_agg((SELECT c.code FROM sq_c c WHERE c.k = a.k), '+' ORDER BY id) FROM sq_a a;
SELECT id, rank() OVER (ORDER BY (SELECT count(*) FROM sq_b b WHERE b.k = a.k)) FROM sq_a a;
SELECT id, sum((SELECT count(*) FROM sq_b b WHERE b.k = a.k)) OVER (ORDER BY id) FROM sq_a a;
SELECT id, concat_ws('-', (SELECT min(name) FROM sq_r), t, (SELECT c.k FROM sq_c c WHERE c.code = a.t)) FROM sq_a a;
SELECT id, generate_series(1, (SELECT count(*) FROM sq_b b WHERE b.k = a.k)) FROM sq_a a;
SELECT id, unnest(ARRAY(SELECT b.id FROM sq_b b WHERE b.k = a.k)) FROM sq_a a;
-- Two levels.
SELECT id FROM sq_a a WHERE k IN (SELECT b.k FROM sq_b b WHERE EXISTS (SELECT 1 FROM sq_c c WHERE c.code = b.t AND c.k <= a.k));
SELECT id, (SELECT max(b.id) FROM sq_b b WHERE b.k = (SELECT c.k FROM sq_c c WHERE c.code = a.t)) FROM sq_a a;
SELECT id, (SELECT count(*) FROM sq_b b WHERE b.n > (SELECT avg(x.n) FROM sq_b x WHERE x.k = b.k AND x.id <> a.id)) FROM sq_a a;
SELECT id FROM sq_a a WHERE NOT EXISTS (SELECT 1 FROM sq_c c WHERE NOT EXISTS (SELECT 1 FROM sq_b b WHERE b.k <= a.k AND b.t >= c.code));
SELECT a.id, l.x FROM sq_a a, LATERAL (SELECT (SELECT count(*) FROM sq_c c WHERE c.k > b.k AND c.k < a.id) AS x FROM sq_b b WHERE b.k = a.k) l;
SELECT u.id, (SELECT count(*) FROM sq_a a WHERE a.k = u.k AND a.t IN (SELECT b.t FROM sq_b b WHERE b.k = u.k)) FROM sq_u u;
SELECT id FROM sq_a a WHERE k = (SELECT max(k) FROM (SELECT b.k FROM sq_b b WHERE b.t = a.t UNION ALL SELECT c.k FROM sq_c c WHERE c.code = a.t) x);
-- With parameters.
-- params: 'a', 1
-- params: NULL::text, 2
SELECT id, (SELECT count(*) FROM sq_b b WHERE b.k = a.k AND b.t = $1) FROM sq_a a WHERE k >= $2;
-- params: 3::int8
SELECT a.t, (SELECT count(*) FROM sq_b b WHERE b.k > a.k) FROM sq_a a WHERE a.id = $1;
SELECT a.t, (SELECT c.code FROM sq_c c WHERE c.k = a.k), (SELECT count(*) FROM sq_a x WHERE x.k = a.k) FROM sq_a a WHERE a.id = 3;
-- What is wrong is wrong.
SELECT id, (SELECT k, t FROM sq_c LIMIT 1) FROM sq_a;
SELECT id FROM sq_a WHERE k = (SELECT code FROM sq_c);
SELECT id FROM sq_a a WHERE nothing = (SELECT max(k) FROM sq_b);
DROP TABLE sq_a, sq_b, sq_c, sq_r, sq_u;
