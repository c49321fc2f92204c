-- Who may do what in Sluicegate's database.
--
--   sluicegate_migrate   owns the tables, and changes them when a new version of Sluicegate needs it
--   sluicegate_run       reads and writes records; what instances run as
--   sluicegate_read      reads records for reports, but nothing that a key could be recognized by
--
-- Run it in the database as a superuser before Sluicegate's first start, and again after each migration:
-- it may be run any number of times. Then give the roles passwords, as with `\password sluicegate_run`.
-- The database is meant to be Sluicegate's own: rights that everybody has by default are taken away.

DO $$
DECLARE
    role TEXT;
BEGIN
    FOREACH role IN ARRAY ARRAY['sluicegate_migrate', 'sluicegate_run', 'sluicegate_read'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', role);
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role);
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path = sluicegate', role, current_database());
    END LOOP;
    EXECUTE format('REVOKE TEMPORARY, CREATE ON DATABASE %I FROM PUBLIC', current_database());
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;

CREATE SCHEMA IF NOT EXISTS sluicegate AUTHORIZATION sluicegate_migrate;
GRANT USAGE ON SCHEMA sluicegate TO sluicegate_run, sluicegate_read;

-- Tables and functions that are made later.
ALTER DEFAULT PRIVILEGES FOR ROLE sluicegate_migrate IN SCHEMA sluicegate
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO sluicegate_run;
ALTER DEFAULT PRIVILEGES FOR ROLE sluicegate_migrate IN SCHEMA sluicegate
    GRANT EXECUTE ON FUNCTIONS TO sluicegate_run;

-- Tables that are there. Those for reports get no rights by default: a column may have to stay hidden.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA sluicegate TO sluicegate_run;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sluicegate TO sluicegate_run;

DO $$
DECLARE
    name TEXT;
    columns TEXT;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'sluicegate' LOOP
        SELECT string_agg(quote_ident(column_name), ', ') INTO columns
        FROM information_schema.columns
        WHERE table_schema = 'sluicegate' AND table_name = name
            AND column_name NOT IN ('hash', 'previous_hash');
        EXECUTE format('GRANT SELECT (%s) ON sluicegate.%I TO sluicegate_read', columns, name);
        IF name = 'schema_version' THEN
            EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON sluicegate.%I FROM sluicegate_run', name);
        END IF;
    END LOOP;
END
$$;
