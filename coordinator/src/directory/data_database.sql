-- What every data database holds of Atoll's own. Run as the superuser in one transaction; running it again changes nothing.

CREATE SCHEMA IF NOT EXISTS atoll;
-- Clients' roles call the functions below; the tables stay closed to them.
GRANT USAGE ON SCHEMA atoll TO PUBLIC;

CREATE TABLE IF NOT EXISTS atoll.commits (
    gid text PRIMARY KEY,
    decision text NOT NULL CHECK (decision IN ('commit', 'abort')),
    participants text[] NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT now()
);
REVOKE ALL ON atoll.commits FROM PUBLIC;

-- The hash of the secret that coordinators know; one row.
CREATE TABLE IF NOT EXISTS atoll.secret (hash bytea NOT NULL);
REVOKE ALL ON atoll.secret FROM PUBLIC;

CREATE OR REPLACE FUNCTION atoll.check_secret(secret text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM atoll.secret AS known WHERE known.hash = sha256(convert_to(secret, 'UTF8'))) THEN
        RAISE insufficient_privilege USING MESSAGE = 'only an Atoll coordinator may do this';
    END IF;
END
$$;

-- Runs SQL with the superuser's rights.
CREATE OR REPLACE FUNCTION atoll.run(secret text, statement text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM atoll.check_secret(secret);
    EXECUTE statement;
END
$$;

-- What `atoll.ddl` must hold in this transaction for DDL to pass: nobody else can compute it, and it is worth nothing in another one.
CREATE OR REPLACE FUNCTION atoll.ddl_pass() RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT encode(sha256(hash || convert_to(pg_current_xact_id()::text, 'UTF8')), 'hex') FROM atoll.secret
$$;
REVOKE ALL ON FUNCTION atoll.ddl_pass() FROM PUBLIC;

-- Lets DDL through until the transaction ends (or rolls back to a savepoint before this call).
CREATE OR REPLACE FUNCTION atoll.allow_ddl(secret text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM atoll.check_secret(secret);
    PERFORM set_config('atoll.ddl', atoll.ddl_pass(), true);
END
$$;

-- The decision of a distributed transaction, carried by home's own commit.
CREATE OR REPLACE FUNCTION atoll.record_commit(secret text, gid text, participants text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM atoll.check_secret(secret);
    INSERT INTO atoll.commits (gid, decision, participants) VALUES (gid, 'commit', participants);
EXCEPTION WHEN unique_violation THEN
    RAISE serialization_failure USING MESSAGE = 'the transaction took too long to commit and was rolled back',
        HINT = 'The transaction might succeed if retried.';
END
$$;

CREATE OR REPLACE FUNCTION atoll.guard_ddl() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changes_something boolean;
BEGIN
    IF TG_EVENT = 'sql_drop' THEN
        -- What is dropped along with something (a view's rule) follows it; triggers of temporary tables are not marked temporary.
        changes_something := EXISTS (
            SELECT FROM pg_event_trigger_dropped_objects() AS gone
            WHERE gone.original AND NOT gone.is_temporary AND gone.address_names[1] IS DISTINCT FROM 'pg_temp');
    ELSE
        changes_something := EXISTS (
            SELECT FROM pg_event_trigger_ddl_commands() AS command
            LEFT JOIN LATERAL pg_identify_object_as_address(command.classid, command.objid, command.objsubid) AS object ON true
            WHERE command.schema_name IS DISTINCT FROM 'pg_temp' AND object.object_names[1] IS DISTINCT FROM 'pg_temp');
    END IF;
    IF changes_something AND current_setting('atoll.ddl', true) IS DISTINCT FROM atoll.ddl_pass() THEN
        RAISE feature_not_supported USING MESSAGE = 'this DDL did not come through an Atoll coordinator',
            DETAIL = format('%s would change one of the cluster''s databases only.', TG_TAG),
            HINT = 'Run it as a statement of its own, not inside a function or a DO block.';
    END IF;
END
$$;
REVOKE ALL ON FUNCTION atoll.guard_ddl() FROM PUBLIC;

DROP EVENT TRIGGER IF EXISTS atoll_guard;
DROP EVENT TRIGGER IF EXISTS atoll_guard_drop;
CREATE EVENT TRIGGER atoll_guard ON ddl_command_end EXECUTE FUNCTION atoll.guard_ddl();
CREATE EVENT TRIGGER atoll_guard_drop ON sql_drop EXECUTE FUNCTION atoll.guard_ddl();
