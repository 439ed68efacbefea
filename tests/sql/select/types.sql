-- Columns of every type through joins off the key, groups, sorts and sets.
CREATE TYPE st_color AS ENUM ('red', 'green', 'blue');
CREATE TYPE st_point3 AS (x float8, y numeric(5,2), z text[]);
CREATE DOMAIN st_even AS int CHECK (VALUE % 2 = 0);
CREATE DOMAIN st_name AS varchar(8) NOT NULL DEFAULT 'none';
CREATE TYPE st_span AS RANGE (subtype = float8);
CREATE TABLE st_a (
  id int8 PRIMARY KEY, k int, i2 int2, re float4, nu numeric(10,4), bo bool, ch char(5), vc varchar(6), nm name, one "char", by bytea, dt date, tm time(2), tz timetz, ts timestamp(3), tsz timestamptz(1),
  iv interval day to second, uu uuid, js json, jb jsonb, jp jsonpath, xm xml, b4 bit(4), bv varbit(9), mo money, ip inet, ci cidr, ma macaddr, po point, bx box, li line, ls lseg, pa path, pg polygon, cr circle,
  tv tsvector, tq tsquery, oi oid, lsn pg_lsn, i4r int4range, nr numrange, tr tstzrange, mr int4multirange, dr daterange, ia int[], na numeric(6,2)[], ta text[], va varchar(3)[], ja jsonb[],
  en st_color, ena st_color[], co st_point3, coa st_point3[], dom st_even, dn st_name, sp st_span);
CREATE TABLE st_b (code text PRIMARY KEY, k int, w text);
INSERT INTO st_a (id, k, dn) VALUES (1, 1, 'all null'), (2, 2, '');
INSERT INTO st_a SELECT i, i % 3, i, i / 3.0, i * 1.25, i % 2 = 0, 'c' || i, 'v' || i, 'n' || i, 'x', decode('00ff0' || i, 'hex'), date '2000-01-01' + i, '12:34:56.789', '12:34:56+02', '2020-01-01 00:00:00.1236', '2020-01-01 00:00:00.16+01',
  i * interval '1 day 01:02:03.456', ('00000000-0000-0000-0000-00000000000' || i)::uuid, '{"a":  1}', '{"b": [1, 2.50]}', '$.a[*]', '<a>ä</a>', B'0101', B'11001', 12.34, '10.0.0.1/24', '10.0.0.0/8', '08:00:2b:01:02:03',
  point(i, 1.5), box(point(0, 0), point(i, i)), line(point(0, 0), point(1, i)), lseg(point(0, 0), point(i, 1)), '[(0,0),(1,1),(2,0)]', '((0,0),(1,1),(2,0))', circle(point(0, 0), i),
  to_tsvector('simple', 'a fat cat ' || i), to_tsquery('simple', 'fat & cat'), i, '16/B374D848', int4range(i, i + 5), numrange(1.5, i), tstzrange('2020-01-01 00:00+00', NULL), int4multirange(int4range(1, 3), int4range(7, 9)), daterange('2020-01-01', 'infinity'),
  ARRAY[i, NULL, -i], ARRAY[1.255, i], ARRAY['ä', NULL, '', 'x"y'], ARRAY['ab', 'c'], ARRAY['{"a": null}', '1']::jsonb[],
  'green', '{red,blue}', ROW('NaN', i, ARRAY['q', NULL])::st_point3, ARRAY[ROW(1, 2, NULL), NULL]::st_point3[], i * 2, 'd' || i, st_span(0.5, i) FROM generate_series(3, 9) i;
