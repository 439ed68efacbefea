-- ORDER BY, LIMIT, OFFSET and FETCH over shards.
CREATE TABLE sl_a (id int8 PRIMARY KEY, k int, t text, c char(4), n numeric, f float8, d date, ts timestamptz, b bool, iv interval, u uuid, a int[]);
CREATE TABLE sl_b (code text PRIMARY KEY, k int, w numeric);
CREATE TABLE sl_r (id int PRIMARY KEY, name text);
CREATE TABLE sl_u (id int PRIMARY KEY, k int, t text);
INSERT INTO sl_a VALUES
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
INSERT INTO sl_b VALUES ('a', 1, 1), ('b', 2, 1.5), ('', 3, 'NaN'), ('ä', NULL, NULL), ('Z', -1, -2.50), ('日本', 7, 0), ('x', 0, 'Infinity');
INSERT INTO sl_r VALUES (-1, 'minus'), (0, ''), (1, 'one'), (2, 'zwei'), (3, NULL), (8, 'ä');
INSERT INTO sl_u VALUES (1, 1, 'a'), (2, 2, 'ä'), (3, NULL, NULL), (4, 3, ''), (5, 3, '日本');
-- distribute: SELECT create_distributed_table('sl_a', 'id')
-- distribute: SELECT create_distributed_table('sl_b', 'code')
-- distribute: SELECT create_reference_table('sl_r')
-- Orders of every type.
SELECT id, k FROM sl_a ORDER BY k, id;
SELECT id, k FROM sl_a ORDER BY k DESC, id DESC;
SELECT id, k FROM sl_a ORDER BY k ASC NULLS FIRST, id;
SELECT id, k FROM sl_a ORDER BY k DESC NULLS LAST, id;
SELECT id, t FROM sl_a ORDER BY t, id;
SELECT id, t FROM sl_a ORDER BY t COLLATE "C" DESC NULLS LAST, id;
SELECT id, t FROM sl_a ORDER BY t COLLATE "POSIX", id LIMIT 5;
SELECT id, t FROM sl_a ORDER BY t COLLATE "C.utf8" DESC, id LIMIT 5;
SELECT id, c FROM sl_a ORDER BY c, id;
SELECT id, n FROM sl_a ORDER BY n, id;
SELECT id, n FROM sl_a ORDER BY n DESC, id LIMIT 6;
SELECT id, f FROM sl_a ORDER BY f, id;
SELECT id, f FROM sl_a ORDER BY f DESC NULLS LAST, id LIMIT 6;
SELECT id, d FROM sl_a ORDER BY d, id;
SELECT id, ts FROM sl_a ORDER BY ts DESC, id;
SELECT id, b FROM sl_a ORDER BY b, id DESC;
SELECT id, iv FROM sl_a ORDER BY iv, id;
SELECT id, u FROM sl_a ORDER BY u DESC, id;
SELECT id, a FROM sl_a ORDER BY a, id;
SELECT id FROM sl_a ORDER BY k USING <, id USING >;
SELECT id FROM sl_a ORDER BY k USING > NULLS LAST, id;
SELECT id, t FROM sl_a ORDER BY t USING ~>~, id;
-- By position, by alias, by expression, by what is not shown.
SELECT k, id FROM sl_a ORDER BY 1, 2;
SELECT k, id FROM sl_a ORDER BY 2 DESC LIMIT 3;
SELECT k AS x, id AS y FROM sl_a ORDER BY x NULLS FIRST, y LIMIT 4;
SELECT -k AS k, id FROM sl_a ORDER BY k, id;
SELECT -k AS k, id FROM sl_a ORDER BY k + 0, id;
SELECT id FROM sl_a ORDER BY abs(k) DESC NULLS LAST, length(t), id;
SELECT id FROM sl_a ORDER BY t IS NULL, lower(t), id;
SELECT t FROM sl_a ORDER BY ts, id;
SELECT t FROM sl_a ORDER BY k * 2 - id, id LIMIT 4;
SELECT id FROM sl_a ORDER BY CASE WHEN k = 2 THEN 0 WHEN k IS NULL THEN 1 ELSE 2 END, id;
SELECT * FROM sl_a ORDER BY k, id LIMIT 2;
SELECT id, id FROM sl_a ORDER BY id LIMIT 2;
SELECT id FROM sl_a ORDER BY 'x'::text, id LIMIT 2;
SELECT k, count(*) FROM sl_a GROUP BY k ORDER BY count(*) DESC, k LIMIT 2;
SELECT k FROM sl_a GROUP BY k ORDER BY max(n) DESC NULLS LAST, k;
SELECT sum(k) FROM sl_a GROUP BY b ORDER BY b;
SELECT DISTINCT k FROM sl_a ORDER BY k DESC LIMIT 3;
SELECT DISTINCT t, length(t) FROM sl_a ORDER BY length(t) DESC, t LIMIT 4;
-- LIMIT and OFFSET.
SELECT id FROM sl_a ORDER BY id LIMIT 0;
SELECT id FROM sl_a ORDER BY id LIMIT 100;
SELECT id FROM sl_a ORDER BY id LIMIT ALL OFFSET 9;
SELECT id FROM sl_a ORDER BY id LIMIT NULL OFFSET NULL;
SELECT id FROM sl_a ORDER BY id OFFSET 100;
SELECT id FROM sl_a ORDER BY id OFFSET 3 ROWS FETCH NEXT 2 ROWS ONLY;
SELECT id FROM sl_a ORDER BY id FETCH FIRST ROW ONLY;
SELECT id FROM sl_a ORDER BY id LIMIT 1 + 2 OFFSET 2 * 2;
SELECT id FROM sl_a ORDER BY id LIMIT '3';
SELECT id FROM sl_a ORDER BY id LIMIT 2.5;
SELECT count(*) FROM sl_a LIMIT 1;
SELECT count(*) FROM sl_a OFFSET 1;
SELECT count(*) FROM sl_a LIMIT 0;
SELECT k FROM sl_a ORDER BY k FETCH FIRST 2 ROWS WITH TIES;
-- unordered
SELECT k, t FROM sl_a ORDER BY k DESC NULLS LAST FETCH FIRST 3 ROWS WITH TIES;
-- unordered
SELECT k FROM sl_a ORDER BY k OFFSET 2 FETCH NEXT 4 ROWS WITH TIES;
SELECT k FROM sl_a ORDER BY k FETCH FIRST 0 ROWS WITH TIES;
-- unordered
SELECT id FROM sl_a ORDER BY b FETCH FIRST 1 ROW WITH TIES;
SELECT k, count(*) FROM sl_a GROUP BY k ORDER BY count(*) DESC, k FETCH FIRST 2 ROWS WITH TIES;
-- Parameters.
-- params: 3::int8, 2::int8
-- params: 0::int8, 0::int8
-- params: NULL::int8, 8::int8
-- params: 100::int8, NULL::int8
SELECT id FROM sl_a ORDER BY id LIMIT $1 OFFSET $2;
-- params: 3
SELECT id FROM sl_a ORDER BY id DESC FETCH FIRST $1 ROWS ONLY;
-- params: 2
SELECT k FROM sl_a ORDER BY k FETCH FIRST ($1) ROWS WITH TIES;
-- params: 2
-- params: NULL::int4
SELECT id FROM sl_a ORDER BY k = $1, id LIMIT 5;
-- params: -1::int8
SELECT id FROM sl_a ORDER BY id LIMIT $1;
-- In subqueries.
SELECT count(*), sum(id) FROM (SELECT id FROM sl_a ORDER BY id LIMIT 5) x;
SELECT * FROM (SELECT id, k FROM sl_a ORDER BY id DESC LIMIT 5) x ORDER BY k, id;
SELECT * FROM (SELECT id, k FROM sl_a ORDER BY k, id LIMIT 6 OFFSET 1) x WHERE k > 0;
SELECT x.id, b.code FROM (SELECT id, k FROM sl_a ORDER BY id LIMIT 4) x LEFT JOIN sl_b b ON b.k = x.k;
SELECT x.id, y.code FROM (SELECT id, k FROM sl_a ORDER BY id LIMIT 6) x JOIN (SELECT code, k FROM sl_b ORDER BY code DESC LIMIT 4) y USING (k);
SELECT id FROM sl_a WHERE id IN (SELECT k FROM sl_a WHERE k IS NOT NULL ORDER BY k DESC LIMIT 3);
SELECT id FROM sl_a WHERE n >= (SELECT w FROM sl_b WHERE w IS NOT NULL ORDER BY w OFFSET 1 LIMIT 1) ORDER BY id;
SELECT id, (SELECT code FROM sl_b b WHERE b.k <= a.k ORDER BY b.k DESC, b.code LIMIT 1) FROM sl_a a ORDER BY id;
SELECT r.id, l.id FROM sl_r r LEFT JOIN LATERAL (SELECT id FROM sl_a a WHERE a.k = r.id ORDER BY id LIMIT 2) l ON true ORDER BY 1, 2;
SELECT u.id, l.id FROM sl_u u, LATERAL (SELECT id FROM sl_a a WHERE a.k >= u.k ORDER BY k, id FETCH FIRST 1 ROW WITH TIES) l;
SELECT * FROM (SELECT * FROM (SELECT id, k FROM sl_a ORDER BY id LIMIT 8) x ORDER BY k DESC NULLS LAST, id LIMIT 4) y ORDER BY id LIMIT 2;
SELECT count(*) FROM (SELECT 1 FROM sl_a LIMIT 7) x;
SELECT count(*) FROM (SELECT 1 FROM sl_a OFFSET 10) x;
SELECT EXISTS (SELECT 1 FROM sl_a LIMIT 0), EXISTS (SELECT 1 FROM sl_a OFFSET 100), EXISTS (SELECT 1 FROM sl_a LIMIT 1);
SELECT a.id FROM sl_a a JOIN sl_b b ON a.k = b.k ORDER BY b.w DESC NULLS LAST, a.id LIMIT 3;
SELECT r.name, a.id FROM sl_r r JOIN sl_a a ON a.k = r.id ORDER BY r.name NULLS FIRST, a.id LIMIT 4 OFFSET 1;
-- Any rows, but so many.
-- any-values
SELECT id FROM sl_a LIMIT 5;
-- any-values
SELECT id FROM sl_a OFFSET 4 LIMIT 5;
-- any-values
SELECT a.id FROM sl_a a CROSS JOIN sl_b LIMIT 20;
-- What is wrong is wrong.
SELECT id FROM sl_a ORDER BY id LIMIT -1;
SELECT id FROM sl_a ORDER BY id OFFSET -1;
SELECT id FROM sl_a ORDER BY 3;
SELECT id FROM sl_a ORDER BY nothing;
SELECT id FROM sl_a LIMIT k;
SELECT id FROM sl_a LIMIT 'x';
SELECT id FROM sl_a FETCH FIRST 2 ROWS WITH TIES;
SELECT DISTINCT k FROM sl_a ORDER BY id;
SELECT id FROM sl_a ORDER BY t COLLATE "nowhere";
SELECT id FROM sl_a ORDER BY point(1, 2);
DROP TABLE sl_a, sl_b, sl_r, sl_u;
