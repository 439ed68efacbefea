-- What the planner must know of PostgreSQL itself; the same in every database of a server.

-- 1. pg_catalog's relations.
SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v') AND oid < 16384;

-- 2. pg_catalog's functions by name: whether an overload is volatile, whether one is stable, whether one is an aggregate or a window
-- function.
SELECT proname, bool_or(provolatile = 'v'), bool_or(provolatile = 's'), bool_or(prokind IN ('a', 'w'))
FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND oid < 16384 GROUP BY proname;
