-- Views, row locks, samples and cursors over several shards; merges at their edges.
CREATE TABLE mo (id int8 PRIMARY KEY, g int, v text, n numeric(14,2));
CREATE TABLE mo_lines (id int8, line int, q int, PRIMARY KEY (id, line));
INSERT INTO mo SELECT i, i % 5, 'v' || i, i / 4.0 FROM generate_series(1, 60) i;
INSERT INTO mo_lines SELECT i % 60 + 1, i, i % 7 FROM generate_series(1, 200) i;
-- distribute: SELECT create_distributed_table('mo', 'id')
-- distribute: SELECT create_distributed_table('mo_lines', 'id')
CREATE VIEW mo_sums AS SELECT g, count(*) AS c, sum(n) AS s FROM mo GROUP BY g;
CREATE VIEW mo_joined AS SELECT mo.id, mo.g, l.line, l.q FROM mo JOIN mo_lines l ON l.id = mo.id WHERE l.q > 2;
CREATE VIEW mo_nested AS SELECT j.g, sum(j.q) AS q FROM mo_joined j GROUP BY j.g;
SELECT * FROM mo_sums ORDER BY g;
SELECT s.g, s.c, m.v FROM mo_sums s JOIN mo m ON m.id = s.c ORDER BY 1;
SELECT * FROM mo_joined WHERE id = 7 ORDER BY line;
SELECT mo_joined.g, count(*) FROM mo_joined GROUP BY mo_joined.g ORDER BY 1;
SELECT * FROM mo_nested ORDER BY g;
SELECT * FROM mo_nested n WHERE n.q > (SELECT avg(q) FROM mo_nested) ORDER BY 1;
WITH x AS (SELECT * FROM mo_sums) SELECT count(*) FROM x;
SELECT count(*) FROM (TABLE mo_sums) t;
DROP VIEW mo_nested, mo_joined, mo_sums;
BEGIN;
SELECT id, v FROM mo WHERE g = 2 ORDER BY id LIMIT 3 FOR UPDATE;
SELECT mo.id FROM mo JOIN mo_lines l ON l.id = mo.id WHERE l.q = 1 ORDER BY 1, line FOR UPDATE OF mo;
SELECT id FROM mo WHERE g = 3 ORDER BY id FOR SHARE SKIP LOCKED;
UPDATE mo SET v = 'locked' WHERE g = 2;
ROLLBACK;
SELECT count(*) FROM mo TABLESAMPLE bernoulli (100);
SELECT count(*), count(DISTINCT a.g) FROM mo a TABLESAMPLE system (100) JOIN mo b ON a.g = b.id;
BEGIN;
DECLARE mo_held CURSOR WITH HOLD FOR SELECT id + 0 AS id, upper(v) AS v FROM mo WHERE g = 1 ORDER BY 1;
FETCH 2 FROM mo_held;
COMMIT;
FETCH 2 FROM mo_held;
CLOSE mo_held;
DELETE FROM mo;
SELECT count(DISTINCT '9'), max(id) FROM mo;
SELECT string_agg(DISTINCT 'x'::text, '|'), max(1) FROM mo;
SELECT '-0.5'::float8 FROM mo HAVING true;
SELECT 1 FROM mo HAVING count(*) = 0;
DROP TABLE mo, mo_lines;
