-- Joins off the distribution key, of every kind: distributed tables of two co-location groups, reference and unsharded tables.
CREATE TABLE sj_a (id int8 PRIMARY KEY, k int, t text, n numeric, f float8, ts timestamptz);
CREATE TABLE sj_b (id int8, line int, k int, t text, PRIMARY KEY (id, line));
CREATE TABLE sj_c (code text PRIMARY KEY, k int, w numeric);
CREATE TABLE sj_d (id int8 PRIMARY KEY, k int, at date);
CREATE TABLE sj_r (id int PRIMARY KEY, name text);
CREATE TABLE sj_u (id int PRIMARY KEY, k int, t text);
INSERT INTO sj_a VALUES
  (1, 1, 'a', 1.0, 1, '2020-01-01 00:00+00'), (2, 2, '', 1.00, 1.5, '2020-01-01 02:00+02'), (3, 2, 'ä', 'NaN', 'NaN', '2021-06-30 12:00-05'),
  (4, NULL, NULL, NULL, NULL, NULL), (5, -1, 'Z', -2.5, '-Infinity', 'infinity'), (6, 0, 'a', 'Infinity', 'Infinity', '-infinity'),
  (7, 3, '日本', 0.000, 0, '1999-12-31 23:59:59.999999+00'), (8, 3, 'naïve', 0, '-0', '2020-01-01 00:00+00'), (9, 7, 'a ', 1.50, 1e100, NULL),
  (10, NULL, 'z', 12345678901234567890.123, 1e-300, '2024-02-29 00:00+13'), (-1, 1, 'B', -0.1, -1, '2020-01-01 00:00+00'), (-2, 2147483647, 'b', 3, 3, NULL),
  (9223372036854775807, -2147483648, '', 2, 2, '2000-01-01 00:00+00'), (-9223372036854775808, 5, NULL, 7, 7, '2000-01-01 00:00+00');
INSERT INTO sj_b VALUES
  (1, 1, 1, 'a'), (1, 2, 2, 'ä'), (2, 1, NULL, ''), (2, 2, 3, '日本'), (3, 1, 3, NULL), (3, 2, 3, 'a'), (5, 1, -1, 'z'), (5, 2, 0, 'Z'),
  (6, 1, 10, 'naïve'), (7, 1, 7, 'a '), (8, 1, 1, 'a'), (11, 1, 9, 'x'), (12, 1, NULL, NULL), (-1, 1, 1, 'B'), (9223372036854775807, 1, 2, ''), (20, 1, 2, 'q');
INSERT INTO sj_c VALUES
  ('a', 1, 1), ('b', 2, 1.0), ('', 3, 'NaN'), ('ä', NULL, NULL), ('Z', -1, -2.50), ('日本', 7, 0), ('x', 0, 'Infinity'), ('q', 2147483647, 3.000), ('none', 99, 1.5);
