-- Subqueries correlated off the distribution key, in every clause.
CREATE TABLE xq_a (id int8 PRIMARY KEY, k int, t text, n numeric, ts timestamptz);
CREATE TABLE xq_b (id int8, line int, k int, t text, n numeric, PRIMARY KEY (id, line));
CREATE TABLE xq_c (code text PRIMARY KEY, k int, w float8);
CREATE TABLE xq_r (id int PRIMARY KEY, name text);
CREATE TABLE xq_u (id int PRIMARY KEY, k int, t text);
INSERT INTO xq_a VALUES
  (1, 1, 'a', 1.0, '2020-01-01 00:00+00'), (2, 2, '', 1.10, '2020-01-01 02:00+02'), (3, 2, 'ä', 'NaN', '2021-06-30 12:00-05'), (4, NULL, NULL, NULL, NULL),
  (5, -1, 'Z', -2.5, 'infinity'), (6, 0, 'a', 'Infinity', '-infinity'), (7, 3, '日本', 0.000, '1999-12-31 23:59:59+00'), (8, 3, 'naïve', 40, '2020-01-01 00:00+00'),
  (9, 7, 'b', 1.50, NULL), (10, NULL, 'z', 12345678901234567890.123, '2024-02-29 00:00+13'), (-1, 1, 'B', -0.1, '2020-01-01 00:00+00'), (-2, 5, 'b', 3, NULL);
INSERT INTO xq_b VALUES
  (1, 1, 1, 'a', 1), (1, 2, 2, 'ä', 2.5), (2, 1, NULL, '', NULL), (2, 2, 3, '日本', 'NaN'), (3, 1, 3, NULL, 4), (3, 2, 3, 'a', 0.25), (5, 1, -1, 'z', -1), (5, 2, 0, 'Z', 7),
  (6, 1, 10, 'naïve', 8), (7, 1, 7, 'b', 9), (8, 1, 1, 'a', 10.125), (11, 1, 9, 'x', 11), (12, 1, NULL, NULL, 12), (-1, 1, 1, 'B', 13), (20, 1, 2, 'q', 14);
INSERT INTO xq_c VALUES ('a', 1, 1), ('b', 2, 1.5), ('', 3, 'NaN'), ('ä', NULL, NULL), ('Z', -1, -2.5), ('日本', 7, 0), ('x', 0, 'Infinity'), ('q', 5, 3);
INSERT INTO xq_r VALUES (-1, 'minus'), (0, ''), (1, 'one'), (2, 'zwei'), (3, NULL), (4, 'a'), (8, 'ä');
INSERT INTO xq_u VALUES (1, 1, 'a'), (2, 2, 'ä'), (3, NULL, NULL), (4, 3, ''), (5, 3, '日本'), (6, -1, 'Z'), (7, 100, 'nobody');
-- distribute: SELECT create_distributed_table('xq_a', 'id')
-- distribute: SELECT create_distributed_table('xq_b', 'id')
-- distribute: SELECT create_distributed_table('xq_c', 'code')
-- distribute: SELECT create_reference_table('xq_r')
SELECT id FROM xq_a a WHERE k IN (WITH w AS (SELECT k, count(*) AS c FROM xq_b WHERE n < a.n GROUP BY k) SELECT k FROM w WHERE c > 0);
DROP TABLE xq_a, xq_b, xq_c, xq_r, xq_u;
