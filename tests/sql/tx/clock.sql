-- When a transaction began is the same in all of its statements, wherever they run.
CREATE TABLE ck (id int8 PRIMARY KEY, at timestamptz DEFAULT now(), day date DEFAULT current_date, local timestamp DEFAULT now(), n int);
CREATE TABLE ck_other (code text PRIMARY KEY, at timestamptz DEFAULT clock_timestamp(), n int);
CREATE TABLE ck_ref (id int PRIMARY KEY, at timestamptz);
CREATE TABLE ck_home (id int PRIMARY KEY, at timestamptz);
-- distribute: SELECT create_distributed_table('ck', 'id')
-- distribute: SELECT create_distributed_table('ck_other', 'code')
-- distribute: SELECT create_reference_table('ck_ref')
INSERT INTO ck (id, n) VALUES (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (8, 8);
INSERT INTO ck VALUES (9, DEFAULT, DEFAULT, DEFAULT, 1), (10, DEFAULT, DEFAULT, '2020-01-01 00:00', 2), (11, now(), current_date, localtimestamp, 3);
SELECT count(DISTINCT at), count(DISTINCT local), bool_and(at::timestamp = local) FROM ck WHERE id < 9;
SELECT count(DISTINCT at), count(DISTINCT day), count(DISTINCT local) FROM ck WHERE id > 8;
INSERT INTO ck_other (code, n) VALUES ('a', 1), ('b', 2), ('c', 3), ('d', 1);
INSERT INTO ck_ref VALUES (1, '2020-01-01'), (2, '2021-01-01');
INSERT INTO ck_home VALUES (1, '2020-01-01'), (2, '2021-01-01');
UPDATE ck SET at = now();
SELECT count(DISTINCT at) FROM ck;
UPDATE ck SET at = at + (now() - statement_timestamp()) * 0 RETURNING id;
SELECT count(*) FROM (SELECT DISTINCT now() AS t FROM ck) AS s;
SELECT count(DISTINCT t) FROM (SELECT now() AS t FROM ck UNION ALL SELECT current_timestamp FROM ck_other UNION ALL SELECT transaction_timestamp()) AS s;
SELECT bool_and(a.t = o.t), bool_and(a.t = now()) FROM (SELECT id, now() AS t FROM ck) AS a, (SELECT code, now() AS t FROM ck_other) AS o;
SELECT DISTINCT current_timestamp(0) = now()::timestamptz(0), current_date = now()::date, current_time = now()::timetz, current_time(2) = now()::timetz(2), localtime = now()::time, localtime(3) = now()::time(3), localtimestamp = now()::timestamp, localtimestamp(1) = now()::timestamp(1) FROM ck;
-- Names and types of columns.
-- any-values
SELECT now(), current_timestamp, current_timestamp(3), current_date, current_time, current_time(1), localtime, localtime(0), localtimestamp, localtimestamp(2), transaction_timestamp() FROM ck;
-- any-values
SELECT now()::date, (current_timestamp), CASE WHEN id > 3 THEN NULL ELSE now() END, coalesce(now(), NULL), now() + interval '1 day' FROM ck ORDER BY id;
-- any-values
SELECT s.now, s.current_date, o.localtime FROM (SELECT id, now(), current_date FROM ck) AS s JOIN (SELECT n, localtime FROM ck_other) AS o ON o.n = s.id;
-- any-values
SELECT now, n FROM (SELECT now(), n FROM ck) AS s ORDER BY n, now LIMIT 3;
-- any-values
SELECT max(at) <= now(), now() FROM ck;
SELECT n FROM ck WHERE at > now() - interval '1 hour' AND at <= now() ORDER BY id;
SELECT date_trunc('year', now()) = date_trunc('year', current_date) AS same, count(*) FROM ck GROUP BY 1;
SELECT count(*) FROM ck GROUP BY now();
SELECT count(*) FROM ck HAVING max(at) < now() + interval '1 second';
SELECT count(*) FROM ck, now() AS t WHERE at < t + interval '1 hour';
SELECT count(*) FROM ck_home h JOIN ck ON h.id = ck.n WHERE h.at < now() AND ck.at <= now();
-- In a transaction.
BEGIN;
UPDATE ck SET at = now() WHERE id = 1;
SELECT pg_sleep(0.01) IS NULL;
UPDATE ck SET at = now() WHERE id = 2;
UPDATE ck SET at = current_timestamp WHERE id IN (3, 4, 5);
UPDATE ck SET at = now() WHERE id > 5;
INSERT INTO ck (id, at) VALUES (20, now()), (21, current_timestamp), (22, transaction_timestamp());
SELECT count(*), count(DISTINCT at) FROM ck WHERE at = now();
SELECT at = now() FROM ck WHERE id = 1;
SELECT at = now() FROM ck WHERE id = 2;
SELECT at = now() FROM ck WHERE id = 3;
SELECT at = now() FROM ck WHERE id = 8;
UPDATE ck_home SET at = now();
UPDATE ck_ref SET at = now();
SELECT h.at = now(), r.at = now(), h.at = r.at FROM ck_home h JOIN ck_ref r USING (id);
SELECT count(*) FROM ck a JOIN ck_other o ON o.n = a.n JOIN ck_home h ON h.id = a.n WHERE a.at = now() AND h.at = a.at;
DECLARE c CURSOR FOR SELECT at = now(), id FROM ck ORDER BY id;
FETCH 3 FROM c;
DECLARE d CURSOR FOR SELECT at = now(), id FROM ck WHERE id = 4;
FETCH ALL FROM d;
COMMIT;
SELECT count(DISTINCT at) FROM ck WHERE id < 30;
SELECT count(*) FROM ck WHERE at = now();
BEGIN;
-- any-values
SELECT now();
UPDATE ck SET at = now();
SELECT count(*) FROM ck WHERE at <> now();
ROLLBACK;
BEGIN READ ONLY;
SELECT count(*) FROM ck WHERE at >= now();
SELECT count(DISTINCT t) FROM (SELECT a.id, now() AS t FROM ck a JOIN ck_other o ON o.n = a.n UNION ALL SELECT id, now() FROM ck_home) AS s;
COMMIT;
-- Only an island's outermost names are its own.
SET TimeZone = 'Asia/Kathmandu';
SET DateStyle = 'SQL, DMY';
SELECT DISTINCT current_date = now()::date, localtime = now()::time FROM ck;
UPDATE ck SET at = now(), day = current_date, local = localtimestamp;
SELECT count(*) FROM ck WHERE at::timestamp = local AND at::date = day;
RESET DateStyle;
RESET TimeZone;
PREPARE p (int8) AS SELECT at <= now(), id FROM ck WHERE id <= $1 ORDER BY id;
EXECUTE p (3);
DEALLOCATE p;
-- params: 2
-- params: 7
SELECT id, at <= now() FROM ck WHERE id = $1;
-- What only the catalog database knows.
SELECT count(*) FROM ck WHERE current_database() = 'app' AND current_schema() = 'public' AND current_user = session_user;
SELECT DISTINCT current_database(), current_schema(), current_schema, current_catalog, current_schemas(false), version() LIKE 'PostgreSQL 15%' FROM ck;
SELECT current_database(), count(*) FROM ck GROUP BY 1;
SELECT current_database() || ':' || id AS name FROM ck WHERE id = 3;
SELECT current_schema() FROM ck WHERE id = 3;
SELECT s.current_schema, o.code FROM (SELECT n, current_schema() FROM ck) AS s JOIN ck_other o USING (n) ORDER BY 2, 1;
SELECT count(*) FROM ck WHERE 'ck'::regclass::text = 'ck' AND to_regclass('no_such') IS NULL AND to_regclass('ck')::text = 'ck';
SELECT count(*) FROM ck WHERE has_table_privilege('ck', 'SELECT') AND pg_typeof(n) = 'integer'::regtype;
SELECT pg_typeof(at), pg_typeof(n)::text, format_type(23, NULL) FROM ck WHERE id = 1;
SELECT DISTINCT pg_typeof(at), 'int8'::regtype FROM ck;
-- params: 5
SELECT id, current_database() FROM ck WHERE id = $1;
DROP TABLE ck, ck_other, ck_ref, ck_home;
