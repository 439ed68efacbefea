-- Joins off the distribution key, of every kind: distributed tables of two co-location groups, reference and unsharded tables.
CREATE TABLE xj_a (id int8 PRIMARY KEY, k int, t text, n numeric, f float8, ts timestamptz);
CREATE TABLE xj_b (id int8, line int, k int, t text, PRIMARY KEY (id, line));
CREATE TABLE xj_c (code text PRIMARY KEY, k int, w numeric);
CREATE TABLE xj_d (id int8 PRIMARY KEY, k int, at date);
CREATE TABLE xj_r (id int PRIMARY KEY, name text);
CREATE TABLE xj_u (id int PRIMARY KEY, k int, t text);
INSERT INTO xj_a VALUES
  (1, 1, 'a', 1.0, 1, '2020-01-01 00:00+00'), (2, 2, '', 1.00, 1.5, '2020-01-01 02:00+02'), (3, 2, 'ä', 'NaN', 'NaN', '2021-06-30 12:00-05'),
  (4, NULL, NULL, NULL, NULL, NULL), (5, -1, 'Z', -2.5, '-Infinity', 'infinity'), (6, 0, 'a', 'Infinity', 'Infinity', '-infinity'),
  (7, 3, '日本', 0.000, 0, '1999-12-31 23:59:59.999999+00'), (8, 3, 'naïve', 0, '-0', '2020-01-01 00:00+00'), (9, 7, 'a ', 1.50, 1e100, NULL),
  (10, NULL, 'z', 12345678901234567890.123, 1e-300, '2024-02-29 00:00+13'), (-1, 1, 'B', -0.1, -1, '2020-01-01 00:00+00'), (-2, 2147483647, 'b', 3, 3, NULL),
  (9223372036854775807, -2147483648, '', 2, 2, '2000-01-01 00:00+00'), (-9223372036854775808, 5, NULL, 7, 7, '2000-01-01 00:00+00');
INSERT INTO xj_b VALUES
  (1, 1, 1, 'a'), (1, 2, 2, 'ä'), (2, 1, NULL, ''), (2, 2, 3, '日本'), (3, 1, 3, NULL), (3, 2, 3, 'a'), (5, 1, -1, 'z'), (5, 2, 0, 'Z'),
  (6, 1, 10, 'naïve'), (7, 1, 7, 'a '), (8, 1, 1, 'a'), (11, 1, 9, 'x'), (12, 1, NULL, NULL), (-1, 1, 1, 'B'), (9223372036854775807, 1, 2, ''), (20, 1, 2, 'q');
INSERT INTO xj_c VALUES
  ('a', 1, 1), ('b', 2, 1.0), ('', 3, 'NaN'), ('ä', NULL, NULL), ('Z', -1, -2.50), ('日本', 7, 0), ('x', 0, 'Infinity'), ('q', 2147483647, 3.000), ('none', 99, 1.5);
INSERT INTO xj_d VALUES (1, 2, '2020-01-01'), (2, 1, '2021-06-30'), (3, NULL, NULL), (4, 3, 'infinity'), (5, 3, '-infinity'), (6, -1, '1999-12-31'), (30, 2, '2020-01-01');
INSERT INTO xj_r VALUES (-1, 'minus'), (0, ''), (1, 'one'), (2, 'zwei'), (3, NULL), (4, 'a'), (8, 'ä');
INSERT INTO xj_u VALUES (1, 1, 'a'), (2, 2, 'ä'), (3, NULL, NULL), (4, 3, ''), (5, 3, '日本'), (6, -1, 'Z'), (7, 100, 'nobody');
-- distribute: SELECT create_distributed_table('xj_a', 'id')
-- distribute: SELECT create_distributed_table('xj_b', 'id')
-- distribute: SELECT create_distributed_table('xj_c', 'code')
-- distribute: SELECT create_distributed_table('xj_d', 'id', colocate_with => 'none')
-- distribute: SELECT create_reference_table('xj_r')
DROP TABLE xj_a, xj_b, xj_c, xj_d, xj_r, xj_u;
-- Conditions that make an outer join an inner one are still tested behind it.
CREATE TABLE outer_far (id int, k int);
CREATE TABLE outer_home (id int, k int);
INSERT INTO outer_home VALUES (3, 6), (4, 7);
-- distribute: SELECT create_distributed_table('outer_far', 'k')
SELECT h.k FROM outer_far f RIGHT JOIN outer_home h ON f.id = h.id WHERE f.k <> 6 ORDER BY 1;
SELECT h.k FROM outer_home h LEFT JOIN outer_far f ON f.id = h.id WHERE f.k IN (6, 7) ORDER BY 1;
SELECT h.k, f.k FROM outer_home h FULL JOIN outer_far f ON f.id = h.id WHERE f.k > 1 AND h.k > 1 ORDER BY 1;
INSERT INTO outer_far VALUES (3, 6), (4, 8);
SELECT h.k, f.k FROM outer_far f RIGHT JOIN outer_home h ON f.id = h.id WHERE f.k <> 6 ORDER BY 1;
SELECT h.k, f.k FROM outer_home h FULL JOIN outer_far f ON f.id = h.id WHERE f.k > 6 ORDER BY 1;
DROP TABLE outer_far, outer_home;
