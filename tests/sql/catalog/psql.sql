-- What psql and ORMs ask of the catalogs: a user's objects as one PostgreSQL shows them.
CREATE SCHEMA ca;
SET search_path = ca;
CREATE TYPE ca.mood AS ENUM ('a', 'b');
CREATE DOMAIN ca.small AS int CHECK (VALUE < 10);
CREATE TABLE ca.orders (id int8 PRIMARY KEY, customer int NOT NULL DEFAULT 5, note text, mood ca.mood, total numeric(10,2) CHECK (total > 0));
CREATE TABLE ca.lines (order_id int8 NOT NULL, line int NOT NULL, PRIMARY KEY (order_id, line));
CREATE TABLE ca.ref (id int PRIMARY KEY, name varchar(30) UNIQUE);
CREATE TABLE ca.plain (id serial PRIMARY KEY, r int REFERENCES ca.ref);
CREATE INDEX orders_customer ON ca.orders (customer) WHERE customer > 0;
CREATE VIEW ca.v AS SELECT id, note FROM ca.orders;
CREATE FUNCTION ca.f(x int) RETURNS int LANGUAGE sql AS 'SELECT x';
COMMENT ON TABLE ca.orders IS 'orders of customers';
INSERT INTO ca.orders SELECT i, i, 'n', 'a', i FROM generate_series(1, 30) i;
-- distribute: SELECT create_reference_table('ca.ref')
-- distribute: SELECT create_distributed_table('ca.orders', 'id')
-- distribute: SELECT create_distributed_table('ca.lines', 'order_id')
-- \d
SELECT n.nspname as "Schema", c.relname as "Name",
  CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'i' THEN 'index' WHEN 'S' THEN 'sequence' WHEN 'p' THEN 'partitioned table' END as "Type",
  pg_catalog.pg_get_userbyid(c.relowner) as "Owner"
FROM pg_catalog.pg_class c
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r','p','v','m','S','f','') AND n.nspname = 'ca'
ORDER BY 1,2;
-- \d orders
SELECT c.relchecks, c.relkind, c.relhasindex, c.relhasrules, c.relhastriggers, c.relrowsecurity, c.relispartition, c.relpersistence, c.relreplident
FROM pg_catalog.pg_class c WHERE c.oid = 'ca.orders'::regclass;
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
  (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef),
  a.attnotnull, a.attidentity, a.attgenerated
FROM pg_catalog.pg_attribute a WHERE a.attrelid = 'ca.orders'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;
SELECT c2.relname, i.indisprimary, i.indisunique, i.indisvalid, pg_catalog.pg_get_indexdef(i.indexrelid, 0, true), pg_catalog.pg_get_constraintdef(con.oid, true), contype
FROM pg_catalog.pg_class c, pg_catalog.pg_class c2, pg_catalog.pg_index i
  LEFT JOIN pg_catalog.pg_constraint con ON (conrelid = i.indrelid AND conindid = i.indexrelid AND contype IN ('p','u','x'))
