-- Indexes, views, types, domains, functions, procedures, sequences, triggers, extensions.
CREATE TABLE ob (id int8 PRIMARY KEY, v text, n int, j jsonb);
INSERT INTO ob SELECT i, 'v' || i % 10, i, jsonb_build_object('k', i) FROM generate_series(1, 100) i;
-- distribute: SELECT create_distributed_table('ob', 'id')
CREATE INDEX ob_v ON ob (v);
CREATE INDEX ob_v ON ob (v);
CREATE INDEX IF NOT EXISTS ob_v ON ob (v);
CREATE INDEX ON ob (n);
CREATE INDEX ob_expr ON ob (lower(v)) WHERE n > 10;
CREATE INDEX ob_gin ON ob USING gin (j);
CREATE INDEX ob_inc ON ob (v) INCLUDE (n);
CREATE INDEX CONCURRENTLY ob_conc ON ob (n, v);
CREATE INDEX ob_bad ON ob (nope);
SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'ob' ORDER BY 1;
ALTER INDEX ob_v RENAME TO ob_v2;
REINDEX INDEX ob_v2;
REINDEX TABLE ob;
CLUSTER ob USING ob_pkey;
DROP INDEX ob_v2;
DROP INDEX ob_v2;
DROP INDEX IF EXISTS ob_v2;
DROP INDEX CONCURRENTLY ob_conc;
ANALYZE ob;
VACUUM ob;
VACUUM (ANALYZE) ob;
-- Views.
CREATE VIEW obv AS SELECT id, v, n FROM ob WHERE n > 50;
-- exact-or-refused
SELECT * FROM obv WHERE id = 60;
-- exact-or-refused
SELECT count(*) FROM obv;
-- exact-or-refused
SELECT v, count(*) FROM obv GROUP BY v ORDER BY v;
BEGIN;
-- exact-or-refused
UPDATE obv SET v = 'via view' WHERE id = 60;
ROLLBACK;
SELECT v FROM ob WHERE id = 60;
CREATE OR REPLACE VIEW obv AS SELECT id, v, n, 'x' AS extra FROM ob WHERE n > 90;
-- exact-or-refused
SELECT * FROM obv ORDER BY id;
CREATE OR REPLACE VIEW obv AS SELECT id FROM ob;
SELECT pg_get_viewdef('obv'::regclass);
ALTER VIEW obv RENAME TO obv2;
DROP TABLE ob;
DROP VIEW obv2;
CREATE VIEW obv3 (a, b) AS VALUES (1, 'x'), (2, 'y');
SELECT * FROM obv3 ORDER BY a;
DROP VIEW obv3;
CREATE MATERIALIZED VIEW obm AS SELECT generate_series(1, 5) AS g;
SELECT sum(g) FROM obm;
REFRESH MATERIALIZED VIEW obm;
DROP MATERIALIZED VIEW obm;
-- Types.
CREATE TYPE ob_enum AS ENUM ('a', 'b');
CREATE TYPE ob_enum AS ENUM ('a', 'b');
ALTER TYPE ob_enum ADD VALUE 'c' AFTER 'a';
ALTER TYPE ob_enum RENAME VALUE 'b' TO 'bee';
SELECT enum_range(NULL::ob_enum);
CREATE TYPE ob_comp AS (x int, y ob_enum);
SELECT '(1,c)'::ob_comp, ('(1,c)'::ob_comp).y;
ALTER TYPE ob_comp ADD ATTRIBUTE z text;
CREATE DOMAIN ob_dom AS text NOT NULL DEFAULT 'd' CHECK (length(VALUE) < 5);
SELECT 'long one'::ob_dom;
CREATE TYPE ob_range AS RANGE (subtype = float8);
SELECT ob_range(1, 2) @> 1.5::float8;
ALTER TABLE ob ADD COLUMN e ob_enum DEFAULT 'a', ADD COLUMN c ob_comp, ADD COLUMN d ob_dom;
SELECT e, d, count(*) FROM ob GROUP BY e, d;
UPDATE ob SET c = ROW(id, 'bee', 'z') WHERE id = 5;
SELECT c, (c).y FROM ob WHERE id = 5;
DROP TYPE ob_enum;
ALTER TABLE ob DROP COLUMN e, DROP COLUMN c, DROP COLUMN d;
DROP TYPE ob_comp, ob_range;
DROP DOMAIN ob_dom;
DROP TYPE ob_enum;
-- Functions and procedures.
CREATE FUNCTION ob_add(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + b';
SELECT ob_add(1, 2);
SELECT ob_add(n, 1) FROM ob WHERE id = 5;
SELECT sum(ob_add(n, 1)) FROM ob;
SELECT id FROM ob WHERE ob_add(n, 1) = 6 ORDER BY id;
CREATE OR REPLACE FUNCTION ob_add(a int, b int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  IF a > 1000 THEN
    RAISE EXCEPTION 'too big: %', a USING ERRCODE = 'P0099', HINT = 'smaller', DETAIL = 'was ' || a;
  END IF;
  RAISE NOTICE 'adding % and %', a, b;
  RETURN a + b;
END;
$$;
SELECT ob_add(2, 2);
SELECT ob_add(2000, 2);
SELECT ob_add('x', 2);
SELECT ob_add(1);
CREATE FUNCTION ob_rows(n int) RETURNS TABLE (a int, b text) LANGUAGE sql AS $$ SELECT i, 'r' || i FROM generate_series(1, n) i $$;
SELECT * FROM ob_rows(3) ORDER BY a;
SELECT * FROM ob JOIN ob_rows(3) r ON r.a = ob.id WHERE ob.id = 2;
CREATE FUNCTION ob_atomic(x int) RETURNS int LANGUAGE sql BEGIN ATOMIC
  SELECT 1;
  SELECT x * 2;
END;
SELECT ob_atomic(21);
CREATE PROCEDURE ob_proc(INOUT x int) LANGUAGE plpgsql AS $$ BEGIN x := x * 2; END $$;
CALL ob_proc(4);
CREATE AGGREGATE ob_agg (int) (sfunc = int4pl, stype = int, initcond = '0');
SELECT ob_agg(i) FROM generate_series(1, 4) i;
DO $$ BEGIN RAISE NOTICE 'from do'; END $$;
DO $$ BEGIN RAISE EXCEPTION 'failed in do'; END $$;
ALTER FUNCTION ob_add(int, int) RENAME TO ob_add2;
COMMENT ON FUNCTION ob_add2(int, int) IS 'adds';
DROP FUNCTION ob_add2(int, int);
DROP FUNCTION ob_add2(int, int);
DROP FUNCTION ob_rows, ob_atomic;
DROP PROCEDURE ob_proc;
DROP AGGREGATE ob_agg(int);
-- Triggers.
CREATE FUNCTION ob_trig() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := 'by trigger ' || NEW.v; RETURN NEW; END $$;
CREATE TRIGGER ob_t BEFORE INSERT ON ob FOR EACH ROW EXECUTE FUNCTION ob_trig();
INSERT INTO ob VALUES (1000, 'x') RETURNING v;
ALTER TABLE ob DISABLE TRIGGER ob_t;
INSERT INTO ob VALUES (1001, 'x') RETURNING v;
ALTER TABLE ob ENABLE TRIGGER ob_t;
DROP TRIGGER ob_t ON ob;
DROP FUNCTION ob_trig();
-- Sequences.
CREATE SEQUENCE obs START 10 INCREMENT 5;
SELECT nextval('obs'), currval('obs');
SELECT setval('obs', 100, false);
SELECT nextval('obs');
ALTER SEQUENCE obs RESTART 7;
SELECT nextval('obs'), nextval('obs');
ALTER SEQUENCE obs RENAME TO obs2;
SELECT nextval('obs2');
SELECT nextval('nope');
DROP SEQUENCE obs2;
-- Extensions.
CREATE EXTENSION IF NOT EXISTS pgcrypto;
SELECT encode(digest('x', 'md5'), 'hex');
DROP EXTENSION pgcrypto;
CREATE EXTENSION nope_nope;
DROP TABLE ob;
