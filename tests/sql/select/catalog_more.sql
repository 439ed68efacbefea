-- System catalogs in one statement with distributed tables; whole rows as values.
CREATE TABLE sc (id int8 PRIMARY KEY, name text, n numeric(6, 2), ch char(4), tags text[]);
CREATE TABLE sc_code (code text PRIMARY KEY, id int8);
CREATE TABLE sc_names (relname text PRIMARY KEY, note text);
CREATE TYPE sc_mood AS ENUM ('sad', 'happy');
CREATE TABLE sc_mooded (id int8 PRIMARY KEY, mood sc_mood);
INSERT INTO sc SELECT i, CASE WHEN i % 2 = 0 THEN 'sc' ELSE 'sc_code' END, i / 3.0, 'c' || i, ARRAY['t' || i, NULL] FROM generate_series(1, 12) i;
INSERT INTO sc_code SELECT 'c' || i, i FROM generate_series(1, 6) i;
INSERT INTO sc_names VALUES ('sc', 'first'), ('sc_code', 'second'), ('nothing', NULL);
INSERT INTO sc_mooded VALUES (1, 'sad'), (2, 'happy'), (3, NULL);
-- distribute: SELECT create_distributed_table('sc', 'id')
-- distribute: SELECT create_distributed_table('sc_code', 'code')
-- distribute: SELECT create_distributed_table('sc_names', 'relname')
-- distribute: SELECT create_distributed_table('sc_mooded', 'id')
SELECT c.relname, c.relkind, n.note FROM pg_class c JOIN sc_names n ON n.relname = c.relname WHERE c.relkind = 'r' ORDER BY 1;
SELECT a.attname, count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN sc ON sc.name = c.relname WHERE attnum > 0 GROUP BY 1 ORDER BY 1;
SELECT t.table_name, t.table_type, n.note FROM information_schema.tables t LEFT JOIN sc_names n ON n.relname = t.table_name WHERE t.table_schema = 'public' AND t.table_name LIKE 'sc%' ORDER BY 1;
SELECT count(*) FROM sc WHERE name IN (SELECT relname FROM pg_catalog.pg_class) AND id > 3;
SELECT id FROM sc WHERE id = 4 AND EXISTS (SELECT FROM pg_class WHERE relname = sc.name);
SELECT pg_class.relname, sc.id FROM pg_catalog.pg_class, sc WHERE pg_class.relname = sc.name AND sc.id < 4 AND relkind = 'r' ORDER BY 2;
SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'public') AS n, id FROM sc ORDER BY id LIMIT 2;
SELECT c.id, e.enumlabel FROM sc_code c JOIN (pg_enum e JOIN pg_type t ON t.oid = e.enumtypid AND t.typname = 'sc_mood') ON e.enumsortorder = c.id ORDER BY 1;
BEGIN;
CREATE TABLE sc_new (id int);
SELECT n.relname, sc.id FROM pg_class n, sc WHERE n.relname = 'sc_new' AND sc.id < 3 ORDER BY 2;
DECLARE c CURSOR FOR SELECT relname, id FROM pg_class JOIN sc ON relname = name ORDER BY id;
FETCH 2 FROM c;
SELECT count(*) FROM pg_class JOIN sc ON relname = name;
FETCH 2 FROM c;
ROLLBACK;
UPDATE sc SET n = (SELECT count(*) FROM pg_class WHERE relname = sc.name AND relkind = 'r');
SELECT id, n FROM sc ORDER BY id;
DELETE FROM sc USING pg_namespace WHERE nspname = 'public' AND id > 10;
SELECT count(*) FROM sc;
-- Whole rows.
SELECT sc FROM sc ORDER BY id;
SELECT sc, sc.id FROM sc WHERE id < 5 ORDER BY id;
SELECT s FROM sc AS s JOIN sc_code c USING (id) ORDER BY s.id;
SELECT s, c FROM sc AS s JOIN sc_code c USING (id) WHERE s.n >= 0 ORDER BY s.id;
SELECT sc FROM sc WHERE id = 3;
SELECT count(sc), count(DISTINCT sc_code) FROM sc, sc_code;
SELECT array_agg(c ORDER BY c.code) FROM sc_code c;
SELECT x.r, (x.r).name FROM (SELECT sc AS r FROM sc) AS x ORDER BY (x.r).id;
SELECT to_jsonb(sc), row_to_json(c) FROM sc JOIN sc_code c USING (id) ORDER BY id;
SELECT sc_mooded FROM sc_mooded ORDER BY id;
SELECT max(m.*::text) FROM sc_mooded m;
DROP TABLE sc, sc_code, sc_names, sc_mooded;
DROP TYPE sc_mood;
