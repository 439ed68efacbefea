-- Values of every common type, written, read by key, read from all shards.
CREATE TYPE ty_mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN ty_small AS int CHECK (VALUE < 100);
CREATE TYPE ty_pair AS (a int, b text);
CREATE TABLE ty (
    id int8 PRIMARY KEY, c_bool bool, c_int2 int2, c_int4 int4, c_int8 int8, c_f4 float4, c_f8 float8, c_num numeric, c_num2 numeric(20,5),
    c_money money, c_text text, c_vc varchar(20), c_ch char(6), c_name name, c_ichar "char", c_bytea bytea, c_date date, c_time time, c_timetz timetz,
    c_ts timestamp, c_tstz timestamptz, c_ts0 timestamp(0), c_iv interval, c_uuid uuid, c_json json, c_jsonb jsonb, c_xml text, c_inet inet, c_cidr cidr,
    c_mac macaddr, c_bit bit(5), c_vbit varbit, c_point point, c_box box, c_path path, c_poly polygon, c_circle circle, c_lseg lseg,
    c_i4r int4range, c_i8r int8range, c_nr numrange, c_tsr tsrange, c_dr daterange, c_mr int4multirange, c_tsv tsvector, c_tsq tsquery,
    c_oid oid, c_lsn pg_lsn, c_mood ty_mood, c_small ty_small, c_pair ty_pair,
    a_i4 int4[], a_i8 int8[], a_text text[], a_num numeric[], a_bool bool[], a_f8 float8[], a_ts timestamp[], a_uuid uuid[], a_mood ty_mood[], a_2d int[][], a_json jsonb[]
);
-- distribute: SELECT create_distributed_table('ty', 'id')
INSERT INTO ty VALUES (1, true, 1, 2, 3, 1.5, 2.5, 3.14159, 99.12345, 12.34, 'plain', 'varchar', 'char', 'name', 'x', '\x0001ff', '2020-02-29', '12:34:56.789', '12:34:56+02',
    '2020-02-29 12:34:56.789012', '2020-02-29 12:34:56.789012+00', '2020-01-01 00:00:00.6', '1 year 2 mons 3 days 04:05:06.789', '12345678-9abc-def0-1234-56789abcdef0',
    '{"a":  1, "a": 2}', '{"b": [1, 2.50, "x"], "a": null}', '<a/>', '192.168.1.5/24', '10.0.0.0/8', '08:00:2b:01:02:03', B'10101', B'110',
    '(1,2)', '(3,4),(1,2)', '[(0,0),(1,1)]', '((0,0),(1,1),(1,0))', '<(1,2),3>', '[(1,2),(3,4)]',
    '[1,10)', '(,5]', '[1.5,2.5]', '[2020-01-01,2020-02-01)', 'empty', '{[1,3),[5,8)}', 'a fat cat', 'fat & cat', 42, '16/B374D848', 'ok', 50, '(7,"a,b")',
    '{1,2,NULL}', '{}', '{a,"b c",NULL,"","q\"uote"}', '{1.50,NaN}', '{t,f}', '{1.5,Infinity}', '{2020-01-01}', '{12345678-9abc-def0-1234-56789abcdef0}', '{sad,happy}', '{{1,2},{3,4}}', '{"{\"x\": 1}"}');
INSERT INTO ty (id) VALUES (2);
INSERT INTO ty VALUES (3, false, 32767, 2147483647, 9223372036854775807, 3.4028235e38, 1.7976931348623157e308, 1e100, 999999999999999.99999, '92233720368547758.07', E'line\nbreak\ttab\\back', '', '', '', '', '', 'infinity', '24:00', '00:00-15:59',
    'infinity', 'infinity', 'infinity', '-178000000 years', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '[]', '"str"', NULL, '::1', '2001:db8::/32', 'ff:ff:ff:ff:ff:ff', B'00000', B'',
    '(Infinity,NaN)', '(0,0),(0,0)', '((0,0))', '((0,0))', '<(0,0),0>', '[(0,0),(0,0)]', '(,)', 'empty', '[1,1]', '(-infinity,infinity)', '[2020-01-01,2020-01-01]', '{}', '', '', 4294967295, 'FFFFFFFF/FFFFFFFF', 'happy', 99, '(,)',
    '{-2147483648}', '{9223372036854775807}', '{ünï,日本,☃}', '{}', '{NULL}', '{NaN}', '{infinity}', '{}', '{}', '{}', '{}');
