-- Row locks and samples over shards.
CREATE TABLE xk_a (id int8 PRIMARY KEY, k int, t text);
CREATE TABLE xk_b (id int8, line int, k int, PRIMARY KEY (id, line));
CREATE TABLE xk_c (code text PRIMARY KEY, k int);
CREATE TABLE xk_r (id int PRIMARY KEY, name text);
CREATE TABLE xk_u (id int PRIMARY KEY, k int, t text);
INSERT INTO xk_a VALUES (1, 1, 'a'), (2, 2, ''), (3, 2, 'ä'), (4, NULL, NULL), (5, -1, 'Z'), (6, 0, 'a'), (7, 3, '日本'), (8, 3, 'naïve'), (9, 1, 'b'), (10, NULL, 'z'), (-1, 1, 'B'), (-2, 2, 'q');
INSERT INTO xk_b VALUES (1, 1, 1), (1, 2, 2), (2, 1, NULL), (3, 1, 3), (3, 2, 3), (5, 1, -1), (6, 1, 10), (7, 1, 7), (8, 1, 1), (20, 1, 2);
INSERT INTO xk_c VALUES ('a', 1), ('b', 2), ('', 3), ('ä', NULL), ('Z', -1), ('日本', 7), ('x', 0);
INSERT INTO xk_r VALUES (-1, 'minus'), (0, ''), (1, 'one'), (2, 'zwei'), (3, NULL);
INSERT INTO xk_u VALUES (1, 1, 'a'), (2, 2, 'ä'), (3, NULL, NULL), (4, 3, ''), (5, 3, '日本');
-- distribute: SELECT create_distributed_table('xk_a', 'id')
-- distribute: SELECT create_distributed_table('xk_b', 'id')
-- distribute: SELECT create_distributed_table('xk_c', 'code')
-- distribute: SELECT create_reference_table('xk_r')
-- FAILING
BEGIN TRANSACTION READ ONLY;
ROLLBACK;
DROP TABLE xk_a, xk_b, xk_c, xk_r, xk_u;
