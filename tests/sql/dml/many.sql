-- Statements over several shards.
CREATE TABLE dm (id int8 PRIMARY KEY, g int, v text, n numeric(10,2));
-- distribute: SELECT create_distributed_table('dm', 'id')
INSERT INTO dm VALUES (1, 1, 'a', 1.5), (2, 1, 'b', 2.5), (3, 2, 'c', 3.5), (4, 2, 'd', NULL), (5, 3, NULL, 5.5);
INSERT INTO dm VALUES (6, 3, 'f', 6), (7, 4, 'g', 7) RETURNING id, v;
INSERT INTO dm (id, v) VALUES (8, 'h'), (9, DEFAULT);
-- copy-data-from: COPY (SELECT i, i % 10, 'row ' || i, i / 4.0 FROM generate_series(10, 300) i) TO STDOUT
COPY dm FROM STDIN;
INSERT INTO dm SELECT i, i % 10, 'row ' || i, i / 4.0 FROM generate_series(301, 310) i RETURNING id, n;
INSERT INTO dm (id, g) SELECT * FROM (VALUES (311, 1), (312, 2)) x (a, b);
INSERT INTO dm TABLE dm LIMIT 0;
SELECT count(*), sum(id), sum(g), sum(n), count(v) FROM dm;
INSERT INTO dm VALUES (400, 1, 'x'), (1, 1, 'dup'), (401, 1, 'y');
SELECT * FROM dm WHERE id IN (400, 401);
INSERT INTO dm VALUES (400, 1, 'x'), (1, 1, 'dup'), (401, 1, 'y') ON CONFLICT DO NOTHING;
INSERT INTO dm VALUES (400, 1, 'x2'), (402, 1, 'z') ON CONFLICT (id) DO UPDATE SET v = excluded.v;
INSERT INTO dm VALUES (400, 1, 'x3'), (403, 1, 'w') ON CONFLICT (id) DO UPDATE SET v = excluded.v RETURNING id, v;
SELECT * FROM dm WHERE id >= 400 ORDER BY id;
INSERT INTO dm VALUES (500, 1), (501, 'x');
-- words-differ
INSERT INTO dm VALUES (500, 1), (NULL, 2);
INSERT INTO dm VALUES (500, 1), (501, 2, 'v', 1e20);
SELECT * FROM dm WHERE id >= 500;
UPDATE dm SET v = 'g3' WHERE g = 3;
UPDATE dm SET n = n + 1 WHERE g IN (1, 2);
UPDATE dm SET n = 0 WHERE g = 99;
UPDATE dm SET v = upper(v) WHERE id IN (1, 2, 3);
UPDATE dm SET v = v || '+' WHERE id BETWEEN 20 AND 40;
UPDATE dm SET g = g WHERE true;
UPDATE dm SET v = 'r' WHERE id IN (50, 51, 52) RETURNING id, v;
UPDATE dm SET g = 1 / 0 WHERE g = 5;
UPDATE dm SET n = 1e20 WHERE g = 5;
SELECT id, v, n FROM dm ORDER BY id LIMIT 60;
SELECT g, count(*), sum(n), min(v), max(v) FROM dm GROUP BY g ORDER BY g;
DELETE FROM dm WHERE g = 9;
DELETE FROM dm WHERE g = 99;
DELETE FROM dm WHERE id IN (60, 61, 62) RETURNING id;
DELETE FROM dm WHERE n IS NULL;
DELETE FROM dm WHERE v LIKE 'row 1%';
SELECT count(*), sum(id), sum(n) FROM dm;
UPDATE dm SET n = NULL;
SELECT count(n) FROM dm;
DELETE FROM dm;
SELECT count(*) FROM dm;
-- copy-data-from: COPY (SELECT i FROM generate_series(1, 100) i) TO STDOUT
COPY dm (id) FROM STDIN;
TRUNCATE dm;
SELECT count(*) FROM dm;
-- copy-data-from: COPY (SELECT i FROM generate_series(1, 100) i) TO STDOUT
COPY dm (id) FROM STDIN;
BEGIN;
DELETE FROM dm WHERE id % 2 = 0;
SELECT count(*) FROM dm;
UPDATE dm SET g = 1 WHERE id % 3 = 0;
SELECT count(*) FROM dm WHERE g = 1;
ROLLBACK;
SELECT count(*), count(g) FROM dm;
BEGIN;
TRUNCATE dm;
SELECT count(*) FROM dm;
ROLLBACK;
SELECT count(*) FROM dm;
DROP TABLE dm;
