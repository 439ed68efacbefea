-- System catalogs in statements with tables at home, and with functions of users: the catalog database's rows, wherever the statement runs.
CREATE TABLE cb_plain (name text PRIMARY KEY, n int);
CREATE TABLE cb_dist (id int PRIMARY KEY, v text);
CREATE INDEX cb_index ON cb_plain (n);
-- distribute: SELECT create_distributed_table('cb_dist', 'id')
INSERT INTO cb_plain VALUES ('cb_plain', 1), ('cb_dist', 2), ('nothing', 3);
INSERT INTO cb_dist VALUES (1, 'x'), (2, 'y');
-- An aggregate of a user's own with the name of a built-in one, as extensions have.
CREATE FUNCTION cb_less(point, point) RETURNS point LANGUAGE sql IMMUTABLE AS 'SELECT CASE WHEN $1[0] < $2[0] THEN $1 ELSE $2 END';
CREATE AGGREGATE min(point) (SFUNC = cb_less, STYPE = point);
CREATE FUNCTION cb_known(name text) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM cb_plain WHERE cb_plain.name = $1';
SELECT min(relname), count(*) FROM pg_class WHERE relname IN ('cb_plain', 'cb_dist', 'cb_index');
SELECT current_database() = 'app' OR current_database() !~ '_data$', min(relname) FROM pg_class WHERE relname ~ '^cb_';
SELECT min(point(x, 1))::text FROM generate_series(3, 5) x;
SELECT min(i.indnatts) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.oid = 'cb_plain'::regclass;
SELECT c.relname, p.n FROM pg_class c JOIN cb_plain p ON p.name = c.relname ORDER BY 2;
SELECT p.name, c.oid = 'cb_plain'::regclass::oid FROM cb_plain p LEFT JOIN pg_class c ON c.relname = p.name ORDER BY 1;
SELECT count(*) FROM pg_namespace, cb_plain WHERE nspname ~ '^s0[0-9]+';
SELECT relname, cb_known(relname) FROM pg_class WHERE relname IN ('cb_plain', 'cb_dist', 'cb_index') ORDER BY 1;
SELECT name, (SELECT relkind FROM pg_class WHERE relname = name) FROM cb_plain ORDER BY 1;
WITH known AS (SELECT relname FROM pg_class WHERE relname ~ '^cb_') SELECT name FROM cb_plain WHERE name IN (SELECT relname FROM known) ORDER BY 1;
SELECT table_name FROM information_schema.tables JOIN cb_plain ON name = table_name ORDER BY 1;
INSERT INTO cb_plain SELECT relname || ' too', relnatts FROM pg_class WHERE relname = 'cb_dist' RETURNING *;
UPDATE cb_plain SET n = c.relnatts + 10 FROM pg_class c WHERE c.relname = name RETURNING name, n;
DELETE FROM cb_plain USING pg_class c WHERE c.relname || ' too' = name RETURNING name;
BEGIN;
CREATE TABLE cb_new (name text);
INSERT INTO cb_new VALUES ('cb_new');
SELECT c.relname FROM pg_class c JOIN cb_new ON c.relname = name;
ROLLBACK;
CREATE TEMPORARY TABLE cb_temp AS SELECT 'cb_plain'::text AS name;
SELECT c.relname, c.oid = 'cb_plain'::regclass::oid FROM pg_class c JOIN cb_temp ON c.relname = name;
-- words-differ
SELECT c.relname FROM pg_class c JOIN cb_no_such ON c.relname = name;
DROP AGGREGATE min(point);
