-- Groups of every kind over shards: grouping sets, DISTINCT and ordered aggregates, statistics, JSON, DISTINCT ON.
CREATE TABLE xg_a (id int8 PRIMARY KEY, k int, t text, n numeric(12,3), f float8, b bool, ts timestamptz, bits bit(4), ip inet);
CREATE TABLE xg_b (code text PRIMARY KEY, k int, j jsonb);
CREATE TABLE xg_r (id int PRIMARY KEY, name text);
CREATE TABLE xg_u (id int PRIMARY KEY, k int, t text);
INSERT INTO xg_a VALUES
  (1, 1, 'a', 1.0, 1, true, '2020-01-01 00:00+00', '0001', '10.0.0.1'), (2, 2, '', 1.125, 1.5, false, '2020-01-01 02:00+02', '0011', '10.0.0.2'),
  (3, 2, 'ä', 7, 2, NULL, '2021-06-30 12:00-05', '0111', '::1'), (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (5, -1, 'Z', -2.5, -8, true, 'infinity', '1111', '10.0.0.0/8'), (6, 0, 'a', 1.0, 4, true, '-infinity', '0001', '10.0.0.1'),
  (7, 3, '日本', 0, 0, false, '1999-12-31 23:59:59+00', '1000', '192.168.0.1'), (8, 3, 'naïve', 0, 16, false, '2020-01-01 00:00+00', '1010', NULL),
  (9, 1, 'b', 1.5, 32, true, NULL, '1100', '10.0.0.1'), (10, NULL, 'z', 123456789.123, 64, true, '2024-02-29 00:00+13', '0101', '10.0.0.3'),
  (11, 1, 'B', -0.125, -1, NULL, '2020-01-01 00:00+00', '0110', '10.0.0.4'), (12, 2, 'b', 3, 3, false, NULL, NULL, '10.0.0.4'),
  (13, 2, 'a', 1.125, 1.5, true, '2020-01-01 00:00+00', '0001', '10.0.0.1'), (14, 1, '', 7, 0.5, false, '2020-01-02 00:00+00', '0001', '10.0.0.1'),
  (15, 3, NULL, 0, 2, false, '2020-01-03 00:00+00', '0000', '10.0.0.5'), (-3, 0, 'a', 8, 128, NULL, '2020-01-03 00:00+00', '0000', '10.0.0.5');
INSERT INTO xg_b VALUES ('a', 1, '{"x": 1}'), ('b', 2, '[1, 2]'), ('', 3, 'null'), ('ä', NULL, NULL), ('Z', -1, '"s"'), ('日本', 2, '{"y": {"z": null}}'), ('x', 0, '1.50');
INSERT INTO xg_r VALUES (-1, 'minus'), (0, ''), (1, 'one'), (2, 'zwei'), (3, NULL), (8, 'ä');
INSERT INTO xg_u VALUES (1, 1, 'a'), (2, 2, 'ä'), (3, NULL, NULL), (4, 3, ''), (5, 3, '日本');
-- distribute: SELECT create_distributed_table('xg_a', 'id')
-- distribute: SELECT create_distributed_table('xg_b', 'code')
-- distribute: SELECT create_reference_table('xg_r')
SELECT count(DISTINCT (k, t)) FROM xg_a;
SELECT (k, b), count(*) FROM xg_a GROUP BY (k, b) ORDER BY 1;
SELECT xmlagg(xmlelement(name x, id) ORDER BY id)::text FROM xg_a;
DROP TABLE xg_a, xg_b, xg_r, xg_u;
