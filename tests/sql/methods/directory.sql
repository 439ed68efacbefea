-- Tenants: listed keys in shards of their own choice, for tables by directory and by hash.
CREATE TABLE te (tenant text PRIMARY KEY, plan text);
CREATE TABLE us (tenant text REFERENCES te, id int, name text, PRIMARY KEY (tenant, id));
INSERT INTO te SELECT 't' || i, CASE WHEN i % 3 = 0 THEN 'big' ELSE 'small' END FROM generate_series(1, 20) i;
INSERT INTO us SELECT 't' || (1 + i % 20), i, 'user ' || i FROM generate_series(1, 200) i;
-- distribute: ALTER TABLE us DROP CONSTRAINT us_tenant_fkey
-- distribute: SELECT create_distributed_table('te', 'tenant', 'directory')
-- distribute: SELECT create_distributed_table('us', 'tenant', 'directory', colocate_with => 'te')
-- distribute: ALTER TABLE us ADD CONSTRAINT us_tenant_fkey FOREIGN KEY (tenant) REFERENCES te
CREATE INDEX us_name ON us (name);
CREATE VIEW big AS SELECT us.* FROM us JOIN te USING (tenant) WHERE plan = 'big';
-- distribute: SELECT atoll.assign_key('te', 't3')
-- distribute: SELECT atoll.assign_key('us', 't7', 'g1')
-- distribute: SELECT atoll.assign_key('te', 'not there yet')
SELECT count(*), min(tenant), max(tenant) FROM te;
SELECT count(*), sum(id) FROM us;
SELECT * FROM us WHERE tenant = 't3' ORDER BY id;
SELECT * FROM te JOIN us USING (tenant) WHERE tenant IN ('t3', 't7', 't8') AND id < 60 ORDER BY tenant, id;
SELECT tenant, count(*) FROM big GROUP BY tenant ORDER BY tenant;
INSERT INTO te VALUES ('not there yet', 'new'), ('t99', 'new'), ('t100', 'new');
INSERT INTO us VALUES ('not there yet', 1, 'first'), ('t3', 1000, 'late');
INSERT INTO us VALUES ('nobody', 1, 'x');
INSERT INTO us VALUES ('t3', 1000, 'again');
UPDATE us SET name = upper(name) WHERE tenant = 't3';
SELECT name FROM us WHERE tenant = 't3' ORDER BY id;
DELETE FROM te WHERE tenant = 't7';
DELETE FROM us WHERE tenant = 't7';
DELETE FROM te WHERE tenant = 't7';
SELECT count(*) FROM te;
ALTER TABLE us ADD COLUMN since date DEFAULT '2024-02-29';
SELECT since, count(*) FROM us GROUP BY since;
DROP VIEW big;
DROP TABLE us;
DROP TABLE te;
CREATE TABLE pin (id int8 PRIMARY KEY, v text);
INSERT INTO pin SELECT i, 'v' || i FROM generate_series(1, 100) i;
-- distribute: SELECT create_distributed_table('pin', 'id', colocate_with => 'none')
-- distribute: SELECT atoll.assign_key('pin', 42)
-- distribute: SELECT atoll.assign_key('pin', 43)
SELECT count(*), sum(id) FROM pin;
SELECT * FROM pin WHERE id IN (41, 42, 43) ORDER BY id;
INSERT INTO pin VALUES (42, 'there');
DELETE FROM pin WHERE id = 42;
INSERT INTO pin VALUES (42, 'again'), (143, 'new'), (144, 'new');
SELECT * FROM pin WHERE id > 95 OR id = 42 ORDER BY id;
BEGIN;
-- distribute: SELECT atoll.assign_key('pin', 50)
UPDATE pin SET v = 'moved' WHERE id = 50;
SELECT v FROM pin WHERE id = 50;
ROLLBACK;
SELECT v FROM pin WHERE id = 50;
SELECT count(*), sum(id) FROM pin;
DROP TABLE pin;
