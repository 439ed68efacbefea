-- Temporary tables, advisory locks, LISTEN and NOTIFY, lastval and others that belong to one session.
CREATE TABLE st (id int8 PRIMARY KEY, v text);
INSERT INTO st SELECT i, 'v' || i FROM generate_series(1, 20) i;
-- distribute: SELECT create_distributed_table('st', 'id')
CREATE TEMP TABLE stt (a int, b text);
INSERT INTO stt VALUES (1, 'x'), (2, 'y');
SELECT v FROM st WHERE id = 3;
SELECT * FROM stt ORDER BY a;
-- session: other
SELECT * FROM stt;
UPDATE stt SET b = 'z' WHERE a = 2 RETURNING *;
CREATE INDEX stt_a ON stt (a);
ALTER TABLE stt ADD COLUMN c int;
SELECT * FROM pg_temp.stt ORDER BY a;
CREATE TEMP TABLE st (id int8, v text);
INSERT INTO st VALUES (3, 'from temp');
SELECT v FROM st WHERE id = 3;
DROP TABLE st;
SELECT v FROM st WHERE id = 3;
CREATE TEMP TABLE std (a int) ON COMMIT DELETE ROWS;
INSERT INTO std VALUES (1);
SELECT count(*) FROM std;
BEGIN;
CREATE TEMP TABLE stx (a int) ON COMMIT DROP;
INSERT INTO stx VALUES (1);
SELECT * FROM stx;
COMMIT;
SELECT * FROM stx;
CREATE TEMP VIEW stv AS SELECT 1 AS a;
SELECT * FROM stv;
CREATE TEMP SEQUENCE sts;
SELECT nextval('sts');
DISCARD TEMP;
SELECT * FROM stt;
-- Advisory locks.
SELECT pg_try_advisory_lock(42), pg_try_advisory_lock(42);
-- session: other
SELECT pg_try_advisory_lock(42);
SELECT v FROM st WHERE id = 3;
-- session: other
SELECT pg_try_advisory_lock(42);
SELECT pg_advisory_unlock(42), pg_advisory_unlock(42), pg_advisory_unlock(42);
SELECT pg_advisory_unlock_all();
-- session: other
SELECT pg_try_advisory_xact_lock(43);
BEGIN;
SELECT pg_advisory_xact_lock(44);
-- session: other
SELECT pg_try_advisory_lock(44);
COMMIT;
-- session: other
SELECT pg_try_advisory_xact_lock(44);
-- LISTEN and NOTIFY.
LISTEN st_channel;
NOTIFY st_channel, 'to myself';
SELECT pg_notify('st_channel', 'by function');
BEGIN;
NOTIFY st_channel, 'not sent';
ROLLBACK;
BEGIN;
NOTIFY st_channel, 'sent';
NOTIFY st_channel, 'sent';
COMMIT;
SELECT pg_listening_channels();
UNLISTEN st_channel;
NOTIFY st_channel, 'nobody';
UNLISTEN *;
-- Sequences of one session.
CREATE SEQUENCE stq;
-- session: third
SELECT lastval();
-- session: third
SELECT currval('stq');
SELECT nextval('stq');
SELECT currval('stq'), lastval();
SELECT v FROM st WHERE id = 3;
SELECT currval('stq'), lastval();
-- Whoami.
SELECT current_user, session_user, current_database(), current_schema();
SELECT current_catalog, current_role, user;
SELECT pg_backend_pid() > 0, pg_is_in_recovery();
SELECT version() LIKE 'PostgreSQL 15%';
SELECT now() = transaction_timestamp(), now() <= clock_timestamp(), statement_timestamp() >= now();
SELECT pg_typeof(txid_current());
-- any-values
SELECT now(), clock_timestamp(), random(), gen_random_uuid(), pg_backend_pid();
LOAD 'plpgsql';
CHECKPOINT;
EXPLAIN (COSTS OFF) SELECT 1;
LOCK TABLE st;
BEGIN;
LOCK TABLE st IN SHARE MODE;
-- session: other
SET lock_timeout = '50ms';
-- session: other
INSERT INTO st VALUES (1000);
COMMIT;
DROP SEQUENCE stq;
DROP TABLE st;
