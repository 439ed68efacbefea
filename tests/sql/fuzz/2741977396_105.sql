-- number of rows (found by atoll-fuzz)
CREATE SCHEMA fz_2741977396_105;
SET search_path = fz_2741977396_105, public;
SET TimeZone = 'America/New_York';
SET DateStyle = 'German';
CREATE TABLE b (k varchar(200) NOT NULL);
INSERT INTO b VALUES ('B');
-- distribute: SELECT create_distributed_table('b', 'k')
CREATE TABLE c (id int4 NOT NULL, k text);
-- distribute: SELECT create_distributed_table('c', 'id')
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY (SELECT '1'::float8 FROM b b3 WHERE (b3.k = ' pad ') GROUP BY b3.k HAVING (b3.k NOT IN (SELECT b1.k AS c0 FROM c c4)))) FROM b b1 HAVING (string_agg(DISTINCT b1.k, '|') ~ '^.?$');
DROP TABLE b;
DROP TABLE c;
DROP SCHEMA fz_2741977396_105;
RESET ALL;
