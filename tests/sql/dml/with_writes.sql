-- INSERT, UPDATE and DELETE in WITH, over several shards.
CREATE TABLE ww (id int8 PRIMARY KEY, k int, t text, n numeric(8, 2), at timestamptz DEFAULT '2020-01-01', tags text[]);
CREATE TABLE ww_old (id int8 PRIMARY KEY, t text, seq serial);
CREATE TABLE ww_code (code text PRIMARY KEY, k int, n numeric);
CREATE TABLE ww_home (id int8, note text);
INSERT INTO ww SELECT i, i % 5, CASE WHEN i % 7 = 0 THEN NULL ELSE 'it''s {"' || i || '"} \ , ' END, i / 3.0, '2020-01-01'::timestamptz + i * interval '1 minute', ARRAY['a"' || i, NULL] FROM generate_series(1, 50) i;
INSERT INTO ww_code SELECT 'c' || i, i, i FROM generate_series(0, 9) i;
-- distribute: SELECT create_distributed_table('ww', 'id')
-- distribute: SELECT create_distributed_table('ww_old', 'id', colocate_with => 'ww')
-- distribute: SELECT create_distributed_table('ww_code', 'code')
WITH moved AS (DELETE FROM ww WHERE id % 10 = 0 RETURNING *) INSERT INTO ww_old (id, t) SELECT id, t FROM moved;
SELECT id, t FROM ww_old ORDER BY id;
WITH moved AS (DELETE FROM ww WHERE id % 10 = 1 RETURNING id, t, tags, n, at) SELECT * FROM moved ORDER BY id;
WITH rekeyed AS (DELETE FROM ww WHERE id = 2 RETURNING *) INSERT INTO ww SELECT id + 1000, k, t, n, at, tags FROM rekeyed RETURNING id, t;
WITH upd AS (UPDATE ww SET n = n + 1 WHERE k = 3 RETURNING k, n) SELECT k, count(*), sum(n) FROM upd GROUP BY k;
WITH upd (kk, nn) AS (UPDATE ww SET n = 0 WHERE k = 4 RETURNING k, n), more AS (SELECT max(k) AS top FROM ww_code) UPDATE ww_code SET n = upd.nn FROM upd, more WHERE upd.kk = ww_code.k AND more.top = 9;
SELECT * FROM ww_code ORDER BY code;
WITH ins AS (INSERT INTO ww_old (id, t) VALUES (501, 'x'), (502, 'y'), (503, NULL) RETURNING id), del AS (DELETE FROM ww_code WHERE k > 6 RETURNING code, k) SELECT ins.id, del.code FROM ins JOIN del ON del.k = ins.id - 494 ORDER BY 1;
WITH a AS (DELETE FROM ww WHERE id IN (3, 4, 5)) INSERT INTO ww_home VALUES (1, 'three gone');
SELECT count(*) FROM ww;
SELECT * FROM ww_home;
WITH a AS (DELETE FROM ww WHERE id BETWEEN 12 AND 15 RETURNING id) INSERT INTO ww_home SELECT id, 'moved home' FROM a RETURNING *;
WITH a AS (DELETE FROM ww WHERE id = 6 RETURNING id) DELETE FROM ww_old USING a WHERE ww_old.id = a.id + 4 RETURNING ww_old.id, a.id;
WITH src AS (SELECT id FROM ww_home WHERE note LIKE 'moved%'), upd AS (UPDATE ww_old SET t = 'src' FROM src WHERE src.id + 6 = ww_old.id RETURNING ww_old.id) SELECT * FROM upd;
-- params: 3, 'param'
-- params: 1, NULL
WITH u AS (UPDATE ww SET t = $2 WHERE k = $1 RETURNING id, t) SELECT count(*), min(t), $2 FROM u;
-- params: 700
WITH i AS (INSERT INTO ww_old (id, t) SELECT $1 + k, code FROM ww_code RETURNING id) SELECT * FROM i WHERE id > $1 + 2 ORDER BY id;
WITH a AS (DELETE FROM ww WHERE id > 0 AND nope RETURNING id) SELECT * FROM a;
WITH a AS (UPDATE ww SET n = 1 / (id - id) WHERE k = 1 RETURNING id) SELECT * FROM a;
WITH RECURSIVE r AS (SELECT 30 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 34), d AS (DELETE FROM ww USING r WHERE r.i = ww.id RETURNING id) SELECT * FROM d ORDER BY 1;
BEGIN;
WITH d AS (DELETE FROM ww WHERE k = 2 RETURNING id) SELECT count(*) FROM d;
WITH d AS (DELETE FROM ww WHERE k = 3 RETURNING id) SELECT count(*) FROM d;
SELECT count(*) FROM ww;
ROLLBACK;
BEGIN READ ONLY;
WITH d AS (DELETE FROM ww WHERE k = 2 RETURNING id) SELECT count(*) FROM d;
ROLLBACK;
SELECT count(*), sum(id), sum(n) FROM ww;
-- exact-or-refused
WITH d AS (DELETE FROM ww WHERE k = 1 RETURNING id) SELECT count(*) FROM ww;
SELECT count(*) FROM ww_old;
-- Values keep all of their digits, whatever the session's ways to print them.
CREATE TABLE wx (id int8 PRIMARY KEY, f float8, i interval, at timestamptz, d date);
CREATE TABLE wx_home (id int8, f float8, i interval, at timestamptz, d date);
-- distribute: SELECT create_distributed_table('wx', 'id')
INSERT INTO wx SELECT i, 1 / (i + 2)::float8, i * interval '-1 day 3 hours', '2020-07-01 00:00:00.123456+00'::timestamptz + i * interval '31 days', '2020-12-13'::date + i FROM generate_series(1, 9) i;
INSERT INTO wx_home SELECT id, f / 3, i * -1, at + interval '1 hour', d - 100 FROM wx;
SET extra_float_digits = -5;
SET IntervalStyle = 'sql_standard';
SET DateStyle = 'SQL, DMY';
SET TimeZone = 'Asia/Kolkata';
UPDATE wx SET (f, i, at, d) = (h.f, h.i, h.at, h.d) FROM wx_home h WHERE h.id = wx.id;
WITH gone AS (DELETE FROM wx WHERE id > 5 RETURNING *) INSERT INTO wx SELECT id + 100, f, i, at, d FROM gone;
SELECT * FROM wx ORDER BY id;
RESET extra_float_digits;
RESET IntervalStyle;
RESET DateStyle;
RESET TimeZone;
SELECT * FROM wx ORDER BY id;
DROP TABLE wx, wx_home;
DROP TABLE ww, ww_old, ww_code, ww_home;
