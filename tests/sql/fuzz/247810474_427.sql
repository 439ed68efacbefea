-- error 42702: ORDER BY … is ambiguous (found by atoll-fuzz)
CREATE SCHEMA fz_247810474_427;
SET search_path = fz_247810474_427, public;
SET TimeZone = 'Asia/Kolkata';
SET IntervalStyle = 'iso_8601';
CREATE TABLE a (k int4 NOT NULL);
-- distribute: SELECT create_distributed_table('a', 'k')
CREATE TABLE b (k int4 NOT NULL);
-- distribute: SELECT create_distributed_table('b', 'k')
CREATE TABLE c (o int4 NOT NULL);
-- distribute: SELECT create_distributed_table('c', 'o')
-- unordered
SELECT DISTINCT 1 AS c0, x3.c0 FROM c c2 JOIN (VALUES (1, 'a'), (2, 'b'), (3, NULL)) x3(c0, c1) ON c2.o = x3.c0 ORDER BY 1;
DROP TABLE a;
DROP TABLE b;
DROP TABLE c;
DROP SCHEMA fz_247810474_427;
RESET ALL;
