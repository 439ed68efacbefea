-- Writes to a reference table reach every copy.
CREATE TABLE dr (id int PRIMARY KEY, name text UNIQUE, s serial, u uuid DEFAULT gen_random_uuid());
CREATE TABLE drd (id int8 PRIMARY KEY, ref int);
INSERT INTO drd SELECT i, i % 4 FROM generate_series(1, 40) i;
-- distribute: SELECT create_reference_table('dr')
-- distribute: SELECT create_distributed_table('drd', 'id')
INSERT INTO dr (id, name) VALUES (1, 'one'), (2, 'two'), (3, 'three') RETURNING id, name, s;
SELECT drd.id, dr.name FROM drd JOIN dr ON dr.id = drd.ref WHERE drd.id = 5;
SELECT dr.name, count(*) FROM drd JOIN dr ON dr.id = drd.ref GROUP BY dr.name ORDER BY 1;
SELECT count(DISTINCT dr.u) FROM drd JOIN dr ON dr.id = drd.ref;
UPDATE dr SET name = 'zwei' WHERE id = 2 RETURNING id, name;
SELECT dr.name, count(*) FROM drd JOIN dr ON dr.id = drd.ref GROUP BY dr.name ORDER BY 1;
INSERT INTO dr (id, name) VALUES (4, 'one');
INSERT INTO dr (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = 'uno' RETURNING id, name;
DELETE FROM dr WHERE id = 3;
SELECT dr.name, count(*) FROM drd LEFT JOIN dr ON dr.id = drd.ref GROUP BY dr.name ORDER BY 1;
BEGIN;
INSERT INTO dr (id, name) VALUES (10, 'ten');
INSERT INTO drd VALUES (100, 10);
SELECT dr.name, drd.id FROM drd JOIN dr ON dr.id = drd.ref WHERE dr.id = 10;
ROLLBACK;
SELECT count(*) FROM dr;
SELECT count(*) FROM drd WHERE id = 100;
TRUNCATE dr;
SELECT count(*) FROM drd JOIN dr ON dr.id = drd.ref;
DROP TABLE dr, drd;
