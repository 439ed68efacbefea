-- Names that mislead, and every turn of syntax, in queries over shards.
CREATE SCHEMA sn_other;
CREATE TABLE sn_a (id int8 PRIMARY KEY, k int, t text, "Select" int, "a b" text, f int, c0 int, "ünï" int);
CREATE TABLE f (f0 int8 PRIMARY KEY, c0 int, c1 text, g0 int, k0 int, d0 int, f int, a0 int);
CREATE TABLE "Sn B" ("Id" text PRIMARY KEY, "k" int, "order" int, """q""" text);
CREATE TABLE sn_other.sn_a (id int8 PRIMARY KEY, k int, z text);
CREATE TABLE sn_r (id int PRIMARY KEY, name text);
CREATE TABLE sn_u (id int PRIMARY KEY, k int, t text);
INSERT INTO sn_a SELECT i, i % 4, 't' || i % 3, i % 2, 'x', i, -i, i * 2 FROM generate_series(1, 12) i;
INSERT INTO f SELECT i, i % 4, 'f' || i, i % 3, i, NULL, i % 2, 0 FROM generate_series(1, 10) i;
INSERT INTO "Sn B" SELECT 't' || i, i, -i, 'q' || i FROM generate_series(0, 5) i;
INSERT INTO sn_other.sn_a SELECT i, i % 5, 'z' || i FROM generate_series(1, 9) i;
INSERT INTO sn_r VALUES (0, 'zero'), (1, 'one'), (2, NULL);
INSERT INTO sn_u VALUES (1, 1, 't1'), (2, 2, 't2'), (3, 3, NULL);
-- distribute: SELECT create_distributed_table('sn_a', 'id')
-- distribute: SELECT create_distributed_table('f', 'f0')
-- distribute: SELECT create_distributed_table('"Sn B"', 'Id')
-- distribute: SELECT create_distributed_table('sn_other.sn_a', 'id', colocate_with => 'none')
-- distribute: SELECT create_reference_table('sn_r')
-- Names.
SELECT f.f, f.f0, f.c0, g0 FROM f JOIN sn_a a ON f.c0 = a.k AND a.id < 4;
SELECT c0, count(*), count(DISTINCT c1) AS c0 FROM f GROUP BY f.c0;
SELECT f0 AS c0, c0 AS f0 FROM f ORDER BY c0 DESC LIMIT 3;
SELECT f AS f0 FROM f ORDER BY f.f0, f0;
SELECT k0 AS g0, rank() OVER (ORDER BY c0, f0) AS f FROM f ORDER BY f;
SELECT "Select", "a b", "ünï" FROM sn_a ORDER BY "ünï" LIMIT 3;
SELECT "Sn B"."Id", "order", """q""" FROM "Sn B" JOIN sn_a ON t = "Id";
SELECT b."Id" AS "Ä""x", count(*) AS "from" FROM "Sn B" b LEFT JOIN sn_a "B" ON "B".t = b."Id" GROUP BY 1 ORDER BY "Ä""x";
SELECT app.public.sn_a.t FROM app.public.sn_a ORDER BY app.public.sn_a.id LIMIT 2;
SELECT sn_a.id FROM sn_a AS sn_r JOIN sn_r AS sn_a ON sn_r.k = sn_a.id ORDER BY sn_r.id;
SELECT x.p, x.q, x.t FROM sn_a AS x (p, q) JOIN "Sn B" AS y (p) ON x.q = y.k;
SELECT j.id, j.w FROM (SELECT a.id, b."order" FROM sn_a a JOIN "Sn B" b ON a.k = b.k) AS j (id, w) ORDER BY 1, 2;
SELECT * FROM (SELECT id, id + 1, 'x', k FROM sn_a WHERE k = 1) x;
SELECT "?column?", count FROM (SELECT k + 1, count(*) FROM sn_a GROUP BY k) x ORDER BY 1;
SELECT x."coalesce", x.max FROM (SELECT coalesce(k, 0), max(id) FROM sn_a GROUP BY k) x ORDER BY 1;
SELECT * FROM (SELECT a.id, b.k, a.k AS k2 FROM sn_a a JOIN f b2 ON b2.c0 = a.k JOIN "Sn B" b ON b."Id" = a.t) x ORDER BY 1, 2, 3;
SELECT count(*) FROM (SELECT a.*, b.* FROM sn_a a JOIN sn_other.sn_a b ON a.k = b.k) x;
SELECT a.*, b.* FROM sn_a a JOIN sn_other.sn_a b ON a.k = b.k WHERE a.id < 3;
WITH f AS (SELECT id AS f0 FROM sn_a WHERE k = 1) SELECT f.f0, g.c1 FROM f JOIN public.f g ON g.c0 = f.f0 - 4;
WITH sn_a AS (SELECT * FROM sn_other.sn_a) SELECT sn_a.z, b.t FROM sn_a JOIN public.sn_a b ON b.k = sn_a.k WHERE b.id < 3;
SELECT id, (SELECT id FROM sn_u WHERE sn_u.k = sn_a.k) FROM sn_a;
SELECT id, (SELECT count(*) FROM f WHERE c0 = k) FROM sn_a;
SELECT id, (SELECT count(*) FROM sn_other.sn_a WHERE id < k) FROM sn_a;
SELECT id, k FROM sn_a WHERE EXISTS (SELECT 1 FROM "Sn B" WHERE "Id" = t AND "Sn B".k <> sn_a.k);
SET search_path = sn_other, public;
SELECT sn_a.z, b.t FROM sn_a JOIN public.sn_a b ON b.k = sn_a.k WHERE b.id = 4;
SELECT count(*) FROM sn_a;
SELECT z, f.c1 FROM sn_a JOIN f ON f.c0 = sn_a.k ORDER BY 1, 2 LIMIT 4;
RESET search_path;
SELECT count(*) FROM ONLY sn_a;
SELECT count(*) FROM sn_a * JOIN ONLY (f) ON c1 = 'f' || k;
-- Syntax.
SELECT/* a comment /* inside */ ; */id--and another
FROM sn_a a JOIN f/**/ON(f.c0=a.k)ORDER BY id,f0 LIMIT 3;
select ID, K from SN_A inner join "f" on "f".C0=K where T like E't\x31' order by ID, F0;
SELECT int4 '5' + a.k, date '2020-01-01' + a.k, interval '1' YEAR * a.k, interval(0) '1.5 seconds', timestamp '2020-01-01 00:00' AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Tokyo', 'x'::text::varchar(3) COLLATE "C", CAST(a.k AS numeric(5, 2)), a.k::int8::text || '' FROM sn_a a JOIN f ON f.c0 = a.k WHERE a.id = 1 OR a.id = 5;
SELECT a.id OPERATOR(pg_catalog.+) 1, -a.k, + a.k, @ -5, |/ 16.0, a.id ^ 2 ^ 1, NOT a.k > 1 AND true OR false, a.k ISNULL, a.k NOTNULL, a.k IS NOT NULL IS TRUE FROM sn_a a JOIN f ON a.k = f.c0 AND f.f0 < 4;
SELECT a.t LIKE 't%' ESCAPE '#', a.t NOT ILIKE 'T_', a.t NOT SIMILAR TO 't(1|2)', a.t ~~ 't1', a.t LIKE ANY (ARRAY['t1', 'x']), a.t NOT LIKE ALL ('{t1,t0}'), a.k NOT BETWEEN 1 AND 2, a.k NOT IN (1, 2), a.k = ANY ('{1,2}'), a.k <> SOME (ARRAY[1, NULL]) FROM sn_a a JOIN f ON a.k = f.c0 WHERE f.f0 > 8;
SELECT (ARRAY[a.k, f.f0])[1], (ARRAY[[1, 2], [3, 4]])[1][2], (ARRAY[1, 2, 3])[2:], (SELECT ARRAY[a.k])[1], (ROW(1, a.t)).f2, ROW(a.k, f.f0) = ROW(1, 1), (a.k, f.f0) IS DISTINCT FROM (1, 2), ARRAY[]::int[], '{}'::text[] FROM sn_a a JOIN f ON a.k = f.c0 WHERE f.f0 > 8;
SELECT make_date(year => 2020, month => 2, day := 1 + a.k), concat_ws('-', VARIADIC ARRAY[a.t, f.c1]), greatest(a.k, f.f0, 3), nullif(a.k, 1), CASE a.k WHEN 1 THEN 'x' END, CASE WHEN a.k = 1 THEN 1 ELSE 2.5 END FROM sn_a a JOIN f ON a.k = f.c0 WHERE f.f0 > 8;
SELECT 'literal' AS x, NULL, true, 1.50, '1' FROM sn_a a JOIN f ON a.k = f.c0 AND a.id = 1;
SELECT ALL a.id FROM sn_a a JOIN f ON a.k = f.c0 AND a.id < 3 ORDER BY a.id, f.f0;
SELECT a.id x, f.f0 "y", a.k AS select FROM sn_a a, f WHERE a.k = f.c0 AND f.f0 = 3;
SELECT FROM sn_a a JOIN f ON a.k = f.c0;
SELECT (((a.id))) FROM ((sn_a a JOIN f ON (a.k = f.c0))) WHERE ((f.f0 = 3));
((SELECT a.id FROM sn_a a JOIN f ON a.k = f.c0 WHERE f.f0 = 3) ORDER BY 1 DESC) LIMIT 2;
SELECT a.id, v.* FROM sn_a a JOIN (VALUES (1, 'one'), (2, NULL), (NULL, 'x')) AS v (i, w) ON v.i = a.k;
SELECT v.column1, count(a.id) FROM (VALUES (1), (2), (9)) v LEFT JOIN sn_a a ON a.k = v.column1 GROUP BY 1 ORDER BY 1;
SELECT a.id FROM sn_a a WHERE (a.k, a.t) IN (VALUES (1, 't1'), (2, 't2'), (NULL, 't0')) ORDER BY 1;
SELECT a.id FROM sn_a a JOIN f ON a.k = f.c0 GROUP BY a.id, f.c0 HAVING count(*) > 2 ORDER BY max(f.f0) DESC, a.id OFFSET 1 ROW FETCH FIRST 2 ROWS ONLY;
SELECT * FROM sn_a NATURAL JOIN "Sn B" WHERE id < 3;
SELECT * FROM "Sn B" NATURAL JOIN sn_r WHERE name = 'one';
SELECT * FROM sn_a LEFT JOIN (f CROSS JOIN sn_r) ON k = f.c0 AND sn_r.id = f.f WHERE sn_a.id = 5;
SELECT count(*) FROM sn_a a INNER JOIN f LEFT JOIN "Sn B" b ON b.k = f.c0 ON f.c0 = a.k;
SELECT k, sum(id) FROM sn_a GROUP BY DISTINCT k ORDER BY k USING >;
SELECT public.sn_a.id, sn_other.sn_a.id FROM public.sn_a, sn_other.sn_a WHERE public.sn_a.k = sn_other.sn_a.k AND sn_other.sn_a.id > 7;
SELECT j.a, j.b, j.id FROM (sn_a JOIN sn_u USING (id)) AS j (id, a, b);
SELECT U&"\0069d", U&'\00e4 d!0061t' UESCAPE '!', $q$it's $1$q$, E'tab\tä\\', b'0101', x'1F', 1e2, .5, 5., N'n' FROM sn_a a JOIN "Sn B" b ON a.k = b.k ORDER BY a.id LIMIT 1;
SELECT extract(year FROM date '2020-02-29' + a.k), position('1' IN a.t), substring(a.t FROM 2 FOR 1), substring(a.t SIMILAR 't#"_#"' ESCAPE '#'), overlay(a.t PLACING 'q' FROM 1 FOR 1), trim(LEADING 't' FROM a.t), trim(a.t), trim(TRAILING FROM a.t), normalize(a.t, NFC), a.t IS NFC NORMALIZED, (date '2020-01-01', date '2020-01-05') OVERLAPS (date '2020-01-03', interval '1 day'), collation for (a.t) FROM sn_a a JOIN f ON a.k = f.c0 WHERE f.f0 > 8;
SELECT xmlelement(name a, xmlattributes(a.k AS k), a.t)::text, xmlforest(a.t, a.k)::text FROM sn_a a JOIN f ON a.k = f.c0 WHERE f.f0 = 3;
SELECT a.id, x.v FROM sn_a a, xmltable('/r/v' PASSING xmlparse(document '<r><v>1</v><v>2</v></r>') COLUMNS v int PATH '.') x WHERE x.v = a.k;
SELECT xmlserialize(content xmlconcat(xmlcomment(t)) AS text), xml '<a/>' IS DOCUMENT, xmlexists('//a' PASSING '<a/>') FROM sn_a;
DROP TABLE sn_a, f, "Sn B", sn_other.sn_a, sn_r, sn_u;
DROP SCHEMA sn_other;
