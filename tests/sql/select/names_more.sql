-- Names that mislead, and every turn of syntax, in queries over shards.
CREATE SCHEMA xn_other;
CREATE TABLE xn_a (id int8 PRIMARY KEY, k int, t text, "Select" int, "a b" text, f int, c0 int, "ünï" int);
CREATE TABLE f (f0 int8 PRIMARY KEY, c0 int, c1 text, g0 int, k0 int, d0 int, f int, a0 int);
CREATE TABLE "Sn B" ("Id" text PRIMARY KEY, "k" int, "order" int, """q""" text);
CREATE TABLE xn_other.xn_a (id int8 PRIMARY KEY, k int, z text);
CREATE TABLE xn_r (id int PRIMARY KEY, name text);
CREATE TABLE xn_u (id int PRIMARY KEY, k int, t text);
INSERT INTO xn_a SELECT i, i % 4, 't' || i % 3, i % 2, 'x', i, -i, i * 2 FROM generate_series(1, 12) i;
INSERT INTO f SELECT i, i % 4, 'f' || i, i % 3, i, NULL, i % 2, 0 FROM generate_series(1, 10) i;
INSERT INTO "Sn B" SELECT 't' || i, i, -i, 'q' || i FROM generate_series(0, 5) i;
INSERT INTO xn_other.xn_a SELECT i, i % 5, 'z' || i FROM generate_series(1, 9) i;
INSERT INTO xn_r VALUES (0, 'zero'), (1, 'one'), (2, NULL);
INSERT INTO xn_u VALUES (1, 1, 't1'), (2, 2, 't2'), (3, 3, NULL);
-- distribute: SELECT create_distributed_table('xn_a', 'id')
-- distribute: SELECT create_distributed_table('f', 'f0')
-- distribute: SELECT create_distributed_table('"Sn B"', 'Id')
-- distribute: SELECT create_distributed_table('xn_other.xn_a', 'id', colocate_with => 'none')
-- distribute: SELECT create_reference_table('xn_r')
-- FAILING
SELECT public.xn_a.id, xn_other.xn_a.id FROM public.xn_a, xn_other.xn_a WHERE public.xn_a.k = xn_other.xn_a.k AND xn_other.xn_a.id > 7;
SELECT j.a, j.b, j.id FROM (xn_a JOIN xn_u USING (id)) AS j (id, a, b);
SELECT U&"\0069d", U&'\00e4 d!0061t' UESCAPE '!', $q$it's $1$q$, E'tab\tä\\', b'0101', x'1F', 1e2, .5, 5., N'n' FROM xn_a a JOIN "Sn B" b ON a.k = b.k ORDER BY a.id LIMIT 1;
SELECT extract(year FROM date '2020-02-29' + a.k), position('1' IN a.t), substring(a.t FROM 2 FOR 1), substring(a.t SIMILAR 't#"_#"' ESCAPE '#'), overlay(a.t PLACING 'q' FROM 1 FOR 1), trim(LEADING 't' FROM a.t), trim(a.t), trim(TRAILING FROM a.t), normalize(a.t, NFC), a.t IS NFC NORMALIZED, (date '2020-01-01', date '2020-01-05') OVERLAPS (date '2020-01-03', interval '1 day'), collation for (a.t) FROM xn_a a JOIN f ON a.k = f.c0 WHERE f.f0 > 8;
SELECT xmlelement(name a, xmlattributes(a.k AS k), a.t)::text, xmlforest(a.t, a.k)::text FROM xn_a a JOIN f ON a.k = f.c0 WHERE f.f0 = 3;
SELECT a.id, x.v FROM xn_a a, xmltable('/r/v' PASSING xmlparse(document '<r><v>1</v><v>2</v></r>') COLUMNS v int PATH '.') x WHERE x.v = a.k;
SELECT xmlserialize(content xmlconcat(xmlcomment(t)) AS text), xml '<a/>' IS DOCUMENT, xmlexists('//a' PASSING '<a/>') FROM xn_a;
DROP TABLE xn_a, f, "Sn B", xn_other.xn_a, xn_r, xn_u;
DROP SCHEMA xn_other;
