-- Distributing, with rows; what cannot be distributed; going back.
CREATE TABLE dn (id int8 PRIMARY KEY, v text, email text);
INSERT INTO dn SELECT i, 'v' || i, i || '@x' FROM generate_series(1, 200) i;
CREATE INDEX dn_v ON dn (v);
-- distribute: SELECT create_distributed_table('dn', 'id')
SELECT count(*), sum(id) FROM dn;
SELECT * FROM dn WHERE id = 77;
SELECT indexname FROM pg_indexes WHERE tablename = 'dn' ORDER BY 1;
-- distribute-fails 42P16: SELECT create_distributed_table('dn', 'id')
-- distribute-fails 42P16: SELECT create_reference_table('dn')
CREATE UNIQUE INDEX dn_key_email ON dn (id, email);
-- cluster-refuses 0A000
CREATE UNIQUE INDEX dn_email ON dn (email);
-- cluster-refuses 0A000
ALTER TABLE dn ADD CONSTRAINT dn_email UNIQUE (email);
-- distribute: SELECT undistribute_table('dn')
SELECT count(*), sum(id) FROM dn;
CREATE UNIQUE INDEX dn_email ON dn (email);
-- distribute-fails 0A000: SELECT create_distributed_table('dn', 'id')
SELECT count(*) FROM dn;
DROP INDEX dn_email;
-- distribute-fails 42703: SELECT create_distributed_table('dn', 'nope')
-- distribute-fails 42P01: SELECT create_distributed_table('nope', 'id')
-- distribute: SELECT create_reference_table('dn')
SELECT count(*), sum(id) FROM dn;
UPDATE dn SET v = 'changed' WHERE id = 5;
-- distribute: SELECT undistribute_table('dn')
SELECT count(*), count(*) FILTER (WHERE v = 'changed') FROM dn;
DROP TABLE dn;
CREATE TABLE dnj (id int8 PRIMARY KEY, j json, f float8, a int[]);
-- distribute-fails 0A000: SELECT create_distributed_table('dnj', 'j')
DROP TABLE dnj;
CREATE VIEW dnv AS SELECT 1 AS id;
-- distribute-fails 42809: SELECT create_distributed_table('dnv', 'id')
DROP VIEW dnv;
-- In a transaction, undone.
CREATE TABLE dnt (id int8 PRIMARY KEY, v text);
INSERT INTO dnt SELECT i, 'v' FROM generate_series(1, 20) i;
BEGIN;
-- distribute: SELECT create_distributed_table('dnt', 'id')
SELECT count(*) FROM dnt;
INSERT INTO dnt VALUES (100, 'new');
ROLLBACK;
SELECT count(*) FROM dnt;
BEGIN;
-- distribute: SELECT create_distributed_table('dnt', 'id')
INSERT INTO dnt VALUES (100, 'new');
COMMIT;
SELECT count(*) FROM dnt;
SELECT * FROM dnt WHERE id = 100;
DROP TABLE dnt;
-- Keys referring to other tables.
CREATE TABLE dnp (id int8 PRIMARY KEY);
CREATE TABLE dnc (id int8 PRIMARY KEY, parent int8 REFERENCES dnp (id));
-- distribute-fails 0A000: SELECT create_distributed_table('dnp', 'id')
-- distribute-fails 0A000: SELECT create_distributed_table('dnc', 'id')
DROP TABLE dnc, dnp;
CREATE TABLE dnr (id int PRIMARY KEY, v text);
CREATE TABLE dnf (id int8 PRIMARY KEY, r int REFERENCES dnr (id));
INSERT INTO dnr VALUES (1, 'x'), (2, 'y');
-- distribute: SELECT create_reference_table('dnr')
-- distribute: SELECT create_distributed_table('dnf', 'id')
INSERT INTO dnf VALUES (1, 1), (2, 2), (3, NULL);
INSERT INTO dnf VALUES (4, 9);
DELETE FROM dnf WHERE r = 1;
SELECT count(*) FROM dnf JOIN dnr ON dnr.id = r;
DROP TABLE dnf, dnr;
-- Names kept for shards.
-- cluster-refuses 42939
CREATE SCHEMA s0001;
-- cluster-refuses 42939
CREATE SCHEMA atoll;
