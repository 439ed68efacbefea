-- Row locks and samples over shards.
CREATE TABLE sk_a (id int8 PRIMARY KEY, k int, t text);
CREATE TABLE sk_b (id int8, line int, k int, PRIMARY KEY (id, line));
CREATE TABLE sk_c (code text PRIMARY KEY, k int);
CREATE TABLE sk_r (id int PRIMARY KEY, name text);
CREATE TABLE sk_u (id int PRIMARY KEY, k int, t text);
INSERT INTO sk_a VALUES (1, 1, 'a'), (2, 2, ''), (3, 2, 'ä'), (4, NULL, NULL), (5, -1, 'Z'), (6, 0, 'a'), (7, 3, '日本'), (8, 3, 'naïve'), (9, 1, 'b'), (10, NULL, 'z'), (-1, 1, 'B'), (-2, 2, 'q');
INSERT INTO sk_b VALUES (1, 1, 1), (1, 2, 2), (2, 1, NULL), (3, 1, 3), (3, 2, 3), (5, 1, -1), (6, 1, 10), (7, 1, 7), (8, 1, 1), (20, 1, 2);
INSERT INTO sk_c VALUES ('a', 1), ('b', 2), ('', 3), ('ä', NULL), ('Z', -1), ('日本', 7), ('x', 0);
INSERT INTO sk_r VALUES (-1, 'minus'), (0, ''), (1, 'one'), (2, 'zwei'), (3, NULL);
INSERT INTO sk_u VALUES (1, 1, 'a'), (2, 2, 'ä'), (3, NULL, NULL), (4, 3, ''), (5, 3, '日本');
-- distribute: SELECT create_distributed_table('sk_a', 'id')
-- distribute: SELECT create_distributed_table('sk_b', 'id')
-- distribute: SELECT create_distributed_table('sk_c', 'code')
-- distribute: SELECT create_reference_table('sk_r')
-- Outside a transaction.
SELECT id, k FROM sk_a ORDER BY id FOR UPDATE;
SELECT id, k FROM sk_a WHERE k > 1 FOR NO KEY UPDATE;
SELECT id, k FROM sk_a WHERE k IS NULL FOR SHARE;
SELECT * FROM sk_a ORDER BY t NULLS FIRST, id FOR KEY SHARE;
SELECT id FROM sk_a WHERE id = 3 FOR UPDATE;
SELECT id FROM sk_a WHERE id IN (1, 2, 3) ORDER BY 1 FOR UPDATE NOWAIT;
SELECT id FROM sk_a ORDER BY id DESC LIMIT 3 FOR UPDATE;
SELECT id FROM sk_a ORDER BY k NULLS LAST, id LIMIT 3 OFFSET 2 FOR UPDATE SKIP LOCKED;
SELECT id + 1 AS next, upper(t) FROM sk_a ORDER BY next FOR SHARE;
SELECT a.id, b.line FROM sk_a a JOIN sk_b b ON a.id = b.id ORDER BY 1, 2 FOR UPDATE;
SELECT a.id, b.line FROM sk_a a JOIN sk_b b USING (id) ORDER BY 1, 2 FOR UPDATE OF a;
SELECT a.id, b.line FROM sk_a a JOIN sk_b b USING (id) ORDER BY 1, 2 FOR UPDATE OF a FOR SHARE OF b;
SELECT a.id, b.line FROM sk_a a LEFT JOIN sk_b b USING (id) ORDER BY 1, 2 FOR UPDATE OF a;
SELECT a.id, b.line FROM sk_a a JOIN sk_b b USING (id) ORDER BY 1, 2 LIMIT 4 FOR UPDATE OF a;
SELECT a.id, b.line FROM sk_a a JOIN sk_b b USING (id) ORDER BY 1, 2 LIMIT 4 OFFSET 1 FOR UPDATE OF b FOR KEY SHARE OF a SKIP LOCKED;
SELECT id FROM sk_a ORDER BY id LIMIT 2 FOR NO KEY UPDATE OF sk_a;
SELECT id FROM sk_a ORDER BY id LIMIT 2 FOR UPDATE OF other;
SELECT id FROM sk_a WHERE k > (SELECT min(id) FROM sk_r) FOR UPDATE;
SELECT id FROM sk_a WHERE EXISTS (SELECT 1 FROM sk_b b WHERE b.id = sk_a.id) ORDER BY id FOR UPDATE;
SELECT id, name FROM sk_r ORDER BY id FOR UPDATE;
SELECT id, name FROM sk_r ORDER BY id FOR KEY SHARE SKIP LOCKED;
SELECT u.id, r.name FROM sk_u u JOIN sk_r r ON r.id = u.k ORDER BY 1 FOR UPDATE OF u;
SELECT u.id FROM sk_u u ORDER BY 1 FOR NO KEY UPDATE NOWAIT;
-- params: 2
-- params: NULL::int4
SELECT id, t FROM sk_a WHERE k = $1 ORDER BY id FOR UPDATE;
-- params: 3::int8
SELECT id, t FROM sk_a WHERE id = $1 FOR SHARE;
-- Inside one, with writes after.
BEGIN;
SELECT id, t FROM sk_a WHERE k = 2 ORDER BY id FOR UPDATE;
UPDATE sk_a SET t = 'locked ' || id WHERE k = 2;
SELECT id, t FROM sk_a WHERE k = 2 ORDER BY id FOR UPDATE;
SELECT id, t FROM sk_a WHERE k = 2 ORDER BY id FOR KEY SHARE SKIP LOCKED;
ROLLBACK;
BEGIN;
SELECT count(*) FROM (SELECT id FROM sk_u FOR UPDATE) x;
SELECT id FROM sk_a WHERE id = 7 FOR UPDATE;
SAVEPOINT one;
SELECT id FROM sk_a ORDER BY id FOR SHARE;
ROLLBACK TO one;
UPDATE sk_a SET k = k + 1 WHERE id = 7;
COMMIT;
SELECT k FROM sk_a WHERE id = 7;
-- What is locked is locked for others, on every shard.
BEGIN;
SELECT id FROM sk_a WHERE k = 2 ORDER BY id FOR UPDATE;
-- session: other
SELECT id FROM sk_a ORDER BY id FOR UPDATE SKIP LOCKED;
-- session: other
SELECT id FROM sk_a WHERE k = 1 ORDER BY id FOR UPDATE NOWAIT;
-- session: other
SELECT id FROM sk_a WHERE k = 2 ORDER BY id FOR UPDATE NOWAIT;
-- session: other
SELECT id FROM sk_a WHERE id = 3 FOR SHARE NOWAIT;
-- session: other
SELECT id FROM sk_a WHERE id = 3 FOR SHARE SKIP LOCKED;
-- session: other
SELECT id FROM sk_a WHERE k = 2 ORDER BY id;
-- session: other
SELECT count(*) FROM sk_a;
ROLLBACK;
BEGIN;
SELECT id FROM sk_a WHERE k = 2 ORDER BY id FOR KEY SHARE;
-- session: other
SELECT id FROM sk_a WHERE k = 2 ORDER BY id FOR NO KEY UPDATE NOWAIT;
-- session: other
SELECT id FROM sk_a WHERE k = 2 ORDER BY id FOR UPDATE SKIP LOCKED;
-- session: other
UPDATE sk_a SET t = t WHERE k = 2;
ROLLBACK;
BEGIN;
SELECT a.id, b.line FROM sk_a a JOIN sk_b b USING (id) ORDER BY 1, 2 FOR UPDATE OF b;
-- session: other
SELECT id FROM sk_a ORDER BY id FOR UPDATE NOWAIT;
-- session: other
SELECT id, line FROM sk_b ORDER BY 1, 2 FOR UPDATE SKIP LOCKED;
COMMIT;
BEGIN;
SELECT id FROM sk_r WHERE id > 1 ORDER BY id FOR UPDATE;
-- session: other
SELECT id FROM sk_r ORDER BY id FOR UPDATE SKIP LOCKED;
-- session: other
SELECT id FROM sk_r WHERE id = 2 FOR SHARE NOWAIT;
COMMIT;
BEGIN;
SELECT id FROM sk_u WHERE id > 3 ORDER BY id FOR UPDATE;
-- session: other
SELECT id FROM sk_u ORDER BY id FOR UPDATE SKIP LOCKED;
COMMIT;
-- Locks that a query cannot take.
SELECT k, count(*) FROM sk_a GROUP BY k FOR UPDATE;
SELECT DISTINCT k FROM sk_a FOR UPDATE;
SELECT k FROM sk_a UNION SELECT k FROM sk_b FOR UPDATE;
SELECT max(id) FROM sk_a FOR UPDATE;
SELECT rank() OVER (ORDER BY id) FROM sk_a FOR UPDATE;
SELECT id FROM sk_a FOR UPDATE OF nobody;
SELECT a.id FROM sk_a a FOR UPDATE OF sk_a;
-- Samples: all or nothing are certain.
SELECT count(*), sum(id) FROM sk_a TABLESAMPLE BERNOULLI (100);
SELECT count(*) FROM sk_a TABLESAMPLE SYSTEM (0);
SELECT id, t FROM sk_a TABLESAMPLE SYSTEM (100) REPEATABLE (7) ORDER BY id;
SELECT id FROM sk_a TABLESAMPLE BERNOULLI (0) REPEATABLE (1.5);
SELECT a.id, b.line FROM sk_a a TABLESAMPLE BERNOULLI (100) JOIN sk_b b TABLESAMPLE SYSTEM (100) ON a.id = b.id ORDER BY 1, 2;
SELECT a.id, c.code FROM sk_a a TABLESAMPLE BERNOULLI (100) JOIN sk_c c TABLESAMPLE SYSTEM (100) REPEATABLE (3) ON a.k = c.k ORDER BY 1, 2;
SELECT k, count(*) FROM sk_a TABLESAMPLE SYSTEM (100) GROUP BY k ORDER BY k;
SELECT r.name, count(a.id) FROM sk_r r TABLESAMPLE SYSTEM (100) LEFT JOIN sk_a a TABLESAMPLE BERNOULLI (100) ON a.k = r.id GROUP BY r.name ORDER BY 1;
SELECT id FROM sk_a WHERE id IN (SELECT k FROM sk_b TABLESAMPLE BERNOULLI (100)) ORDER BY id;
SELECT count(*) FROM (SELECT id FROM sk_a TABLESAMPLE SYSTEM (100) ORDER BY id LIMIT 3) x;
-- params: 100::float4
-- params: 0::float4
SELECT count(*) FROM sk_a TABLESAMPLE BERNOULLI ($1);
-- any-values
SELECT count(*) FROM sk_a TABLESAMPLE BERNOULLI (50);
-- any-values
SELECT count(*), max(id) IS NULL AND false FROM sk_a TABLESAMPLE SYSTEM (30) REPEATABLE (11);
SELECT (SELECT count(*) FROM sk_a TABLESAMPLE BERNOULLI (40) REPEATABLE (9)) = (SELECT count(*) FROM sk_a TABLESAMPLE BERNOULLI (40) REPEATABLE (9));
SELECT count(*) FROM sk_a TABLESAMPLE BERNOULLI (101);
SELECT count(*) FROM sk_a TABLESAMPLE BERNOULLI (NULL);
SELECT count(*) FROM sk_a TABLESAMPLE nothing (1);
SELECT id FROM sk_a TABLESAMPLE SYSTEM (100) ORDER BY id FOR UPDATE;
DROP TABLE sk_a, sk_b, sk_c, sk_r, sk_u;
