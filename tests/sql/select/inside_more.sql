-- Queries over shards inside transactions, after writes, under settings, prepared, copied; beside tables of every kind.
CREATE TABLE xi_a (id int8 PRIMARY KEY, k int, t text, ts timestamptz DEFAULT '2020-01-01 00:00+00');
CREATE TABLE xi_c (code text PRIMARY KEY, k int, f float8, by bytea, iv interval, d date);
CREATE TABLE xi_r (id int PRIMARY KEY, name text);
CREATE TABLE xi_u (id int PRIMARY KEY, k int, t text);
INSERT INTO xi_a (id, k, t) SELECT i, i % 4, CASE WHEN i % 5 = 0 THEN NULL ELSE 't' || i % 3 END FROM generate_series(1, 16) i;
INSERT INTO xi_c VALUES ('t0', 0, 0.1, '\x00', '1 day', '2020-01-31'), ('t1', 1, 1e20, '\x6162', '1 year 2 mons', '0044-03-15 BC'), ('t2', 2, 'NaN', NULL, '-00:00:01', 'infinity'), ('x', NULL, 1.0 / 3, '', NULL, NULL);
INSERT INTO xi_r VALUES (0, 'zero'), (1, 'one'), (2, NULL);
INSERT INTO xi_u VALUES (1, 1, 't1'), (2, 2, 't2'), (3, 3, NULL);
-- distribute: SELECT create_distributed_table('xi_a', 'id')
-- distribute: SELECT create_distributed_table('xi_c', 'code')
-- distribute: SELECT create_reference_table('xi_r')
-- Read only, and the stricter levels.
BEGIN TRANSACTION READ ONLY;
SELECT count(*) FROM xi_a a JOIN xi_c c ON a.k = c.k;
SELECT a.id, u.id FROM xi_a a JOIN xi_u u ON a.t = u.t ORDER BY 1, 2;
SELECT k FROM xi_a EXCEPT SELECT k FROM xi_c;
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM xi_a a JOIN xi_c c ON a.k = c.k;
SELECT a.id, rank() OVER (ORDER BY a.k, c.code) FROM xi_a a JOIN xi_c c ON c.code = a.t;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
SELECT count(*) FROM xi_a a JOIN xi_c c ON a.k = c.k;
SELECT count(*) FROM xi_u u JOIN xi_a a ON u.k = a.k;
COMMIT;
SET default_transaction_read_only = on;
SELECT count(*) FROM xi_a a JOIN xi_c c ON a.k = c.k;
SELECT u.id, count(a.id) FROM xi_u u LEFT JOIN xi_a a ON u.k = a.k GROUP BY u.id ORDER BY 1;
RESET default_transaction_read_only;
CREATE TEMPORARY TABLE xi_temp AS SELECT i AS id, i % 3 AS k FROM generate_series(1, 5) i;
SELECT x.id, a.id FROM xi_temp x JOIN xi_a a ON a.k = x.k WHERE a.id < 5;
SELECT id FROM xi_a WHERE k IN (SELECT k FROM xi_temp) EXCEPT SELECT id FROM xi_temp ORDER BY 1;
DROP TABLE xi_temp;
DROP TABLE xi_a, xi_c, xi_r, xi_u;
