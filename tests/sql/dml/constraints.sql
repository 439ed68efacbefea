-- Constraints, foreign keys and triggers on distributed tables.
CREATE TABLE dcp (tenant int8, id int, name text NOT NULL, PRIMARY KEY (tenant, id), UNIQUE (tenant, name), CHECK (name <> 'bad'));
CREATE TABLE dcc (tenant int8, id int, parent int, amount numeric(8,2) CONSTRAINT positive CHECK (amount > 0), PRIMARY KEY (tenant, id));
-- distribute: SELECT create_distributed_table('dcp', 'tenant')
-- distribute: SELECT create_distributed_table('dcc', 'tenant')
ALTER TABLE dcc ADD CONSTRAINT dcc_parent FOREIGN KEY (tenant, parent) REFERENCES dcp (tenant, id) ON DELETE CASCADE;
INSERT INTO dcp VALUES (1, 1, 'a'), (1, 2, 'b'), (2, 1, 'a'), (3, 1, 'c');
INSERT INTO dcc VALUES (1, 1, 1, 10), (1, 2, 2, 20), (2, 1, 1, 30);
INSERT INTO dcc VALUES (1, 3, 9, 10);
INSERT INTO dcc VALUES (1, 3, 1, -10);
INSERT INTO dcc VALUES (1, 3, 1, 1234567.5);
INSERT INTO dcp VALUES (1, 3, 'a');
INSERT INTO dcp VALUES (1, 1, 'z');
INSERT INTO dcp VALUES (1, 4, NULL);
INSERT INTO dcp VALUES (1, 4, 'bad');
INSERT INTO dcp VALUES (4, 1, 'ok') ON CONFLICT (tenant, name) DO NOTHING;
UPDATE dcp SET id = 9 WHERE tenant = 1 AND id = 1;
DELETE FROM dcp WHERE tenant = 1 AND id = 1;
SELECT * FROM dcc ORDER BY tenant, id;
UPDATE dcp SET name = 'bad' WHERE tenant = 3;
UPDATE dcp SET name = NULL WHERE tenant = 3;
UPDATE dcp SET name = 'bad' WHERE name = 'c';
SELECT * FROM dcp ORDER BY tenant, id;
DELETE FROM dcp;
SELECT count(*) FROM dcc;
DROP TABLE dcc, dcp;
