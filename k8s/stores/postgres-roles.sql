-- Written by `make grants` from grants.toml.
--
-- The roles of the services, which may not log in yet. Run it in the database of the platform before the first migration,
-- as a superuser or as the database's owner with CREATEROLE, and again when there is a new role: what a role has besides
-- (LOGIN, a password) stays. Then let each log in, with a password of its own or a client certificate:
--   ALTER ROLE "order-worker" LOGIN PASSWORD '…';
-- A role is called as its service is and stands in double quotes, because some names have a hyphen.
BEGIN;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['auditor', 'checkout', 'inventory', 'order-worker', 'payment', 'sale', 'waiting-room', 'migrator'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;
    -- Otherwise every role may connect and make temporary tables.
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO "auditor", "checkout", "inventory", "order-worker", "payment", "sale", "waiting-room", "migrator"',
        current_database()
    );
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO "auditor", "checkout", "inventory", "order-worker", "payment", "sale", "waiting-room";
-- It owns what it makes, and no other role changes or drops that.
GRANT USAGE, CREATE ON SCHEMA public TO "migrator";

COMMIT;
