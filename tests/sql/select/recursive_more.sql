-- Recursive queries and WITH over shards.
CREATE TABLE xr_tree (id int8 PRIMARY KEY, parent int8, name text, w numeric);
CREATE TABLE xr_edge (a int, b int, cost int, PRIMARY KEY (a, b));
CREATE TABLE xr_word (code text PRIMARY KEY, next text);
CREATE TABLE xr_r (id int PRIMARY KEY, name text);
CREATE TABLE xr_u (id int PRIMARY KEY, parent int, t text);
INSERT INTO xr_tree VALUES
  (1, NULL, 'root', 1), (2, 1, 'ä', 2.50), (3, 1, '', 'NaN'), (4, 2, 'b', 0), (5, 2, NULL, -1), (6, 3, '日本', 7.000), (7, 6, 'deep', 8), (8, 7, 'deeper', NULL),
  (9, 8, 'deepest', 3), (10, NULL, 'other root', 4), (11, 10, 'leaf', 5), (12, 99, 'orphan', 6), (13, 13, 'own parent', 1), (-1, 4, 'minus', 2);
INSERT INTO xr_edge VALUES (1, 2, 5), (2, 3, 1), (3, 1, 2), (1, 4, 9), (4, 5, 1), (5, 4, 1), (5, 6, -2), (6, 6, 0), (7, 8, 3), (3, 4, 1), (2, 6, 20);
INSERT INTO xr_word VALUES ('a', 'b'), ('b', 'c'), ('c', 'ä'), ('ä', ''), ('', NULL), ('x', 'y'), ('y', 'x');
INSERT INTO xr_r VALUES (1, 'one'), (2, 'two'), (3, 'drei'), (4, NULL), (5, ''), (6, 'six');
INSERT INTO xr_u VALUES (1, NULL, 'a'), (2, 1, 'b'), (3, 2, 'c'), (4, 2, 'x');
-- distribute: SELECT create_distributed_table('xr_tree', 'id')
-- distribute: SELECT create_distributed_table('xr_edge', 'a')
-- distribute: SELECT create_distributed_table('xr_word', 'code')
-- distribute: SELECT create_reference_table('xr_r')
WITH RECURSIVE t (id, parent) AS (SELECT id, parent FROM xr_tree WHERE parent IS NULL UNION ALL SELECT c.id, c.parent FROM xr_tree c JOIN t ON c.parent = t.id) SEARCH DEPTH FIRST BY id SET o SELECT id, parent FROM t ORDER BY o;
WITH RECURSIVE t (id, parent) AS (SELECT id, parent FROM xr_tree WHERE parent IS NULL UNION ALL SELECT c.id, c.parent FROM xr_tree c JOIN t ON c.parent = t.id) SEARCH BREADTH FIRST BY id SET o SELECT * FROM t ORDER BY o;
WITH RECURSIVE g (a, b) AS (SELECT a, b FROM xr_edge WHERE a = 1 UNION ALL SELECT e.a, e.b FROM xr_edge e JOIN g ON e.a = g.b) CYCLE b SET round USING path SELECT a, b, round, path FROM g;
WITH RECURSIVE g (a, b) AS (SELECT a, b FROM xr_edge WHERE a = 5 UNION ALL SELECT e.a, e.b FROM xr_edge e, g WHERE e.a = g.b) CYCLE a, b SET round TO 'yes' DEFAULT 'no' USING path SELECT a, b, round FROM g;
WITH RECURSIVE g (a, b) AS (SELECT a, b FROM xr_edge WHERE a = 1 UNION ALL SELECT e.a, e.b FROM xr_edge e JOIN g ON e.a = g.b) SEARCH DEPTH FIRST BY a, b SET o CYCLE b SET round USING path SELECT a, b FROM g WHERE NOT round ORDER BY o;
WITH x AS (SELECT 1 / (id - 1) AS boom FROM xr_tree) SELECT 1;
DROP TABLE xr_tree, xr_edge, xr_word, xr_r, xr_u;
