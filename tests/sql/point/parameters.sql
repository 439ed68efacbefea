-- The key as a parameter, of every type that drivers send.
CREATE TABLE pp8 (id int8 PRIMARY KEY, v text);
CREATE TABLE pp4 (id int4 PRIMARY KEY, v text);
CREATE TABLE pp2 (id int2 PRIMARY KEY, v text);
CREATE TABLE ppt (id text PRIMARY KEY, v text);
CREATE TABLE ppv (id varchar(20) PRIMARY KEY, v text);
CREATE TABLE ppu (id uuid PRIMARY KEY, v text);
INSERT INTO pp8 SELECT i, 'v' || i FROM generate_series(-50, 50) i;
INSERT INTO pp4 SELECT i, 'v' || i FROM generate_series(-50, 50) i;
INSERT INTO pp2 SELECT i, 'v' || i FROM generate_series(-50, 50) i;
INSERT INTO ppt SELECT 'k' || i, 'v' || i FROM generate_series(1, 50) i;
INSERT INTO ppt VALUES ('', 'empty'), ('it''s', 'quote'), ('ünïcödé ☃', 'unicode'), (' k1', 'space'), ('K1', 'upper'), (E'a\tb', 'tab'), (E'a\\b', 'backslash'), (repeat('x', 3000), 'long');
INSERT INTO ppv SELECT 'k' || i, 'v' || i FROM generate_series(1, 50) i;
INSERT INTO ppu SELECT md5(i::text)::uuid, 'v' || i FROM generate_series(1, 50) i;
-- distribute: SELECT create_distributed_table('pp8', 'id')
-- distribute: SELECT create_distributed_table('pp4', 'id')
-- distribute: SELECT create_distributed_table('pp2', 'id')
-- distribute: SELECT create_distributed_table('ppt', 'id')
-- distribute: SELECT create_distributed_table('ppv', 'id')
-- distribute: SELECT create_distributed_table('ppu', 'id')
-- params: 1
-- params: -7
-- params: 1::int2
-- params: -7::int2
-- params: 1::int4
-- params: -7::int4
-- params: 1::int8
-- params: -7::int8
-- params: NULL
-- params: NULL::int8
-- params: 5::numeric
-- params: 5.5::numeric
-- params: 5::float8
-- params: 1000
-- params: 'x'
-- params: ''
-- params: '1'::text
-- params: 9223372036854775807
-- params: 9223372036854775808
-- exact-or-refused
SELECT * FROM pp8 WHERE id = $1;
-- params: 1
-- params: -7::int2
-- params: -7::int4
-- params: 7::int8
-- params: 4294967297::int8
-- params: 4294967297
-- params: NULL
SELECT * FROM pp4 WHERE id = $1;
-- params: 1
-- params: -7::int2
-- params: -7::int4
-- params: 7::int8
-- params: 65537::int4
-- params: 65537
-- params: NULL
SELECT * FROM pp2 WHERE id = $1;
-- params: 'k1'
-- params: 'k1'::text
-- params: 'k1'::varchar
-- params: 'k1'::unknown
-- params: 'k1'::bpchar
-- params: 'k1  '::bpchar
-- params: ''
-- params: 'it''s'::text
-- params: 'ünïcödé ☃'::text
-- params: ' k1'
-- params: 'K1'
-- params: NULL::text
-- params: 1::int4
-- exact-or-refused
SELECT * FROM ppt WHERE id = $1;
-- params: 'k1'
-- params: 'k2'::varchar
-- params: 'k3'::text
-- params: NULL
SELECT * FROM ppv WHERE id = $1;
-- params: 'c4ca4238-a0b9-2382-0dcc-509a6f75849b'
-- params: 'c4ca4238-a0b9-2382-0dcc-509a6f75849b'::uuid
-- params: 'C4CA4238A0B923820DCC509A6F75849B'
-- params: '{c4ca4238-a0b9-2382-0dcc-509a6f75849b}'
-- params: 'nope'
-- params: NULL
SELECT * FROM ppu WHERE id = $1;
SELECT * FROM ppt WHERE id = '';
SELECT * FROM ppt WHERE id = 'it''s';
SELECT * FROM ppt WHERE id = E'it\'s';
SELECT * FROM ppt WHERE id = $$it's$$;
SELECT * FROM ppt WHERE id = 'ünïcödé ☃';
SELECT * FROM ppt WHERE id = U&'\00fcn\00efc\00f6d\00e9 \2603';
SELECT * FROM ppt WHERE id = E'a\tb';
SELECT * FROM ppt WHERE id = E'a\\b';
SELECT * FROM ppt WHERE id = 'a\b';
SELECT * FROM ppt WHERE id = 'k' || '1';
SELECT * FROM ppt WHERE id = 'k'
  '1';
