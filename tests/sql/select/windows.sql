-- Windows off the distribution key: every frame, function and place.
CREATE TABLE sw_a (id int8 PRIMARY KEY, k int, t text, n numeric(12,3), f float8, d date, ts timestamptz, iv interval);
CREATE TABLE sw_b (code text PRIMARY KEY, k int, w int);
CREATE TABLE sw_r (id int PRIMARY KEY, name text);
CREATE TABLE sw_u (id int PRIMARY KEY, k int, t text);
INSERT INTO sw_a VALUES
  (1, 1, 'a', 1.0, 1, '2020-01-01', '2020-01-01 00:00+00', '1 day'), (2, 2, '', 1.125, 1.5, '2020-01-02', '2020-01-01 02:00+02', '24 hours'),
  (3, 2, 'ä', 7, 2, '2020-01-02', '2021-06-30 12:00-05', '1 month'), (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (5, -1, 'Z', -2.5, -8, '2019-12-31', '2020-01-05 00:00+00', '-1 day'), (6, 0, 'a', 1.0, 4, '2020-02-29', '2020-01-06 00:00+00', '30 days'),
  (7, 3, '日本', 0, 0, '2020-03-01', '1999-12-31 23:59:59+00', '0'), (8, 3, 'naïve', 0, 16, '2020-01-10', '2020-01-01 00:00+00', '1 year'),
  (9, 1, 'b', 1.5, 32, '2020-01-05', NULL, '00:00:01'), (10, NULL, 'z', 123456789.123, 64, '2024-02-29', '2024-02-29 00:00+13', '2 days'),
  (11, 1, 'B', -0.125, -1, '2020-01-03', '2020-01-01 00:00+00', '3 days'), (12, 2, 'b', 3, 3, NULL, NULL, NULL),
  (13, 2, 'a', 1.125, 1.5, '2020-01-02', '2020-01-01 00:00+00', '4 days'), (14, 1, '', 7, 0.5, '2020-01-04', '2020-01-02 00:00+00', '5 days'),
  (15, 3, NULL, 0, 2, '2020-01-04', '2020-01-03 00:00+00', '6 days'), (-3, 0, 'a', 8, 128, '2020-01-01', '2020-01-03 00:00+00', '7 days');
INSERT INTO sw_b VALUES ('a', 1, 10), ('b', 2, 20), ('', 3, 30), ('ä', NULL, 40), ('Z', -1, NULL), ('日本', 2, 60), ('x', 0, 70);
INSERT INTO sw_r VALUES (-1, 'minus'), (0, ''), (1, 'one'), (2, 'zwei'), (3, NULL), (8, 'ä');
INSERT INTO sw_u VALUES (1, 1, 'a'), (2, 2, 'ä'), (3, NULL, NULL), (4, 3, ''), (5, 3, '日本');
-- distribute: SELECT create_distributed_table('sw_a', 'id')
-- distribute: SELECT create_distributed_table('sw_b', 'code')
-- distribute: SELECT create_reference_table('sw_r')
-- Ranks.
SELECT id, row_number() OVER (ORDER BY k, id), rank() OVER (ORDER BY k), dense_rank() OVER (ORDER BY k), percent_rank() OVER (ORDER BY k), cume_dist() OVER (ORDER BY k) FROM sw_a;
SELECT id, row_number() OVER (PARTITION BY k ORDER BY n DESC, id), rank() OVER (PARTITION BY k ORDER BY n DESC), ntile(3) OVER (PARTITION BY k ORDER BY id) FROM sw_a ORDER BY id;
SELECT id, ntile(4) OVER (ORDER BY t NULLS FIRST, id), ntile(100) OVER (ORDER BY id DESC), ntile(NULL::int) OVER (ORDER BY id) FROM sw_a;
SELECT id, rank() OVER (), dense_rank() OVER (), cume_dist() OVER () FROM sw_a;
SELECT id, rank() OVER (ORDER BY t COLLATE "C" DESC), rank() OVER (ORDER BY lower(t)), rank() OVER (ORDER BY f DESC NULLS LAST) FROM sw_a;
SELECT id, rank() OVER (ORDER BY ts), rank() OVER (ORDER BY d DESC), rank() OVER (ORDER BY iv) FROM sw_a;
-- Values of other rows.
SELECT id, lag(t) OVER (ORDER BY id), lead(t) OVER (ORDER BY id), lag(t, 2) OVER (ORDER BY id), lead(t, 3, 'none') OVER (ORDER BY id) FROM sw_a;
SELECT id, lag(n, 1, -1) OVER (PARTITION BY k ORDER BY id), lead(id, 0) OVER (PARTITION BY k ORDER BY id), lag(id, -1) OVER (PARTITION BY k ORDER BY id), lead(n, k, 0) OVER (ORDER BY id) FROM sw_a;
SELECT id, lag(id, NULL) OVER (ORDER BY id), lead(k, 1, id::int) OVER (ORDER BY id) FROM sw_a;
SELECT id, first_value(t) OVER (PARTITION BY k ORDER BY id), last_value(t) OVER (PARTITION BY k ORDER BY id), nth_value(t, 2) OVER (PARTITION BY k ORDER BY id) FROM sw_a;
SELECT id, first_value(id) OVER w, last_value(id) OVER w, nth_value(id, 3) OVER w FROM sw_a WINDOW w AS (PARTITION BY k ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING);
SELECT id, nth_value(t, 2) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING), first_value(n) OVER (ORDER BY id ROWS BETWEEN 2 FOLLOWING AND 3 FOLLOWING) FROM sw_a;
-- Aggregates with every frame.
SELECT id, count(*) OVER (), sum(n) OVER (), max(t) OVER (), avg(k) OVER () FROM sw_a;
SELECT id, count(*) OVER (PARTITION BY k), sum(n) OVER (PARTITION BY k), min(ts) OVER (PARTITION BY k), count(t) OVER (PARTITION BY t) FROM sw_a;
SELECT id, sum(n) OVER (ORDER BY id), count(*) OVER (ORDER BY k), sum(id) OVER (PARTITION BY t ORDER BY k) FROM sw_a;
SELECT id, sum(id) OVER (ORDER BY id ROWS 2 PRECEDING), sum(id) OVER (ORDER BY id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING), sum(id) OVER (ORDER BY id ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING) FROM sw_a;
SELECT id, count(*) OVER (ORDER BY k RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING), sum(id) OVER (ORDER BY k DESC RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) FROM sw_a;
SELECT id, count(*) OVER (ORDER BY n RANGE BETWEEN 0.5 PRECEDING AND 0.5 FOLLOWING), count(*) OVER (ORDER BY f RANGE BETWEEN 1 FOLLOWING AND 10 FOLLOWING) FROM sw_a;
SELECT id, count(*) OVER (ORDER BY d RANGE BETWEEN '1 day' PRECEDING AND '2 days' FOLLOWING), count(*) OVER (ORDER BY ts RANGE BETWEEN '1 day'::interval PRECEDING AND CURRENT ROW), count(*) OVER (ORDER BY ts DESC RANGE '1 year' PRECEDING) FROM sw_a;
SELECT id, count(*) OVER (ORDER BY k RANGE UNBOUNDED PRECEDING), count(*) OVER (ORDER BY k RANGE BETWEEN CURRENT ROW AND CURRENT ROW), sum(id) OVER (ORDER BY k RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) FROM sw_a;
SELECT id, count(*) OVER (ORDER BY k GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING), sum(id) OVER (ORDER BY k GROUPS 1 PRECEDING), sum(id) OVER (ORDER BY k GROUPS BETWEEN 1 FOLLOWING AND 2 FOLLOWING) FROM sw_a;
SELECT id, sum(id) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW), count(*) OVER (ORDER BY k ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE GROUP), count(*) OVER (ORDER BY k RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE TIES) FROM sw_a;
SELECT id, count(*) OVER (ORDER BY k GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW), sum(id) OVER (ORDER BY k RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE NO OTHERS) FROM sw_a;
SELECT id, first_value(id) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW), last_value(id) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE TIES) FROM sw_a;
SELECT id, count(*) FILTER (WHERE n > 1) OVER (PARTITION BY k), sum(n) FILTER (WHERE t <> '') OVER (ORDER BY id), array_agg(id) FILTER (WHERE k = 1) OVER (ORDER BY id) FROM sw_a;
SELECT id, array_agg(t) OVER (PARTITION BY k ORDER BY id), string_agg(t, ',') OVER (ORDER BY id ROWS 2 PRECEDING), json_agg(id) OVER (PARTITION BY k ORDER BY id DESC) FROM sw_a;
SELECT id, stddev(n) OVER (PARTITION BY k), bool_or(n > 1) OVER (ORDER BY id), var_pop(id) OVER (PARTITION BY k) FROM sw_a;
-- params: 2::int8
-- params: 0::int8
SELECT id, sum(id) OVER (ORDER BY id ROWS $1 PRECEDING) FROM sw_a;
-- Named windows.
SELECT id, sum(n) OVER w, rank() OVER w, count(*) OVER (w ROWS 1 PRECEDING) FROM sw_a WINDOW w AS (PARTITION BY k ORDER BY id);
SELECT id, sum(n) OVER w1, sum(n) OVER w2, max(id) OVER (w1) FROM sw_a WINDOW w1 AS (PARTITION BY k), w2 AS (w1 ORDER BY id DESC);
SELECT id, sum(id) OVER (w ORDER BY id), count(*) OVER w FROM sw_a WINDOW w AS (PARTITION BY id % 3);
-- Of the key.
SELECT id, row_number() OVER (PARTITION BY id ORDER BY n), sum(n) OVER (PARTITION BY id), count(*) OVER (PARTITION BY id, k) FROM sw_a;
SELECT id, count(*) OVER (PARTITION BY id) AS own, count(*) OVER (PARTITION BY k) AS kin, count(*) OVER () AS everything FROM sw_a ORDER BY id;
-- Over groups.
SELECT k, sum(n), rank() OVER (ORDER BY sum(n) DESC) FROM sw_a GROUP BY k ORDER BY k;
SELECT k, count(*), sum(count(*)) OVER (ORDER BY k), count(*) * 100.0 / sum(count(*)) OVER () FROM sw_a GROUP BY k ORDER BY k;
SELECT k, t, sum(sum(id)) OVER (PARTITION BY k ORDER BY t) FROM sw_a GROUP BY k, t;
SELECT k, grouping(k), count(*), rank() OVER (PARTITION BY grouping(k) ORDER BY count(*) DESC, k) FROM sw_a GROUP BY ROLLUP (k);
SELECT k, max(n), lag(max(n)) OVER (ORDER BY k) FROM sw_a GROUP BY k HAVING count(*) > 1;
SELECT count(*) OVER (), k FROM sw_a GROUP BY k;
SELECT max(id), rank() OVER (ORDER BY max(id)) FROM sw_a;
-- In and around subqueries, DISTINCT, ORDER BY, LIMIT.
SELECT * FROM (SELECT id, k, row_number() OVER (PARTITION BY k ORDER BY n DESC, id) AS r FROM sw_a) x WHERE r <= 2 ORDER BY k, r;
SELECT x.k, count(*), sum(x.r) FROM (SELECT k, rank() OVER (PARTITION BY k ORDER BY t) AS r FROM sw_a) x GROUP BY x.k ORDER BY 1;
SELECT DISTINCT k, count(*) OVER (PARTITION BY k) FROM sw_a;
SELECT DISTINCT ON (k) k, id, rank() OVER (ORDER BY id) FROM sw_a ORDER BY k, id DESC;
SELECT id, k FROM sw_a ORDER BY rank() OVER (ORDER BY k), id;
SELECT id FROM sw_a ORDER BY count(*) OVER (PARTITION BY k) DESC, id LIMIT 5;
SELECT id, row_number() OVER (ORDER BY id) FROM sw_a ORDER BY id DESC LIMIT 3 OFFSET 2;
SELECT id, sum(n) OVER (ORDER BY id) AS s FROM sw_a WHERE k > 0 ORDER BY s, id LIMIT 4;
SELECT id, (SELECT rank() OVER (ORDER BY a.id)), (SELECT max(r) FROM (SELECT rank() OVER (ORDER BY b.w) AS r FROM sw_b b WHERE b.k = a.k) x) FROM sw_a a;
WITH w AS (SELECT id, k, lag(id) OVER (PARTITION BY k ORDER BY id) AS before FROM sw_a) SELECT a.id, b.t FROM w a JOIN sw_a b ON b.id = a.before;
SELECT id, rank() OVER (ORDER BY k) FROM sw_a WHERE k = 1 UNION ALL SELECT id, rank() OVER (ORDER BY k) FROM sw_u ORDER BY 1, 2;
SELECT coalesce(lag(t) OVER (ORDER BY id), 'first') || '>' || coalesce(t, 'null') FROM sw_a;
SELECT id, CASE WHEN row_number() OVER (ORDER BY id) % 2 = 0 THEN 'even' ELSE 'odd' END, n - avg(n) OVER (PARTITION BY k) FROM sw_a;
SELECT id, rank() OVER (PARTITION BY k ORDER BY id), generate_series(1, 2) FROM sw_a WHERE k > 1;
-- Over joins.
SELECT a.id, b.code, row_number() OVER (PARTITION BY a.k ORDER BY a.id, b.code), sum(b.w) OVER (ORDER BY a.id, b.code) FROM sw_a a JOIN sw_b b ON a.k = b.k;
SELECT a.id, r.name, count(*) OVER (PARTITION BY r.name) FROM sw_a a LEFT JOIN sw_r r ON r.id = a.k;
SELECT u.id, a.id, rank() OVER (PARTITION BY u.id ORDER BY a.id) FROM sw_u u LEFT JOIN sw_a a ON a.k = u.k;
SELECT r.id, r.name, sum(count(a.id)) OVER (ORDER BY r.id) FROM sw_r r LEFT JOIN sw_a a ON a.k = r.id GROUP BY r.id;
SELECT sum(id) OVER (PARTITION BY k ORDER BY id), t FROM sw_u;
SELECT id, name, lag(name) OVER (ORDER BY id) FROM sw_r;
SELECT a.t, rank() OVER (ORDER BY a.n), count(*) OVER () FROM sw_a a WHERE a.id = 7;
-- What is wrong is wrong.
SELECT id FROM sw_a WHERE rank() OVER (ORDER BY id) = 1;
SELECT sum(rank() OVER (ORDER BY id)) FROM sw_a;
SELECT rank() FROM sw_a;
SELECT id, sum(id) OVER (ORDER BY t RANGE 1 PRECEDING) FROM sw_a;
SELECT id, sum(id) OVER nowhere FROM sw_a;
SELECT id, sum(id) OVER (ORDER BY id ROWS -1 PRECEDING) FROM sw_a;
SELECT ntile(0) OVER (ORDER BY id) FROM sw_a;
SELECT id, nth_value(id, 0) OVER (ORDER BY id) FROM sw_a;
SELECT id, sum(id) OVER (ORDER BY id GROUPS BETWEEN 1 FOLLOWING AND 1 PRECEDING) FROM sw_a;
DROP TABLE sw_a, sw_b, sw_r, sw_u;
