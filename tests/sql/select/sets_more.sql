-- UNION, INTERSECT and EXCEPT of anything.
CREATE TABLE xs_a (id int8 PRIMARY KEY, k int, t text, n numeric, f float8, ts timestamptz);
CREATE TABLE xs_b (id int8, line int, k int, t varchar(10), PRIMARY KEY (id, line));
CREATE TABLE xs_c (code text PRIMARY KEY, k int2, w numeric(6,2));
CREATE TABLE xs_r (id int PRIMARY KEY, name text);
CREATE TABLE xs_u (id int PRIMARY KEY, k int, t text);
INSERT INTO xs_a VALUES
  (1, 1, 'a', 1.5, 1.5, '2020-01-01 00:00+00'), (2, 2, '', 2, 2, '2020-01-01 02:00+02'), (3, 2, 'ä', 'NaN', 'NaN', '2021-06-30 12:00-05'), (4, NULL, NULL, NULL, NULL, NULL),
  (5, -1, 'Z', -2.5, '-Infinity', 'infinity'), (6, 0, 'a', 'Infinity', 'Infinity', '-infinity'), (7, 3, '日本', 0, 0, '1999-12-31 23:59:59+00'), (8, 3, 'naïve', 40, 40, '2020-01-01 00:00+00'),
  (9, 7, 'b', 1.25, 1e100, NULL), (10, NULL, 'z', 12345678901234567890.123, 0.5, '2024-02-29 00:00+13'), (-1, 1, 'B', -0.1, -1, '2020-01-01 00:00+00'), (-2, 5, 'b', 3, 3, NULL);
INSERT INTO xs_b VALUES (1, 1, 1, 'a'), (1, 2, 2, 'ä'), (2, 1, NULL, ''), (2, 2, 3, '日本'), (3, 1, 3, NULL), (3, 2, 3, 'a'), (5, 1, -1, 'z'), (5, 2, 0, 'Z'), (6, 1, 10, 'naïve'), (20, 1, 2, 'q');
INSERT INTO xs_c VALUES ('a', 1, 1), ('b', 2, 1.5), ('', 3, 0), ('ä', NULL, NULL), ('Z', -1, -2.5), ('日本', 7, 40), ('x', 0, 'NaN');
INSERT INTO xs_r VALUES (-1, 'minus'), (0, ''), (1, 'one'), (2, 'zwei'), (3, NULL), (4, 'a'), (8, 'ä');
INSERT INTO xs_u VALUES (1, 1, 'a'), (2, 2, 'ä'), (3, NULL, NULL), (4, 3, ''), (5, 3, '日本'), (6, -1, 'Z'), (7, 100, 'nobody');
-- distribute: SELECT create_distributed_table('xs_a', 'id')
-- distribute: SELECT create_distributed_table('xs_b', 'id')
-- distribute: SELECT create_distributed_table('xs_c', 'code')
-- distribute: SELECT create_reference_table('xs_r')
SELECT (k, t) FROM xs_a UNION SELECT (k::int, code) FROM xs_c;
SELECT json_build_object('k', k)::jsonb FROM xs_a UNION SELECT '{"k": 1}' FROM xs_c;
DROP TABLE xs_a, xs_b, xs_c, xs_r, xs_u;