INSERT INTO st_b VALUES ('v3', 0, 'three'), ('v4', 1, NULL), ('x', 2, ''), ('d5', NULL, 'five');
-- distribute: SELECT create_distributed_table('st_a', 'id')
-- distribute: SELECT create_distributed_table('st_b', 'code')
-- As they are.
SELECT * FROM st_a ORDER BY id;
SELECT a.*, b.w FROM st_a a LEFT JOIN st_b b ON b.k = a.k ORDER BY a.id;
SELECT x.* FROM (SELECT * FROM st_a ORDER BY id DESC LIMIT 3) x JOIN st_b b ON b.k = x.k;
SELECT a.dn, a.ch, a.vc, b.w FROM st_a a JOIN st_b b ON b.code = a.dn;
WITH x AS MATERIALIZED (SELECT * FROM st_a) SELECT x.* FROM x WHERE id IN (SELECT k + 3 FROM st_b);
SELECT i2, re, nu, bo, ch, vc, nm, one, by FROM st_a UNION ALL SELECT i2, re, nu, bo, ch, vc, nm, one, by FROM st_a WHERE id = 5;
SELECT dt, tm, tz, ts, tsz, iv, uu FROM st_a UNION SELECT dt, tm, tz, ts, tsz, iv, uu FROM st_a;
SELECT jb, b4, bv, mo, ip, ci, ma, lsn, oi FROM st_a UNION SELECT jb, b4, bv, mo, ip, ci, ma, lsn, oi FROM st_a WHERE id > 5;
SELECT i4r, nr, tr, mr, dr, ia, na, ta, va, ja FROM st_a EXCEPT SELECT i4r, nr, tr, mr, dr, ia, na, ta, va, ja FROM st_a WHERE id > 5;
SELECT en, ena, co, coa, dom, dn, sp, tv, tq FROM st_a INTERSECT SELECT en, ena, co, coa, dom, dn, sp, tv, tq FROM st_a WHERE id > 5;
SELECT js, xm::text, po, bx, li, ls, pa, pg, cr, jp FROM st_a UNION ALL SELECT js, xm::text, po, bx, li, ls, pa, pg, cr, jp FROM st_a WHERE id = 4;
-- Groups and sorts.
SELECT ch, count(*) FROM st_a GROUP BY ch ORDER BY ch;
SELECT vc, nm, one, count(*) FROM st_a GROUP BY vc, nm, one ORDER BY vc DESC, nm, one;
SELECT re, nu, count(*) FROM st_a GROUP BY re, nu ORDER BY re, nu;
SELECT tm, tz, ts, tsz, count(*) FROM st_a GROUP BY tm, tz, ts, tsz ORDER BY tm, tz, ts, tsz;
SELECT iv, count(*) FROM st_a GROUP BY iv ORDER BY iv DESC;
SELECT mo, ma, ci, lsn, count(*) FROM st_a GROUP BY mo, ma, ci, lsn ORDER BY mo, ma, ci, lsn;
SELECT b4, bv, by, count(*) FROM st_a GROUP BY b4, bv, by ORDER BY by NULLS FIRST;
SELECT jb, tv, count(*) FROM st_a GROUP BY jb, tv ORDER BY tv, jb;
SELECT i4r, sp, mr, count(*) FROM st_a GROUP BY i4r, sp, mr ORDER BY i4r, sp, mr;
SELECT ena, co, dom, dn, count(*) FROM st_a GROUP BY ena, co, dom, dn ORDER BY dn;
SELECT ia, na, va, count(*) FROM st_a GROUP BY ia, na, va ORDER BY ia DESC;
SELECT DISTINCT coa, en, oi FROM st_a ORDER BY oi, en;
SELECT id FROM st_a ORDER BY uu DESC NULLS LAST, id;
SELECT id FROM st_a ORDER BY co DESC NULLS LAST, en, id LIMIT 4;
SELECT id FROM st_a ORDER BY bo, area(cr), id DESC;
SELECT id FROM st_a ORDER BY po <-> point(5, 5), id;
-- Aggregates.
SELECT min(ch), max(vc), min(nm::text), min(re), max(nu), sum(mo), max(mo), sum(iv), avg(iv), min(tm), max(tz), max(ts), min(tsz), max(en), min(ip), max(i4r::text), sum(i2), avg(re), sum(dom), max(dn), min(oi), max(lsn) FROM st_a;
SELECT count(DISTINCT ch), count(DISTINCT nu), count(DISTINCT jb), count(DISTINCT co), count(DISTINCT iv), count(DISTINCT po::text), count(DISTINCT ia), count(DISTINCT by), count(DISTINCT mo), count(DISTINCT en), count(DISTINCT dom) FROM st_a;
SELECT array_agg(nu ORDER BY id), array_agg(ch ORDER BY id), array_agg(tsz ORDER BY id), array_agg(po ORDER BY id), array_agg(co ORDER BY id), array_agg(en ORDER BY id), array_agg(ia ORDER BY id) FILTER (WHERE ia IS NOT NULL) FROM st_a;
SELECT k, range_agg(i4r), min(ta), max(na), string_agg(vc, '' ORDER BY id), json_agg(co ORDER BY id), bit_or(b4), max(ia) FROM st_a GROUP BY k ORDER BY k;
SELECT json_agg(row_to_json(x) ORDER BY x.id) FROM (SELECT id, re, nu, by, ts, iv, jb, ta, co, en, sp FROM st_a) x;
SELECT id, lag(co) OVER (ORDER BY id), first_value(nu) OVER (PARTITION BY k ORDER BY id), max(ch) OVER (PARTITION BY k), lead(po) OVER (ORDER BY id), sum(mo) OVER (ORDER BY id), nth_value(jb, 2) OVER (ORDER BY id) FROM st_a;
SELECT id, sum(nu) OVER (ORDER BY iv RANGE BETWEEN '1 day' PRECEDING AND CURRENT ROW) FROM st_a;
-- Joins on them.
SELECT a.id, b.id FROM st_a a JOIN st_a b ON a.ch = b.ch AND a.nu = b.nu AND a.tsz = b.tsz AND a.jb = b.jb AND a.id <> b.id + 1;
SELECT a.id, b.id FROM st_a a JOIN st_a b ON a.i4r && b.i4r AND a.id < b.id;
SELECT a.id, b.id FROM st_a a LEFT JOIN st_a b ON a.ip >>= b.ip AND a.co = b.co AND a.en = b.en;
SELECT a.id, b.id FROM st_a a JOIN st_a b ON a.ia @> b.ia AND a.id = ANY (b.ia);
SELECT a.id, b.id FROM st_a a JOIN st_a b ON a.tv @@ b.tq WHERE b.id = 4;
SELECT a.id, b.id FROM st_a a JOIN st_a b ON a.cr @> b.po;
SELECT a.id, b.code FROM st_a a JOIN st_b b ON b.code = a.vc;
SELECT a.id, b.code FROM st_a a JOIN st_b b ON b.code = a.nm OR b.code = a.dn OR b.code = a.one;
SELECT a.id, b.w FROM st_a a LEFT JOIN st_b b ON a.ch = b.code || '  ';
SELECT a.id, length(a.ch), a.ch || '|', a.vc || '|', octet_length(a.ch), a.ch = 'c3', a.nm || 'x', a.one::text || 'y' FROM st_a a JOIN st_b b ON a.k = b.k;
SELECT a.id, (a.co).x, (a.co).y, ((a.co).z)[1], (a.coa[1]).y, a.na[1], a.ja[1] -> 'a', a.sp @> 2.0::float8, upper(a.sp), a.en > 'red', a.dom + 1, a.mo * 2, a.ip + 1, masklen(a.ip), a.iv / 2, a.tsz - '2000-01-01 00:00+00', a.ts::date, a.tm + '1 hour' FROM st_a a JOIN st_b b ON a.k = b.k;
SELECT a.id, (SELECT b.w FROM st_b b WHERE b.code = a.vc), (SELECT max(x.nu) FROM st_a x WHERE x.k = a.k), ARRAY(SELECT x.en FROM st_a x WHERE x.k = a.k ORDER BY x.id), (SELECT x.co FROM st_a x WHERE x.nu > a.nu ORDER BY x.nu LIMIT 1) FROM st_a a;
-- Collations.
CREATE COLLATION st_ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE st_c (id int8 PRIMARY KEY, t text COLLATE st_ci, d text COLLATE "de-x-icu", c text COLLATE "C", p text COLLATE "POSIX", k int);
INSERT INTO st_c VALUES (1, 'a', 'ä', 'ä', 'b', 1), (2, 'A', 'b', 'b', 'B', 2), (3, 'B', 'A', 'A', 'ä', 3), (4, NULL, NULL, NULL, NULL, NULL), (5, 'ä', 'z', 'z', 'a', 1), (6, 'b', 'a', 'a', '', 2), (7, 'Ä', 'Z', 'Z', 'A', 3), (8, '', '', '', 'b', 9);
-- distribute: SELECT create_distributed_table('st_c', 'id')
SELECT id, c FROM st_c ORDER BY c DESC, id LIMIT 3;
SELECT id, c FROM st_c ORDER BY c COLLATE "de-x-icu", id;
SELECT min(c COLLATE "de-x-icu"), max(c COLLATE "de-x-icu") FROM st_c;
SELECT x.id, y.id FROM st_c x JOIN st_c y ON x.c = y.c COLLATE st_ci AND x.id < y.id;
SELECT id FROM st_c WHERE t = 'A' ORDER BY id;
SELECT id FROM st_c WHERE d > 'b' ORDER BY id;
SELECT d FROM st_c UNION SELECT c FROM st_c ORDER BY 1;
DROP TABLE st_a, st_b, st_c;
DROP COLLATION st_ci;
DROP TYPE st_span, st_point3, st_color;
DROP DOMAIN st_even, st_name;
