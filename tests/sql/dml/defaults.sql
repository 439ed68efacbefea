-- Serial, identity, defaults and generated columns.
CREATE TABLE ds (id bigserial PRIMARY KEY, v text);
-- distribute: SELECT create_distributed_table('ds', 'id')
INSERT INTO ds (v) VALUES ('a') RETURNING id;
INSERT INTO ds (v) VALUES ('b'), ('c'), ('d') RETURNING id, v;
INSERT INTO ds VALUES (DEFAULT, 'e') RETURNING id;
INSERT INTO ds (v) SELECT 'sel ' || i FROM generate_series(1, 5) i;
SELECT * FROM ds ORDER BY id;
SELECT currval('ds_id_seq'), lastval();
SELECT last_value, is_called FROM ds_id_seq;
SELECT pg_get_serial_sequence('ds', 'id');
SELECT setval('ds_id_seq', 100);
INSERT INTO ds (v) VALUES ('after') RETURNING *;
INSERT INTO ds VALUES (102, 'by hand');
INSERT INTO ds (v) VALUES ('conflict') RETURNING *;
INSERT INTO ds (v) VALUES ('ok') RETURNING *;
DROP TABLE ds;
CREATE TABLE di (id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
-- distribute: SELECT create_distributed_table('di', 'id')
INSERT INTO di (v) VALUES ('a'), ('b') RETURNING *;
INSERT INTO di VALUES (10, 'x');
INSERT INTO di OVERRIDING SYSTEM VALUE VALUES (10, 'x') RETURNING *;
INSERT INTO di (v) VALUES ('c') RETURNING *;
SELECT * FROM di ORDER BY id;
DROP TABLE di;
CREATE TABLE dd (
    id int8 PRIMARY KEY,
    a int DEFAULT 7,
    b text DEFAULT 'x' || 'y',
    c date DEFAULT '2020-02-29',
    d int GENERATED ALWAYS AS (a * 2) STORED,
    e text DEFAULT NULL,
    f int[] DEFAULT '{1,2}',
    s serial,
    g numeric(5,1) DEFAULT 1.25
);
-- distribute: SELECT create_distributed_table('dd', 'id')
INSERT INTO dd (id) VALUES (1), (2), (3);
INSERT INTO dd (id, a) VALUES (4, 5) RETURNING *;
INSERT INTO dd (id, d) VALUES (5, 5);
INSERT INTO dd (id, a, b) VALUES (6, DEFAULT, DEFAULT) RETURNING a, b, d;
UPDATE dd SET a = 100 WHERE id = 1 RETURNING d;
UPDATE dd SET a = DEFAULT, b = DEFAULT WHERE id = 1 RETURNING a, b, d;
SELECT id, a, b, c, d, e, f, g, s IS NOT NULL FROM dd ORDER BY id;
ALTER TABLE dd ALTER a SET DEFAULT 8;
INSERT INTO dd (id) VALUES (7) RETURNING a, d;
ALTER TABLE dd ALTER a DROP DEFAULT;
INSERT INTO dd (id) VALUES (8) RETURNING a, d;
DROP TABLE dd;
-- Volatile defaults: one value per row, the same instant for now().
CREATE TABLE dv (id int8 PRIMARY KEY, u uuid DEFAULT gen_random_uuid(), t timestamptz DEFAULT now(), r float8 DEFAULT random());
INSERT INTO dv (id) SELECT i FROM generate_series(1, 40) i;
-- distribute: SELECT create_distributed_table('dv', 'id')
INSERT INTO dv (id) VALUES (41), (42), (43), (44);
SELECT count(DISTINCT u), count(u), count(t) FROM dv;
-- any-values
SELECT count(DISTINCT t) FROM dv WHERE id > 40;
SELECT count(DISTINCT t) FROM dv WHERE id <= 40;
-- any-values
SELECT * FROM dv WHERE id = 3;
DROP TABLE dv;
