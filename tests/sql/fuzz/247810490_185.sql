-- values (found by atoll-fuzz)
CREATE SCHEMA fz_247810490_185;
SET search_path = fz_247810490_185, public;
-- distribute: SET atoll.merge_engine = 'postgres'
CREATE TABLE c (id int4 NOT NULL, f float8);
-- distribute: SELECT create_distributed_table('c', 'id')
INSERT INTO c VALUES (59, '0'::float8);
-- params: 'true'::bool
SELECT avg((- c5.f)) FILTER (WHERE $1) AS c0 FROM c c5;
DROP TABLE c;
DROP SCHEMA fz_247810490_185;
RESET ALL;
