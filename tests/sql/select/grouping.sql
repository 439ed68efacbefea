-- Groups of every kind over shards: grouping sets, DISTINCT and ordered aggregates, statistics, JSON, DISTINCT ON.
CREATE TABLE sg_a (id int8 PRIMARY KEY, k int, t text, n numeric(12,3), f float8, b bool, ts timestamptz, bits bit(4), ip inet);
CREATE TABLE sg_b (code text PRIMARY KEY, k int, j jsonb);
CREATE TABLE sg_r (id int PRIMARY KEY, name text);
CREATE TABLE sg_u (id int PRIMARY KEY, k int, t text);
INSERT INTO sg_a VALUES
  (1, 1, 'a', 1.0, 1, true, '2020-01-01 00:00+00', '0001', '10.0.0.1'), (2, 2, '', 1.125, 1.5, false, '2020-01-01 02:00+02', '0011', '10.0.0.2'),
  (3, 2, 'ä', 7, 2, NULL, '2021-06-30 12:00-05', '0111', '::1'), (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (5, -1, 'Z', -2.5, -8, true, 'infinity', '1111', '10.0.0.0/8'), (6, 0, 'a', 1.0, 4, true, '-infinity', '0001', '10.0.0.1'),
  (7, 3, '日本', 0, 0, false, '1999-12-31 23:59:59+00', '1000', '192.168.0.1'), (8, 3, 'naïve', 0, 16, false, '2020-01-01 00:00+00', '1010', NULL),
  (9, 1, 'b', 1.5, 32, true, NULL, '1100', '10.0.0.1'), (10, NULL, 'z', 123456789.123, 64, true, '2024-02-29 00:00+13', '0101', '10.0.0.3'),
  (11, 1, 'B', -0.125, -1, NULL, '2020-01-01 00:00+00', '0110', '10.0.0.4'), (12, 2, 'b', 3, 3, false, NULL, NULL, '10.0.0.4'),
  (13, 2, 'a', 1.125, 1.5, true, '2020-01-01 00:00+00', '0001', '10.0.0.1'), (14, 1, '', 7, 0.5, false, '2020-01-02 00:00+00', '0001', '10.0.0.1'),
  (15, 3, NULL, 0, 2, false, '2020-01-03 00:00+00', '0000', '10.0.0.5'), (-3, 0, 'a', 8, 128, NULL, '2020-01-03 00:00+00', '0000', '10.0.0.5');
INSERT INTO sg_b VALUES ('a', 1, '{"x": 1}'), ('b', 2, '[1, 2]'), ('', 3, 'null'), ('ä', NULL, NULL), ('Z', -1, '"s"'), ('日本', 2, '{"y": {"z": null}}'), ('x', 0, '1.50');
INSERT INTO sg_r VALUES (-1, 'minus'), (0, ''), (1, 'one'), (2, 'zwei'), (3, NULL), (8, 'ä');
INSERT INTO sg_u VALUES (1, 1, 'a'), (2, 2, 'ä'), (3, NULL, NULL), (4, 3, ''), (5, 3, '日本');
-- distribute: SELECT create_distributed_table('sg_a', 'id')
-- distribute: SELECT create_distributed_table('sg_b', 'code')
-- distribute: SELECT create_reference_table('sg_r')
-- Grouping sets.
SELECT k, t, count(*) FROM sg_a GROUP BY GROUPING SETS ((k), (t), ()) ORDER BY 1, 2, 3;
SELECT k, b, grouping(k, b), sum(n), count(f) FROM sg_a GROUP BY ROLLUP (k, b);
SELECT k, b, grouping(k), grouping(b), max(t), min(ts) FROM sg_a GROUP BY CUBE (k, b);
SELECT k, b, t, count(*) FROM sg_a GROUP BY k, ROLLUP (b, t);
SELECT k, b, count(*) FROM sg_a GROUP BY GROUPING SETS (ROLLUP (k, b), CUBE (b), ());
SELECT k, b, count(*) FROM sg_a GROUP BY DISTINCT ROLLUP (k, b), ROLLUP (k, b);
SELECT k, b, t, sum(id) FROM sg_a GROUP BY ROLLUP ((k, b), t);
SELECT id % 2, k, count(*), grouping(id % 2, k) FROM sg_a GROUP BY CUBE (1, 2) ORDER BY 4, 1, 2;
SELECT id, k, count(*) FROM sg_a GROUP BY ROLLUP (id, k) HAVING grouping(k) = 1;
SELECT k, sum(n) FROM sg_a GROUP BY ROLLUP (k) HAVING sum(n) > 1 OR grouping(k) = 1 ORDER BY grouping(k), k;
SELECT k, count(DISTINCT t), array_agg(id ORDER BY id DESC) FROM sg_a GROUP BY ROLLUP (k);
SELECT count(*), sum(n) FROM sg_a GROUP BY GROUPING SETS ((), ());
SELECT count(*), max(k) FROM sg_a WHERE false GROUP BY ROLLUP (k);
SELECT count(*) FROM sg_a WHERE false GROUP BY GROUPING SETS ((), (k));
SELECT r.name, a.b, count(*) FROM sg_a a LEFT JOIN sg_r r ON r.id = a.k GROUP BY CUBE (r.name, a.b);
SELECT a.t, b.k, count(*) FROM sg_a a JOIN sg_b b ON b.code = a.t GROUP BY GROUPING SETS ((a.t), (b.k)) ORDER BY 1, 2;
SELECT x.k, sum(x.c) FROM (SELECT k, b, count(*) AS c FROM sg_a GROUP BY ROLLUP (k, b)) x GROUP BY x.k ORDER BY 1;
SELECT CASE WHEN grouping(k) = 1 THEN 'all' ELSE k::text END AS what, count(*) FROM sg_a GROUP BY ROLLUP (k) ORDER BY 1;
-- Groups.
SELECT k % 2 AS odd, b, count(*), count(k), sum(k), avg(k), min(k), max(k) FROM sg_a GROUP BY odd, b ORDER BY 1, 2;
SELECT upper(t), count(*) FROM sg_a GROUP BY upper(t) ORDER BY 1 NULLS FIRST;
SELECT date_trunc('day', ts AT TIME ZONE 'UTC') AS d, count(*) FROM sg_a GROUP BY d ORDER BY d;
SELECT t IS NULL, b IS TRUE, count(*) FROM sg_a GROUP BY 1, 2;
SELECT sum(n), avg(n), sum(n) / count(*), sum(k) FROM sg_a;
SELECT k, sum(n) AS s FROM sg_a GROUP BY k HAVING count(*) > 1 AND max(t) > 'a' ORDER BY s DESC;
SELECT k FROM sg_a GROUP BY k HAVING bool_or(b) ORDER BY k;
SELECT max(count) FROM (SELECT count(*) FROM sg_a GROUP BY t) x;
SELECT id, t, count(*) FROM sg_a GROUP BY id ORDER BY id LIMIT 4;
SELECT a.id, a.t, a.n, r.name FROM sg_a a JOIN sg_r r ON r.id = a.k GROUP BY a.id, r.id ORDER BY 1;
SELECT k, n FROM sg_a GROUP BY k, n ORDER BY k, n;
SELECT ip, count(*) FROM sg_a GROUP BY ip ORDER BY ip;
SELECT bits, count(*) FROM sg_a GROUP BY bits ORDER BY bits;
SELECT j, count(*) FROM sg_b GROUP BY j ORDER BY j;
SELECT array[k, 1], count(*) FROM sg_a GROUP BY array[k, 1] ORDER BY 1;
SELECT 'x', count(*) FROM sg_a GROUP BY 'x'::text;
SELECT 1 FROM sg_a GROUP BY ();
-- DISTINCT in aggregates, ORDER BY in aggregates, FILTER.
SELECT count(DISTINCT k), count(DISTINCT t), sum(DISTINCT k), avg(DISTINCT k), count(DISTINCT b), count(DISTINCT ip) FROM sg_a;
SELECT k, count(DISTINCT b), sum(DISTINCT n), max(DISTINCT t) FROM sg_a GROUP BY k ORDER BY k;
SELECT count(DISTINCT upper(t)), count(DISTINCT n), count(n), count(*) FROM sg_a WHERE k IS NOT NULL;
SELECT array_agg(DISTINCT k), array_agg(DISTINCT t ORDER BY t DESC), string_agg(DISTINCT t, '/' ORDER BY t) FROM sg_a;
SELECT array_agg(id ORDER BY t NULLS FIRST, id), array_agg(t ORDER BY id), string_agg(t, ', ' ORDER BY ts DESC NULLS LAST, id DESC) FROM sg_a;
SELECT k, string_agg(t, '|' ORDER BY n DESC, id), array_agg(n ORDER BY id) FROM sg_a GROUP BY k ORDER BY k;
SELECT string_agg(t, k::text ORDER BY id) FROM sg_a;
SELECT string_agg(t::bytea, '\x00'::bytea ORDER BY id) FROM sg_a;
SELECT array_agg(ARRAY[id, k] ORDER BY id) FROM sg_a;
SELECT array_agg(id ORDER BY id) FILTER (WHERE b), array_agg(id ORDER BY id) FILTER (WHERE NOT b), array_agg(id) FILTER (WHERE false) FROM sg_a;
SELECT count(*) FILTER (WHERE k > 1), sum(n) FILTER (WHERE b IS NULL), count(DISTINCT k) FILTER (WHERE t <> '') FROM sg_a;
SELECT k, count(*) FILTER (WHERE b) AS yes, count(*) FILTER (WHERE NOT b) AS no FROM sg_a GROUP BY k HAVING count(*) FILTER (WHERE b) > 0 ORDER BY k;
SELECT string_agg(x.t, ',' ORDER BY x.id) FROM (SELECT id, t FROM sg_a ORDER BY id DESC LIMIT 5) x;
SELECT max(t COLLATE "C"), min(t), max(ts), min(ts), max(ip), min(ip), max(id), max(n), max(array[k]) FROM sg_a;
SELECT sum(f), avg(f), min(f), max(f), sum(ts - '2000-01-01') FILTER (WHERE isfinite(ts)) FROM sg_a;
-- Statistics.
SELECT stddev(n), stddev_pop(n), stddev_samp(n), variance(n), var_pop(n), var_samp(n) FROM sg_a;
SELECT k, stddev(k), var_pop(id), var_samp(n) FROM sg_a GROUP BY k ORDER BY k;
SELECT stddev(id), var_pop(k), stddev_samp(id::int2) FROM sg_a;
SELECT regr_count(f, id), regr_avgx(f, id), regr_avgy(f, id), regr_sxx(k, id), regr_syy(k, id), regr_sxy(k, id) FROM sg_a WHERE f > 0;
SELECT round(corr(k, id)::numeric, 10), round(covar_pop(k, id)::numeric, 10), round(covar_samp(k, id)::numeric, 10), round(regr_slope(k, id)::numeric, 10), round(regr_intercept(k, id)::numeric, 10), round(regr_r2(k, id)::numeric, 10) FROM sg_a;
SELECT stddev(n) FROM sg_a WHERE id = 1;
SELECT stddev(n), var_pop(n), corr(k, id), sum(n), avg(n), array_agg(n), string_agg(t, ','), count(n), bool_and(b), json_agg(n) FROM sg_a WHERE false;
-- Bits and truth.
SELECT bool_and(b), bool_or(b), every(b), bool_and(b) FILTER (WHERE k = 3), bool_or(k > 100) FROM sg_a;
SELECT bit_and(k), bit_or(k), bit_xor(k), bit_and(id), bit_or(id), bit_xor(id) FROM sg_a WHERE k >= 0;
SELECT k, bit_and(bits), bit_or(bits), bit_xor(bits) FROM sg_a GROUP BY k ORDER BY k;
SELECT range_agg(int4range(k, k + 2)), range_intersect_agg(int4range(k - 5, k + 5)) FROM sg_a;
-- Ordered sets and hypothetical sets.
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY k), percentile_cont(0.5) WITHIN GROUP (ORDER BY k), mode() WITHIN GROUP (ORDER BY k), percentile_disc(0) WITHIN GROUP (ORDER BY t) FROM sg_a;
SELECT percentile_cont(ARRAY[0, 0.25, 0.5, 1]) WITHIN GROUP (ORDER BY f), percentile_disc(ARRAY[0.9, NULL, 0.1]) WITHIN GROUP (ORDER BY t) FROM sg_a;
SELECT k, percentile_cont(0.25) WITHIN GROUP (ORDER BY id DESC), mode() WITHIN GROUP (ORDER BY t DESC) FROM sg_a GROUP BY k ORDER BY k;
SELECT rank(2) WITHIN GROUP (ORDER BY k), dense_rank(2) WITHIN GROUP (ORDER BY k DESC), percent_rank(2) WITHIN GROUP (ORDER BY k), cume_dist(2) WITHIN GROUP (ORDER BY k) FROM sg_a;
SELECT b, rank('b', 3) WITHIN GROUP (ORDER BY t, id) FROM sg_a GROUP BY b ORDER BY b;
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ts - '2020-01-01') FROM sg_a WHERE isfinite(ts);
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY n) FILTER (WHERE b) FROM sg_a;
-- JSON.
SELECT json_agg(t ORDER BY id), jsonb_agg(k ORDER BY id), json_agg(n ORDER BY id) FROM sg_a;
SELECT k, json_object_agg(id, t ORDER BY id), jsonb_object_agg(id, n) FROM sg_a GROUP BY k ORDER BY k;
SELECT jsonb_agg(j ORDER BY code), json_object_agg(code, j ORDER BY code) FROM sg_b;
SELECT jsonb_agg(jsonb_build_object('id', id, 'ts', ts AT TIME ZONE 'UTC', 'f', f) ORDER BY id) FROM sg_a;
-- DISTINCT.
SELECT DISTINCT k FROM sg_a;
SELECT DISTINCT k, b FROM sg_a ORDER BY k DESC, b;
SELECT DISTINCT t FROM sg_a ORDER BY t LIMIT 4;
SELECT DISTINCT count(*) FROM sg_a GROUP BY k;
SELECT DISTINCT n, f FROM sg_a WHERE k > 0;
SELECT DISTINCT k IS NULL, 1 FROM sg_a;
SELECT DISTINCT a.k, r.name FROM sg_a a LEFT JOIN sg_r r ON r.id = a.k ORDER BY 1, 2;
SELECT DISTINCT a.k, u.t FROM sg_a a JOIN sg_u u ON u.k = a.k;
SELECT DISTINCT ON (k) k, id, t FROM sg_a ORDER BY k, id;
SELECT DISTINCT ON (k, b) k, b, id FROM sg_a ORDER BY k DESC, b NULLS FIRST, n DESC, id;
SELECT DISTINCT ON (t) t, id FROM sg_a ORDER BY t, ts DESC NULLS LAST, id LIMIT 3;
SELECT DISTINCT ON (id % 3) id % 3, id FROM sg_a ORDER BY id % 3, id DESC;
SELECT count(*), sum(id) FROM (SELECT DISTINCT ON (k) id FROM sg_a ORDER BY k, id) x;
SELECT DISTINCT ON (a.k) a.k, b.code FROM sg_a a JOIN sg_b b ON a.k = b.k ORDER BY a.k, b.code DESC;
SELECT DISTINCT ON (k) k, sum(n) FROM sg_a GROUP BY k, b ORDER BY k, sum(n), b;
-- Over joins off the key, subqueries and other tables.
SELECT b.k, count(*), string_agg(a.t, ',' ORDER BY a.id, b.code) FROM sg_a a JOIN sg_b b ON a.k = b.k GROUP BY b.k ORDER BY 1;
SELECT u.t, count(a.id), sum(a.n) FROM sg_u u LEFT JOIN sg_a a ON a.k = u.k GROUP BY u.t ORDER BY 1;
SELECT r.name, count(a.id), max(a.t) FROM sg_r r LEFT JOIN sg_a a ON a.k = r.id GROUP BY r.id ORDER BY r.id;
SELECT avg(c), sum(s) FROM (SELECT k, count(*) AS c, sum(n) AS s FROM sg_a GROUP BY k) x;
SELECT s, count(*) FROM (SELECT k, sum(id) AS s FROM sg_a GROUP BY k) x GROUP BY s ORDER BY s;
-- params: 2, 'a'
-- params: NULL::int4, ''
SELECT k > $1 AS more, count(*), count(*) FILTER (WHERE t = $2) FROM sg_a GROUP BY 1 ORDER BY 1;
-- params: 0.5::float8
SELECT percentile_cont($1) WITHIN GROUP (ORDER BY f) FROM sg_a;
-- What is wrong is wrong.
SELECT k, t FROM sg_a GROUP BY k;
SELECT count(*) FROM sg_a WHERE count(*) > 1;
SELECT DISTINCT ON (k) k, id FROM sg_a ORDER BY id;
SELECT sum(t) FROM sg_a;
SELECT sum(1 / k) FROM sg_a;
SELECT percentile_cont(2) WITHIN GROUP (ORDER BY f) FROM sg_a;
DROP TABLE sg_a, sg_b, sg_r, sg_u;
