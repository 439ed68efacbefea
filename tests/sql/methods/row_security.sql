-- Shards carved out of tables whose owner does not see all rows.
CREATE ROLE rs_owner;
CREATE SCHEMA rs AUTHORIZATION rs_owner;
SET ROLE rs_owner;
SET search_path = rs;
CREATE TABLE rs_range (k int8 PRIMARY KEY, v text);
INSERT INTO rs_range SELECT i, 'v' || i FROM generate_series(1, 100) i;
CREATE TABLE rs_hash (k int8 PRIMARY KEY, v text);
INSERT INTO rs_hash SELECT i, 'v' || i FROM generate_series(1, 100) i;
-- distribute: SELECT create_distributed_table('rs_range', 'k', 'range')
-- distribute: SELECT create_distributed_table('rs_hash', 'k', colocate_with => 'none')
CREATE POLICY hides ON rs_range USING (k % 2 = 0);
ALTER TABLE rs_range ENABLE ROW LEVEL SECURITY;
ALTER TABLE rs_range FORCE ROW LEVEL SECURITY;
CREATE POLICY hides ON rs_hash USING (k % 2 = 0);
ALTER TABLE rs_hash ENABLE ROW LEVEL SECURITY;
ALTER TABLE rs_hash FORCE ROW LEVEL SECURITY;
-- distribute: SELECT atoll.add_range_shard('rs_range', 20, 60)
-- distribute: SELECT atoll.assign_key('rs_hash', 7)
-- distribute: SELECT atoll.assign_key('rs_hash', 8)
SELECT count(*), sum(k) FROM rs_range;
SELECT count(*), sum(k) FROM rs_hash;
SELECT * FROM rs_hash WHERE k IN (7, 8) ORDER BY k;
INSERT INTO rs_range VALUES (1001, 'hidden');
RESET ROLE;
SELECT count(*), sum(k) FROM rs_range;
SELECT count(*), sum(k) FROM rs_range WHERE k BETWEEN 15 AND 65;
SELECT count(*), sum(k) FROM rs_hash;
SELECT * FROM rs_hash WHERE k IN (7, 8) ORDER BY k;
SELECT relname, relforcerowsecurity FROM pg_class WHERE relname IN ('rs_range', 'rs_hash') ORDER BY 1;
DROP SCHEMA rs CASCADE;
RESET search_path;
DROP ROLE rs_owner;