SELECT * FROM ppt WHERE id = lower('K1');
SELECT v FROM ppt WHERE id = repeat('x', 3000);
SELECT * FROM ppt WHERE id = 'k1'::char(5);
SELECT * FROM ppt WHERE id = 'k1'::name;
SELECT * FROM ppt WHERE id LIKE 'k1' ORDER BY id;
SELECT * FROM ppt WHERE id ~ '^k1$' ORDER BY id;
SELECT * FROM ppt WHERE id COLLATE "C" = 'k1';
SELECT * FROM ppv WHERE id = 'k1';
SELECT * FROM ppv WHERE id = 'k1'::text;
SELECT * FROM ppv WHERE id::text = 'k1';
SELECT * FROM ppu WHERE id = 'c4ca4238-a0b9-2382-0dcc-509a6f75849b';
SELECT * FROM ppu WHERE id = 'C4CA4238-A0B9-2382-0DCC-509A6F75849B'::uuid;
SELECT * FROM ppu WHERE id = md5('1')::uuid;
SELECT * FROM ppu WHERE id = 'zzz';
-- Several parameters, some of them not the key.
-- params: 3::int8, 'v3'
-- params: 3::int8, 'v4'
-- params: 3, NULL
SELECT * FROM pp8 WHERE id = $1 AND v = $2;
-- params: 'v3', 3::int8
SELECT * FROM pp8 WHERE v = $1 AND id = $2;
-- params: 3, 4, 5
SELECT * FROM pp8 WHERE id IN ($1, $2, $3) ORDER BY id;
-- params: '{3,4,5}'
-- params: '{}'
-- params: '{3,NULL}'
-- params: NULL
-- params: '{3,4,5}'::int8[]
-- params: '{3,4,5}'::int4[]
SELECT * FROM pp8 WHERE id = ANY ($1) ORDER BY id;
-- params: 3
SELECT * FROM pp8 WHERE id = $1::int8;
-- params: 3
SELECT * FROM pp8 WHERE id = $1::int4;
-- params: 3
SELECT * FROM pp8 WHERE id = CAST($1 AS int2);
-- params: 3
SELECT * FROM pp8 WHERE id = $1 + 1;
-- params: 3
SELECT * FROM pp8 WHERE id = -$1;
-- params: 3
SELECT * FROM pp8 WHERE id = $1 AND id = $1;
-- params: 3, 'x'
SELECT $2::text AS given, v FROM pp8 WHERE id = $1;
-- params: 3, 1
SELECT v FROM pp8 WHERE id = $1 LIMIT $2;
-- params: 3::int8
WITH a AS (SELECT * FROM pp8 WHERE id = $1) SELECT v FROM a;
-- params: 3::int8
SELECT a.v, b.v FROM pp8 a JOIN pp8 b USING (id) WHERE a.id = $1;
-- params: 3, 9
INSERT INTO pp8 VALUES ($1 * 1000 + 1, $2) RETURNING *;
-- params: 6001::int8, 'new'
-- params: 6002::int8, NULL
-- params: 6001::int8, 'again'
INSERT INTO pp8 (id, v) VALUES ($1, $2);
-- params: 6001::int8, 'upsert'
-- params: 6003::int8, 'upsert'
INSERT INTO pp8 (id, v) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET v = excluded.v RETURNING *;
-- params: 'changed', 6001::int8
-- params: 'changed', 7777::int8
UPDATE pp8 SET v = $1 WHERE id = $2;
-- params: 6002::int8
DELETE FROM pp8 WHERE id = $1 RETURNING id, v;
-- params: NULL
INSERT INTO pp8 (id) VALUES ($1);
-- params: 6100, 6101, 6102
INSERT INTO pp8 (id) VALUES ($1), ($2), ($3);
SELECT * FROM pp8 WHERE id > 1000 ORDER BY id;
-- Wrong numbers and unknown types of parameters.
-- params: 1, 2
SELECT * FROM pp8 WHERE id = $1;
-- params: 1
SELECT * FROM pp8 WHERE id = $1 AND v = $2;
-- params: 1
SELECT $1;
-- params: 1::int4
SELECT $1;
-- params: 'a'
SELECT $1 || 'b';
-- params: 3, 4
SELECT * FROM pp8 WHERE id = $2;
DROP TABLE pp8, pp4, pp2, ppt, ppv, ppu;
