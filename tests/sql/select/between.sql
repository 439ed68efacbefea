-- Tables large enough that the keys of one fragment limit the rows of another, in every kind of join: where that is allowed, and where not.
CREATE TABLE sb_big (id int8 PRIMARY KEY, k int8, k4 int, t text, vc varchar(12), ch char(8), u uuid, d date, n numeric, flag bool);
CREATE TABLE sb_mid (code text PRIMARY KEY, k int8, k4 int, t text, vc varchar(12), ch char(8), u uuid, d date, n numeric);
CREATE TABLE sb_ref (k int8 PRIMARY KEY, name text);
CREATE TABLE sb_part (id int8, line int, qty int, PRIMARY KEY (id, line));
INSERT INTO sb_big SELECT i, CASE WHEN i % 11 = 0 THEN NULL ELSE i % 3000 END, i % 700, 't' || i % 900, 'v' || i % 900, 'c' || i % 90, md5((i % 500)::text)::uuid,
    date '2020-01-01' + i % 1000, (i % 400) / 10.0, i % 2 = 0 FROM generate_series(1, 9000) i;
INSERT INTO sb_mid SELECT 'm' || i, CASE WHEN i = 7 THEN NULL ELSE i * 3 END, i, 't' || i, 'v' || i, 'c' || i, md5(i::text)::uuid, date '2020-01-01' + i * 2,
    CASE WHEN i % 2 = 0 THEN i / 10.0 ELSE (i / 10.0)::numeric(8, 4) END FROM generate_series(1, 40) i;
