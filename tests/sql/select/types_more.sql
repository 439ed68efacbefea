-- Columns of every type through joins off the key, groups, sorts and sets.
CREATE TYPE xt_color AS ENUM ('red', 'green', 'blue');
CREATE TYPE xt_point3 AS (x float8, y numeric(5,2), z text[]);
CREATE DOMAIN xt_even AS int CHECK (VALUE % 2 = 0);
CREATE DOMAIN xt_name AS varchar(8) NOT NULL DEFAULT 'none';
CREATE TYPE xt_span AS RANGE (subtype = float8);
CREATE TABLE xt_a (
  id int8 PRIMARY KEY, k int, i2 int2, re float4, nu numeric(10,4), bo bool, ch char(5), vc varchar(6), nm name, one "char", by bytea, dt date, tm time(2), tz timetz, ts timestamp(3), tsz timestamptz(1),
  iv interval day to second, uu uuid, js json, jb jsonb, jp jsonpath, xm xml, b4 bit(4), bv varbit(9), mo money, ip inet, ci cidr, ma macaddr, po point, bx box, li line, ls lseg, pa path, pg polygon, cr circle,
  tv tsvector, tq tsquery, oi oid, lsn pg_lsn, i4r int4range, nr numrange, tr tstzrange, mr int4multirange, dr daterange, ia int[], na numeric(6,2)[], ta text[], va varchar(3)[], ja jsonb[],
  en xt_color, ena xt_color[], co xt_point3, coa xt_point3[], dom xt_even, dn xt_name, sp xt_span);
CREATE TABLE xt_b (code text PRIMARY KEY, k int, w text);
INSERT INTO xt_a (id, k, dn) VALUES (1, 1, 'all null'), (2, 2, '');
INSERT INTO xt_a SELECT i, i % 3, i, i / 3.0, i * 1.25, i % 2 = 0, 'c' || i, 'v' || i, 'n' || i, 'x', decode('00ff0' || i, 'hex'), date '2000-01-01' + i, '12:34:56.789', '12:34:56+02', '2020-01-01 00:00:00.1236', '2020-01-01 00:00:00.16+01',
  i * interval '1 day 01:02:03.456', ('00000000-0000-0000-0000-00000000000' || i)::uuid, '{"a":  1}', '{"b": [1, 2.50]}', '$.a[*]', '<a>ä</a>', B'0101', B'11001', 12.34, '10.0.0.1/24', '10.0.0.0/8', '08:00:2b:01:02:03',
  point(i, 1.5), box(point(0, 0), point(i, i)), line(point(0, 0), point(1, i)), lseg(point(0, 0), point(i, 1)), '[(0,0),(1,1),(2,0)]', '((0,0),(1,1),(2,0))', circle(point(0, 0), i),
  to_tsvector('simple', 'a fat cat ' || i), to_tsquery('simple', 'fat & cat'), i, '16/B374D848', int4range(i, i + 5), numrange(1.5, i), tstzrange('2020-01-01 00:00+00', NULL), int4multirange(int4range(1, 3), int4range(7, 9)), daterange('2020-01-01', 'infinity'),
  ARRAY[i, NULL, -i], ARRAY[1.255, i], ARRAY['ä', NULL, '', 'x"y'], ARRAY['ab', 'c'], ARRAY['{"a": null}', '1']::jsonb[],
  'green', '{red,blue}', ROW('NaN', i, ARRAY['q', NULL])::xt_point3, ARRAY[ROW(1, 2, NULL), NULL]::xt_point3[], i * 2, 'd' || i, xt_span(0.5, i) FROM generate_series(3, 9) i;
INSERT INTO xt_b VALUES ('v3', 0, 'three'), ('v4', 1, NULL), ('x', 2, ''), ('d5', NULL, 'five');
-- distribute: SELECT create_distributed_table('xt_a', 'id')
-- distribute: SELECT create_distributed_table('xt_b', 'code')
-- As they are.
-- Groups and sorts.
-- Aggregates.
-- Joins on them.
-- Collations.
CREATE COLLATION xt_ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE xt_c (id int8 PRIMARY KEY, t text COLLATE xt_ci, d text COLLATE "de-x-icu", c text COLLATE "C", p text COLLATE "POSIX", k int);
INSERT INTO xt_c VALUES (1, 'a', 'ä', 'ä', 'b', 1), (2, 'A', 'b', 'b', 'B', 2), (3, 'B', 'A', 'A', 'ä', 3), (4, NULL, NULL, NULL, NULL, NULL), (5, 'ä', 'z', 'z', 'a', 1), (6, 'b', 'a', 'a', '', 2), (7, 'Ä', 'Z', 'Z', 'A', 3), (8, '', '', '', 'b', 9);
-- distribute: SELECT create_distributed_table('xt_c', 'id')
SELECT a.id, pg_typeof(a.ch), pg_typeof(a.dn), pg_typeof(a.en), pg_typeof(a.co), pg_typeof(b.w), pg_typeof(a.sp), pg_typeof(a.one), pg_typeof(a.nm) FROM xt_a a JOIN xt_b b ON a.k = b.k;
SELECT id, d FROM xt_c ORDER BY d, id;
SELECT id FROM xt_c ORDER BY t, id;
SELECT min(d), max(d), min(c), max(c), min(p), max(p) FROM xt_c;
SELECT count(*), count(DISTINCT t), count(DISTINCT c), count(DISTINCT c COLLATE xt_ci) FROM xt_c;
SELECT lower(min(t)), count(*) FROM xt_c GROUP BY t ORDER BY 1;
SELECT count(*) FROM (SELECT DISTINCT t FROM xt_c) x;
SELECT count(*) FROM (SELECT t FROM xt_c UNION SELECT t FROM xt_c) x;
SELECT x.id, y.id FROM xt_c x JOIN xt_c y ON x.t = y.t;
SELECT id, rank() OVER (ORDER BY d), rank() OVER (ORDER BY c), rank() OVER (ORDER BY t), rank() OVER (PARTITION BY t ORDER BY id) FROM xt_c;
SELECT string_agg(d, ',' ORDER BY d, id), array_agg(c ORDER BY c COLLATE "de-x-icu", id), percentile_disc(0.5) WITHIN GROUP (ORDER BY d) FROM xt_c;
SELECT x.id, y.id FROM xt_c x JOIN xt_c y ON x.d < y.d AND x.k = y.k;
SELECT d FROM xt_c UNION SELECT d FROM xt_c ORDER BY d DESC;
SELECT x.d < y.c FROM xt_c x JOIN xt_c y ON x.k = y.k;
SELECT id, greatest(d, 'm'), d < 'm', d BETWEEN 'a' AND 'b', collation for (d), collation for (t) FROM xt_c ORDER BY id;
DROP TABLE xt_a, xt_b, xt_c;
DROP COLLATION xt_ci;
DROP TYPE xt_span, xt_point3, xt_color;
DROP DOMAIN xt_even, xt_name;
