//! The roles of Postgres and their grants, as SQL.

use std::{collections::BTreeSet, fmt::Write as _};

use flashsale_pg::MIGRATOR as MIGRATIONS;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, postgres::PgConnectOptions};

use super::{Grants, MIGRATOR, Privilege, Verb};

impl Grants {
    /// Everyone but the migrator.
    pub fn postgres_users(&self) -> impl Iterator<Item = &str> {
        self.postgres.keys().map(String::as_str)
    }

    /// Makes the roles, for the database that it is run in.
    pub fn postgres_roles(&self) -> String {
        let users: Vec<String> = self.postgres_users().map(quoted).collect();
        let users = users.join(", ");
        let names: Vec<String> =
            self.postgres_users().chain([MIGRATOR]).map(|name| format!("'{name}'")).collect();
        let names = names.join(", ");
        format!(
            "\
-- Written by `make grants` from grants.toml.
--
-- The roles of the services, which may not log in yet. Run it in the database of the platform before the first migration,
-- as a superuser or as the database's owner with CREATEROLE, and again when there is a new role: what a role has besides
-- (LOGIN, a password) stays. Then let each log in, with a password of its own or a client certificate:
--   ALTER ROLE \"order-worker\" LOGIN PASSWORD '…';
-- A role is called as its service is and stands in double quotes, because some names have a hyphen.
BEGIN;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[{names}] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;
    -- Otherwise every role may connect and make temporary tables.
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO {users}, \"{MIGRATOR}\"',
        current_database()
    );
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO {users};
-- It owns what it makes, and no other role changes or drops that.
GRANT USAGE, CREATE ON SCHEMA public TO \"{MIGRATOR}\";

COMMIT;
"
        )
    }

    /// Gives the roles what they may do, and takes everything else from them.
    pub fn postgres_grants(&self) -> String {
        let users: Vec<String> = self.postgres_users().map(quoted).collect();
        let mut text = format!(
            "\
-- Written by `make grants` from grants.toml.
--
-- What each role may do. Run it as `{MIGRATOR}`, which owns the tables, after each migration. In one transaction it takes
-- everything from the roles and gives what the list says: a service that runs meanwhile notices nothing.
BEGIN;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {};
",
            users.join(", ")
        );
        for (role, tables) in &self.postgres {
            text.push('\n');
            for (table, privileges) in tables {
                let privileges: Vec<String> = privileges.iter().map(Privilege::to_sql).collect();
                let privileges = privileges.join(", ");
                let _ = writeln!(text, "GRANT {privileges} ON {table} TO {};", quoted(role));
            }
        }
        text.push_str("\nCOMMIT;\n");
        text
    }

    /// The tables, in order.
    pub fn postgres_tables(&self) -> BTreeSet<&str> {
        self.postgres.values().flat_map(|tables| tables.keys()).map(String::as_str).collect()
    }

    /// Who writes and who reads each table, as docs/stores.md has it.
    pub fn postgres_summary(&self) -> String {
        let mut text = "| table | written by | read by |\n|---|---|---|\n".to_owned();
        for table in self.postgres_tables() {
            let (mut writers, mut readers) = (Vec::new(), Vec::new());
            for (role, privileges) in &self.postgres {
                let Some(privileges) = privileges.get(table) else { continue };
                let written: Vec<_> = privileges.iter().filter(|one| one.writes()).collect();
                if let Some(first) = written.first() {
                    let updated = written.iter().find(|one| one.verb == Verb::Update);
                    writers.push(match updated.unwrap_or(first).columns.as_slice() {
                        [] => role.clone(),
                        columns => format!("{role} (`{}`)", columns.join("`, `")),
                    });
                } else {
                    let some = privileges.iter().any(|one| one.is_of_columns(Verb::Select));
                    readers.push(format!("{role}{}", if some { " \\*" } else { "" }));
                }
            }
            let _ =
                writeln!(text, "| `{table}` | {} | {} |", writers.join(", "), readers.join(", "));
        }
        text
    }
}

impl Privilege {
    fn to_sql(&self) -> String {
        let verb = self.verb.as_str();
        if self.columns.is_empty() {
            verb.to_owned()
        } else {
            format!("{verb} ({})", self.columns.join(", "))
        }
    }

    /// Whether it changes anything: a role that may lock a row changes nothing.
    pub fn writes(&self) -> bool {
        self.verb != Verb::Select && self.columns != ["row_lock"]
    }

    fn is_of_columns(&self, verb: Verb) -> bool {
        self.verb == verb && !self.columns.is_empty()
    }
}

fn quoted(role: &str) -> String {
    format!("\"{role}\"")
}

/// Makes the roles in the database that `connection` leads to, as a superuser, and lets them log in:
/// the servers of tests ask for no passwords. Callers that share a server take turns.
///
/// # Errors
/// If Postgres refuses.
pub async fn make_roles(connection: &mut PgConnection) -> sqlx::Result<()> {
    let grants = Grants::list();
    run(connection, grants.postgres_roles()).await?;
    for role in grants.postgres_users().chain([MIGRATOR]) {
        run(connection, format!("ALTER ROLE {} LOGIN", quoted(role))).await?;
    }
    Ok(())
}

/// Applies the migrations as the migrator, and then the grants. The roles exist.
///
/// # Errors
/// If Postgres refuses, or a migration fails.
pub async fn migrate(database: PgConnectOptions) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect_with(&database.username(MIGRATOR)).await?;
    MIGRATIONS.run(&mut connection).await?;
    run(&mut connection, Grants::list().postgres_grants()).await?;
    connection.close().await?;
    Ok(())
}

/// Runs statements; the names in them are ours.
async fn run(connection: &mut PgConnection, statements: String) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await?;
    Ok(())
}
