-- Distributed schemas: tables without keys, together on one shard; those made later, too.
CREATE SCHEMA sh1;
CREATE SCHEMA sh2;
CREATE TABLE sh1.a (id serial PRIMARY KEY, name text UNIQUE);
CREATE TABLE sh1.b (id int GENERATED ALWAYS AS IDENTITY, a int REFERENCES sh1.a, note text);
INSERT INTO sh1.a (name) SELECT 'name ' || i FROM generate_series(1, 20) i;
INSERT INTO sh1.b (a, note) SELECT 1 + i % 20, 'note ' || i FROM generate_series(1, 50) i;
-- distribute: SELECT atoll.distribute_schema('sh1')
-- distribute: SELECT atoll.distribute_schema('sh2', 'g1')
CREATE TABLE sh2.c (k int, v text);
INSERT INTO sh2.c VALUES (1, 'one'), (NULL, 'none'), (2, 'two'), (1, 'one again');
SELECT * FROM sh2.c ORDER BY k, v;
SELECT count(*), sum(id) FROM sh1.a;
SELECT a.name, count(*) FROM sh1.a JOIN sh1.b ON a.id = b.a GROUP BY a.name ORDER BY count(*) DESC, a.name LIMIT 5;
INSERT INTO sh1.a (name) VALUES ('new') RETURNING *;
INSERT INTO sh1.a (name) VALUES ('new');
INSERT INTO sh1.a (name) VALUES ('x1'), ('x2'), ('x3') RETURNING id, name;
INSERT INTO sh1.a (name) VALUES ('x1') ON CONFLICT (name) DO UPDATE SET name = 'x1 again' RETURNING name;
INSERT INTO sh1.b (a, note) VALUES (1000, 'nobody');
INSERT INTO sh1.b (a, note) SELECT id, 'copied' FROM sh1.a WHERE id < 4;
INSERT INTO sh2.c SELECT id, name FROM sh1.a WHERE id < 3;
SELECT * FROM sh2.c ORDER BY k, v;
UPDATE sh1.a SET name = name || '!' WHERE id % 10 = 0 RETURNING id, name;
DELETE FROM sh1.b WHERE note LIKE 'note 1%';
SELECT count(*) FROM sh1.b;
SELECT a.name, c.v FROM sh1.a LEFT JOIN sh2.c ON a.id = c.k ORDER BY a.id, c.v LIMIT 6;
SELECT * FROM sh2.c c WHERE EXISTS (SELECT FROM sh1.b WHERE b.a = c.k) ORDER BY k, v;
CREATE TABLE sh1.d AS SELECT i AS id, i * 2 AS l FROM generate_series(1, 9) i;
SELECT count(*), sum(l) FROM sh1.d;
SET search_path = sh1, public;
CREATE TABLE e (x int DEFAULT 5, y text);
INSERT INTO e DEFAULT VALUES;
INSERT INTO e (y) VALUES ('why');
SELECT e.*, a.name FROM e, a WHERE a.id = e.x ORDER BY y;
WITH gone AS (DELETE FROM e RETURNING *) SELECT count(*) FROM gone;
RESET search_path;
ALTER TABLE sh1.d ADD PRIMARY KEY (id);
TRUNCATE sh1.b;
SELECT count(*) FROM sh1.b;
-- distribute: SELECT atoll.undistribute_schema('sh1')
SELECT count(*), sum(id) FROM sh1.a;
INSERT INTO sh1.a (name) VALUES ('at home') RETURNING id;
INSERT INTO sh1.b (a, note) VALUES (1, 'x') RETURNING *;
DROP SCHEMA sh1 CASCADE;
DROP SCHEMA sh2 CASCADE;
