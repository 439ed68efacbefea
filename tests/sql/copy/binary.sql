-- COPY in binary.
CREATE TABLE cb (id int8 PRIMARY KEY, v text, n numeric, t timestamptz, a int[], j jsonb);
CREATE TABLE cbu (id int PRIMARY KEY, v text);
-- distribute: SELECT create_distributed_table('cb', 'id')
-- copy-data-from: COPY (SELECT i::int8, 'v' || i, i / 8.0, timestamptz '2020-01-01 00:00+00' + i * interval '1 s', ARRAY[i, NULL], jsonb_build_object('i', i) FROM generate_series(1, 200) i) TO STDOUT (FORMAT binary)
COPY cb FROM STDIN (FORMAT binary);
SELECT count(*), sum(n), max(v), max(t) FROM cb;
SELECT * FROM cb WHERE id = 77;
-- copy-data-from: COPY (SELECT i::int8, NULL::text FROM generate_series(201, 210) i) TO STDOUT (FORMAT binary)
COPY cb (id, v) FROM STDIN WITH BINARY;
-- copy-data-from: COPY (SELECT 'x' || i, i::int8 FROM generate_series(211, 220) i) TO STDOUT (FORMAT binary)
COPY cb (v, id) FROM STDIN (FORMAT binary);
SELECT * FROM cb WHERE id > 195 ORDER BY id;
COPY (SELECT * FROM cb WHERE id = 77) TO STDOUT (FORMAT binary);
COPY (SELECT id, v FROM cb ORDER BY id LIMIT 10) TO STDOUT (FORMAT binary);
COPY (SELECT 1, 'x') TO STDOUT (FORMAT binary);
-- copy-data-from: COPY (SELECT i::int8, 'dup' FROM generate_series(77, 78) i) TO STDOUT (FORMAT binary)
COPY cb (id, v) FROM STDIN (FORMAT binary);
-- copy-data-from: COPY (SELECT i::int4, 'wrong width' FROM generate_series(300, 301) i) TO STDOUT (FORMAT binary)
COPY cb (id, v) FROM STDIN (FORMAT binary);
-- copy-data-from: COPY (SELECT 1::int8) TO STDOUT (FORMAT binary)
COPY cb (id, v) FROM STDIN (FORMAT binary);
-- copy-data-from: COPY (SELECT 'not binary at all') TO STDOUT
COPY cb (id, v) FROM STDIN (FORMAT binary);
-- copy-data-from: COPY (SELECT NULL::int8, 'x') TO STDOUT (FORMAT binary)
-- words-differ
COPY cb (id, v) FROM STDIN (FORMAT binary);
-- copy-data-from: COPY (SELECT i, 'x' || i FROM generate_series(1, 5) i) TO STDOUT (FORMAT binary)
COPY cbu FROM STDIN (FORMAT binary);
SELECT * FROM cbu ORDER BY id;
COPY cbu TO STDOUT (FORMAT binary);
SELECT count(*) FROM cb;
-- Big rows and many rows.
-- copy-data-from: COPY (SELECT i, repeat('x', 50000) || i FROM generate_series(1000, 1040) i) TO STDOUT
COPY cb (id, v) FROM STDIN;
SELECT count(*), sum(length(v)), min(right(v, 4)), max(right(v, 4)) FROM cb WHERE id >= 1000;
SELECT length(v) FROM cb WHERE id = 1010;
-- copy-data-from: COPY (SELECT i, 'many ' || i FROM generate_series(2000, 12000) i) TO STDOUT CSV
COPY cb (id, v) FROM STDIN CSV;
SELECT count(*), sum(id) FROM cb;
DROP TABLE cb, cbu;
