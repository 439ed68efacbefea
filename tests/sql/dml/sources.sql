-- UPDATE and DELETE of distributed tables that read tables of other kinds; INSERT ... SELECT with ON CONFLICT and RETURNING.
CREATE TABLE so (id int8 PRIMARY KEY, k int, t text, n numeric(10, 3), at timestamptz, b bytea, tags text[]);
CREATE TABLE so_item (id int8, line int, q int, PRIMARY KEY (id, line));
CREATE TABLE so_code (code text PRIMARY KEY, k int, ch char(5), m jsonb);
CREATE TABLE so_home (k int, w text, d date);
CREATE TABLE so_ref (k int PRIMARY KEY, r text);
INSERT INTO so SELECT i, i % 7, 'row ' || i, i * 1.125, '2020-01-01'::timestamptz + i * interval '1 hour', decode(lpad(to_hex(i), 4, '0'), 'hex'), ARRAY['x' || i, NULL, '"q"'] FROM generate_series(1, 70) i;
INSERT INTO so_item SELECT i, j, i + j FROM generate_series(1, 70) i, generate_series(1, 2) j;
INSERT INTO so_code SELECT 'c' || i, i % 9, 'ch' || i, jsonb_build_object('i', i) FROM generate_series(1, 20) i;
INSERT INTO so_home VALUES (0, 'zero', '2020-02-02'), (1, 'one ''quoted'' \ {x}', NULL), (2, NULL, '2021-01-01'), (NULL, 'null', 'infinity');
INSERT INTO so_ref VALUES (1, 'ref one'), (3, 'ref three');
-- distribute: SELECT create_distributed_table('so', 'id')
-- distribute: SELECT create_distributed_table('so_item', 'id', colocate_with => 'so')
-- distribute: SELECT create_distributed_table('so_code', 'code')
-- distribute: SELECT create_reference_table('so_ref')
UPDATE so SET t = h.w FROM so_home h WHERE h.k = so.k;
SELECT id, t FROM so WHERE k < 3 ORDER BY id;
UPDATE so SET n = n + 1, at = h.d FROM so_home AS h (kk, ww, d) WHERE h.kk = so.k AND h.d IS NOT NULL;
SELECT id, n, at FROM so WHERE k < 3 ORDER BY id;
UPDATE so AS s SET t = s.t || c.ch || c.m FROM so_code c WHERE c.k = s.k AND c.code > 'c10' AND c.code < 'c17';
SELECT id, t FROM so ORDER BY id;
UPDATE so SET k = 100 WHERE k IN (SELECT k FROM so_home WHERE w IS NOT NULL);
SELECT k, count(*) FROM so GROUP BY k ORDER BY k;
UPDATE so SET k = (SELECT max(k) FROM so_code) WHERE k = 100;
UPDATE so SET n = (SELECT count(*) FROM so_home h WHERE h.k < so.k) WHERE id < 20;
SELECT id, k, n FROM so ORDER BY id;
UPDATE so SET t = 'pinned' FROM so_home h WHERE h.k = 1 AND so.id = 5 RETURNING so.id, h.w, so.t, so.b, so.tags;
UPDATE so SET t = 'joined' FROM so_item i, so_home h WHERE i.id = so.id AND h.k = i.line AND so.id BETWEEN 10 AND 14 RETURNING so.id;
UPDATE so SET t = 'both' FROM so_code c JOIN so_ref r ON r.k = c.k WHERE c.k = so.id;
SELECT id, t FROM so WHERE t = 'both' ORDER BY id;
UPDATE so SET t = o.t FROM so o WHERE o.id = so.id + 1 AND so.id < 4;
SELECT id, t FROM so WHERE id < 6 ORDER BY id;
UPDATE so SET n = x.total FROM (SELECT k, sum(q) AS total FROM so_item JOIN so_code ON so_code.k = so_item.line GROUP BY k) AS x WHERE x.k = so.id;
SELECT id, n FROM so WHERE id < 10 ORDER BY id;
WITH best AS (SELECT k, max(code) AS code FROM so_code GROUP BY k) UPDATE so SET t = best.code FROM best WHERE best.k = so.k;
SELECT id, t FROM so ORDER BY id;
WITH own AS (SELECT avg(n) AS mean FROM so) UPDATE so SET n = n - mean FROM own;
SELECT count(*), round(sum(n), 6) FROM so;
UPDATE so SET t = 'left' FROM so_home h LEFT JOIN so_item i ON i.id = h.k WHERE so.id = coalesce(h.k, 3);
SELECT id FROM so WHERE t = 'left' ORDER BY id;
-- params: 3, 'three'
-- params: NULL, 'none'
UPDATE so SET t = $2 FROM so_home h WHERE h.k < $1::int AND so.id = $1;
SELECT id, t FROM so WHERE id < 5 ORDER BY id;
DELETE FROM so USING so_home h WHERE h.k = so.id;
DELETE FROM so WHERE NOT EXISTS (SELECT FROM so_code c WHERE c.k = so.k) AND id > 60;
DELETE FROM so WHERE id IN (SELECT k + 10 FROM so_code) RETURNING id, t;
DELETE FROM so_item WHERE line = 2 AND id NOT IN (SELECT id FROM so WHERE id % 2 = 0);
SELECT count(*), sum(id) FROM so;
SELECT count(*), sum(id) FROM so_item;
DELETE FROM so_item USING so_ref r, so_home h WHERE r.k = so_item.id AND h.k = r.k RETURNING *;
DELETE FROM public.so USING public.so_home WHERE public.so_home.k = public.so.k AND public.so.id > 50;
SELECT count(*) FROM so;
UPDATE so SET t = h.nope FROM so_home h;
UPDATE so SET n = 1 / (h.k - h.k) FROM so_home h WHERE h.k = 1;
CREATE TEMP TABLE so_tmp AS SELECT 22 AS id, 'from temp' AS t UNION ALL SELECT 23, 'as well';
UPDATE so SET t = so_tmp.t FROM so_tmp WHERE so_tmp.id = so.id;
SELECT id, t FROM so WHERE id IN (22, 23) ORDER BY id;
INSERT INTO so (id, t) SELECT id + 1000, t FROM so_tmp;
DELETE FROM so WHERE id IN (SELECT id + 1000 FROM so_tmp);
DROP TABLE so_tmp;
BEGIN;
UPDATE so SET t = h.w FROM so_home h WHERE h.k = 1;
SELECT DISTINCT t FROM so;
ROLLBACK;
BEGIN READ ONLY;
UPDATE so SET t = h.w FROM so_home h WHERE h.k = 1;
ROLLBACK;
-- INSERT ... SELECT between shards.
CREATE TABLE so_copy (k int PRIMARY KEY, total numeric DEFAULT 5, note text DEFAULT 'none', seq serial);
-- distribute: SELECT create_distributed_table('so_copy', 'k', colocate_with => 'none')
INSERT INTO so_copy (k, total) SELECT line, sum(q) FROM so_item GROUP BY line;
INSERT INTO so_copy (k, total) SELECT id, q FROM so_item WHERE line = 1 AND id < 12 ON CONFLICT (k) DO UPDATE SET total = excluded.total + so_copy.total, note = 'updated';
SELECT k, total, note FROM so_copy ORDER BY k;
INSERT INTO so_copy AS c (k, note) SELECT id % 20, min(t) FROM so GROUP BY 1 ON CONFLICT (k) DO NOTHING;
SELECT k, total, note FROM so_copy ORDER BY k;
INSERT INTO so_copy AS c (k, note) SELECT id % 25, 'c' FROM so GROUP BY 1 ON CONFLICT (k) DO UPDATE SET note = c.note || excluded.note WHERE c.k > 10 RETURNING k, c.note, c.total;
INSERT INTO so_copy (k) SELECT k + 100 FROM so_home WHERE k IS NOT NULL RETURNING *;
-- words-differ
INSERT INTO so_copy (k) SELECT k + 100 FROM so_home ON CONFLICT DO NOTHING;
WITH w AS (SELECT code, k FROM so_code WHERE k > 5) INSERT INTO so_copy (k, note) SELECT 200 + k, max(code) FROM w GROUP BY k RETURNING k, note;
INSERT INTO so_copy (k) SELECT 300 FROM so_code ON CONFLICT (k) DO UPDATE SET note = 'twice';
-- params: 400, 'p'
INSERT INTO so_copy (k, note) SELECT $1 + k, 'x' FROM so_home WHERE k > 0 ON CONFLICT (k) DO UPDATE SET note = $2 RETURNING k, note, $2;
-- params: 400, 'p'
INSERT INTO so_copy (k, note) SELECT $1 + k, 'x' FROM so_home WHERE k > 0 ON CONFLICT (k) DO UPDATE SET note = $2 RETURNING k, note, $2;
SELECT k, total, note FROM so_copy ORDER BY k;
DROP TABLE so, so_item, so_code, so_home, so_ref, so_copy;
