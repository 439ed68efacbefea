-- Cursors over shards in READ ONLY transactions; writes WHERE CURRENT OF a cursor.
CREATE TABLE cr (id int8 PRIMARY KEY, k int, t text);
CREATE TABLE cr_code (code text PRIMARY KEY, k int);
CREATE TABLE cr_line (id int8, line int, q int, PRIMARY KEY (id, line));
INSERT INTO cr SELECT i, i % 4, 'row ' || i FROM generate_series(1, 40) i;
INSERT INTO cr_code SELECT 'c' || i, i FROM generate_series(0, 5) i;
INSERT INTO cr_line SELECT i % 3, i, i * 2 FROM generate_series(1, 30) i;
-- distribute: SELECT create_distributed_table('cr', 'id')
-- distribute: SELECT create_distributed_table('cr_code', 'code')
-- distribute: SELECT create_distributed_table('cr_line', 'id')
BEGIN READ ONLY;
DECLARE a CURSOR FOR SELECT id, t FROM cr ORDER BY id;
DECLARE b SCROLL CURSOR FOR SELECT cr.id, c.code FROM cr JOIN cr_code c USING (k) ORDER BY 1, 2;
FETCH 3 FROM a;
FETCH LAST FROM b;
SELECT count(*) FROM cr JOIN cr_code USING (k);
FETCH 2 FROM a;
FETCH FIRST FROM b;
FETCH BACKWARD 2 FROM b;
MOVE 5 IN a;
FETCH 1 FROM a;
CLOSE b;
FETCH ALL FROM a;
FETCH 1 FROM a;
COMMIT;
FETCH 1 FROM a;
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SELECT count(*) FROM cr;
DECLARE a CURSOR FOR SELECT count(*), now() = now() FROM cr;
-- session: other
INSERT INTO cr VALUES (100, 1, 'late');
-- session: main
FETCH ALL FROM a;
DECLARE c BINARY CURSOR FOR SELECT id FROM cr WHERE k = 1 ORDER BY id;
FETCH 2 FROM c;
SELECT count(*) FROM cr;
ROLLBACK;
BEGIN READ ONLY;
DECLARE "Odd" CURSOR WITHOUT HOLD FOR SELECT k, count(*) FROM cr GROUP BY k ORDER BY k;
FETCH 2 FROM "Odd";
CLOSE ALL;
FETCH 1 FROM "Odd";
ROLLBACK;
-- The row a cursor stands at.
BEGIN;
DECLARE w CURSOR FOR SELECT * FROM cr_line WHERE id = 1 ORDER BY line FOR UPDATE;
FETCH 2 FROM w;
UPDATE cr_line SET q = q + 1000 WHERE CURRENT OF w;
FETCH 1 FROM w;
DELETE FROM cr_line WHERE CURRENT OF w;
UPDATE cr_line AS l SET q = -1 WHERE CURRENT OF w RETURNING l.q;
FETCH 1 FROM w;
UPDATE public.cr_line SET q = q * 2 WHERE CURRENT OF w RETURNING id, line, q;
COMMIT;
SELECT * FROM cr_line WHERE id = 1 ORDER BY line;
BEGIN;
UPDATE cr_line SET q = 1 WHERE CURRENT OF nope;
ROLLBACK;
BEGIN;
DECLARE w CURSOR FOR SELECT * FROM cr_line WHERE id = 2;
UPDATE cr_line SET q = 1 WHERE CURRENT OF w;
ROLLBACK;
BEGIN;
DECLARE w CURSOR FOR SELECT * FROM cr_line ORDER BY line;
FETCH 1 FROM w;
-- exact-or-refused
DELETE FROM cr_line WHERE CURRENT OF w;
ROLLBACK;
DROP TABLE cr, cr_code, cr_line;
