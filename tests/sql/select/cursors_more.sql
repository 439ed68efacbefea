-- Cursors over shards.
CREATE TABLE xu_a (id int8 PRIMARY KEY, k int, t text, n numeric, ts timestamptz);
CREATE TABLE xu_c (code text PRIMARY KEY, k int);
CREATE TABLE xu_r (id int PRIMARY KEY, name text);
CREATE TABLE xu_u (id int PRIMARY KEY, k int);
INSERT INTO xu_a VALUES
  (1, 1, 'a', 1.0, '2020-01-01 00:00+00'), (2, 2, '', 1.00, NULL), (3, 2, 'ä', 'NaN', 'infinity'), (4, NULL, NULL, NULL, NULL), (5, -1, 'Z', -2.5, '2020-01-01 02:00+02'),
  (6, 0, 'a', 'Infinity', NULL), (7, 3, '日本', 0.000, NULL), (8, 3, 'naïve', 0, NULL), (9, 1, 'b', 1.5, NULL), (10, NULL, 'z', 12345678901234567890.123, NULL), (-1, 1, 'B', -1, NULL), (-2, 2, 'q', 0, NULL);
INSERT INTO xu_c VALUES ('a', 1), ('b', 2), ('', 3), ('ä', NULL), ('Z', -1), ('日本', 7), ('x', 0);
INSERT INTO xu_r VALUES (-1, 'minus'), (0, ''), (1, 'one'), (2, 'zwei'), (3, NULL);
INSERT INTO xu_u VALUES (1, 1), (2, 2), (3, NULL), (4, 3);
-- distribute: SELECT create_distributed_table('xu_a', 'id')
-- distribute: SELECT create_distributed_table('xu_c', 'code')
-- distribute: SELECT create_reference_table('xu_r')
-- Several at once, with other statements between.
BEGIN;
DECLARE x CURSOR FOR SELECT id FROM xu_a WHERE k > 0 ORDER BY id;
DECLARE y SCROLL CURSOR FOR SELECT code FROM xu_c ORDER BY code;
DECLARE z CURSOR FOR SELECT a.id, c.code FROM xu_a a JOIN xu_c c ON c.k = a.k ORDER BY 1, 2;
DECLARE "Odd Name" CURSOR FOR SELECT k, count(*) FROM xu_a GROUP BY k ORDER BY k;
DECLARE one CURSOR FOR SELECT t FROM xu_a WHERE id = 3;
DECLARE ref CURSOR FOR SELECT id, name FROM xu_r ORDER BY id;
DECLARE un CURSOR FOR SELECT u.id, a.id FROM xu_u u LEFT JOIN xu_a a ON a.k = u.k ORDER BY 1, 2;
FETCH 2 FROM x;
FETCH LAST FROM y;
FETCH 3 FROM z;
FETCH 2 FROM "Odd Name";
FETCH one;
FETCH 2 FROM ref;
FETCH 2 FROM un;
INSERT INTO xu_a (id, k) VALUES (100, 1), (101, 1);
UPDATE xu_a SET t = 'changed' WHERE k = 1;
SELECT count(*) FROM xu_a WHERE t = 'changed';
FETCH ALL FROM x;
FETCH FIRST FROM y;
FETCH ALL FROM z;
FETCH ALL FROM "Odd Name";
FETCH one;
FETCH ALL FROM ref;
FETCH ALL FROM un;
-- unordered
CLOSE y;
ROLLBACK;
-- A cursor on one shard stays where it is while a join is staged beside its READ ONLY transaction.
BEGIN READ ONLY;
DECLARE kept CURSOR FOR SELECT id, t FROM xu_a WHERE id = 3;
SELECT a.id, c.code, string_agg(a.t, ',' ORDER BY a.id) FROM xu_a a JOIN xu_c c ON c.k = a.k GROUP BY 1, 2 ORDER BY 1, 2;
FETCH ALL FROM kept;
SELECT count(*) FROM xu_a a JOIN xu_c c ON c.k < a.k;
MOVE BACKWARD ALL IN kept;
CLOSE kept;
COMMIT;
BEGIN;
DECLARE b BINARY CURSOR FOR SELECT id, k, t FROM xu_a ORDER BY id;
FETCH 2 FROM b;
FETCH FORWARD ALL FROM b;
CLOSE b;
ROLLBACK;
BEGIN;
DECLARE f CURSOR FOR SELECT id, t FROM xu_a WHERE id = 3 FOR UPDATE;
FETCH 1 FROM f;
ROLLBACK;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM xu_a ORDER BY id;
DECLARE c CURSOR FOR SELECT k FROM xu_a;
ROLLBACK;
BEGIN;
ROLLBACK;
BEGIN;
DECLARE c CURSOR FOR SELECT nothing FROM xu_a;
ROLLBACK;
BEGIN;
DECLARE c CURSOR FOR UPDATE xu_a SET t = t RETURNING id;
ROLLBACK;
BEGIN;
DECLARE c1 CURSOR FOR SELECT id FROM xu_a ORDER BY id;
CLOSE c1;
ROLLBACK;
BEGIN;
DECLARE c3 NO SCROLL CURSOR FOR SELECT id FROM xu_a ORDER BY id DESC;
FETCH 2 FROM c3;
ROLLBACK;
DROP TABLE xu_a, xu_c, xu_r, xu_u;
