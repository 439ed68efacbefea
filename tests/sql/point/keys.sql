-- Keys of every type that can be one; names of every kind.
CREATE TABLE pk_int2 (k int2 PRIMARY KEY, v int);
CREATE TABLE pk_int4 (k int4 PRIMARY KEY, v int);
CREATE TABLE pk_text (k text PRIMARY KEY, v int);
CREATE TABLE pk_varchar (k varchar PRIMARY KEY, v int);
CREATE TABLE pk_bpchar (k char(8) PRIMARY KEY, v int);
CREATE TABLE pk_uuid (k uuid PRIMARY KEY, v int);
CREATE TABLE pk_date (k date PRIMARY KEY, v int);
CREATE TABLE pk_ts (k timestamp PRIMARY KEY, v int);
CREATE TABLE pk_tstz (k timestamptz PRIMARY KEY, v int);
CREATE TABLE pk_num (k numeric PRIMARY KEY, v int);
CREATE TABLE pk_bool (k bool PRIMARY KEY, v int);
CREATE TABLE pk_bytea (k bytea PRIMARY KEY, v int);
-- distribute: SELECT create_distributed_table('pk_int2', 'k')
-- distribute: SELECT create_distributed_table('pk_int4', 'k')
-- distribute: SELECT create_distributed_table('pk_text', 'k')
-- distribute: SELECT create_distributed_table('pk_varchar', 'k')
-- distribute: SELECT create_distributed_table('pk_bpchar', 'k')
-- distribute: SELECT create_distributed_table('pk_uuid', 'k')
-- distribute: SELECT create_distributed_table('pk_date', 'k')
-- distribute: SELECT create_distributed_table('pk_ts', 'k')
-- distribute: SELECT create_distributed_table('pk_tstz', 'k')
-- distribute: SELECT create_distributed_table('pk_num', 'k')
-- distribute-fails 0A000: SELECT create_distributed_table('pk_bool', 'k')
-- distribute: SELECT create_distributed_table('pk_bytea', 'k')
INSERT INTO pk_int2 VALUES (-32768, 1), (-1, 2), (0, 3), (1, 4), (32767, 5);
INSERT INTO pk_int4 VALUES (-2147483648, 1), (-1, 2), (0, 3), (1, 4), (2147483647, 5);
INSERT INTO pk_text VALUES ('', 1), ('a', 2), ('A', 3), ('a ', 4), ('ä', 5), ('日本', 6);
INSERT INTO pk_varchar VALUES ('', 1), ('a', 2), ('A', 3), ('a ', 4), ('ä', 5), ('日本', 6);
INSERT INTO pk_bpchar VALUES ('', 1), ('a', 2), ('A', 3), ('ä', 5), ('日本', 6);
INSERT INTO pk_uuid VALUES ('00000000-0000-0000-0000-000000000000', 1), ('ffffffff-ffff-ffff-ffff-ffffffffffff', 2), ('12345678-9abc-def0-1234-56789abcdef0', 3);
INSERT INTO pk_date VALUES ('2000-01-01', 1), ('1999-12-31', 2), ('infinity', 3), ('-infinity', 4), ('0001-01-01 BC', 5);
INSERT INTO pk_ts VALUES ('2000-01-01', 1), ('1999-12-31 23:59:59.999999', 2), ('infinity', 3), ('-infinity', 4);
INSERT INTO pk_tstz VALUES ('2000-01-01 00:00+00', 1), ('1999-12-31 23:59:59.999999+02', 2), ('infinity', 3);
INSERT INTO pk_num VALUES (0, 1), (1, 2), (-1.5, 3), (1e50, 4), ('NaN', 5), ('Infinity', 6);
INSERT INTO pk_bool VALUES (true, 1), (false, 2);
INSERT INTO pk_bytea VALUES ('', 1), ('\x00', 2), ('\xdeadbeef', 3);
SELECT * FROM pk_int2 WHERE k = -32768;
SELECT * FROM pk_int2 WHERE k = 32767;
SELECT * FROM pk_int2 WHERE k = 32768;
SELECT * FROM pk_int2 WHERE k = '1';
SELECT * FROM pk_int2 WHERE k = '32768';
SELECT * FROM pk_int4 WHERE k = -2147483648;
SELECT * FROM pk_int4 WHERE k = '-2147483648';
SELECT * FROM pk_int4 WHERE k = 2147483648;
SELECT * FROM pk_int4 WHERE k = '2147483648';
SELECT * FROM pk_int4 WHERE k = 1::int2;
SELECT * FROM pk_int4 WHERE k = 1::int8;
SELECT * FROM pk_text WHERE k = 'a';
SELECT * FROM pk_text WHERE k = 'a ';
SELECT * FROM pk_text WHERE k = 'a'::char(4);
SELECT * FROM pk_text WHERE k = 'ä';
SELECT * FROM pk_text WHERE k = '日本';
SELECT * FROM pk_varchar WHERE k = 'a ';
SELECT * FROM pk_varchar WHERE k = 'a'::text;
SELECT * FROM pk_bpchar WHERE k = 'a';
SELECT * FROM pk_bpchar WHERE k = 'a   ';
SELECT * FROM pk_bpchar WHERE k = 'a'::text;
SELECT * FROM pk_bpchar WHERE k = '';
SELECT * FROM pk_uuid WHERE k = '12345678-9ABC-DEF0-1234-56789ABCDEF0';
SELECT * FROM pk_uuid WHERE k = '123456789abcdef0123456789abcdef0';
SELECT * FROM pk_uuid WHERE k = '{12345678-9abc-def0-1234-56789abcdef0}';
SELECT * FROM pk_date WHERE k = '2000-01-01';
SELECT * FROM pk_date WHERE k = 'January 1, 2000';
SELECT * FROM pk_date WHERE k = DATE '2000-01-01';
SELECT * FROM pk_date WHERE k = '2000-01-01'::timestamp;
SELECT * FROM pk_date WHERE k = 'infinity';
SELECT * FROM pk_ts WHERE k = '2000-01-01';
SELECT * FROM pk_ts WHERE k = '2000-01-01'::date;
SELECT * FROM pk_ts WHERE k = TIMESTAMP '1999-12-31 23:59:59.999999';
SELECT * FROM pk_tstz WHERE k = '2000-01-01 02:00+02';
SELECT * FROM pk_tstz WHERE k = '2000-01-01 00:00 UTC';
SELECT * FROM pk_num WHERE k = 1;
SELECT * FROM pk_num WHERE k = 1.0;
SELECT * FROM pk_num WHERE k = '1.00';
SELECT * FROM pk_num WHERE k = -1.50;
SELECT * FROM pk_num WHERE k = 1e50;
SELECT * FROM pk_num WHERE k = 'NaN';
SELECT * FROM pk_num WHERE k = 'Infinity';
SELECT * FROM pk_num WHERE k = 1::float8;
SELECT * FROM pk_bool WHERE k = true;
SELECT * FROM pk_bool WHERE k;
SELECT * FROM pk_bool WHERE NOT k;
SELECT * FROM pk_bool WHERE k IS TRUE;
SELECT * FROM pk_bytea WHERE k = '\x00';
SELECT * FROM pk_bytea WHERE k = '\xDEADBEEF';
SELECT * FROM pk_bytea WHERE k = '';
SELECT * FROM pk_text ORDER BY v;
SELECT * FROM pk_uuid ORDER BY v;
DROP TABLE pk_int2, pk_int4, pk_text, pk_varchar, pk_bpchar, pk_uuid, pk_date, pk_ts, pk_tstz, pk_num, pk_bool, pk_bytea;
-- Quoted names, reserved words, odd letters.
CREATE TABLE "Order Lines" ("select" int8 PRIMARY KEY, "Mixed Case" text, "with""quote" int, "日本" text);
-- distribute: SELECT create_distributed_table('"Order Lines"', 'select')
INSERT INTO "Order Lines" VALUES (1, 'one', 11, 'ichi'), (2, 'two', 22, 'ni');
SELECT * FROM "Order Lines" WHERE "select" = 1;
SELECT "with""quote", "日本" FROM "Order Lines" o WHERE o."select" = 2;
SELECT * FROM public."Order Lines" WHERE "Order Lines"."select" = 2;
UPDATE "Order Lines" SET "Mixed Case" = 'uno' WHERE "select" = 1 RETURNING "Mixed Case";
SELECT * FROM order_lines WHERE "select" = 1;
SELECT * FROM "order lines" WHERE "select" = 1;
SELECT "Select" FROM "Order Lines" WHERE "select" = 1;
DROP TABLE "Order Lines";
-- Schemas of the user.
CREATE SCHEMA pks;
CREATE SCHEMA "Pk Other";
CREATE TABLE pks.t (id int8 PRIMARY KEY, v text);
CREATE TABLE "Pk Other".t (id int8 PRIMARY KEY, v text);
CREATE TABLE pkt (id int8 PRIMARY KEY, v text);
INSERT INTO pks.t SELECT i, 'pks ' || i FROM generate_series(1, 9) i;
INSERT INTO "Pk Other".t SELECT i, 'other ' || i FROM generate_series(1, 9) i;
INSERT INTO pkt SELECT i, 'public ' || i FROM generate_series(1, 9) i;
-- distribute: SELECT create_distributed_table('pks.t', 'id')
-- distribute: SELECT create_distributed_table('"Pk Other".t', 'id')
-- distribute: SELECT create_distributed_table('pkt', 'id')
SELECT * FROM pks.t WHERE id = 3;
SELECT t.* FROM pks.t WHERE t.id = 3;
SELECT pks.t.v FROM pks.t WHERE pks.t.id = 3;
SELECT * FROM "Pk Other".t WHERE id = 3;
SELECT a.v, b.v, c.v FROM pks.t a, "Pk Other".t b, pkt c WHERE a.id = 3 AND b.id = 3 AND c.id = 3;
SELECT * FROM t WHERE id = 3;
SET search_path = pks, public;
SELECT * FROM t WHERE id = 3;
SELECT * FROM pkt WHERE id = 3;
SELECT * FROM public.pkt WHERE id = 3;
SELECT current_schema(), current_schemas(false);
SHOW search_path;
SET search_path = "Pk Other";
SELECT * FROM t WHERE id = 3;
SELECT * FROM pkt WHERE id = 3;
SELECT * FROM public.pkt WHERE id = 3;
INSERT INTO t VALUES (100, 'new') RETURNING *;
UPDATE t SET v = 'changed' WHERE id = 100;
SELECT * FROM t WHERE id = 100;
DELETE FROM t WHERE id = 100;
RESET search_path;
SELECT * FROM t WHERE id = 3;
DROP TABLE pkt;
DROP SCHEMA pks CASCADE;
DROP SCHEMA "Pk Other" CASCADE;