INSERT INTO sb_ref SELECT i, 'name ' || i % 20 FROM generate_series(1, 3000) i;
INSERT INTO sb_part SELECT i, l, i % 50 + l FROM generate_series(1, 4000) i, generate_series(1, 2) l;
-- distribute: SELECT create_distributed_table('sb_big', 'id')
-- distribute: SELECT create_distributed_table('sb_mid', 'code')
-- distribute: SELECT create_reference_table('sb_ref')
-- distribute: SELECT create_distributed_table('sb_part', 'id', colocate_with => 'sb_big')
ANALYZE sb_big;
ANALYZE sb_mid;
SELECT count(*), sum(b.id), min(m.code) FROM sb_big b JOIN sb_mid m ON b.k = m.k;
SELECT count(*), sum(b.id) FROM sb_big b JOIN sb_mid m ON b.k4 = m.k4;
SELECT count(*), sum(b.id) FROM sb_big b JOIN sb_mid m ON b.t = m.t;
SELECT count(*), sum(b.id) FROM sb_big b JOIN sb_mid m ON b.vc = m.vc;
SELECT count(*), sum(b.id) FROM sb_big b JOIN sb_mid m ON b.ch = m.ch;
SELECT count(*), sum(b.id) FROM sb_big b JOIN sb_mid m ON b.u = m.u;
SELECT count(*), sum(b.id) FROM sb_big b JOIN sb_mid m ON b.d = m.d;
SELECT count(*), sum(b.id) FROM sb_big b JOIN sb_mid m ON b.n = m.n;
SELECT count(*), sum(b.id) FROM sb_big b JOIN sb_mid m ON b.k = m.k4;
SELECT count(*), sum(b.id) FROM sb_big b JOIN sb_mid m ON b.k = m.k AND b.t = m.t;
SELECT count(*), sum(b.id) FROM sb_big b JOIN sb_mid m ON b.k = m.k WHERE m.code = 'nothing';
SELECT count(*), sum(b.id), count(m.code) FROM sb_big b LEFT JOIN sb_mid m ON b.k = m.k;
SELECT count(*), sum(b.id), count(m.code) FROM sb_big b RIGHT JOIN sb_mid m ON b.k = m.k;
SELECT count(*), sum(b.id), count(m.code) FROM sb_big b FULL JOIN sb_mid m ON b.k = m.k;
SELECT count(*), sum(b.id) FROM sb_big b LEFT JOIN sb_mid m ON b.k = m.k WHERE m.code < 'm3';
SELECT count(*), sum(b.id) FROM sb_big b WHERE b.k IN (SELECT m.k FROM sb_mid m WHERE m.k4 < 20);
SELECT count(*), sum(b.id) FROM sb_big b WHERE b.k NOT IN (SELECT m.k FROM sb_mid m WHERE m.k IS NOT NULL);
SELECT count(*), sum(b.id) FROM sb_big b WHERE b.k IN (SELECT m.k FROM sb_mid m GROUP BY m.k HAVING count(*) > 0) AND b.flag;
SELECT count(*), sum(b.id) FROM sb_big b WHERE b.k4 IN (SELECT max(m.k4) FROM sb_mid m);
SELECT count(*), sum(b.id) FROM sb_big b WHERE EXISTS (SELECT FROM sb_mid m WHERE m.k = b.k);
SELECT count(*), sum(b.id) FROM sb_big b WHERE NOT EXISTS (SELECT FROM sb_mid m WHERE m.k = b.k);
SELECT m.code, (SELECT sum(b.n) FROM sb_big b WHERE b.k = m.k), (SELECT count(*) FROM sb_big b WHERE b.k = m.k) FROM sb_mid m ORDER BY m.k4 LIMIT 12;
SELECT m.code, x.c FROM sb_mid m, LATERAL (SELECT count(*) AS c, max(b.id) FROM sb_big b WHERE b.t = m.t) x ORDER BY 1;
SELECT m.code, x.c FROM sb_mid m LEFT JOIN LATERAL (SELECT b.id AS c FROM sb_big b WHERE b.k = m.k ORDER BY b.id LIMIT 1) x ON true ORDER BY 1;
SELECT count(*) FROM sb_mid m WHERE m.n < (SELECT avg(b.n) FROM sb_big b WHERE b.k4 = m.k4);
SELECT count(*), sum(p.qty) FROM sb_big b, sb_part p, sb_mid m, sb_ref r WHERE b.id = p.id AND b.k = m.k AND r.k = b.k AND r.name = 'name 3';
SELECT count(*), sum(p.qty) FROM sb_big b JOIN sb_part p USING (id) JOIN sb_mid m ON m.k = b.k JOIN sb_ref r ON r.k = m.k WHERE r.name < 'name 2' AND b.flag;
SELECT count(*), sum(p.qty) FROM sb_part p, sb_big b, sb_mid m WHERE p.id = b.id AND b.t = m.t AND (b.flag AND m.k4 < 5 OR NOT b.flag AND m.k4 > 30);
SELECT count(*) FROM sb_big a, sb_big b, sb_mid m WHERE a.k = m.k AND b.k = m.k AND a.id < b.id;
SELECT count(*) FROM sb_big a JOIN sb_big b ON a.k = b.k4 JOIN sb_mid m ON m.k4 = b.k4 AND m.code = 'm9';
SELECT b.t, count(*) FROM sb_big b JOIN sb_mid m ON b.k = m.k GROUP BY b.t ORDER BY 2 DESC, 1 LIMIT 5;
WITH few AS MATERIALIZED (SELECT k FROM sb_mid WHERE k4 < 4), none AS (SELECT 1 / (k4 - k4) FROM sb_big) SELECT count(*) FROM sb_big b JOIN few USING (k);
SELECT count(*) FROM sb_mid m FULL JOIN (sb_big b JOIN sb_ref r ON r.k = b.k AND r.name = 'name 1') ON m.k = b.k;
SELECT count(*), count(b.id) FROM sb_mid m LEFT JOIN (sb_big b JOIN sb_part p ON p.id = b.id AND p.qty > 40) ON m.k = b.k;
UPDATE sb_mid SET n = 0 WHERE code = 'm3';
DROP TABLE sb_big, sb_mid, sb_ref, sb_part;
