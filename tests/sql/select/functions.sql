-- Set-returning and other functions, types of every kind, users' own functions and views, whole rows: over shards.
CREATE TYPE sf_mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE sf_pair AS (x int, y text);
CREATE DOMAIN sf_small AS int CHECK (VALUE < 100);
CREATE TABLE sf_a (id int8 PRIMARY KEY, k int, t text, n numeric, f float8, ts timestamptz, a int[], ta text[], j jsonb, js json, r int4range, m sf_mood, p sf_pair, s sf_small, by bytea, iv interval, d date, u uuid);
CREATE TABLE sf_b (code text PRIMARY KEY, k int, j jsonb);
CREATE TABLE sf_r (id int PRIMARY KEY, name text);
CREATE TABLE sf_u (id int PRIMARY KEY, k int, t text);
INSERT INTO sf_a VALUES
  (1, 1, 'a', 1.0, 1, '2020-01-01 00:00+00', '{1,2,3}', '{a,b}', '{"a": 1, "b": [1, 2]}', '{"a": 1, "a": 2}', '[1,5)', 'happy', '(1,one)', 5, '\x00ff', '1 day', '2020-01-01', '00000000-0000-0000-0000-000000000001'),
  (2, 2, '', 1.00, 1.5, '2020-01-01 02:00+02', '{}', '{}', '{}', '{}', 'empty', 'sad', '(2,)', -5, '', '24 hours', '2020-02-29', NULL),
  (3, 2, 'ä,ö', 'NaN', 'NaN', '2021-06-30 12:00-05', '{NULL,7}', '{NULL,"x y",ä}', '[1, "x", null, {"a": {"b": "deep"}}]', '[1,2]', '(,10]', 'ok', '(,"a ""q"" b")', NULL, '\xdeadbeef', '1 month', 'infinity', 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
  (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (5, -1, 'Z', -2.5, '-Infinity', 'infinity', '{{1,2},{3,4}}', '{"",z}', '"text"', 'null', '[5,5]', 'happy', '(,)', 99, '\x61', '-1 year 2 mons', '-infinity', NULL),
  (6, 0, 'a', 'Infinity', 'Infinity', '-infinity', '[0:1]={5,6}', '{a}', 'null', '1.50', '[3,)', 'sad', '(6,ä)', 0, '\x6162', '00:00:01.5', '1999-12-31', NULL),
  (7, 3, '日本 語', 0.000, 0, '1999-12-31 23:59:59.123456+00', '{9}', '{日本}', '{"a": "ä", "n": -1.50}', '"s"', '[-3,2)', NULL, '(7,seven)', 7, NULL, NULL, '2024-02-29', NULL),
  (8, 3, 'naïve', 40, '-0', '2020-01-01 00:00+00', '{8,8}', NULL, '{"a": null}', '{"x":[]}', NULL, 'ok', NULL, 8, '\x', '0', NULL, NULL);
INSERT INTO sf_b VALUES ('a', 1, '{"v": 1}'), ('b', 2, '[3, 4]'), ('', 3, NULL), ('ä', NULL, '{"v": "x"}'), ('Z', -1, '1'), ('日本', 2, 'null');
INSERT INTO sf_r VALUES (-1, 'minus'), (0, ''), (1, 'one'), (2, 'zwei'), (3, NULL);
INSERT INTO sf_u VALUES (1, 1, 'a'), (2, 2, 'ä'), (3, NULL, NULL), (4, 3, '');
-- distribute: SELECT create_distributed_table('sf_a', 'id')
-- distribute: SELECT create_distributed_table('sf_b', 'code')
-- distribute: SELECT create_reference_table('sf_r')
-- Sets in the list of columns.
SELECT id, generate_series(1, k) FROM sf_a ORDER BY 1, 2;
SELECT id, unnest(a) FROM sf_a;
SELECT id, unnest(a), unnest(ta) FROM sf_a;
SELECT id, generate_series(1, 2), generate_series(1, 3) FROM sf_a WHERE id < 4;
SELECT id, jsonb_object_keys(j) FROM sf_a WHERE jsonb_typeof(j) = 'object';
SELECT id, (jsonb_each(j)).* FROM sf_a WHERE jsonb_typeof(j) = 'object';
SELECT id, regexp_split_to_table(t, '[ ,]') FROM sf_a;
SELECT DISTINCT unnest(a) FROM sf_a ORDER BY 1;
SELECT unnest(a) AS x, count(*) FROM sf_a GROUP BY x ORDER BY x;
SELECT count(*) FROM (SELECT unnest(a) FROM sf_a) x;
SELECT k, generate_series(1, count(*)) FROM sf_a GROUP BY k ORDER BY 1, 2;
SELECT sum(x) FROM (SELECT generate_series(1, k) AS x FROM sf_a) y;
SELECT unnest(array_agg(id ORDER BY id)) FROM sf_a;
SELECT id, generate_series(1, 3) FROM sf_a ORDER BY id DESC, 2 LIMIT 4;
-- Sets in FROM.
SELECT a.id, x FROM sf_a a, unnest(a.a) x;
SELECT a.id, x.v, x.o FROM sf_a a, unnest(a.ta) WITH ORDINALITY x (v, o) ORDER BY 1, 3;
SELECT a.id, x.* FROM sf_a a LEFT JOIN unnest(a.a, a.ta) WITH ORDINALITY x (i, s, o) ON true;
SELECT a.id, x.* FROM sf_a a, ROWS FROM (generate_series(1, a.k), unnest(a.ta)) WITH ORDINALITY x (g, s, o);
SELECT a.id, g FROM sf_a a CROSS JOIN generate_series(a.id, a.id + a.k) g;
SELECT a.id, e.key, e.value FROM sf_a a CROSS JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof(a.j) = 'object' THEN a.j END) e;
SELECT a.id, e.* FROM sf_a a, jsonb_to_record(CASE WHEN jsonb_typeof(a.j) = 'object' THEN a.j END) e (a text, n numeric) WHERE a.k > 0;
SELECT b.code, x.x FROM sf_b b, jsonb_array_elements(CASE WHEN jsonb_typeof(b.j) = 'array' THEN b.j END) x (x);
SELECT a.id, b.code, x FROM sf_a a JOIN sf_b b ON a.k = b.k, generate_series(1, a.k) x;
SELECT g, a.id FROM generate_series(0, 4) g LEFT JOIN sf_a a ON a.k = g;
SELECT g.d, count(a.id) FROM generate_series(timestamptz '2019-12-31 00:00+00', '2020-01-02 00:00+00', '1 day') g (d) LEFT JOIN sf_a a ON a.ts >= g.d AND a.ts < g.d + interval '1 day' GROUP BY 1 ORDER BY 1;
SELECT x, count(*) FROM sf_a, regexp_split_to_table(sf_a.t, '') x GROUP BY x ORDER BY x;
SELECT a.id, x FROM sf_a a, regexp_matches(a.t, '([a-zä])', 'g') x;
SELECT count(*) FROM sf_a WHERE id IN (SELECT generate_series(1, 3));
SELECT a.id, s.* FROM sf_a a, LATERAL (SELECT sum(x), count(*) FROM unnest(a.a) x) s;
SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY(SELECT t FROM sf_a ORDER BY id))) x (a, b);
SELECT string_to_table(t, ',') FROM sf_a WHERE id = 3;
-- Arrays, ranges, JSON.
SELECT id, a[1], a[1:2], array_length(a, 1), cardinality(a), array_to_string(a, ',', '*'), a || ARRAY[]::int[], array_append(ta, 'z'), array_position(ta, 'z') FROM sf_a;
SELECT id FROM sf_a WHERE 1 = ANY (a) OR a @> '{7}' OR a && ARRAY[8, 9] ORDER BY id;
SELECT id, array_remove(ta, 'a'), ta = '{a}', array_dims(a), array_upper(a, 1) FROM sf_a ORDER BY a, id;
SELECT array_agg(a ORDER BY id) FROM sf_a WHERE id IN (1, 9);
SELECT id, lower(r), upper(r), isempty(r), r @> 3, r && '[2,4)', r * '[0,4)', upper_inf(r) FROM sf_a;
SELECT r, count(*) FROM sf_a GROUP BY r ORDER BY r;
SELECT id, j -> 'a', j ->> 'a', j #>> '{3,a,b}', j -> 1, jsonb_typeof(j), j @> '{"a": 1}', j ? 'a', jsonb_path_query_array(j, '$.*') FROM sf_a;
SELECT j, count(*) FROM sf_a GROUP BY j ORDER BY j;
SELECT id, js, js::jsonb, json_typeof(js) FROM sf_a ORDER BY js::text, id;
SELECT a.id, b.code FROM sf_a a JOIN sf_b b ON a.j -> 'a' = b.j -> 'v';
SELECT jsonb_object_agg(k, t ORDER BY id), jsonb_agg(r ORDER BY id), json_agg(m ORDER BY id) FROM sf_a WHERE k > 0;
-- Enums, composites, domains, bytes.
SELECT m, count(*) FROM sf_a GROUP BY m ORDER BY m;
SELECT min(m), max(m), array_agg(DISTINCT m), count(DISTINCT m) FROM sf_a;
SELECT id, m FROM sf_a WHERE m > 'sad' ORDER BY m DESC, id;
SELECT id, p, (p).x, (p).y FROM sf_a ORDER BY id;
SELECT id, (p).* FROM sf_a WHERE p IS NOT NULL;
SELECT p, count(*) FROM sf_a GROUP BY p ORDER BY p;
SELECT DISTINCT p FROM sf_a ORDER BY p DESC LIMIT 3;
SELECT id, ROW(k, t)::sf_pair, (ROW(k, t)::sf_pair).y FROM sf_a;
SELECT id, ROW(k, t) FROM sf_a;
SELECT id FROM sf_a WHERE ROW(k, t) = (1, 'a') OR p = ROW(7, 'seven')::sf_pair;
SELECT s, s + 1, s::sf_small, sum(s) OVER () FROM sf_a ORDER BY id;
SELECT sum(s), max(s), min(encode(by, 'hex')), max(d), min(iv), max(u::text) FROM sf_a;
SELECT id, by, encode(by, 'base64'), length(by), by || '\x00', md5(by) FROM sf_a;
SELECT array_agg(p ORDER BY id), array_agg(m ORDER BY id), array_agg(s ORDER BY id) FROM sf_a;
SELECT k::sf_small FROM sf_a WHERE id < 4;
SELECT (id * 90)::sf_small FROM sf_a;
SELECT m::text || '!', 'ok'::sf_mood = m, enum_range(m) FROM sf_a;
-- Text, dates, casts.
SELECT id, upper(t), lower(t), initcap(t), length(t), octet_length(t), reverse(t), left(t, 2), right(t, -1), substr(t, 2, 2), repeat(t, k), lpad(t, 4, '*'), split_part(t, ',', 1), strpos(t, 'a'), translate(t, 'aä', 'bo'), replace(t, 'a', ''), md5(t), ascii(t), quote_literal(t), format('%s-%I-%L', k, coalesce(t, 'x'), t) FROM sf_a;
SELECT id, t ~ '^[a-z]', t ILIKE 'Z%', t SIMILAR TO '(a|b)%', regexp_replace(t, '[^a-z]', '#', 'g'), regexp_match(t, '(.)'), t LIKE '\_%', substring(t FROM '[a-z]+'), overlay(coalesce(t, '') PLACING 'x' FROM 1), trim(BOTH 'a' FROM t), position('a' IN t) FROM sf_a;
SELECT id, ts AT TIME ZONE 'UTC', date_trunc('month', ts, 'UTC'), extract(epoch FROM ts), date_part('year', ts), ts + iv, age(ts, '2000-01-01 00:00+00'), to_char(ts AT TIME ZONE 'Asia/Tokyo', 'YYYY-MM-DD HH24:MI:SS.US'), isfinite(ts), ts::date FROM sf_a WHERE isfinite(ts) ORDER BY id;
SELECT id, d, d + 1, d - '2020-01-01', extract(dow FROM d), to_char(d, 'Day, DD Mon'), justify_interval(iv), extract(month FROM iv), iv * 2, -iv FROM sf_a WHERE isfinite(d);
SELECT id, n::int, n::text, f::text, round(n, 1), trunc(n), n::numeric(6,2), k::bool, k::float4 / 3, t::varchar(1), t::char(3), f::numeric FROM sf_a WHERE n < 100 AND n > -100 AND f < 100;
SELECT id, abs(n), sign(n), ceil(n), floor(f), n + f, n * 2, mod(k, 2), -n, greatest(n, k, 0), least(f, 1), coalesce(n, k, -9), nullif(k, 2), n / 3, k / 2, power(k, 2), sqrt(abs(k)), k # 5, k & 1, k << 2, scale(n), n IS DISTINCT FROM 'NaN' FROM sf_a;
SELECT n, f, n = f, n < f, n > 0, f > 0 FROM sf_a;
SELECT CASE k WHEN 1 THEN 'one' WHEN 2 THEN t END, k BETWEEN 1 AND 2, k BETWEEN SYMMETRIC 2 AND 1, k IN (1, NULL), t IS NULL, (k, t) IS NULL, k IS NOT DISTINCT FROM NULL, NOT (k > 1), (k > 1) IS UNKNOWN FROM sf_a;
SELECT num_nulls(k, t, n), num_nonnulls(VARIADIC a), concat(k, t, n), concat_ws(',', t, m, k), to_json(t), to_jsonb(a), jsonb_build_array(k, t, ts AT TIME ZONE 'UTC'), row_to_json(p), array_to_json(a), pg_typeof(a), pg_typeof(id + k) FROM sf_a;
SELECT id FROM sf_a ORDER BY md5(id::text);
SELECT 1/0 FROM sf_a WHERE id = 99;
-- words-differ
SELECT t::int FROM sf_a ORDER BY id;
-- Users' own functions.
CREATE FUNCTION sf_twice(x int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT x * 2';
CREATE FUNCTION sf_name(x int) RETURNS text LANGUAGE sql STABLE AS 'SELECT name FROM sf_r WHERE id = x';
CREATE FUNCTION sf_safe(x int, y int DEFAULT 10) RETURNS numeric LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN y / x; EXCEPTION WHEN division_by_zero THEN RETURN -1; END $$;
CREATE FUNCTION sf_rows(x int) RETURNS TABLE (i int, s text) LANGUAGE sql STABLE AS 'SELECT g, repeat(''*'', g) FROM generate_series(1, x) g';
CREATE FUNCTION sf_make(x int, OUT a int, OUT b sf_pair) LANGUAGE sql IMMUTABLE AS 'SELECT x, ROW(x, ''made'')::sf_pair';
CREATE FUNCTION sf_join(VARIADIC x text[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT array_to_string(x, '~', '?') $$;
CREATE FUNCTION sf_any(x anyelement, y anyelement) RETURNS anyelement LANGUAGE sql IMMUTABLE AS 'SELECT coalesce(y, x)';
CREATE AGGREGATE sf_product(int) (SFUNC = int4mul, STYPE = int, INITCOND = '1');
CREATE FUNCTION sf_more(a int, b int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT a > b + 1';
CREATE OPERATOR >>>> (LEFTARG = int, RIGHTARG = int, FUNCTION = sf_more);
SELECT id, sf_twice(k), sf_name(k), sf_safe(k), sf_safe(y => k, x => 2), sf_join(t, m::text), sf_any(k, NULL), sf_any(t, 'y') FROM sf_a;
SELECT sf_twice(k) AS x, count(*) FROM sf_a GROUP BY x HAVING sf_twice(count(*)::int) > 2 ORDER BY x;
SELECT id FROM sf_a WHERE sf_twice(k) = 4 OR sf_name(k) IS NULL ORDER BY sf_safe(k), id;
SELECT a.id, r.* FROM sf_a a, sf_rows(a.k) r;
SELECT id, sf_rows(k) FROM sf_a;
SELECT id, (sf_rows(k)).s FROM sf_a;
SELECT a.id, m.a, (m.b).y FROM sf_a a CROSS JOIN sf_make(a.k) m;
SELECT id, sf_make(k), (sf_make(k)).b FROM sf_a;
SELECT sf_product(k), sf_product(k) FILTER (WHERE k > 0), sf_product(DISTINCT k) FROM sf_a WHERE k <> 0;
SELECT k, sf_product(id::int) FROM sf_a GROUP BY k ORDER BY k;
SELECT id, sf_product(id::int) OVER (ORDER BY id) FROM sf_a;
SELECT a.id, b.code FROM sf_a a JOIN sf_b b ON a.k OPERATOR(public.>>>>) b.k;
SELECT id, k >>>> 0 FROM sf_a ORDER BY 1;
SELECT a.id, u.id FROM sf_a a LEFT JOIN sf_u u ON sf_twice(u.k) = a.k;
SELECT * FROM sf_rows((SELECT max(k) FROM sf_a));
DROP OPERATOR >>>> (int, int);
DROP AGGREGATE sf_product(int);
DROP FUNCTION sf_more, sf_any, sf_join, sf_make, sf_rows, sf_safe, sf_name, sf_twice;
-- Views.
CREATE VIEW sf_plain AS SELECT id, k, t FROM sf_a WHERE k > 0;
CREATE VIEW sf_sums (k, c, s) AS SELECT k, count(*), sum(id) FROM sf_a GROUP BY k;
CREATE VIEW sf_top AS SELECT id, k FROM sf_a ORDER BY k DESC NULLS LAST, id LIMIT 3;
CREATE VIEW sf_outer AS SELECT p.id, s.c FROM sf_plain p JOIN sf_sums s USING (k);
SELECT * FROM sf_plain ORDER BY id;
SELECT * FROM sf_sums s LEFT JOIN sf_u u ON u.k = s.k ORDER BY s.k, u.id;
SELECT * FROM sf_top ORDER BY id;
SELECT o.*, (SELECT max(c) FROM sf_sums) FROM sf_outer o ORDER BY 1;
SELECT a.id, s.c FROM sf_a a LEFT JOIN sf_sums s ON s.k = a.k WHERE a.id IN (SELECT id FROM sf_top) ORDER BY 1;
SELECT DISTINCT t FROM sf_plain EXCEPT SELECT name FROM sf_r;
TABLE sf_top;
DROP VIEW sf_outer, sf_top, sf_sums, sf_plain;
-- Whole rows.
SELECT code, b.*::text, row_to_json(b), to_jsonb(b) FROM sf_b b;
SELECT json_agg(b ORDER BY code) FROM sf_b b;
SELECT jsonb_agg(x ORDER BY id) FROM (SELECT id, k, t FROM sf_a) x;
SELECT count(b), count(b.*), count(DISTINCT b) FROM sf_b b;
SELECT x, x.id, (x).k FROM (SELECT id, k FROM sf_a ORDER BY id LIMIT 3) x ORDER BY id;
SELECT row_to_json(x) FROM (SELECT k, count(*) FROM sf_a GROUP BY k ORDER BY k) x;
SELECT u, r FROM sf_u u LEFT JOIN sf_r r ON r.id = u.k ORDER BY u.id;
SELECT a.id, r FROM sf_a a LEFT JOIN sf_r r ON r.id = a.k ORDER BY 1;
SELECT b IS NULL, b IS NOT NULL, b = b, b::text FROM sf_b b ORDER BY b;
SELECT b FROM sf_b b WHERE code = 'a';
SELECT array_agg(b ORDER BY code) FROM sf_b b;
SELECT (b).code, (b).j FROM sf_b b;
SELECT b.code, (SELECT row_to_json(a) FROM (SELECT id, t FROM sf_a WHERE sf_a.k = b.k ORDER BY id LIMIT 1) a) FROM sf_b b;
SELECT x.y FROM (SELECT b AS y FROM sf_b b) x;
-- Parameters of many types.
-- params: '{1,2}', 'happy', '(7,seven)'
SELECT id FROM sf_a WHERE a @> $1 OR m = $2 OR p = $3::sf_pair ORDER BY id;
-- params: '[2,4)', '{"a": 1}'::jsonb, 5
SELECT id, r && $1, j @> $2 FROM sf_a WHERE s < $3 OR s IS NULL ORDER BY id;
-- params: '2020-01-01 00:00+00'::timestamptz, 'a'::text, 1.00::numeric
SELECT id, t || $2 FROM sf_a WHERE ts = $1 AND n >= $3 ORDER BY id;
-- params: '{1,3,5}'::int8[]
-- params: '{}'::int8[]
SELECT id, k FROM sf_a WHERE id = ANY ($1) ORDER BY id;
-- params: '{1,3,NULL}'::int4[]
SELECT id, x FROM sf_a a LEFT JOIN unnest($1) x ON x = a.k ORDER BY 1;
DROP TABLE sf_a, sf_b, sf_r, sf_u;
DROP DOMAIN sf_small;
DROP TYPE sf_pair, sf_mood;
