-- Sums and averages at the edges of their types.
CREATE TABLE ax (id int8 PRIMARY KEY, i8 int8, i4 int4, n numeric, f8 float8, f4 float4, s text, iv interval, ts timestamp);
INSERT INTO ax (id, i8, i4) SELECT i, 9223372036854775807, 2147483647 FROM generate_series(1, 40) i;
-- distribute: SELECT create_distributed_table('ax', 'id')
SELECT sum(i8), avg(i8), min(i8), max(i8), sum(i4), avg(i4) FROM ax;
SELECT sum(i4 + 1) FROM ax;
SELECT sum(i8 + id) FROM ax;
UPDATE ax SET i8 = -9223372036854775808, i4 = -2147483648;
SELECT sum(i8), avg(i8), sum(i4), avg(i4) FROM ax;
UPDATE ax SET n = 1e40 + id, f8 = 1e300, f4 = 1e30;
SELECT sum(n), avg(n), min(n), max(n) FROM ax;
SELECT max(f8), min(f8), max(f4) FROM ax;
UPDATE ax SET n = 1.0000000000000000000000000000000000000001 WHERE id = 3;
SELECT sum(n), max(n), min(n) FROM ax;
UPDATE ax SET n = id::numeric / 7, f8 = id, f4 = id / 2.0;
SELECT sum(n), avg(n), sum(f8), avg(f8), sum(f4), avg(f4) FROM ax;
UPDATE ax SET n = 'NaN', f8 = 'NaN' WHERE id = 5;
SELECT sum(n), avg(n), min(n), max(n), sum(f8), min(f8), max(f8) FROM ax;
UPDATE ax SET n = 'Infinity', f8 = 'Infinity' WHERE id = 5;
SELECT sum(n), avg(n), min(n), max(n), sum(f8), min(f8), max(f8) FROM ax;
UPDATE ax SET n = '-Infinity', f8 = '-Infinity' WHERE id = 6;
SELECT sum(n), avg(n), min(n), max(n), sum(f8), min(f8), max(f8) FROM ax;
SELECT n, count(*) FROM ax GROUP BY n ORDER BY n;
SELECT f8, count(*) FROM ax GROUP BY f8 ORDER BY f8 DESC;
UPDATE ax SET n = CASE WHEN id % 2 = 0 THEN 1 ELSE 1.00 END, f8 = CASE WHEN id % 2 = 0 THEN 0 ELSE '-0' END::float8;
SELECT count(DISTINCT n), count(DISTINCT f8) FROM ax;
SELECT f8, count(*) FROM ax GROUP BY f8;
UPDATE ax SET s = CASE id % 4 WHEN 0 THEN 'a' WHEN 1 THEN 'B' WHEN 2 THEN 'ä' ELSE '' END;
SELECT s, count(*) FROM ax GROUP BY s ORDER BY s;
SELECT min(s), max(s) FROM ax;
UPDATE ax SET iv = CASE WHEN id % 2 = 0 THEN interval '1 month' ELSE interval '30 days' END;
SELECT sum(iv), min(iv) = max(iv), count(DISTINCT iv) FROM ax;
UPDATE ax SET ts = CASE WHEN id = 1 THEN 'infinity' WHEN id = 2 THEN '-infinity' ELSE timestamp '2020-01-01' + id * interval '1 day' END;
SELECT min(ts), max(ts) FROM ax;
SELECT ts FROM ax ORDER BY ts LIMIT 3;
SELECT ts FROM ax ORDER BY ts DESC LIMIT 3;
SELECT sum(n), avg(n) FROM ax WHERE id = 1;
DROP TABLE ax;
CREATE TABLE ax2 (id int4 PRIMARY KEY, n numeric(30,10));
INSERT INTO ax2 SELECT i, 12345678901234567890.0123456789 + i FROM generate_series(1, 33) i;
-- distribute: SELECT create_distributed_table('ax2', 'id')
SELECT sum(n), avg(n), min(n), max(n), count(n) FROM ax2;
SELECT avg(n) - min(n), sum(n) / 3, avg(n)::numeric(30,4) FROM ax2;
SELECT n % 2 = 0, count(*) FROM ax2 GROUP BY 1;
DROP TABLE ax2;
-- Outputs with the names of the merge's own columns; averages of negative zeros.
CREATE TABLE ex_names (id int8 PRIMARY KEY, f float8, t text);
INSERT INTO ex_names SELECT i, 0, 't' || (10 - i) FROM generate_series(1, 9) i;
-- distribute: SELECT create_distributed_table('ex_names', 'id')
SELECT id AS x, t AS c0 FROM ex_names ORDER BY 1;
SELECT t AS k0, id FROM ex_names ORDER BY id;
SELECT DISTINCT t AS x, id % 3 AS c0 FROM ex_names ORDER BY 1, 2;
SELECT DISTINCT id % 2 AS x, 7 - id % 2 AS c0 FROM ex_names ORDER BY 1;
SELECT id % 3 AS p0, max(t) AS g0, count(*) FROM ex_names GROUP BY id % 3 ORDER BY id % 3;
SELECT max(t) AS g0 FROM ex_names GROUP BY id % 3 ORDER BY id % 3;
SELECT avg(-f), sum(-f), avg(-f::float4) FROM ex_names;
SELECT avg(-f) FILTER (WHERE id = 1), avg(-f) FILTER (WHERE id = 100) FROM ex_names;
DROP TABLE ex_names;
