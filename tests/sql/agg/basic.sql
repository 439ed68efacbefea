-- Aggregates over all shards.
CREATE TABLE ag (id int8 PRIMARY KEY, k int, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, n2 numeric(12,2), t text, d date, ts timestamptz, iv interval, b bool);
-- distribute: SELECT create_distributed_table('ag', 'id')
SELECT count(*), count(i4), sum(i4), min(i4), max(i4), avg(i4) FROM ag;
SELECT k, count(*) FROM ag GROUP BY k;
SELECT count(*) FROM ag HAVING count(*) > 0;
-- copy-data-from: COPY (SELECT i, i % 7, (i % 100)::int2, i * 1000, i * 10000000000, i / 4.0, i / 8.0, i / 16.0, i / 4.0, 'text ' || (i % 50), date '2020-01-01' + (i % 365)::int, timestamptz '2020-01-01 00:00+00' + i * interval '1 hour', i * interval '1 minute', i % 2 = 0 FROM generate_series(1, 500) i) TO STDOUT
COPY ag FROM STDIN;
-- copy-data-from: COPY (SELECT i, NULL FROM generate_series(501, 510) i) TO STDOUT
COPY ag (id, k) FROM STDIN;
-- copy-data-from: COPY (SELECT i, 100 FROM generate_series(511, 520) i) TO STDOUT
COPY ag (id, k) FROM STDIN;
SELECT count(*) FROM ag;
SELECT count(*), count(k), count(i4), count(t), count(NULL), count(1) FROM ag;
SELECT sum(i2), sum(i4), sum(i8), sum(f4), sum(f8), sum(n), sum(n2), sum(iv) FROM ag;
SELECT avg(i2), avg(i4), avg(i8), avg(n), avg(n2) FROM ag;
SELECT avg(f4), avg(f8), avg(iv) FROM ag;
SELECT min(i2), min(i4), min(i8), min(f4), min(f8), min(n), min(n2), min(t), min(d), min(ts), min(iv) FROM ag;
SELECT max(i2), max(i4), max(i8), max(f4), max(f8), max(n), max(n2), max(t), max(d), max(ts), max(iv) FROM ag;
SELECT bool_and(b), bool_or(b), every(b) FROM ag;
SELECT bit_and(i4), bit_or(i4) FROM ag;
SELECT count(*) AS c, sum(i4) AS "Sum", avg(i4) average FROM ag;
SELECT sum(i4) + 1, sum(i4) * 2.5, sum(i4)::text, -sum(i4) FROM ag;
SELECT sum(i4) / count(*), sum(i4) / nullif(count(k), 0), sum(n) / count(n) FROM ag;
SELECT sum(i4 + 1), sum(i4 * 2), sum(-i4), max(i4 - id), sum(i4::numeric / 8) FROM ag;
SELECT sum(CASE WHEN b THEN 1 ELSE 0 END), count(CASE WHEN b THEN 1 END) FROM ag;
SELECT count(*) FILTER (WHERE b), sum(i4) FILTER (WHERE k = 3) FROM ag;
SELECT round(avg(i4), 2), round(avg(n2), 3), trunc(avg(n), 1) FROM ag;
SELECT coalesce(sum(i4), 0), coalesce(max(t), 'none') FROM ag WHERE k = 12345;
SELECT count(*), sum(i4), avg(i4), min(t), max(d) FROM ag WHERE k = 12345;
SELECT count(*), sum(i4), avg(n), min(t) FROM ag WHERE id > 500;
SELECT count(*), sum(i4), avg(i4) FROM ag WHERE false;
SELECT count(*), sum(i4) FROM ag WHERE id BETWEEN 100 AND 199;
SELECT count(*), sum(i4) FROM ag WHERE t = 'text 7';
SELECT count(*), sum(i4) FROM ag WHERE t LIKE 'text 1%' AND b;
SELECT count(*) FROM ag WHERE d >= date '2020-06-01' AND d < date '2020-07-01';
SELECT count(*) FROM ag WHERE ts > '2020-01-10 00:00+00';
SELECT count(*) FROM ag WHERE iv > interval '5 hours';
SELECT count(*) FROM ag WHERE i4 IS NULL;
SELECT count(*) FROM ag WHERE k IS DISTINCT FROM 3;
SELECT count(*) FROM ag WHERE id IN (1, 2, 3, 1000);
SELECT count(*) FROM ag WHERE id = ANY ('{1,2,3,1000}');
-- params: 100::int8, 199::int8
-- params: 100, 199
-- params: 1, NULL
SELECT count(*), sum(i4) FROM ag WHERE id BETWEEN $1 AND $2;
-- params: 'text 7'
SELECT count(*), max(id) FROM ag WHERE t = $1;
-- params: 3::int4
SELECT count(*) + $1 FROM ag WHERE k = $1;
SELECT count(DISTINCT k) FROM ag;
SELECT count(DISTINCT t), count(DISTINCT id) FROM ag;
SELECT sum(DISTINCT k), avg(DISTINCT k) FROM ag;
SELECT count(DISTINCT k), count(*), sum(i4) FROM ag;
SELECT max(id), 'constant', 1 + 1 FROM ag;
SELECT 'constant' FROM ag LIMIT 3;
SELECT stddev(i4), variance(i4) FROM ag WHERE k = 3;
SELECT string_agg(t, ',' ORDER BY id) FROM ag WHERE id < 20;
SELECT array_agg(id ORDER BY id) FROM ag WHERE id < 20;
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY i4) FROM ag;
SELECT json_agg(id ORDER BY id) FROM ag WHERE id < 5;
SELECT count(*) FROM ag, (SELECT 1) x;
SELECT (SELECT count(*) FROM ag);
SELECT (SELECT max(id) FROM ag), (SELECT min(id) FROM ag);
SELECT count(*) FROM (SELECT * FROM ag WHERE b) s;
SELECT sum(c) FROM (SELECT k, count(*) AS c FROM ag GROUP BY k) s;
WITH a AS (SELECT k, sum(i4) AS s FROM ag GROUP BY k) SELECT max(s) FROM a;
SELECT EXISTS (SELECT 1 FROM ag WHERE k = 3);
DROP TABLE ag;
