-- error 42P02: there is no parameter $# (found by atoll-fuzz)
CREATE SCHEMA fz_381060222_915;
SET search_path = fz_381060222_915, public;
SET bytea_output = 'escape';
CREATE TABLE b (id int4 NOT NULL, k int2 NOT NULL, f float8, i8 int8);
-- distribute: SELECT create_distributed_table('b', 'k')
CREATE TABLE c (id int4 NOT NULL, f float8, b bool, o int4 NOT NULL);
-- distribute: SELECT create_distributed_table('c', 'o')
-- params: '1'::int2, '13', 'true'::bool
SELECT $1 FROM (SELECT b8.f, true AS c1 FROM b b8) q9(c0, c1) WHERE (q9.c1 IN (SELECT (b10.i8 BETWEEN $2 AND '9'::int8) AS c0 FROM b b10 WHERE (b10.id IN (SELECT min(c13.o) FROM c c13 HAVING $3))));
DROP TABLE b;
DROP TABLE c;
DROP SCHEMA fz_381060222_915;
RESET ALL;
