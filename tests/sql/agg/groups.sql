-- GROUP BY, HAVING, ORDER BY, LIMIT, DISTINCT over all shards.
CREATE TABLE gr (id int8 PRIMARY KEY, a int, b text, c numeric(8,2), d date, e bool);
INSERT INTO gr SELECT i, i % 5, 'b' || (i % 3), i / 4.0, date '2021-01-01' + (i % 10)::int, CASE WHEN i % 4 = 0 THEN NULL ELSE i % 2 = 0 END FROM generate_series(1, 300) i;
INSERT INTO gr VALUES (1001, NULL, NULL, NULL, NULL, NULL), (1002, NULL, 'b1', 5, NULL, true), (1003, 3, NULL, -5, '1900-01-01', false);
-- distribute: SELECT create_distributed_table('gr', 'id')
SELECT a, count(*) FROM gr GROUP BY a;
SELECT a, count(*) FROM gr GROUP BY a ORDER BY a;
SELECT a, count(*) FROM gr GROUP BY a ORDER BY a DESC;
SELECT a, count(*) FROM gr GROUP BY a ORDER BY a NULLS FIRST;
SELECT a, count(*) FROM gr GROUP BY a ORDER BY a DESC NULLS LAST;
SELECT a, count(*) FROM gr GROUP BY 1 ORDER BY 1;
SELECT a AS grp, sum(c) AS total FROM gr GROUP BY grp ORDER BY total DESC, grp;
SELECT a, b, count(*), sum(c), min(d), max(d), avg(c) FROM gr GROUP BY a, b ORDER BY a, b;
SELECT b, a, count(*) FROM gr GROUP BY a, b ORDER BY b, a;
SELECT count(*), a FROM gr GROUP BY a ORDER BY 1 DESC, 2;
SELECT sum(c) FROM gr GROUP BY a ORDER BY a;
SELECT a % 2 AS odd, count(*) FROM gr GROUP BY a % 2 ORDER BY odd;
SELECT a + 1, count(*) FROM gr GROUP BY a + 1 ORDER BY a + 1;
SELECT upper(b), count(*) FROM gr GROUP BY upper(b) ORDER BY 1;
SELECT date_trunc('month', d), count(*) FROM gr GROUP BY 1 ORDER BY 1;
SELECT extract(year FROM d), count(*) FROM gr GROUP BY 1 ORDER BY 1;
SELECT e, count(*) FROM gr GROUP BY e ORDER BY e;
SELECT d, sum(c) FROM gr GROUP BY d ORDER BY sum(c) DESC, d LIMIT 4;
SELECT a, count(*) FROM gr GROUP BY a HAVING count(*) > 60 ORDER BY a;
SELECT a, count(*) FROM gr GROUP BY a HAVING sum(c) > 2300 ORDER BY a;
SELECT a FROM gr GROUP BY a HAVING max(id) > 1000 ORDER BY a;
SELECT a, sum(c) * 2 + 1 AS x FROM gr GROUP BY a ORDER BY x;
SELECT a, sum(c) / count(*) FROM gr WHERE c IS NOT NULL GROUP BY a ORDER BY a;
SELECT a, count(DISTINCT b) FROM gr GROUP BY a ORDER BY a;
SELECT id, sum(c) FROM gr GROUP BY id ORDER BY id LIMIT 5;
SELECT id, a, count(*) FROM gr GROUP BY id, a ORDER BY id LIMIT 5;
SELECT id, b, sum(c) FROM gr GROUP BY id ORDER BY id LIMIT 5;
SELECT a, count(*) FROM gr WHERE b = 'b1' GROUP BY a ORDER BY a;
SELECT a, count(*) FROM gr WHERE id = 7 GROUP BY a;
SELECT a, count(*) FROM gr WHERE false GROUP BY a;
SELECT a, b, count(*) FROM gr GROUP BY ROLLUP (a, b) ORDER BY a, b, 3;
SELECT a, count(*) FROM gr GROUP BY GROUPING SETS ((a), ()) ORDER BY a, 2;
SELECT a, count(*) FROM gr GROUP BY a LIMIT 0;
SELECT DISTINCT a FROM gr;
SELECT DISTINCT a FROM gr ORDER BY a;
SELECT DISTINCT a, b FROM gr ORDER BY a DESC, b;
SELECT DISTINCT b FROM gr ORDER BY b LIMIT 2;
SELECT DISTINCT ON (a) a, id FROM gr ORDER BY a, id;
SELECT DISTINCT count(*) FROM gr GROUP BY a;
-- Rows, without aggregates.
SELECT * FROM gr ORDER BY id;
SELECT * FROM gr ORDER BY id LIMIT 7;
SELECT * FROM gr ORDER BY id DESC LIMIT 7;
SELECT * FROM gr ORDER BY id LIMIT 7 OFFSET 11;
SELECT * FROM gr ORDER BY id OFFSET 295;
SELECT * FROM gr ORDER BY id OFFSET 2 ROWS FETCH FIRST 3 ROWS ONLY;
SELECT * FROM gr ORDER BY a, id LIMIT 7;
-- unordered
SELECT a, id FROM gr ORDER BY a FETCH FIRST 3 ROWS WITH TIES;
SELECT id, c FROM gr ORDER BY c DESC NULLS LAST, id LIMIT 5;
SELECT id, c FROM gr ORDER BY c NULLS FIRST, id LIMIT 5;
SELECT id, c FROM gr ORDER BY 2 DESC, 1 LIMIT 5;
SELECT id, c AS x FROM gr ORDER BY x DESC, id LIMIT 5;
SELECT id FROM gr ORDER BY c DESC, id LIMIT 5;
SELECT id FROM gr ORDER BY c * -1, id LIMIT 5;
SELECT id FROM gr ORDER BY b, d DESC, id LIMIT 12;
SELECT b FROM gr ORDER BY lower(b), id LIMIT 5;
SELECT id FROM gr WHERE a = 3 ORDER BY id LIMIT 5;
SELECT * FROM gr WHERE a = 3;
SELECT * FROM gr WHERE a = 3 AND b = 'b1' AND c > 10;
SELECT id + 1 AS x, b || '!' AS y, NOT e AS z FROM gr WHERE id < 20;
-- exact-or-refused
SELECT gr FROM gr WHERE id < 5;
SELECT id, 'lit', 5, NULL, 1.5 FROM gr WHERE id < 5;
SELECT id, now() IS NOT NULL FROM gr WHERE id < 5;
SELECT 1 FROM gr WHERE a = 1 LIMIT 3;
SELECT FROM gr WHERE a = 1;
SELECT * FROM gr WHERE false;
SELECT * FROM gr LIMIT 0;
SELECT count(*) FROM (SELECT * FROM gr LIMIT 10) s;
-- any-values
SELECT * FROM gr LIMIT 10;
-- params: 3, 5
SELECT id FROM gr WHERE a = $1 ORDER BY id LIMIT $2;
-- params: 4, 2
SELECT id FROM gr ORDER BY id LIMIT $1 OFFSET $2;
-- params: NULL
SELECT count(*) FROM (SELECT id FROM gr LIMIT $1) s;
-- params: -1
SELECT id FROM gr ORDER BY id LIMIT $1;
SELECT id FROM gr ORDER BY id LIMIT -1;
-- Errors that one shard meets.
SELECT 1 / (id - 7) FROM gr;
SELECT sum(1 / (id - 7)) FROM gr;
SELECT b::int FROM gr WHERE id = 7;
SELECT a, c FROM gr GROUP BY a;
SELECT a FROM gr GROUP BY a ORDER BY c;
SELECT count(*) FROM gr WHERE count(*) > 1;
SELECT nope FROM gr;
SELECT sum(b) FROM gr;
DROP TABLE gr;
