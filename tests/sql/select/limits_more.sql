-- ORDER BY, LIMIT, OFFSET and FETCH over shards.
CREATE TABLE xl_a (id int8 PRIMARY KEY, k int, t text, c char(4), n numeric, f float8, d date, ts timestamptz, b bool, iv interval, u uuid, a int[]);
CREATE TABLE xl_b (code text PRIMARY KEY, k int, w numeric);
CREATE TABLE xl_r (id int PRIMARY KEY, name text);
CREATE TABLE xl_u (id int PRIMARY KEY, k int, t text);
INSERT INTO xl_a VALUES
  (1, 1, 'a', 'a', 1.0, 1, '2020-01-01', '2020-01-01 00:00+00', true, '1 day', '00000000-0000-0000-0000-000000000001', '{1,2}'),
  (2, 2, '', '', 1.00, 1.5, '2020-01-02', '2020-01-01 02:00+02', false, '24 hours', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '{}'),
  (3, 2, 'ä', 'ä', 'NaN', 'NaN', 'infinity', '2021-06-30 12:00-05', NULL, '1 month', NULL, '{NULL}'),
  (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (5, -1, 'Z', 'Z', -2.5, '-Infinity', '-infinity', 'infinity', true, '-1 day', '80000000-0000-0000-0000-000000000000', '{1}'),
  (6, 0, 'a', 'a ', 'Infinity', 'Infinity', '2020-02-29', '-infinity', true, '30 days', 'a0000000-0000-0000-0000-000000000001', '{2,1}'),
  (7, 3, '日本', '日本', 0.000, 0, '2020-03-01', '1999-12-31 23:59:59+00', false, '0', 'a0000000-0000-0000-0000-000000000002', '{1,2,3}'),
  (8, 3, 'naïve', 'naï', 0, '-0', '2020-01-10', '2020-01-01 00:00+00', false, '1 year', '00000000-0000-0000-0000-00000000000a', '{-1}'),
  (9, 1, 'b', 'b', 1.5, 32, '2020-01-05', NULL, true, '00:00:01', NULL, '{{1,2},{3,4}}'),
  (10, NULL, 'z', 'z', 12345678901234567890.123, 64, '2024-02-29', '2024-02-29 00:00+13', true, '2 days', NULL, '{1,2}'),
  (11, 1, 'B', 'B', '-Infinity', -1, '2020-01-03', '2020-01-01 00:00+00', NULL, '3 days', NULL, NULL),
  (12, 2, 'a b', 'a b', 3, 3, NULL, NULL, false, NULL, '00000000-0000-0000-0000-000000000001', '{1}'),
  (-3, 0, E'a\t', 'a', 8, 1e-300, '2020-01-01', '2020-01-03 00:00+00', NULL, '7 days', NULL, '{0}');
INSERT INTO xl_b VALUES ('a', 1, 1), ('b', 2, 1.5), ('', 3, 'NaN'), ('ä', NULL, NULL), ('Z', -1, -2.50), ('日本', 7, 0), ('x', 0, 'Infinity');
INSERT INTO xl_r VALUES (-1, 'minus'), (0, ''), (1, 'one'), (2, 'zwei'), (3, NULL), (8, 'ä');
INSERT INTO xl_u VALUES (1, 1, 'a'), (2, 2, 'ä'), (3, NULL, NULL), (4, 3, ''), (5, 3, '日本');
-- distribute: SELECT create_distributed_table('xl_a', 'id')
-- distribute: SELECT create_distributed_table('xl_b', 'code')
-- distribute: SELECT create_reference_table('xl_r')
SELECT id FROM xl_a ORDER BY (k, n), id;
SELECT id FROM xl_a ORDER BY id LIMIT 9223372036854775807 OFFSET 11;
DROP TABLE xl_a, xl_b, xl_r, xl_u;
