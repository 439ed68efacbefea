-- The distribution key in places where it decides the shard, and where it only seems to.
CREATE TABLE sy_a (id int8 PRIMARY KEY, k int, t text);
CREATE TABLE sy_b (id int8, line int, k int, PRIMARY KEY (id, line));
CREATE TABLE sy_c (code text PRIMARY KEY, k int);
CREATE TABLE sy_n (n numeric PRIMARY KEY, k int);
CREATE TABLE sy_r (id int PRIMARY KEY, name text);
CREATE TABLE sy_u (id int8 PRIMARY KEY, k int);
INSERT INTO sy_a SELECT i, i % 5, CASE WHEN i % 7 = 0 THEN NULL ELSE 't' || i % 4 END FROM generate_series(-2, 20) i;
INSERT INTO sy_b SELECT i, l, (i + l) % 6 FROM generate_series(1, 14) i, generate_series(1, 2) l;
INSERT INTO sy_c VALUES ('t0', 0), ('t1', 1), ('t2', NULL), ('T1', 3), ('t1 ', 4), ('', 2), ('ä', 2);
INSERT INTO sy_n VALUES (1, 1), (2.50, 2), (-0.0, 0), ('NaN', 3), ('Infinity', 4), (3.000, 5);
INSERT INTO sy_r VALUES (0, 'zero'), (1, 'one'), (2, NULL), (9, 'nine');
INSERT INTO sy_u VALUES (1, 1), (2, 2), (3, NULL), (40, 4);
-- distribute: SELECT create_distributed_table('sy_a', 'id')
-- distribute: SELECT create_distributed_table('sy_b', 'id')
-- distribute: SELECT create_distributed_table('sy_c', 'code')
-- distribute: SELECT create_distributed_table('sy_n', 'n')
-- distribute: SELECT create_reference_table('sy_r')
-- One table.
SELECT * FROM sy_a WHERE id = 3 OR id = 4 ORDER BY id;
SELECT * FROM sy_a WHERE id = 3 OR k = 4 ORDER BY id;
SELECT * FROM sy_a WHERE id = 3 AND id = 4;
SELECT * FROM sy_a WHERE id = 3 AND (k = 3 OR t IS NULL);
SELECT count(*) FROM sy_a WHERE id = 3 AND false;
SELECT count(*) FROM sy_a WHERE id = NULL;
SELECT count(*) FROM sy_a WHERE id IN (1, 3, 3, NULL);
SELECT count(*) FROM sy_a WHERE id NOT IN (1, 3);
SELECT count(*) FROM sy_a WHERE NOT id = 3;
SELECT count(*) FROM sy_a WHERE NOT (id <> 3);
SELECT id FROM sy_a WHERE id = 3.0;
SELECT id FROM sy_a WHERE id = 3.5;
SELECT id FROM sy_a WHERE id = '3';
SELECT id FROM sy_a WHERE 3 = id AND k = 3;
SELECT id FROM sy_a WHERE id = 1 + 2;
SELECT id FROM sy_a WHERE id + 0 = 3;
SELECT id FROM sy_a WHERE id = 3::int2;
SELECT id FROM sy_a WHERE id::text = '3';
SELECT id FROM sy_a WHERE id = ANY ('{1,2,3}') AND k > 1 ORDER BY 1;
SELECT id FROM sy_a WHERE id = ALL ('{3,3}');
SELECT id FROM sy_a WHERE id = ANY (ARRAY[]::int8[]);
SELECT id FROM sy_a WHERE (id, k) = (3, 3);
SELECT id FROM sy_a WHERE (id, k) IN ((3, 3), (4, 0), (6, 1)) ORDER BY 1;
SELECT id FROM sy_a WHERE (id = 3) IS TRUE;
SELECT id FROM sy_a WHERE (id = 3) = true;
SELECT id FROM sy_a WHERE CASE WHEN id = 3 THEN true ELSE id = 5 END ORDER BY 1;
SELECT id FROM sy_a WHERE id IS NOT DISTINCT FROM 3;
SELECT id FROM sy_a WHERE id BETWEEN 3 AND 3;
SELECT id FROM sy_a WHERE id = (SELECT 3);
SELECT id FROM sy_a WHERE id = (SELECT max(id) FROM sy_u WHERE k IS NULL);
SELECT id FROM sy_a WHERE id = (SELECT id FROM sy_a WHERE id = 3);
SELECT id FROM sy_a WHERE id IN (SELECT id FROM sy_u) ORDER BY 1;
SELECT id FROM sy_a WHERE coalesce(id = 3, false);
SELECT id, k FROM sy_a WHERE id = 9223372036854775808;
SELECT id FROM sy_a WHERE id = -2;
SELECT id FROM sy_a WHERE id = - 2 OR id = +1 ORDER BY 1;
SELECT id FROM sy_a WHERE id = length('abc');
SELECT code FROM sy_c WHERE code = 't1';
SELECT code FROM sy_c WHERE code = 't1'::char(4);
SELECT code FROM sy_c WHERE code = 't1'::varchar;
SELECT code FROM sy_c WHERE code = 't1' COLLATE "C";
SELECT code FROM sy_c WHERE code LIKE 't1' ORDER BY 1;
SELECT code FROM sy_c WHERE lower(code) = 't1' ORDER BY 1;
SELECT code FROM sy_c WHERE code = E't1\x20' OR code = '';
SELECT n, k FROM sy_n WHERE n = 1.00;
SELECT n, k FROM sy_n WHERE n = 2.5;
SELECT n, k FROM sy_n WHERE n = 0;
SELECT n, k FROM sy_n WHERE n = 3;
SELECT n, k FROM sy_n WHERE n = 'NaN';
SELECT n, k FROM sy_n WHERE n IN (1, 2.50, 'Infinity') ORDER BY n;
SELECT k FROM sy_n WHERE n = 1::float8;
-- params: 3::int8
-- params: 3::int4
-- params: 3::numeric
-- params: '3'
-- params: NULL::int8
SELECT id, k FROM sy_a WHERE id = $1;
-- params: 3::int8, 4::int8
SELECT id FROM sy_a WHERE id IN ($1, $2) OR k = $2 ORDER BY 1;
-- params: 't1'::text
-- params: 't1'::varchar
-- params: 't1'
SELECT code, k FROM sy_c WHERE code = $1;
-- Joins: ON and WHERE differ.
SELECT a.id, b.line FROM sy_a a LEFT JOIN sy_b b ON a.id = b.id AND a.id = 3;
SELECT a.id, b.line FROM sy_a a LEFT JOIN sy_b b ON a.id = b.id AND b.id = 3;
SELECT a.id, b.line FROM sy_a a LEFT JOIN sy_b b ON a.id = b.id WHERE b.id = 3;
SELECT a.id, b.line FROM sy_a a LEFT JOIN sy_b b ON a.id = b.id WHERE a.id = 3;
SELECT a.id, b.line FROM sy_a a LEFT JOIN sy_b b ON a.id = 3 AND b.id = 3;
SELECT a.id, b.line FROM sy_a a RIGHT JOIN sy_b b ON a.id = b.id AND b.id = 3;
SELECT a.id, b.line FROM sy_a a FULL JOIN sy_b b ON a.id = b.id AND a.id = 3;
SELECT a.id, b.line FROM sy_a a FULL JOIN sy_b b USING (id) WHERE id = 3;
SELECT id, a.k, b.k FROM sy_a a FULL JOIN sy_b b USING (id) WHERE coalesce(b.k, 0) = 0 ORDER BY id, b.line;
SELECT id, line FROM sy_a FULL JOIN sy_b USING (id, k) ORDER BY id, line;
SELECT a.id, b.id FROM sy_a a JOIN sy_b b ON a.id = b.id OR b.line = 9 WHERE b.line = 1;
SELECT a.id, b.id, b.line FROM sy_a a JOIN sy_b b ON (a.id = b.id) IS NOT FALSE WHERE a.k = 1;
SELECT a.id, b.line FROM sy_a a JOIN sy_b b ON a.id::text = b.id::text WHERE b.line = 1;
SELECT a.id, b.line FROM sy_a a JOIN sy_b b ON NOT a.id <> b.id WHERE b.line = 2;
SELECT a.id, b.line FROM sy_a a JOIN sy_b b ON a.id - b.id = 0 WHERE b.line = 2;
SELECT a.id, b.id FROM sy_a a JOIN sy_b b ON a.id = 3 AND b.id = 3;
SELECT a.id, b.id FROM sy_a a JOIN sy_b b ON a.id = 3 AND b.id = 4;
SELECT a.id, b.id, c.id FROM sy_a a JOIN sy_b b ON a.id = b.id JOIN sy_a c ON c.id = b.k WHERE a.id = 3;
SELECT a.id, b.id, c.id FROM sy_a a LEFT JOIN sy_b b ON a.id = b.id LEFT JOIN sy_a c ON c.id = b.id WHERE a.id > 10;
SELECT a.id, b.id, c.id FROM sy_a a LEFT JOIN sy_a b ON b.id = a.k LEFT JOIN sy_b c ON c.id = b.id ORDER BY 1, 2, c.line;
SELECT a.id, c.k FROM sy_a a JOIN sy_b b ON a.id = b.id AND a.k = b.k JOIN sy_c c ON c.code = a.t AND c.code = 't1';
SELECT a.id, r.name FROM sy_a a LEFT JOIN sy_r r ON r.id = a.id WHERE a.id < 3;
SELECT a.id, r.name FROM sy_r r LEFT JOIN sy_a a ON r.id = a.id;
SELECT a.id, r.name FROM sy_r r LEFT JOIN sy_a a ON a.id = 1 ORDER BY r.id;
SELECT a.id, r.name FROM sy_r r FULL JOIN sy_a a ON r.id = a.id AND a.id = 1;
SELECT u.id, a.k FROM sy_u u LEFT JOIN sy_a a USING (id);
SELECT u.id, a.k FROM sy_u u JOIN sy_a a ON a.id = u.id AND a.id = 3;
SELECT n.n, a.id FROM sy_n n JOIN sy_a a ON a.id = n.n;
SELECT n.n, a.id FROM sy_n n LEFT JOIN sy_a a ON a.id = n.n AND n.n = 1;
-- Subqueries.
SELECT a.id FROM sy_a a WHERE a.id = 3 AND EXISTS (SELECT 1 FROM sy_b b WHERE b.k = a.k);
SELECT a.id FROM sy_a a WHERE a.id IN (SELECT b.id FROM sy_b b WHERE b.id = 3) OR a.id = 4 ORDER BY 1;
SELECT a.id FROM sy_a a WHERE a.id NOT IN (SELECT b.id FROM sy_b b) ORDER BY 1;
SELECT a.id FROM sy_a a WHERE a.id NOT IN (SELECT b.id FROM sy_b b WHERE b.id = a.id AND b.k = a.k) ORDER BY 1;
SELECT a.id, (SELECT count(*) FROM sy_b b WHERE b.id = a.id), (SELECT count(*) FROM sy_b b WHERE b.id = a.k) FROM sy_a a;
SELECT a.id, (SELECT b.line FROM sy_b b WHERE b.id <= a.id ORDER BY b.id DESC, b.line LIMIT 1) FROM sy_a a;
SELECT a.id, l.line FROM sy_a a LEFT JOIN LATERAL (SELECT b.line FROM sy_b b WHERE b.id = a.id LIMIT 1 OFFSET 1) l ON true;
SELECT a.id, x.id FROM sy_a a JOIN (SELECT id FROM sy_b ORDER BY id, line LIMIT 5) x ON x.id = a.id;
SELECT a.id, x.c FROM sy_a a JOIN (SELECT id, count(*) AS c FROM sy_b GROUP BY id HAVING count(*) > 1) x USING (id) WHERE x.id < 5;
SELECT a.id, x.c FROM sy_a a JOIN (SELECT line AS id, count(*) AS c FROM sy_b GROUP BY line) x USING (id);
SELECT a.id, x.k FROM sy_a a JOIN (SELECT DISTINCT id, k FROM sy_b) x ON x.id = a.id AND x.k <> a.k;
SELECT a.id, x.r FROM sy_a a JOIN (SELECT id, row_number() OVER (ORDER BY id, line) AS r FROM sy_b) x ON x.id = a.id;
SELECT a.id, x.r FROM sy_a a JOIN (SELECT id, row_number() OVER (PARTITION BY id ORDER BY line DESC) AS r, line FROM sy_b) x ON x.id = a.id WHERE x.r = 1;
SELECT x.id, y.id FROM (SELECT id FROM sy_a UNION SELECT k FROM sy_b) x JOIN sy_a y ON y.id = x.id;
SELECT x.id, count(*) FROM (SELECT id FROM sy_a UNION ALL SELECT id FROM sy_b) x JOIN sy_a y USING (id) GROUP BY x.id ORDER BY 1;
SELECT * FROM (SELECT id + 1 AS id, k FROM sy_a) x WHERE id = 3;
SELECT * FROM (SELECT k AS id, id AS k FROM sy_a) x WHERE id = 3 ORDER BY k;
SELECT x.id, y.line FROM (SELECT id + 1 AS id FROM sy_a) x JOIN sy_b y ON y.id = x.id;
SELECT x.k, y.line FROM (SELECT id AS k, k AS id FROM sy_a) x JOIN sy_b y ON y.id = x.id ORDER BY 1, 2;
SELECT x.i, y.line FROM (SELECT max(id) AS i FROM sy_a GROUP BY k) x JOIN sy_b y ON y.id = x.i;
WITH x AS (SELECT * FROM sy_a WHERE id = 3) SELECT * FROM x, sy_b b WHERE b.id = x.id;
WITH x AS (SELECT * FROM sy_a WHERE id = 3) SELECT x.id, b.id FROM x LEFT JOIN sy_b b ON b.k = x.k;
WITH x AS (SELECT id FROM sy_a WHERE k = 3 LIMIT 10) SELECT b.* FROM sy_b b WHERE id IN (TABLE x) AND id = 3;
SELECT id FROM sy_a WHERE id = 3 UNION SELECT id FROM sy_a WHERE id = 4 UNION SELECT id FROM sy_b WHERE id = 3;
SELECT id FROM sy_a WHERE id = 3 EXCEPT SELECT id FROM sy_b WHERE k = 0;
SELECT id, count(*) FROM sy_b GROUP BY id ORDER BY id LIMIT 3;
SELECT DISTINCT id FROM sy_b ORDER BY id LIMIT 3;
SELECT id, k FROM sy_b GROUP BY id, k HAVING id = 3;
SELECT count(DISTINCT id), count(DISTINCT (id % 2)) FROM sy_b;
SELECT k, count(DISTINCT id) FROM sy_b GROUP BY k ORDER BY k;
DROP TABLE sy_a, sy_b, sy_c, sy_n, sy_r, sy_u;
