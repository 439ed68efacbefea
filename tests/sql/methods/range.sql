-- Tables distributed by range: ranges are carved out of the one shard that a table begins with.
CREATE TABLE ra (k int8 PRIMARY KEY, v text, n int);
INSERT INTO ra SELECT i, 'v' || i, i % 7 FROM generate_series(-50, 150) i;
-- distribute: SELECT create_distributed_table('ra', 'k', 'range')
-- distribute: SELECT atoll.add_range_shard('ra', 0, 50)
-- distribute: SELECT atoll.add_range_shard('ra', 100, NULL)
-- distribute: SELECT atoll.add_range_shard(table_name => 'ra', key_from => 60, key_to => 70, "group" => 'g1')
SELECT count(*), sum(k), min(k), max(k) FROM ra;
SELECT * FROM ra WHERE k = 0;
SELECT * FROM ra WHERE k IN (49, 50, 99, 100) ORDER BY k;
SELECT count(*) FROM ra WHERE k < 0;
SELECT count(*) FROM ra WHERE k <= 0;
SELECT count(*) FROM ra WHERE k BETWEEN 45 AND 65;
SELECT count(*) FROM ra WHERE k NOT BETWEEN 45 AND 65;
SELECT count(*) FROM ra WHERE k BETWEEN SYMMETRIC 65 AND 45;
SELECT count(*) FROM ra WHERE 99 < k AND k <= 101;
SELECT count(*) FROM ra WHERE k > 100 OR k < -40;
SELECT count(*) FROM ra WHERE k > 10 AND k < 5;
SELECT count(*) FROM ra WHERE k >= 10.5 AND k < 20.5;
SELECT count(*) FROM ra WHERE k < NULL;
INSERT INTO ra VALUES (-1000, 'low', 1), (55, 'dup', 1);
INSERT INTO ra VALUES (-1000, 'low', 1), (1000, 'high', 2), (200, 'more', 3);
SELECT * FROM ra WHERE k >= 200 ORDER BY k;
UPDATE ra SET n = 100 WHERE k BETWEEN 40 AND 60;
DELETE FROM ra WHERE k >= 120;
DELETE FROM ra WHERE k < -45 RETURNING k, v;
SELECT n, count(*) FROM ra GROUP BY n ORDER BY n;
SELECT a.k, b.v FROM ra a JOIN ra b ON a.k = b.k WHERE a.k BETWEEN 98 AND 102 ORDER BY 1;
SELECT a.k, b.k FROM ra a JOIN ra b ON a.k = b.n WHERE b.k > 90 ORDER BY 1, 2;
INSERT INTO ra SELECT k + 1000, v, n FROM ra WHERE k BETWEEN 45 AND 55;
SELECT k FROM ra WHERE k > 1000 ORDER BY k;
TRUNCATE ra;
SELECT count(*) FROM ra;
DROP TABLE ra;
-- Text and dates.
CREATE TABLE rt (k text COLLATE "C" PRIMARY KEY, v int);
INSERT INTO rt SELECT chr(97 + i % 26) || i, i FROM generate_series(1, 100) i;
-- distribute: SELECT create_distributed_table('rt', 'k', 'range')
-- distribute: SELECT atoll.add_range_shard('rt', 'f', 'n')
-- distribute: SELECT atoll.add_range_shard('rt', 'x', NULL)
SELECT count(*), sum(v) FROM rt;
SELECT * FROM rt WHERE k >= 'm' AND k < 'o' ORDER BY k;
SELECT * FROM rt WHERE k = 'x23';
SELECT * FROM rt WHERE k > 'w' ORDER BY k DESC LIMIT 5;
DROP TABLE rt;
CREATE TABLE rd (d date, n int, PRIMARY KEY (d, n));
INSERT INTO rd SELECT date '2024-01-01' + i, i FROM generate_series(0, 400) i;
-- distribute: SELECT create_distributed_table('rd', 'd', distribution_type => 'range')
-- distribute: SELECT atoll.add_range_shard('rd', '2024-06-01', '2024-09-01')
-- distribute: SELECT atoll.add_range_shard('rd', '2024-09-01', '2025-01-01')
SELECT count(*) FROM rd WHERE d >= '2024-05-30' AND d < '2024-09-02';
SELECT count(*) FROM rd WHERE d >= 'June 3, 2024';
SELECT d FROM rd WHERE d = '20240831';
SELECT date_trunc('month', d) m, count(*) FROM rd GROUP BY 1 ORDER BY 1;
INSERT INTO rd VALUES ('infinity', 1), ('-infinity', 2);
SELECT * FROM rd WHERE d > '2025-02-01' OR d < '2024-01-03' ORDER BY 1;
DROP TABLE rd;
