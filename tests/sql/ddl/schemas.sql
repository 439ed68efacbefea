-- Tables of one name in sc_two schemas; foreign keys to reference tables; shard counts.
CREATE SCHEMA sc_ms;
SET search_path = sc_ms, public;
CREATE TABLE sc_two (a int);
SET search_path = public;
CREATE TABLE sc_two (a int, b int);
-- distribute: SELECT create_distributed_table('sc_ms.sc_two', 'a')
-- distribute: SELECT create_distributed_table('public.sc_two', 'a')
INSERT INTO sc_two VALUES (1, 2), (2, 3);
INSERT INTO sc_ms.sc_two VALUES (10), (20), (30);
ALTER TABLE sc_two ADD c int;
ALTER TABLE sc_ms.sc_two ADD d int;
SET search_path = sc_ms, public;
ALTER TABLE sc_two ADD e int;
CREATE INDEX sc_i ON sc_two (a);
CREATE INDEX sc_i ON public.sc_two (a);
SELECT count(*) FROM sc_two;
SELECT count(*) FROM public.sc_two;
TRUNCATE public.sc_two;
SELECT count(*) FROM sc_two;
CREATE VIEW public.sc_vv AS SELECT a FROM sc_two;
CREATE VIEW sc_vv AS SELECT a FROM public.sc_two;
DROP VIEW sc_vv;
DROP TABLE public.sc_two;
DROP TABLE sc_two;
DROP TABLE sc_two CASCADE;
RESET search_path;
CREATE TABLE sc_parent (id int PRIMARY KEY);
CREATE TABLE sc_kid (id int PRIMARY KEY, p int REFERENCES sc_parent);
-- distribute: SELECT create_reference_table('sc_parent')
-- distribute: SELECT create_distributed_table('sc_kid', 'id')
INSERT INTO sc_parent VALUES (1);
INSERT INTO sc_kid VALUES (1, 1), (2, 1), (3, 1);
INSERT INTO sc_kid VALUES (4, 2);
ALTER TABLE sc_kid DROP CONSTRAINT sc_kid_p_fkey;
ALTER TABLE sc_kid ADD CONSTRAINT k FOREIGN KEY (p) REFERENCES sc_parent ON DELETE CASCADE NOT VALID;
DELETE FROM sc_parent;
SELECT count(*) FROM sc_kid;
DROP TABLE sc_parent;
DROP TABLE sc_parent, sc_kid;
CREATE TABLE sc_x1 (a int, b text);
INSERT INTO sc_x1 SELECT i, 'b' || i FROM generate_series(1, 100) i;
-- distribute: SELECT create_distributed_table('sc_x1', 'a', 4)
CREATE TABLE sc_x2 (a int, b text);
-- distribute: SELECT create_distributed_table('sc_x2', 'a', colocate_with => 'sc_x1')
CREATE TABLE sc_x3 (a text, b text);
-- distribute: SELECT create_distributed_table('sc_x3', 'a')
SELECT count(*), sum(a) FROM sc_x1;
DROP TABLE sc_x1, sc_x2, sc_x3;