INSERT INTO ty (id, c_int2, c_int4, c_int8, c_f4, c_f8, c_num, c_text, c_date, c_ts, c_tstz, c_iv, c_jsonb) VALUES (4, -32768, -2147483648, -9223372036854775808, '-Infinity', 'NaN', 'NaN', 'ünïcödé ☃ 日本', '-infinity', '-infinity', '0001-01-01 BC', '-1 days -00:00:00.000001', '1e5');
INSERT INTO ty (id, c_f4, c_f8, c_num, c_date, c_ts, c_time, c_iv) VALUES (5, 1e-45, 5e-324, '-Infinity', '4713-01-01 BC', '294276-12-31 23:59:59.999999', '00:00', '0'), (6, 0.1, 0.1, 0.000, '5874897-12-31', '1999-12-31 23:59:59.9999995', '23:59:59.999999', '1.5 months 1.5 days 1.5 hours'), (7, 16777217, 1e15, 1e-20, '1999-12-31', '2000-01-01', '12:00', 'P1Y2M3DT4H5M6S'), (8, 123456.789, 123456789012345678, -0.5, '2000-01-01', '1970-01-01', '01:02:03.4', '1 week');
SELECT * FROM ty WHERE id = 1;
SELECT * FROM ty WHERE id = 2;
SELECT * FROM ty WHERE id = 3;
SELECT * FROM ty WHERE id = 4;
SELECT * FROM ty;
SELECT * FROM ty ORDER BY id;
SELECT id, c_bool, c_int2, c_int4, c_int8, c_f4, c_f8, c_num, c_num2, c_money FROM ty;
SELECT id, c_text, c_vc, c_ch, c_name, c_ichar, c_bytea, c_uuid, c_json, c_jsonb FROM ty;
SELECT id, c_date, c_time, c_timetz, c_ts, c_tstz, c_ts0, c_iv FROM ty;
SELECT id, c_inet, c_cidr, c_mac, c_bit, c_vbit, c_point, c_box, c_path, c_poly, c_circle, c_lseg FROM ty;
SELECT id, c_i4r, c_i8r, c_nr, c_tsr, c_dr, c_mr, c_tsv, c_tsq, c_oid, c_lsn FROM ty;
SELECT id, c_mood, c_small, c_pair, a_mood, (c_pair).b FROM ty;
SELECT id, a_i4, a_i8, a_text, a_num, a_bool, a_f8, a_ts, a_uuid, a_2d, a_json FROM ty;
-- Sorted and grouped by values of each type.
SELECT c_bool, count(*) FROM ty GROUP BY c_bool ORDER BY c_bool;
SELECT c_f8 FROM ty ORDER BY c_f8, id;
SELECT c_f4 FROM ty ORDER BY c_f4 DESC, id;
SELECT c_num FROM ty ORDER BY c_num, id;
SELECT c_text, count(*) FROM ty GROUP BY c_text ORDER BY c_text;
SELECT c_ch, c_ch = 'char' FROM ty ORDER BY c_ch, id;
SELECT c_bytea FROM ty ORDER BY c_bytea, id;
SELECT c_date FROM ty ORDER BY c_date, id;
SELECT c_ts FROM ty ORDER BY c_ts DESC NULLS LAST, id;
SELECT c_tstz FROM ty ORDER BY c_tstz, id;
SELECT c_time FROM ty ORDER BY c_time, id;
SELECT c_iv FROM ty ORDER BY c_iv, id;
SELECT c_uuid, count(*) FROM ty GROUP BY c_uuid ORDER BY c_uuid;
SELECT c_jsonb FROM ty ORDER BY c_jsonb, id;
SELECT c_inet FROM ty ORDER BY c_inet, id;
SELECT c_mood, count(*) FROM ty GROUP BY c_mood ORDER BY c_mood;
SELECT c_i4r FROM ty ORDER BY c_i4r, id;
SELECT a_i4 FROM ty ORDER BY a_i4, id;
SELECT c_pair FROM ty ORDER BY c_pair, id;
SELECT c_money FROM ty ORDER BY c_money, id;
SELECT min(c_date), max(c_date), min(c_ts), max(c_tstz), min(c_time), max(c_iv) FROM ty;
SELECT min(c_text), max(c_text), min(c_ch), max(c_vc) FROM ty;
SELECT min(c_mood), max(c_mood), min(c_inet), max(c_inet) FROM ty;
SELECT sum(c_money), min(c_money) FROM ty;
SELECT min(a_i4), max(a_text) FROM ty;
SELECT count(DISTINCT c_num), count(DISTINCT c_f8), count(DISTINCT c_ch) FROM ty;
-- Conditions.
SELECT id FROM ty WHERE c_bool ORDER BY id;
SELECT id FROM ty WHERE c_num = 'NaN' ORDER BY id;
SELECT id FROM ty WHERE c_f8 > 0 ORDER BY id;
SELECT id FROM ty WHERE c_mood = 'ok' ORDER BY id;
SELECT id FROM ty WHERE c_mood > 'sad' ORDER BY id;
SELECT id FROM ty WHERE c_jsonb @> '{"a": null}' ORDER BY id;
SELECT id FROM ty WHERE c_jsonb -> 'b' ->> 0 = '1' ORDER BY id;
SELECT id FROM ty WHERE c_json ->> 'a' = '2' ORDER BY id;
SELECT id FROM ty WHERE 'a' = ANY (a_text) ORDER BY id;
SELECT id FROM ty WHERE a_i4[1] = 1 ORDER BY id;
SELECT id FROM ty WHERE c_i4r @> 5 ORDER BY id;
SELECT id FROM ty WHERE c_inet << '192.168.0.0/16' ORDER BY id;
SELECT id FROM ty WHERE c_tsv @@ to_tsquery('simple', 'cat') ORDER BY id;
SELECT id FROM ty WHERE (c_pair).a = 7 ORDER BY id;
SELECT id FROM ty WHERE c_date = 'infinity' ORDER BY id;
SELECT id FROM ty WHERE c_ts < '2020-01-01' ORDER BY id;
SELECT id FROM ty WHERE c_iv > '1 hour' ORDER BY id;
SELECT id FROM ty WHERE c_bytea = '\x0001ff' ORDER BY id;
SELECT id FROM ty WHERE c_text ~ 'ü' ORDER BY id;
-- params: 'ok'
SELECT id FROM ty WHERE c_mood = $1 ORDER BY id;
-- params: '{1,2,NULL}'
SELECT id FROM ty WHERE a_i4 = $1 ORDER BY id;
-- params: '(7,"a,b")'
-- words-differ
SELECT id FROM ty WHERE c_pair = $1 ORDER BY id;
-- params: '2020-02-29 12:34:56.789012'::timestamp
SELECT id FROM ty WHERE c_ts = $1 ORDER BY id;
-- params: 9, 'happy', '{sad}'
INSERT INTO ty (id, c_mood, a_mood) VALUES ($1, $2, $3) RETURNING id, c_mood, a_mood;
-- Settings that change how values look.
SET DateStyle = 'German, DMY';
SELECT id, c_date, c_ts, c_tstz FROM ty WHERE id = 1;
SELECT id, c_date, c_ts, c_tstz FROM ty;
SET DateStyle = 'ISO, MDY';
SET TimeZone = 'America/New_York';
SELECT id, c_tstz, c_timetz FROM ty WHERE id = 1;
SELECT id, c_tstz FROM ty;
SELECT id FROM ty WHERE c_tstz = '2020-02-29 07:34:56.789012' ORDER BY id;
SELECT max(c_tstz) FROM ty;
SELECT c_tstz::date, count(*) FROM ty GROUP BY 1 ORDER BY 1;
RESET TimeZone;
SET IntervalStyle = 'iso_8601';
SELECT id, c_iv FROM ty WHERE id = 1;
SELECT id, c_iv FROM ty;
RESET IntervalStyle;
SET extra_float_digits = 0;
SELECT id, c_f4, c_f8 FROM ty WHERE id = 6;
SELECT id, c_f4, c_f8 FROM ty;
RESET extra_float_digits;
SET bytea_output = 'escape';
SELECT id, c_bytea FROM ty WHERE id = 1;
SELECT id, c_bytea FROM ty;
RESET bytea_output;
-- Values that are refused.
INSERT INTO ty (id, c_int2) VALUES (50, 32768);
INSERT INTO ty (id, c_small) VALUES (50, 100);
INSERT INTO ty (id, c_mood) VALUES (50, 'angry');
INSERT INTO ty (id, c_vc) VALUES (50, repeat('x', 21));
INSERT INTO ty (id, c_ch) VALUES (50, 'toolong');
INSERT INTO ty (id, c_date) VALUES (50, '2021-02-29');
INSERT INTO ty (id, c_jsonb) VALUES (50, '{bad');
INSERT INTO ty (id, c_uuid) VALUES (50, 'bad');
INSERT INTO ty (id, c_num2) VALUES (50, 1e15);
INSERT INTO ty (id, c_bit) VALUES (50, B'1');
INSERT INTO ty (id, a_i4) VALUES (50, '{1');
INSERT INTO ty (id, c_pair) VALUES (50, '(x,y)');
INSERT INTO ty (id, c_text) VALUES (50, E'\xff');
INSERT INTO ty (id, c_i4r) VALUES (50, '[5,1]');
DROP TABLE ty;
DROP TYPE ty_pair;
DROP DOMAIN ty_small;
DROP TYPE ty_mood;