INSERT INTO sj_d VALUES (1, 2, '2020-01-01'), (2, 1, '2021-06-30'), (3, NULL, NULL), (4, 3, 'infinity'), (5, 3, '-infinity'), (6, -1, '1999-12-31'), (30, 2, '2020-01-01');
INSERT INTO sj_r VALUES (-1, 'minus'), (0, ''), (1, 'one'), (2, 'zwei'), (3, NULL), (4, 'a'), (8, 'ä');
INSERT INTO sj_u VALUES (1, 1, 'a'), (2, 2, 'ä'), (3, NULL, NULL), (4, 3, ''), (5, 3, '日本'), (6, -1, 'Z'), (7, 100, 'nobody');
-- distribute: SELECT create_distributed_table('sj_a', 'id')
-- distribute: SELECT create_distributed_table('sj_b', 'id')
-- distribute: SELECT create_distributed_table('sj_c', 'code')
-- distribute: SELECT create_distributed_table('sj_d', 'id', colocate_with => 'none')
-- distribute: SELECT create_reference_table('sj_r')
-- Two distributed tables.
SELECT a.id, b.id, b.line FROM sj_a a JOIN sj_b b ON a.k = b.k;
SELECT a.id, b.id, b.line FROM sj_a a JOIN sj_b b ON a.t = b.t WHERE a.k > 0;
SELECT a.id, b.id, b.line, b.t FROM sj_a a LEFT JOIN sj_b b ON a.k = b.k ORDER BY 1, 2, 3;
SELECT a.id, b.id, b.line FROM sj_a a RIGHT JOIN sj_b b ON a.k = b.k AND a.t = b.t;
SELECT a.id, b.id, b.line FROM sj_a a FULL JOIN sj_b b ON a.k = b.k;
SELECT a.id, a.t, c.code, c.w FROM sj_a a FULL OUTER JOIN sj_c c ON a.t = c.code ORDER BY a.id NULLS FIRST, c.code;
SELECT * FROM sj_a a FULL JOIN sj_c c ON a.n = c.w;
SELECT count(*), sum(a.id), sum(b.line) FROM sj_a a CROSS JOIN sj_b b;
SELECT a.id, d.id FROM sj_a a, sj_d d WHERE a.k IS NULL AND d.k IS NULL;
SELECT a.id, d.id, d.at FROM sj_a a, sj_d d WHERE a.ts::date = d.at;
SELECT a.id, d.id FROM sj_a a JOIN sj_d d ON a.id = d.id;
SELECT a.id, d.k FROM sj_a a JOIN sj_d d USING (id);
SELECT * FROM sj_a JOIN sj_d USING (id, k);
SELECT * FROM sj_a NATURAL JOIN sj_d;
SELECT * FROM sj_a NATURAL LEFT JOIN sj_d;
SELECT * FROM sj_b NATURAL FULL JOIN sj_d;
SELECT k, count(*) FROM sj_a FULL JOIN sj_d USING (k) GROUP BY k ORDER BY k;
SELECT k, x.t, y.at FROM (SELECT k, t FROM sj_a) x FULL JOIN (SELECT k, at FROM sj_d) y USING (k);
SELECT j.k, j.id FROM (sj_b JOIN sj_d USING (id, k)) AS j;
SELECT j.*, sj_b.t FROM sj_b JOIN sj_d USING (id) AS j;
SELECT * FROM sj_a NATURAL JOIN sj_c;
SELECT x.id, y.id FROM sj_a x JOIN sj_a y ON x.t = y.t AND x.id < y.id;
SELECT x.id, y.id FROM sj_a x LEFT JOIN sj_a y ON x.k = y.id;
SELECT x.id, y.line, z.line FROM sj_b x JOIN sj_b y ON x.k = y.k JOIN sj_b z ON y.t = z.t;
SELECT x.id, y.id FROM sj_a x FULL JOIN sj_a y ON x.k = y.id;
-- Not equal.
SELECT a.id, b.id, b.line FROM sj_a a JOIN sj_b b ON a.k > b.k AND a.k < b.k + 3;
SELECT a.id, c.code FROM sj_a a LEFT JOIN sj_c c ON a.n < c.w AND a.k <> c.k WHERE a.id BETWEEN 1 AND 5;
SELECT a.id, c.code FROM sj_a a LEFT JOIN sj_c c ON a.t LIKE c.code || '%';
SELECT a.id, c.code FROM sj_c c RIGHT JOIN sj_a a ON a.t > c.code OR c.k = a.k;
SELECT a.id, d.id FROM sj_a a JOIN sj_d d ON a.k IS NOT DISTINCT FROM d.k;
SELECT a.id, d.id FROM sj_a a JOIN sj_d d ON (a.k, a.id) < (d.k, d.id);
SELECT a.id, d.id FROM sj_a a LEFT JOIN sj_d d ON a.k IN (d.k, d.k + 1, NULL);
SELECT a.id, d.id FROM sj_a a LEFT JOIN sj_d d ON true WHERE a.id = 4;
SELECT a.id, d.id FROM sj_a a LEFT JOIN sj_d d ON false;
SELECT a.id, d.id FROM sj_a a FULL JOIN sj_d d ON false;
SELECT a.id, d.id FROM sj_a a LEFT JOIN sj_d d ON NULL;
SELECT a.id, c.code FROM sj_a a JOIN sj_c c ON a.f = c.w;
SELECT a.id, c.code FROM sj_a a JOIN sj_c c ON a.n = c.w;
SELECT a.id, b.id, b.line FROM sj_a a JOIN sj_b b ON a.id % 3 = b.id % 3 AND b.id > 0 AND a.id > 0 AND b.id < 10;
SELECT a.id, b.id, b.line FROM sj_a a JOIN sj_b b ON lower(a.t) = lower(b.t);
SELECT a.id, b.id FROM sj_a a JOIN sj_b b ON a.id - 0.5 = b.id + 0.5;
SELECT a.id, b.id FROM sj_a a LEFT JOIN sj_b b ON a.id = b.id AND a.k = b.k;
SELECT a.id, b.id FROM sj_a a LEFT JOIN sj_b b ON a.id = b.id OR a.k = b.k;
SELECT a.id, b.id FROM sj_a a FULL JOIN sj_b b ON a.id = b.id AND a.k = b.k;
SELECT count(*) FROM sj_a x, sj_a y WHERE x.ts < y.ts;
SELECT count(*) FROM sj_a x JOIN sj_a y ON x.f >= y.f;
-- Reference and unsharded tables, on either side.
SELECT r.id, r.name, a.id FROM sj_r r LEFT JOIN sj_a a ON a.k = r.id;
SELECT r.id, r.name, a.id FROM sj_a a RIGHT JOIN sj_r r ON a.t = r.name;
SELECT r.id, r.name, a.id FROM sj_r r FULL JOIN sj_a a ON a.k = r.id;
SELECT a.id, r.name FROM sj_a a LEFT JOIN sj_r r ON a.k > r.id AND r.name IS NOT NULL;
SELECT r.name, count(a.*) FROM sj_r r LEFT JOIN sj_a a ON a.k = r.id GROUP BY r.name ORDER BY 1;
SELECT r.name, a.id, b.line FROM sj_r r LEFT JOIN (sj_a a JOIN sj_b b ON a.id = b.id) ON r.id = b.line;
SELECT r.name, a.id, b.line FROM sj_r r LEFT JOIN sj_a a ON r.id = a.k LEFT JOIN sj_b b ON b.id = a.id;
SELECT u.id, a.id FROM sj_u u JOIN sj_a a ON u.k = a.k;
SELECT u.id, a.id FROM sj_u u LEFT JOIN sj_a a ON u.t = a.t;
SELECT u.id, a.id FROM sj_u u RIGHT JOIN sj_a a ON u.t = a.t AND u.id <> a.id;
SELECT u.id, a.id, u.t FROM sj_u u FULL JOIN sj_a a ON u.k = a.k;
SELECT u.id, a.id FROM sj_u u, sj_a a WHERE u.id = 3 AND a.t = 'a';
SELECT * FROM sj_u NATURAL JOIN sj_b;
SELECT u.id, c.code, r.name FROM sj_u u JOIN sj_c c ON c.code = u.t LEFT JOIN sj_r r ON r.id = c.k;
SELECT u.id, r.name, a.id FROM sj_u u JOIN sj_r r ON u.k = r.id FULL JOIN sj_a a ON a.t = r.name;
SELECT u.id, x.c FROM sj_u u LEFT JOIN (SELECT k, count(*) AS c FROM sj_a GROUP BY k) x ON x.k = u.k ORDER BY 1;
-- Three and more.
SELECT a.id, b.line, c.code FROM sj_a a JOIN sj_b b ON a.id = b.id JOIN sj_c c ON c.code = b.t;
SELECT a.id, b.line, c.code FROM sj_a a LEFT JOIN sj_b b ON a.id = b.id LEFT JOIN sj_c c ON c.code = b.t AND c.k = a.k;
SELECT a.id, b.id, c.code, d.id FROM sj_a a JOIN sj_b b ON a.k = b.k JOIN sj_c c ON c.k = b.k JOIN sj_d d ON d.k = c.k;
SELECT a.id, b.id, c.code, d.id FROM sj_a a LEFT JOIN (sj_b b FULL JOIN sj_c c ON c.code = b.t) ON a.k = c.k LEFT JOIN sj_d d ON d.id = b.id;
SELECT a.id, c.code, d.id, u.id, r.id FROM sj_a a JOIN sj_c c ON a.t = c.code LEFT JOIN sj_d d ON d.k = a.k LEFT JOIN sj_u u ON u.id = d.id LEFT JOIN sj_r r ON r.id = u.k;
SELECT r.id, a.id, d.id FROM (sj_r r LEFT JOIN sj_a a ON a.k = r.id) FULL JOIN sj_d d ON d.k = r.id AND d.id = a.id;
SELECT count(*) FROM sj_a, sj_c, sj_d WHERE sj_a.k = sj_c.k OR sj_c.k = sj_d.k;
SELECT a.id, b.id FROM sj_a a CROSS JOIN sj_r r CROSS JOIN sj_b b WHERE r.id = a.k AND r.id = b.k;
SELECT x.id, y.id, z.id FROM sj_a x JOIN sj_d y ON x.k = y.k JOIN sj_a z ON z.id = y.id WHERE z.n > 0;
-- Half joins.
SELECT id FROM sj_a a WHERE EXISTS (SELECT FROM sj_b b WHERE b.k = a.k);
SELECT id FROM sj_a a WHERE NOT EXISTS (SELECT 1 FROM sj_b b WHERE b.k = a.k);
SELECT id FROM sj_a WHERE k IN (SELECT k FROM sj_c);
SELECT id FROM sj_a WHERE k NOT IN (SELECT k FROM sj_c);
SELECT id FROM sj_a WHERE k NOT IN (SELECT k FROM sj_c WHERE k IS NOT NULL);
SELECT id FROM sj_a WHERE (k, t) IN (SELECT k, t FROM sj_b);
SELECT id FROM sj_a WHERE (k, t) NOT IN (SELECT k, code FROM sj_c);
SELECT id FROM sj_a WHERE id IN (SELECT k FROM sj_b);
SELECT id FROM sj_a a WHERE EXISTS (SELECT 1 FROM sj_c c JOIN sj_d d ON d.k = c.k WHERE c.code = a.t AND d.id <> a.id);
SELECT id FROM sj_u u WHERE NOT EXISTS (SELECT 1 FROM sj_a a WHERE a.t = u.t);
SELECT name FROM sj_r WHERE id IN (SELECT k FROM sj_a) OR name IN (SELECT code FROM sj_c);
SELECT id, k IN (SELECT k FROM sj_d) AS k_in, EXISTS (SELECT 1 FROM sj_c c WHERE c.code = sj_a.t) AS t_in FROM sj_a;
SELECT count(*) FROM sj_a a LEFT JOIN sj_c c ON c.code = a.t WHERE c.code IS NULL;
-- Lateral.
SELECT a.id, l.c FROM sj_a a, LATERAL (SELECT count(*) AS c FROM sj_b b WHERE b.k = a.k) l;
SELECT a.id, l.id, l.line FROM sj_a a LEFT JOIN LATERAL (SELECT * FROM sj_b b WHERE b.t >= a.t ORDER BY b.t, b.id, b.line LIMIT 2) l ON true;
SELECT r.id, l.id FROM sj_r r CROSS JOIN LATERAL (SELECT id FROM sj_a WHERE k <= r.id ORDER BY id DESC LIMIT 1) l;
SELECT u.id, l.m FROM sj_u u LEFT JOIN LATERAL (SELECT max(w) AS m FROM sj_c WHERE sj_c.k < u.k HAVING count(*) > 1) l ON l.m > 0;
SELECT a.id, x.v FROM sj_a a CROSS JOIN LATERAL (VALUES (a.k), (a.id / 2), (NULL)) x (v) JOIN sj_d d ON d.k = x.v;
SELECT a.id, g, d.id FROM sj_a a CROSS JOIN generate_series(1, a.k) g JOIN sj_d d ON d.id = g WHERE a.k < 10;
-- With parameters, grouped and sorted.
-- params: 'a', 2
-- params: NULL::text, NULL::int4
SELECT a.id, b.id, b.line FROM sj_a a JOIN sj_b b ON a.k = b.k AND b.t = $1 WHERE a.k < $2;
-- params: 3
SELECT a.id, d.id FROM sj_a a LEFT JOIN sj_d d ON a.k = d.k AND d.id > $1 ORDER BY 1, 2;
SELECT b.t, count(DISTINCT a.id), min(a.t), max(b.line) FROM sj_a a RIGHT JOIN sj_b b ON a.k = b.k GROUP BY b.t ORDER BY b.t NULLS FIRST;
SELECT DISTINCT a.t, c.k FROM sj_a a LEFT JOIN sj_c c ON a.k >= c.k ORDER BY a.t DESC, c.k;
SELECT a.id, b.line, a.k + b.k AS s FROM sj_a a JOIN sj_b b ON a.k = b.k ORDER BY s DESC, a.id, b.id, b.line LIMIT 5 OFFSET 2;
SELECT a.*, c.* FROM sj_a a JOIN sj_c c ON c.k = a.k ORDER BY a.id, c.code;
SELECT x.* FROM sj_a a JOIN sj_c c ON c.k = a.k JOIN sj_r x ON x.id = a.k ORDER BY a.id, c.code;
-- What is wrong is wrong.
SELECT id FROM sj_a JOIN sj_b ON sj_a.k = sj_b.k;
SELECT * FROM sj_a JOIN sj_c USING (id);
SELECT * FROM sj_a a JOIN sj_c c ON a.t = c.k;
SELECT * FROM sj_a a, (SELECT * FROM sj_b b WHERE b.k = a.k) x;
DROP TABLE sj_a, sj_b, sj_c, sj_d, sj_r, sj_u;
