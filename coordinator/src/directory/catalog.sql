-- What the planner must know of a catalog database; every statement's result is read by catalog.rs, in this order.
-- Runs with search_path = pg_catalog, so that every name in expressions and types comes out qualified.

-- 1. The database's collation.
SELECT datcollate, datlocprovider FROM pg_database WHERE datname = current_database();

-- 2. Schemas.
SELECT nspname FROM pg_namespace
WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'atoll') AND nspname !~ '^(pg_temp_|pg_toast_temp_|s[0-9]{4,}(_|$))';

-- 3. Relations.
SELECT class.oid, nspname, relname, relkind,
       relrowsecurity OR (relhasrules AND relkind IN ('r', 'p')) OR EXISTS (
           SELECT FROM pg_trigger WHERE tgrelid = class.oid AND NOT tgisinternal),
       relkind <> 'm' AND EXISTS (
           SELECT FROM pg_depend JOIN pg_proc ON pg_proc.oid = refobjid
           WHERE refclassid = 'pg_proc'::regclass AND provolatile = 'v'
             AND (classid = 'pg_rewrite'::regclass AND objid IN (SELECT oid FROM pg_rewrite WHERE ev_class = class.oid AND ev_type = '1')
                  OR classid = 'pg_policy'::regclass AND objid IN (SELECT oid FROM pg_policy WHERE polrelid = class.oid)))
FROM pg_class AS class JOIN pg_namespace AS namespace ON namespace.oid = relnamespace
WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c') AND class.oid >= 16384
  AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'atoll') AND nspname !~ '^(pg_temp_|pg_toast_temp_|s[0-9]{4,}(_|$))';

-- 4. Columns.
SELECT attrelid, attname, atttypid, atttypmod, format_type(atttypid, atttypmod), attnotnull,
       pg_get_expr(adbin, adrelid), attgenerated <> '', attidentity,
       (SELECT format('%I.%I', nspname, relname) FROM pg_depend
            JOIN pg_class ON pg_class.oid = objid JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE attidentity <> '' AND classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass
          AND refobjid = attrelid AND refobjsubid = attnum AND deptype = 'i' AND relkind = 'S'),
       attcollation, collcollate, collprovider,
       adbin IS NOT NULL AND EXISTS (
           SELECT FROM pg_depend JOIN pg_proc ON pg_proc.oid = refobjid
           WHERE classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_proc'::regclass AND provolatile = 'v'),
       CASE WHEN attcollation NOT IN (0, typcollation) THEN
           (SELECT format('%I.%I', collation_namespace.nspname, collname) FROM pg_namespace AS collation_namespace
            WHERE collation_namespace.oid = collnamespace) END
FROM pg_attribute
JOIN pg_type ON pg_type.oid = atttypid
JOIN pg_class AS class ON class.oid = attrelid
JOIN pg_namespace AS namespace ON namespace.oid = relnamespace
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
LEFT JOIN pg_collation ON pg_collation.oid = attcollation
WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c') AND attrelid >= 16384
  AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'atoll') AND nspname !~ '^(pg_temp_|pg_toast_temp_|s[0-9]{4,}(_|$))'
ORDER BY attrelid, attnum;

-- 5. Indexes: their own name, their table, and for those that are unique over whole columns the columns.
SELECT index_namespace.nspname, index_class.relname, indrelid, indisprimary,
       CASE WHEN indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL THEN
           (SELECT json_agg(attname ORDER BY position)
            FROM unnest(indkey::smallint[]) WITH ORDINALITY AS key (number, position)
            JOIN pg_attribute ON attrelid = indrelid AND attnum = number
            WHERE position <= indnkeyatts) END
FROM pg_index
JOIN pg_class AS index_class ON index_class.oid = indexrelid
JOIN pg_namespace AS index_namespace ON index_namespace.oid = index_class.relnamespace
WHERE indexrelid >= 16384 AND index_namespace.nspname <> 'pg_toast' AND index_namespace.nspname !~ '^(pg_temp_|pg_toast_temp_)';

-- 6. Extended statistics.
SELECT nspname, stxname, stxrelid
FROM pg_statistic_ext JOIN pg_namespace ON pg_namespace.oid = stxnamespace;

-- 7. What views and rules read directly.
SELECT DISTINCT ev_class, refobjid
FROM pg_rewrite JOIN pg_depend ON objid = pg_rewrite.oid
WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass AND refobjid <> ev_class AND refobjid >= 16384;

-- 8. Functions. The body of a C function is a symbol: nothing to read there.
SELECT nspname, proname, provolatile, prokind, lanname,
       CASE WHEN lanname IN ('c', 'internal') THEN '' WHEN prosqlbody IS NULL THEN prosrc ELSE pg_get_function_sqlbody(proc.oid) END,
       (SELECT json_agg(DISTINCT refobjid::text) FROM (
            SELECT refobjid FROM pg_depend
            WHERE classid = 'pg_proc'::regclass AND objid = proc.oid AND refclassid = 'pg_class'::regclass
            UNION ALL
            SELECT coalesce(nullif(item.typrelid, 0), type.typrelid) FROM pg_depend
            JOIN pg_type AS type ON type.oid = refobjid LEFT JOIN pg_type AS item ON item.oid = type.typelem
            WHERE classid = 'pg_proc'::regclass AND objid = proc.oid AND refclassid = 'pg_type'::regclass) AS used (refobjid)
        WHERE refobjid <> 0)
FROM pg_proc AS proc
JOIN pg_namespace AS namespace ON namespace.oid = pronamespace
JOIN pg_language AS language ON language.oid = prolang
WHERE proc.oid >= 16384 AND nspname NOT IN ('pg_catalog', 'information_schema', 'atoll') AND nspname !~ '^pg_temp_';

-- 9. Types that users can see, also as columns of results; `typrelid` is the relation of a row type.
SELECT type.oid, nspname, typname, typrelid
FROM pg_type AS type JOIN pg_namespace AS namespace ON namespace.oid = typnamespace
WHERE type.oid >= 16384 AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'atoll') AND nspname !~ '^(pg_temp_|pg_toast_temp_)';