WHERE c.oid = 'ca.orders'::regclass AND c.oid = i.indrelid AND i.indexrelid = c2.oid
ORDER BY i.indisprimary DESC, c2.relname;
SELECT r.conname, pg_catalog.pg_get_constraintdef(r.oid, true) FROM pg_catalog.pg_constraint r WHERE r.conrelid = 'ca.orders'::regclass ORDER BY 1;
SELECT conname, pg_catalog.pg_get_constraintdef(oid, true) FROM pg_constraint WHERE connamespace = 'ca'::regnamespace ORDER BY conname;
SELECT obj_description('ca.orders'::regclass, 'pg_class');
-- \dn, \df, \dT, \di, \ds, \dv
SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema') AND nspname LIKE 'ca%' ORDER BY 1;
SELECT proname, pg_get_function_result(oid), pg_get_function_arguments(oid) FROM pg_proc WHERE pronamespace = 'ca'::regnamespace;
SELECT typname, typtype FROM pg_type WHERE typnamespace = 'ca'::regnamespace AND typname !~ '^_' ORDER BY 1;
SELECT enumlabel FROM pg_enum e JOIN pg_type t ON t.oid = enumtypid WHERE typname = 'mood' ORDER BY enumsortorder;
SELECT schemaname, tablename, hasindexes, rowsecurity FROM pg_tables WHERE schemaname = 'ca' ORDER BY 2;
SELECT schemaname, viewname, definition FROM pg_views WHERE schemaname = 'ca';
SELECT schemaname, sequencename, data_type, start_value FROM pg_sequences WHERE schemaname = 'ca';
SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'ca' ORDER BY 1;
SELECT nspname FROM pg_namespace WHERE nspname ~ '^s[0-9]+' OR nspname = 'atoll';
SELECT count(*) FROM pg_class WHERE relname = 'orders' AND relnamespace = 'ca'::regnamespace;
SELECT datname FROM pg_database WHERE datname ~ '(_data$|^atoll$)';
SELECT 'ca.orders'::regclass, 'ca.f'::regproc, 'ca.mood'::regtype, to_regclass('ca.nope'), to_regclass('orders');
SELECT pg_table_is_visible('ca.orders'::regclass), format_type('ca.mood'::regtype, NULL);
SELECT pg_get_viewdef('ca.v'::regclass, true), pg_get_functiondef('ca.f'::regproc);
SELECT has_schema_privilege('ca', 'USAGE'), has_table_privilege('ca.orders', 'SELECT');
SELECT relname, reltuples >= 0 OR reltuples = -1 FROM pg_class WHERE oid = 'ca.orders'::regclass;
-- information_schema.
SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema = 'ca' ORDER BY 2;
SELECT table_name, column_name, ordinal_position, column_default, is_nullable, data_type, character_maximum_length, numeric_precision, udt_name FROM information_schema.columns WHERE table_schema = 'ca' ORDER BY 1, 3;
SELECT constraint_name, table_name, constraint_type FROM information_schema.table_constraints WHERE constraint_schema = 'ca' AND constraint_name !~ '_not_null$' ORDER BY 1, 2;
SELECT table_name, column_name, constraint_name FROM information_schema.key_column_usage WHERE table_schema = 'ca' ORDER BY 1, 2, 3;
SELECT unique_constraint_name, update_rule, delete_rule FROM information_schema.referential_constraints WHERE constraint_schema = 'ca';
SELECT routine_name, data_type FROM information_schema.routines WHERE routine_schema = 'ca';
SELECT sequence_name FROM information_schema.sequences WHERE sequence_schema = 'ca';
SELECT table_name, view_definition FROM information_schema.views WHERE table_schema = 'ca';
SELECT schema_name FROM information_schema.schemata WHERE schema_name = 'ca';
SELECT grantee, privilege_type FROM information_schema.role_table_grants WHERE table_schema = 'ca' AND table_name = 'orders' ORDER BY 1, 2;
-- What drivers ask.
-- params: 'ca', 'orders'
SELECT a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 ORDER BY a.attnum;
SELECT t.typname, t.typtype, t.typelem, r.rngsubtype, t.typbasetype, n.nspname, t.typrelid FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid INNER JOIN pg_catalog.pg_namespace n ON t.typnamespace = n.oid WHERE t.oid = 'ca.mood'::regtype;
SELECT typname, oid, typarray FROM pg_type WHERE typname IN ('hstore', 'int8', 'jsonb') ORDER BY 2;
SELECT current_schema(), current_database(), session_user;
SELECT name, setting FROM pg_settings WHERE name = 'server_version_num';
SELECT COUNT(*) > 400 FROM pg_type;
SELECT collname FROM pg_collation WHERE collname IN ('C', 'default') ORDER BY 1;
SELECT lanname FROM pg_language ORDER BY 1;
SELECT extname FROM pg_extension ORDER BY 1;
SELECT rolname, rolsuper FROM pg_roles WHERE rolname = 'postgres';
SELECT amname FROM pg_am ORDER BY 1;
-- Catalogs joined with data cannot be known from one place; alone they can.
SELECT c.relname FROM pg_class c, pg_index i WHERE i.indexrelid = c.oid AND i.indrelid = 'ca.orders'::regclass ORDER BY 1;
RESET search_path;
DROP SCHEMA ca CASCADE;
