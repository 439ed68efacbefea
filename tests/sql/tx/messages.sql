-- Several statements in one message: an implicit transaction.
CREATE TABLE tm (id int8 PRIMARY KEY, v text);
-- distribute: SELECT create_distributed_table('tm', 'id')
SELECT 1\; SELECT 2\; SELECT 3;
INSERT INTO tm VALUES (1, 'a')\; INSERT INTO tm VALUES (2, 'b')\; SELECT count(*) FROM tm;
INSERT INTO tm VALUES (3, 'c')\; SELECT 1 / 0\; INSERT INTO tm VALUES (4, 'd');
SELECT count(*) FROM tm;
INSERT INTO tm VALUES (3, 'c')\; COMMIT\; SELECT 1 / 0\; INSERT INTO tm VALUES (4, 'd');
SELECT * FROM tm ORDER BY id;
BEGIN\; INSERT INTO tm VALUES (5, 'e')\; COMMIT\; SELECT v FROM tm WHERE id = 5;
BEGIN\; INSERT INTO tm VALUES (6, 'f');
SELECT v FROM tm WHERE id = 6;
ROLLBACK;
BEGIN\; INSERT INTO tm VALUES (6, 'f')\; SELECT nope\; SELECT 1;
SELECT 1;
ROLLBACK\; SELECT 2;
INSERT INTO tm VALUES (7, 'g')\; BEGIN\; INSERT INTO tm VALUES (8, 'h')\; ROLLBACK;
SELECT id FROM tm ORDER BY id;
INSERT INTO tm VALUES (9, 'i')\; ROLLBACK;
SELECT id FROM tm WHERE id = 9;
SELECT 1\; SELEC 2\; SELECT 3;
SELECT 1\; SELECT nope\; SELECT 3;
INSERT INTO tm VALUES (10, 'a')\; SELECT v FROM tm WHERE id = 10\; UPDATE tm SET v = 'b' WHERE id = 10\; SELECT v FROM tm WHERE id = 10\; DELETE FROM tm WHERE id = 10;
SET TimeZone = 'Asia/Tokyo'\; SHOW TimeZone\; SELECT 1 / 0;
SHOW TimeZone;
SET LOCAL TimeZone = 'Asia/Tokyo'\; SHOW TimeZone;
SHOW TimeZone;
SAVEPOINT x\; SELECT 1;
BEGIN\; SAVEPOINT x\; INSERT INTO tm VALUES (11, 'x')\; ROLLBACK TO x\; INSERT INTO tm VALUES (12, 'y')\; COMMIT;
SELECT id FROM tm WHERE id IN (11, 12);
CREATE TABLE tm2 (a int)\; DROP TABLE tm2;
VACUUM tm\; SELECT 1;
-- Empty ones.
;
SELECT 1\;\; SELECT 2;
\; \;;
/* nothing */;
COMMIT\; COMMIT;
-- Text with semicolons.
SELECT 'a;b', $$c;d$$, "e;f" FROM (SELECT 1 AS "e;f") x\; SELECT ';';
DROP TABLE tm;
