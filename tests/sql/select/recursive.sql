-- Recursive queries and WITH over shards.
CREATE TABLE sr_tree (id int8 PRIMARY KEY, parent int8, name text, w numeric);
CREATE TABLE sr_edge (a int, b int, cost int, PRIMARY KEY (a, b));
CREATE TABLE sr_word (code text PRIMARY KEY, next text);
CREATE TABLE sr_r (id int PRIMARY KEY, name text);
CREATE TABLE sr_u (id int PRIMARY KEY, parent int, t text);
INSERT INTO sr_tree VALUES
  (1, NULL, 'root', 1), (2, 1, 'ä', 2.50), (3, 1, '', 'NaN'), (4, 2, 'b', 0), (5, 2, NULL, -1), (6, 3, '日本', 7.000), (7, 6, 'deep', 8), (8, 7, 'deeper', NULL),
  (9, 8, 'deepest', 3), (10, NULL, 'other root', 4), (11, 10, 'leaf', 5), (12, 99, 'orphan', 6), (13, 13, 'own parent', 1), (-1, 4, 'minus', 2);
INSERT INTO sr_edge VALUES (1, 2, 5), (2, 3, 1), (3, 1, 2), (1, 4, 9), (4, 5, 1), (5, 4, 1), (5, 6, -2), (6, 6, 0), (7, 8, 3), (3, 4, 1), (2, 6, 20);
INSERT INTO sr_word VALUES ('a', 'b'), ('b', 'c'), ('c', 'ä'), ('ä', ''), ('', NULL), ('x', 'y'), ('y', 'x');
INSERT INTO sr_r VALUES (1, 'one'), (2, 'two'), (3, 'drei'), (4, NULL), (5, ''), (6, 'six');
INSERT INTO sr_u VALUES (1, NULL, 'a'), (2, 1, 'b'), (3, 2, 'c'), (4, 2, 'x');
-- distribute: SELECT create_distributed_table('sr_tree', 'id')
-- distribute: SELECT create_distributed_table('sr_edge', 'a')
-- distribute: SELECT create_distributed_table('sr_word', 'code')
-- distribute: SELECT create_reference_table('sr_r')
-- Without any table's rows, and with a distributed table outside only.
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10) SELECT sum(i), count(*) FROM n;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12) SELECT n.i, t.name FROM n LEFT JOIN sr_tree t ON t.id = n.i ORDER BY 1;
WITH RECURSIVE n (i) AS (SELECT min(id) FROM sr_tree UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT * FROM n ORDER BY i;
WITH RECURSIVE n (i) AS (VALUES (1::int8) UNION SELECT (i * 3) % 7 FROM n) SELECT t.id, t.name FROM sr_tree t WHERE t.id IN (SELECT i FROM n);
-- Trees.
WITH RECURSIVE t AS (SELECT id, parent, name, 0 AS depth FROM sr_tree WHERE parent IS NULL UNION ALL SELECT c.id, c.parent, c.name, t.depth + 1 FROM sr_tree c JOIN t ON c.parent = t.id) SELECT * FROM t ORDER BY depth, id;
WITH RECURSIVE up AS (SELECT id, parent, name FROM sr_tree WHERE id = 9 UNION ALL SELECT p.id, p.parent, p.name FROM sr_tree p JOIN up ON p.id = up.parent) SELECT * FROM up;
WITH RECURSIVE t (id, path) AS (SELECT id, ARRAY[id] FROM sr_tree WHERE parent IS NULL UNION ALL SELECT c.id, path || c.id FROM t, sr_tree c WHERE c.parent = t.id) SELECT id, path, array_length(path, 1) FROM t ORDER BY path;
WITH RECURSIVE t AS (SELECT id, name::text AS path FROM sr_tree WHERE id = 1 UNION ALL SELECT c.id, t.path || '/' || coalesce(c.name, '?') FROM sr_tree c INNER JOIN t ON c.parent = t.id) SELECT path FROM t ORDER BY path;
WITH RECURSIVE t AS (SELECT id, id AS root FROM sr_tree WHERE parent IS NULL UNION ALL SELECT c.id, t.root FROM sr_tree c JOIN t ON c.parent = t.id) SELECT t.root, count(*), sum(s.w) FROM t JOIN sr_tree s ON s.id = t.id GROUP BY t.root ORDER BY 1;
WITH RECURSIVE t AS (SELECT id FROM sr_tree WHERE id = 2 UNION ALL SELECT c.id FROM sr_tree c, t WHERE c.parent = t.id) SELECT id FROM sr_tree WHERE id NOT IN (SELECT id FROM t) ORDER BY id;
WITH RECURSIVE t AS (SELECT id, parent, 0 AS d FROM sr_tree UNION ALL SELECT t.id, p.parent, d + 1 FROM t JOIN sr_tree p ON p.id = t.parent WHERE d < 20 AND p.id <> 13) SELECT id, max(d) FROM t GROUP BY id ORDER BY id;
WITH RECURSIVE t AS (SELECT id FROM sr_tree WHERE id = 13 UNION SELECT c.id FROM sr_tree c JOIN t ON c.parent = t.id) SELECT * FROM t;
SELECT id, (WITH RECURSIVE up AS (SELECT t.parent AS p UNION ALL SELECT x.parent FROM sr_tree x JOIN up ON x.id = up.p WHERE x.id <> 13) SELECT count(*) FROM up WHERE p IS NOT NULL) AS depth FROM sr_tree t WHERE id <> 13;
SELECT x.id FROM (WITH RECURSIVE t AS (SELECT id FROM sr_tree WHERE id = 3 UNION ALL SELECT c.id FROM sr_tree c JOIN t ON c.parent = t.id) SELECT * FROM t) x JOIN sr_tree s ON s.id = x.id WHERE s.w > 0;
-- Graphs.
WITH RECURSIVE g AS (SELECT 1 AS n UNION SELECT e.b FROM sr_edge e JOIN g ON e.a = g.n) SELECT * FROM g;
WITH RECURSIVE g (a, b, cost, path) AS (SELECT a, b, cost, ARRAY[a, b] FROM sr_edge WHERE a = 1 UNION ALL SELECT e.a, e.b, g.cost + e.cost, g.path || e.b FROM sr_edge e JOIN g ON e.a = g.b WHERE NOT e.b = ANY (g.path)) SELECT b, min(cost), count(*) FROM g GROUP BY b ORDER BY b;
WITH RECURSIVE g AS (SELECT a, b FROM sr_edge UNION SELECT g.a, e.b FROM g JOIN sr_edge e ON e.a = g.b) SELECT * FROM g ORDER BY 1, 2;
WITH RECURSIVE g AS (SELECT a, b FROM sr_edge UNION SELECT g.a, e.b FROM g, sr_edge e WHERE e.a = g.b) SELECT r.name, count(*) FROM g JOIN sr_r r ON r.id = g.a GROUP BY r.name ORDER BY 1;
WITH RECURSIVE g (n, d) AS (SELECT 1, 0 UNION ALL SELECT e.b, d + 1 FROM g JOIN sr_edge e ON e.a = g.n WHERE d < 4) SELECT n, d, count(*) FROM g GROUP BY n, d ORDER BY d, n;
WITH RECURSIVE w AS (SELECT code, next FROM sr_word WHERE code = 'a' UNION SELECT s.code, s.next FROM sr_word s JOIN w ON s.code = w.next) SELECT * FROM w;
WITH RECURSIVE w AS (SELECT code FROM sr_word WHERE code IN ('x', 'b') UNION SELECT s.next FROM sr_word s JOIN w USING (code) WHERE s.next IS NOT NULL) SELECT code FROM w ORDER BY code;
-- Several and mixed.
WITH RECURSIVE t AS (SELECT id, parent FROM sr_tree WHERE id = 1 UNION ALL SELECT c.id, c.parent FROM sr_tree c JOIN t ON c.parent = t.id), leaf AS (SELECT id FROM t WHERE id NOT IN (SELECT parent FROM t WHERE parent IS NOT NULL)) SELECT l.id, s.name FROM leaf l JOIN sr_tree s USING (id) ORDER BY 1;
WITH RECURSIVE start AS (SELECT min(a) AS n FROM sr_edge), g AS (SELECT n FROM start UNION SELECT e.b FROM sr_edge e JOIN g ON e.a = g.n) SELECT count(*), max(n) FROM g;
WITH RECURSIVE a AS (SELECT 1::int8 AS i UNION ALL SELECT i + 1 FROM a WHERE i < 5), b AS (SELECT i FROM a UNION ALL SELECT t.parent FROM b JOIN sr_tree t ON t.id = b.i WHERE t.parent IS NOT NULL) SELECT i, count(*) FROM b GROUP BY i ORDER BY i;
WITH RECURSIVE t AS (SELECT id, t AS s FROM sr_u WHERE parent IS NULL UNION ALL SELECT u.id, w.next FROM t JOIN sr_u u ON u.parent = t.id JOIN sr_word w ON w.code = t.s) SELECT * FROM t;
WITH RECURSIVE t AS (SELECT id, parent FROM sr_u WHERE id = 3 UNION ALL SELECT u.id, u.parent FROM sr_u u JOIN t ON u.id = t.parent) SELECT t.id, s.name FROM t JOIN sr_tree s ON s.id = t.id ORDER BY 1;
WITH RECURSIVE t AS (SELECT 1 AS id, 'x' AS name UNION ALL SELECT r.id, r.name FROM sr_r r JOIN t ON r.id = t.id + 1) SELECT * FROM t;
WITH RECURSIVE t AS (SELECT id, 1 AS d FROM sr_tree WHERE parent IS NULL UNION ALL (SELECT c.id, t.d + 1 FROM t LEFT JOIN sr_tree c ON c.parent = t.id WHERE c.id IS NOT NULL)) SELECT d, count(*) FROM t GROUP BY d ORDER BY d;
WITH RECURSIVE t AS (SELECT id FROM sr_tree WHERE id = 1 UNION ALL SELECT c.id FROM sr_tree c WHERE c.parent IN (SELECT id FROM t)) SELECT count(*) FROM t;
WITH RECURSIVE g AS (SELECT 1 AS n, 0 AS cost UNION ALL SELECT b, cost FROM (SELECT e.b, g.cost + e.cost AS cost, row_number() OVER (PARTITION BY e.b ORDER BY g.cost + e.cost) AS r FROM g JOIN sr_edge e ON e.a = g.n WHERE g.cost < 6) x WHERE r = 1) SELECT n, cost FROM g WHERE cost <= 8;
WITH RECURSIVE t AS (SELECT id, 0 AS d FROM sr_tree WHERE id = 1 UNION ALL SELECT c.id, d + 1 FROM sr_tree c JOIN t ON c.parent = t.id) SELECT * FROM t ORDER BY d, id LIMIT 3;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n LIMIT 5;
WITH RECURSIVE t AS (SELECT id, parent FROM sr_tree WHERE id = 4 UNION ALL SELECT p.id, p.parent FROM sr_tree p JOIN t ON p.id = t.parent) SELECT id, rank() OVER (ORDER BY id) FROM t UNION ALL SELECT a, b FROM sr_edge WHERE cost > 8 ORDER BY 1, 2;
-- params: 2::int8
-- params: 6::int8
-- params: NULL::int8
WITH RECURSIVE t AS (SELECT id, name FROM sr_tree WHERE id = $1 UNION ALL SELECT c.id, c.name FROM sr_tree c JOIN t ON c.parent = t.id) SELECT * FROM t;
-- Not recursive: once, or in line, read several times.
WITH x AS (SELECT parent, count(*) AS c FROM sr_tree GROUP BY parent) SELECT t.id, x.c FROM sr_tree t LEFT JOIN x ON x.parent = t.id ORDER BY 1;
WITH x AS MATERIALIZED (SELECT * FROM sr_tree WHERE w > 1) SELECT a.id, b.id FROM x a JOIN x b ON a.parent = b.id;
WITH x AS NOT MATERIALIZED (SELECT * FROM sr_tree WHERE w > 1) SELECT a.id, b.id FROM x a JOIN x b ON a.parent = b.id WHERE b.id = 2;
WITH x AS (SELECT * FROM sr_tree), y AS (SELECT * FROM x WHERE parent IS NOT NULL), z AS (SELECT parent, count(*) AS c FROM y GROUP BY parent) SELECT x.name, z.c FROM x JOIN z ON z.parent = x.id ORDER BY 1;
WITH x AS (SELECT id, w FROM sr_tree) SELECT (SELECT count(*) FROM x), (SELECT max(id) FROM x), (SELECT count(*) FROM x a JOIN x b USING (id));
WITH x (a, b) AS (SELECT id, name FROM sr_tree), y AS (VALUES (1::int8), (2)) SELECT x.* FROM x, y WHERE x.a = y.column1 ORDER BY 1;
WITH x AS (SELECT random() AS r FROM sr_tree WHERE id = 1) SELECT a.r = b.r FROM x a, x b;
WITH x AS MATERIALIZED (SELECT id, random() AS r FROM sr_tree) SELECT count(*) FROM x a JOIN x b ON a.id = b.id AND a.r = b.r;
WITH x AS (SELECT * FROM sr_edge WHERE a = 1) SELECT * FROM x JOIN sr_tree t ON t.id = x.b;
WITH sr_tree AS (SELECT 1 AS id, 'hidden' AS name) SELECT * FROM sr_tree;
WITH sr_tree AS (SELECT * FROM sr_tree WHERE id < 4) SELECT id, name FROM sr_tree ORDER BY id;
WITH a AS (SELECT count(*) AS c FROM sr_tree), b AS (SELECT count(*) AS c FROM sr_edge) SELECT a.c, b.c, a.c + b.c FROM a, b;
WITH a AS (WITH b AS (SELECT id FROM sr_tree WHERE w = 2.5) SELECT e.* FROM sr_edge e JOIN b ON b.id = e.a) SELECT * FROM a;
WITH x AS (SELECT id FROM sr_tree ORDER BY w DESC, id LIMIT 4) SELECT t.* FROM sr_tree t WHERE t.parent IN (TABLE x) ORDER BY id;
WITH x AS (SELECT id, rank() OVER (ORDER BY w, id) AS r FROM sr_tree) SELECT * FROM x WHERE r < 4 UNION ALL SELECT * FROM x WHERE r > 12 ORDER BY 2;
WITH x AS (SELECT a.id, b.b FROM sr_tree a JOIN sr_edge b ON b.b = a.id) SELECT count(*), sum(x.id), (SELECT count(*) FROM x y WHERE y.b > 3) FROM x;
-- params: 3
WITH x AS (SELECT * FROM sr_edge WHERE cost > $1), y AS (SELECT * FROM x WHERE a < $1) SELECT y.a, x.b FROM x JOIN y ON x.a = y.a;
-- What is wrong is wrong.
WITH RECURSIVE t AS (SELECT id FROM sr_tree UNION ALL SELECT count(*) FROM t) SELECT * FROM t;
WITH RECURSIVE t AS (SELECT id FROM sr_tree EXCEPT SELECT id FROM t) SELECT * FROM t;
WITH RECURSIVE t AS (SELECT id FROM t UNION ALL SELECT id FROM sr_tree) SELECT * FROM t;
WITH RECURSIVE t AS (SELECT id FROM sr_tree UNION ALL SELECT c.id FROM sr_tree c LEFT JOIN t ON c.parent = t.id) SELECT * FROM t;
WITH RECURSIVE t AS (SELECT 1 AS i UNION ALL SELECT name FROM sr_tree) SELECT * FROM t;
WITH x AS (SELECT id FROM sr_tree), x AS (SELECT 1) SELECT * FROM x;
DROP TABLE sr_tree, sr_edge, sr_word, sr_r, sr_u;
