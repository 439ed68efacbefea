-- Functions, views and triggers over distributed tables.
CREATE TABLE fn (id int8 PRIMARY KEY, g int, v text);
CREATE TABLE fn_log (id int8, what text);
INSERT INTO fn SELECT i, i % 4, 'v' || i FROM generate_series(1, 40) i;
-- distribute: SELECT create_distributed_table('fn', 'id')
-- distribute: SELECT create_distributed_table('fn_log', 'id')
CREATE FUNCTION fn_label(x int8) RETURNS text LANGUAGE sql STABLE AS 'SELECT ''label '' || x';
SELECT fn_label(id) FROM fn WHERE id = 3;
SELECT count(DISTINCT fn_label(id)) FROM fn;
SELECT fn_label(g), count(*) FROM fn GROUP BY fn_label(g) ORDER BY 1;
CREATE VIEW fn_view AS SELECT id, g, upper(v) AS u FROM fn WHERE g > 0;
-- exact-or-refused
SELECT * FROM fn_view WHERE id = 3;
-- exact-or-refused
SELECT g, count(*) FROM fn_view GROUP BY g ORDER BY g;
CREATE VIEW fn_view2 AS SELECT g, count(*) AS c FROM fn_view GROUP BY g;
-- exact-or-refused
SELECT * FROM fn_view2 ORDER BY g;
-- exact-or-refused
SELECT sum(c) FROM fn_view2;
CREATE FUNCTION fn_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO fn_log VALUES (NEW.id, TG_OP || ' ' || TG_TABLE_NAME); RETURN NEW; END $$;
-- cluster-refuses 0A000
CREATE TRIGGER fn_statement AFTER INSERT ON fn FOR EACH STATEMENT EXECUTE FUNCTION fn_note();
DROP FUNCTION fn_note();
CREATE FUNCTION fn_setting() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('my.leak', 'leaked', false); RETURN current_setting('my.leak'); END $$;
SELECT fn_setting() FROM fn WHERE id = 3;
SELECT current_setting('my.leak', true) FROM fn WHERE id = 3;
-- session: clean
SELECT current_setting('my.leak', true) FROM fn WHERE id = 3;
-- session: clean
SELECT current_setting('my.leak', true);
DROP FUNCTION fn_setting();
CREATE FUNCTION fn_lock() RETURNS bool LANGUAGE sql AS 'SELECT pg_try_advisory_lock(77)';
SELECT fn_lock() FROM fn WHERE id = 3;
-- session: clean
SELECT fn_lock() FROM fn WHERE id = 3;
SELECT pg_advisory_unlock_all();
DROP FUNCTION fn_lock();
DROP VIEW fn_view2, fn_view;
DROP FUNCTION fn_label(int8);
DROP TABLE fn, fn_log;
