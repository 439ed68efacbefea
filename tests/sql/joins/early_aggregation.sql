-- Aggregates over one table, computed in part before it is joined with others.
SET atoll.early_aggregation = 'always';
CREATE TABLE ef (id int8 PRIMARY KEY, d int, e int8, tag text, n int, big int8, price numeric(10,2), free numeric, ratio float8, flag bool, day date, code char(3));
CREATE TABLE ed (pk int PRIMARY KEY, k int, region text, weight int);
CREATE TABLE ee (k int8, name text);
CREATE TABLE er (k int PRIMARY KEY, label text);
CREATE TABLE ez (k int, n int);
INSERT INTO ef SELECT i, CASE WHEN i % 11 <> 0 THEN i % 7 END, CASE WHEN i % 13 <> 0 THEN i % 5 END, (ARRAY['red', 'green', 'blue', NULL])[i % 4 + 1], CASE WHEN i % 3 <> 0 THEN i * 100000 END, i * 9000000000000000, (i % 17) * 1.25, CASE WHEN i % 2 = 0 THEN i * 0.10 ELSE i * 0.1 END, i / 8.0, i % 5 = 0, date '2020-01-01' + i % 4, 'a' || i % 3 FROM generate_series(1, 300) i;
INSERT INTO ed SELECT i, CASE WHEN i % 6 <> 0 THEN i % 9 END, (ARRAY['north', 'south', NULL])[i % 3 + 1], i FROM generate_series(1, 24) i;
INSERT INTO ee SELECT CASE WHEN i % 4 <> 0 THEN i % 3 END, 'name ' || i % 2 FROM generate_series(1, 12) i;
INSERT INTO er VALUES (0, 'zero'), (1, 'one'), (2, 'two'), (99, 'none');
-- distribute: SELECT create_distributed_table('ef', 'id')
-- distribute: SELECT create_distributed_table('ed', 'pk')
-- distribute: SELECT create_distributed_table('ee', 'name')
-- distribute: SELECT create_reference_table('er')
-- distribute: SELECT create_distributed_table('ez', 'k')
SELECT count(*) FROM ef f JOIN ed d ON f.d = d.k;
SELECT count(*), count(n), sum(n), sum(big), sum(price), sum(free), avg(n), avg(big), avg(price), avg(free), min(tag), max(tag), min(day), max(price) FROM ef f, ed d WHERE f.d = d.k;
SELECT d.region, count(*), sum(f.n), sum(f.big), avg(f.n), avg(f.big), avg(f.price) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, bool_and(f.flag), bool_or(f.flag), every(f.flag), bit_and(f.n), bit_or(f.n), bit_xor(f.n) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY d.region;
SELECT f.tag, d.region, count(*) AS c, sum(f.price) FROM ef f JOIN ed d ON f.d = d.k WHERE f.price > 2 GROUP BY f.tag, d.region ORDER BY c DESC, 1, 2;
SELECT f.tag, sum(f.price) FROM ef f JOIN ed d ON f.d = d.k GROUP BY f.tag HAVING sum(f.price) > 900 AND count(*) > 3 ORDER BY sum(f.price) DESC, f.tag;
SELECT f.tag, e.name, d.region, count(*), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k JOIN ee e ON e.k = f.e GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT r.label, d.region, count(*), max(f.tag) FROM ef f JOIN ed d ON f.d = d.k JOIN er r ON r.k = f.d GROUP BY r.label, d.region ORDER BY 1, 2;
SELECT d.region, count(*), sum(n) FROM ef f JOIN ed d USING (d) GROUP BY 1;
SELECT k, count(*), sum(n) FROM (SELECT d AS k, n FROM ef) f JOIN ed d USING (k) GROUP BY k ORDER BY k;
SELECT k, count(*), sum(z.n) FROM ed d JOIN ez z USING (k) GROUP BY k ORDER BY k;
SELECT count(*), sum(z.n), avg(z.n), min(z.n), bool_or(z.n > 0) FROM ez z JOIN ed d ON z.k = d.k;
SELECT d.region, count(*), sum(z.n) FROM ez z JOIN ed d ON z.k = d.k GROUP BY d.region;
SELECT count(*), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k WHERE f.tag = 'none such';
SELECT count(*), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k WHERE d.region = 'none such';
SELECT d.region, count(*) FROM ez z, ed d GROUP BY d.region ORDER BY 1;
SELECT d.region, sum(z.n) FROM ez z CROSS JOIN ed d GROUP BY d.region ORDER BY 1;
SELECT d.region, count(*) FROM ef f, ed d GROUP BY d.region ORDER BY 1;
SELECT a.tag, count(*), sum(a.n), max(a.day) FROM ef a JOIN ef b ON a.d = b.d WHERE b.price > 10 GROUP BY a.tag ORDER BY 1;
SELECT count(*), sum(a.n), sum(b.n) FROM ef a JOIN ef b ON a.d = b.d;
SELECT d.region, sum(f.n), sum(d.weight) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, sum(f.n * d.weight) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT f.tag, sum(d.weight), max(d.region) FROM ef f JOIN ed d ON f.d = d.k GROUP BY f.tag ORDER BY 1;
SELECT d.region, count(DISTINCT f.tag), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, count(*) FILTER (WHERE f.tag = 'red'), sum(f.n) FILTER (WHERE f.price > 5 AND f.day IN ('2020-01-01', '2020-01-02')) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, count(*) FILTER (WHERE d.weight > 5) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, sum(f.price * (1 - f.price)), sum(CASE WHEN f.tag = 'red' OR f.flag THEN 1 ELSE 0 END) AS reds, sum(CASE f.tag WHEN 'red' THEN f.price ELSE 0 END), sum(coalesce(f.n, 0)) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, sum(100 / (f.d - 3)) FROM ef f JOIN ed d ON f.d = d.k WHERE d.k <> 3 GROUP BY d.region ORDER BY 1;
SELECT d.region, sum(f.n * 100000) FROM ef f JOIN ed d ON f.d = d.k WHERE f.id < d.weight GROUP BY d.region ORDER BY 1;
SELECT d.region, sum(f.ratio), avg(f.ratio) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT f.free, count(*) FROM ef f JOIN ed d ON f.d = d.k WHERE f.id < 20 GROUP BY f.free ORDER BY 1;
SELECT f.code, count(*), min(f.code), max(f.code) FROM ef f JOIN ed d ON f.d = d.k GROUP BY f.code ORDER BY 1;
SELECT min(f.code), max(f.code), count(f.code) FROM ef f JOIN ed d ON f.d = d.k;
SELECT d.region, count(*) FROM ef f LEFT JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, count(f.id), sum(f.n) FROM ed d LEFT JOIN ef f ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, f.tag, count(*) FROM ef f JOIN ed d ON f.d = d.k GROUP BY ROLLUP (d.region, f.tag) ORDER BY 1, 2, 3;
SELECT d.region, count(*), sum(count(*)) OVER () FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT DISTINCT count(*) > 10, max(f.tag) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1, 2;
SELECT d.region FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY sum(f.n) DESC, d.region;
SELECT d.region, sum(f.n) + count(*) AS total, round(avg(f.price), 3), coalesce(max(f.tag), 'none') FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY total, 1 LIMIT 2;
SELECT d.region, sum(f.n), (SELECT count(*) FROM ee) AS others FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region HAVING sum(f.price) > (SELECT avg(price) FROM ef) ORDER BY 1;
SELECT d.region, sum(f.n), (SELECT count(*) FROM ee WHERE ee.name > d.region) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, (SELECT sum(f.n) FROM ee WHERE ee.k = 1 LIMIT 1) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, count(*) FROM ef f JOIN ed d ON f.d = d.k WHERE EXISTS (SELECT FROM ee WHERE ee.k = f.e) GROUP BY d.region ORDER BY 1;
SELECT d.region, count(*) FROM ef f JOIN ed d ON f.d = d.k WHERE f.e IN (SELECT k FROM ee) AND (f.tag = 'red' OR d.region = 'north') GROUP BY d.region ORDER BY 1;
SELECT s.region, s.total FROM (SELECT d.region, sum(f.n) AS total, count(*) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region) s WHERE s.count > 5 ORDER BY 1;
WITH totals AS (SELECT d.region, sum(f.n), max(f.tag) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region) SELECT region, sum, max FROM totals ORDER BY region;
SELECT d.pk, (SELECT sum(f.n) FROM ef f JOIN ee e ON e.k = f.e WHERE f.d = d.k) AS total FROM ed d ORDER BY d.pk;
SELECT d.pk, (SELECT count(*) FROM ef f WHERE f.d = d.k), (SELECT max(f.tag) FROM ef f WHERE f.d < d.k) FROM ed d ORDER BY d.pk;
SELECT 'f' AS t, count(*), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k UNION ALL SELECT 'z', count(*), sum(z.n) FROM ez z JOIN ed d ON z.k = d.k ORDER BY 1;
SELECT d.region, count(*), sum(f.n) FROM public.ef f JOIN public.ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT ed.region, count(*), sum(public.ef.n) FROM public.ef JOIN public.ed ON public.ef.d = public.ed.k WHERE public.ef.price > 1 GROUP BY ed.region ORDER BY 1;
SELECT ed.region, pg_catalog.sum(ef.n) FROM ef JOIN ed ON ef.d = ed.k GROUP BY ed.region ORDER BY 1;
SELECT d.region, count(f.*) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, array_agg(f.id ORDER BY f.id), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k WHERE f.id < 9 GROUP BY d.region ORDER BY 1;
SELECT d.pk, d.region, d.weight, count(*), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.pk, d.region, d.weight ORDER BY d.pk;
SELECT f.day, f.flag, date_trunc('month', f.day) AS month, count(*) FROM ef f JOIN ed d ON f.d = d.k GROUP BY f.day, f.flag ORDER BY 1, 2;
SELECT f.d + 1 AS next, sum(f.price) FROM ef f JOIN ed d ON f.d = d.k GROUP BY f.d + 1 ORDER BY 1;
SELECT 1 AS one, sum(f.n) FROM ef f JOIN ed d ON f.d = d.k AND f.tag = 'red' GROUP BY 1;
-- params: 'red', 3
-- params: 'blue', 0
SELECT d.region, count(*), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k WHERE f.tag = $1 AND f.price > $2 GROUP BY d.region ORDER BY 1;
-- params: 5
SELECT d.region, count(*), sum(f.n * $1) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
-- params: 'red', 2
SELECT d.region, sum(f.n) FROM ef f JOIN ed d ON f.d = d.k WHERE f.tag = $1 GROUP BY d.region HAVING count(*) > $2 ORDER BY 1;
PREPARE p (text, numeric) AS SELECT d.region, count(*), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k WHERE f.tag = $1 AND f.price > $2 GROUP BY d.region ORDER BY 1;
EXECUTE p ('red', 3);
EXECUTE p ('blue', 0);
BEGIN;
INSERT INTO ef SELECT i, i % 7, i % 5, 'new', i, i, i, i, i, true, '2020-01-01', 'n' FROM generate_series(1001, 1040) i;
SELECT f.tag, count(*), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k GROUP BY f.tag ORDER BY 1;
ROLLBACK;
BEGIN READ ONLY;
SELECT f.tag, count(*), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k GROUP BY f.tag ORDER BY 1;
COMMIT;
CREATE TABLE copied AS SELECT f.tag, count(*), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k GROUP BY f.tag;
SELECT * FROM copied ORDER BY 1;
COPY (SELECT f.tag, count(*), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k GROUP BY f.tag ORDER BY 1) TO STDOUT;
INSERT INTO ez SELECT f.d, sum(f.n)::int % 1000 FROM ef f JOIN ed d ON f.d = d.k GROUP BY f.d;
SELECT * FROM ez ORDER BY 1, 2;
-- Over tables that are large enough, it is chosen.
SET atoll.early_aggregation = 'auto';
CREATE TABLE eg (id int8 PRIMARY KEY, d int, n int, tag text);
INSERT INTO eg SELECT i, i % 40, i, 'tag ' || i % 3 FROM generate_series(1, 20000) i;
-- distribute: SELECT create_distributed_table('eg', 'id')
ANALYZE eg;
SELECT d.region, count(*), sum(g.n), avg(g.n), max(g.tag) FROM eg g JOIN ed d ON g.d = d.k GROUP BY d.region ORDER BY 1;
SELECT g.tag, count(*), sum(g.n) FROM eg g JOIN ed d ON g.d = d.k WHERE d.weight > 3 AND g.n > 100 GROUP BY g.tag ORDER BY 1;
-- distribute: SET atoll.merge_engine = 'postgres'
SELECT d.region, count(*), sum(g.n), avg(g.n), max(g.tag) FROM eg g JOIN ed d ON g.d = d.k GROUP BY d.region ORDER BY 1;
SET atoll.early_aggregation = 'always';
SELECT count(*) FROM ef f JOIN ed d ON f.d = d.k;
SELECT count(*), count(n), sum(n), sum(big), sum(price), sum(free), avg(n), avg(big), avg(price), avg(free), min(tag), max(tag), min(day), max(price) FROM ef f, ed d WHERE f.d = d.k;
SELECT d.region, count(*), sum(f.n), sum(f.big), avg(f.n), avg(f.big), avg(f.price) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, bool_and(f.flag), bool_or(f.flag), every(f.flag), bit_and(f.n), bit_or(f.n), bit_xor(f.n) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY d.region;
SELECT f.tag, d.region, count(*) AS c, sum(f.price) FROM ef f JOIN ed d ON f.d = d.k WHERE f.price > 2 GROUP BY f.tag, d.region ORDER BY c DESC, 1, 2;
SELECT f.tag, sum(f.price) FROM ef f JOIN ed d ON f.d = d.k GROUP BY f.tag HAVING sum(f.price) > 900 AND count(*) > 3 ORDER BY sum(f.price) DESC, f.tag;
SELECT f.tag, e.name, d.region, count(*), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k JOIN ee e ON e.k = f.e GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT r.label, d.region, count(*), max(f.tag) FROM ef f JOIN ed d ON f.d = d.k JOIN er r ON r.k = f.d GROUP BY r.label, d.region ORDER BY 1, 2;
SELECT d.region, count(*), sum(n) FROM ef f JOIN ed d USING (d) GROUP BY 1;
SELECT k, count(*), sum(n) FROM (SELECT d AS k, n FROM ef) f JOIN ed d USING (k) GROUP BY k ORDER BY k;
SELECT k, count(*), sum(z.n) FROM ed d JOIN ez z USING (k) GROUP BY k ORDER BY k;
SELECT count(*), sum(z.n), avg(z.n), min(z.n), bool_or(z.n > 0) FROM ez z JOIN ed d ON z.k = d.k;
SELECT d.region, count(*), sum(z.n) FROM ez z JOIN ed d ON z.k = d.k GROUP BY d.region;
SELECT count(*), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k WHERE f.tag = 'none such';
SELECT count(*), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k WHERE d.region = 'none such';
SELECT d.region, count(*) FROM ez z, ed d GROUP BY d.region ORDER BY 1;
SELECT d.region, sum(z.n) FROM ez z CROSS JOIN ed d GROUP BY d.region ORDER BY 1;
SELECT d.region, count(*) FROM ef f, ed d GROUP BY d.region ORDER BY 1;
SELECT a.tag, count(*), sum(a.n), max(a.day) FROM ef a JOIN ef b ON a.d = b.d WHERE b.price > 10 GROUP BY a.tag ORDER BY 1;
SELECT count(*), sum(a.n), sum(b.n) FROM ef a JOIN ef b ON a.d = b.d;
SELECT d.region, sum(f.n), sum(d.weight) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, sum(f.n * d.weight) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT f.tag, sum(d.weight), max(d.region) FROM ef f JOIN ed d ON f.d = d.k GROUP BY f.tag ORDER BY 1;
SELECT d.region, count(DISTINCT f.tag), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, count(*) FILTER (WHERE f.tag = 'red'), sum(f.n) FILTER (WHERE f.price > 5 AND f.day IN ('2020-01-01', '2020-01-02')) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, count(*) FILTER (WHERE d.weight > 5) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, sum(f.price * (1 - f.price)), sum(CASE WHEN f.tag = 'red' OR f.flag THEN 1 ELSE 0 END) AS reds, sum(CASE f.tag WHEN 'red' THEN f.price ELSE 0 END), sum(coalesce(f.n, 0)) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, sum(100 / (f.d - 3)) FROM ef f JOIN ed d ON f.d = d.k WHERE d.k <> 3 GROUP BY d.region ORDER BY 1;
SELECT d.region, sum(f.n * 100000) FROM ef f JOIN ed d ON f.d = d.k WHERE f.id < d.weight GROUP BY d.region ORDER BY 1;
SELECT d.region, sum(f.ratio), avg(f.ratio) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT f.free, count(*) FROM ef f JOIN ed d ON f.d = d.k WHERE f.id < 20 GROUP BY f.free ORDER BY 1;
SELECT f.code, count(*), min(f.code), max(f.code) FROM ef f JOIN ed d ON f.d = d.k GROUP BY f.code ORDER BY 1;
SELECT min(f.code), max(f.code), count(f.code) FROM ef f JOIN ed d ON f.d = d.k;
SELECT d.region, count(*) FROM ef f LEFT JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, count(f.id), sum(f.n) FROM ed d LEFT JOIN ef f ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, f.tag, count(*) FROM ef f JOIN ed d ON f.d = d.k GROUP BY ROLLUP (d.region, f.tag) ORDER BY 1, 2, 3;
SELECT d.region, count(*), sum(count(*)) OVER () FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT DISTINCT count(*) > 10, max(f.tag) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1, 2;
SELECT d.region FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY sum(f.n) DESC, d.region;
SELECT d.region, sum(f.n) + count(*) AS total, round(avg(f.price), 3), coalesce(max(f.tag), 'none') FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY total, 1 LIMIT 2;
SELECT d.region, sum(f.n), (SELECT count(*) FROM ee) AS others FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region HAVING sum(f.price) > (SELECT avg(price) FROM ef) ORDER BY 1;
SELECT d.region, sum(f.n), (SELECT count(*) FROM ee WHERE ee.name > d.region) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, (SELECT sum(f.n) FROM ee WHERE ee.k = 1 LIMIT 1) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, count(*) FROM ef f JOIN ed d ON f.d = d.k WHERE EXISTS (SELECT FROM ee WHERE ee.k = f.e) GROUP BY d.region ORDER BY 1;
SELECT d.region, count(*) FROM ef f JOIN ed d ON f.d = d.k WHERE f.e IN (SELECT k FROM ee) AND (f.tag = 'red' OR d.region = 'north') GROUP BY d.region ORDER BY 1;
SELECT s.region, s.total FROM (SELECT d.region, sum(f.n) AS total, count(*) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region) s WHERE s.count > 5 ORDER BY 1;
WITH totals AS (SELECT d.region, sum(f.n), max(f.tag) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region) SELECT region, sum, max FROM totals ORDER BY region;
SELECT d.pk, (SELECT sum(f.n) FROM ef f JOIN ee e ON e.k = f.e WHERE f.d = d.k) AS total FROM ed d ORDER BY d.pk;
SELECT d.pk, (SELECT count(*) FROM ef f WHERE f.d = d.k), (SELECT max(f.tag) FROM ef f WHERE f.d < d.k) FROM ed d ORDER BY d.pk;
SELECT 'f' AS t, count(*), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k UNION ALL SELECT 'z', count(*), sum(z.n) FROM ez z JOIN ed d ON z.k = d.k ORDER BY 1;
SELECT d.region, count(*), sum(f.n) FROM public.ef f JOIN public.ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT ed.region, count(*), sum(public.ef.n) FROM public.ef JOIN public.ed ON public.ef.d = public.ed.k WHERE public.ef.price > 1 GROUP BY ed.region ORDER BY 1;
SELECT ed.region, pg_catalog.sum(ef.n) FROM ef JOIN ed ON ef.d = ed.k GROUP BY ed.region ORDER BY 1;
SELECT d.region, count(f.*) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
SELECT d.region, array_agg(f.id ORDER BY f.id), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k WHERE f.id < 9 GROUP BY d.region ORDER BY 1;
SELECT d.pk, d.region, d.weight, count(*), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.pk, d.region, d.weight ORDER BY d.pk;
SELECT f.day, f.flag, date_trunc('month', f.day) AS month, count(*) FROM ef f JOIN ed d ON f.d = d.k GROUP BY f.day, f.flag ORDER BY 1, 2;
SELECT f.d + 1 AS next, sum(f.price) FROM ef f JOIN ed d ON f.d = d.k GROUP BY f.d + 1 ORDER BY 1;
SELECT 1 AS one, sum(f.n) FROM ef f JOIN ed d ON f.d = d.k AND f.tag = 'red' GROUP BY 1;
-- params: 'red', 3
-- params: 'blue', 0
SELECT d.region, count(*), sum(f.n) FROM ef f JOIN ed d ON f.d = d.k WHERE f.tag = $1 AND f.price > $2 GROUP BY d.region ORDER BY 1;
-- params: 5
SELECT d.region, count(*), sum(f.n * $1) FROM ef f JOIN ed d ON f.d = d.k GROUP BY d.region ORDER BY 1;
-- params: 'red', 2
SELECT d.region, sum(f.n) FROM ef f JOIN ed d ON f.d = d.k WHERE f.tag = $1 GROUP BY d.region HAVING count(*) > $2 ORDER BY 1;
