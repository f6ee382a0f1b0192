//! What Postgres grants.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use flashsale_testbed::{
    TestPg,
    grants::{Grants, MIGRATOR, Privilege, Verb, as_user},
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// SQLSTATE of what a role may not do.
const REFUSED: &str = "42501";

/// The code of the error that a statement ends with.
async fn refusal(connection: &mut PgConnection, statement: &str) -> Option<String> {
    let ended = connection.execute(AssertSqlSafe(statement.to_owned())).await;
    let error = ended.err()?;
    let code = error.as_database_error().and_then(|error| error.code().map(Into::into));
    Some(code.unwrap_or_else(|| panic!("{statement}: {error}")))
}

async fn run(connection: &mut PgConnection, statement: &str) {
    connection
        .execute(AssertSqlSafe(statement.to_owned()))
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// A connection as this role.
async fn connect(pg: &TestPg, role: &str) -> PgConnection {
    let url = as_user(&pg.url, role);
    PgConnection::connect(&url).await.unwrap_or_else(|error| panic!("{role}: {error}"))
}

#[tokio::test]
async fn roles_have_the_privileges_of_the_list_and_no_others() {
    let pg = flashsale_testbed::postgres().await;
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.relname::text, a.attname::text
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
             AND a.attnum > 0 AND NOT a.attisdropped",
    )
    .fetch_all(&pg.pool)
    .await
    .unwrap();
    let mut wanted = BTreeSet::new();
    for (role, tables) in &Grants::list().postgres {
        for (table, privileges) in tables {
            let all = columns.iter().filter(|(of, _)| of == table).map(|(_, column)| column);
            let all: Vec<&String> = all.collect();
            for Privilege { verb, columns } in privileges {
                let of: Vec<&String> =
                    if columns.is_empty() { all.clone() } else { columns.iter().collect() };
                for column in of {
                    assert!(all.contains(&column), "there is no {table}.{column}");
                    // A row is deleted whole.
                    let column = if *verb == Verb::Delete { "" } else { column };
                    let verb = verb.as_str().to_owned();
                    wanted.insert((role.clone(), table.clone(), column.to_owned(), verb));
                }
            }
        }
    }
    let roles: Vec<&str> = Grants::list().postgres_users().collect();
    let found: Vec<(String, String, String, String)> = sqlx::query_as(
        "SELECT role, c.relname::text, a.attname::text, verb
         FROM unnest($1::text[]) AS role,
             unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS verb,
             pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
             AND a.attnum > 0 AND NOT a.attisdropped
             AND has_column_privilege(role, c.oid, a.attnum, verb)
         UNION ALL
         SELECT role, c.relname::text, '', verb
         FROM unnest($1::text[]) AS role,
             unnest(ARRAY['DELETE', 'TRUNCATE', 'TRIGGER']) AS verb, pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
             AND has_table_privilege(role, c.oid, verb)",
    )
    .bind(&roles)
    .fetch_all(&pg.pool)
    .await
    .unwrap();
    let found: BTreeSet<_> = found.into_iter().collect();
    let lacking: Vec<_> = wanted.difference(&found).collect();
    let beyond: Vec<_> = found.difference(&wanted).collect();
    assert!(lacking.is_empty() && beyond.is_empty(), "lacking {lacking:?}, beyond {beyond:?}");
}

#[tokio::test]
async fn roles_can_do_nothing_beside_tables() {
    let pg = flashsale_testbed::postgres().await;
    let roles: Vec<&str> = Grants::list().postgres_users().chain([MIGRATOR]).collect();
    let powers: Vec<String> = sqlx::query_scalar(
        "SELECT rolname::text FROM pg_roles
         WHERE rolname = ANY ($1) AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication
             OR rolbypassrls OR EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid))",
    )
    .bind(&roles)
    .fetch_all(&pg.pool)
    .await
    .unwrap();
    assert!(powers.is_empty(), "{powers:?}");
    for role in roles {
        let mut connection = connect(&pg, role).await;
        let refused = |code: Option<String>| code.as_deref() == Some(REFUSED);
        let may_make = role == MIGRATOR;
        assert_eq!(refused(refusal(&mut connection, "CREATE TABLE mine ()").await), !may_make);
        for statement in [
            "CREATE SCHEMA mine",
            "CREATE TEMPORARY TABLE mine_for_now ()",
            "CREATE DATABASE mine",
            "CREATE ROLE mine",
            "COPY (SELECT 1) TO PROGRAM 'true'",
            "SELECT pg_read_file('/etc/passwd')",
        ] {
            let code = refusal(&mut connection, statement).await;
            assert_eq!(code.as_deref(), Some(REFUSED), "{role}: {statement}");
        }
        if !may_make {
            for statement in [
                "DROP TABLE breaker_force",
                "ALTER TABLE orders ADD COLUMN mine text",
                "CREATE INDEX ON orders (buyer_id)",
                "ALTER TABLE allotments DROP CONSTRAINT never_oversold",
                "DELETE FROM _sqlx_migrations",
                "TRUNCATE outbox",
            ] {
                let code = refusal(&mut connection, statement).await;
                assert_eq!(code.as_deref(), Some(REFUSED), "{role}: {statement}");
            }
        }
    }
}

#[tokio::test]
async fn services_are_refused_what_others_write() {
    let pg = flashsale_testbed::postgres().await;
    for (role, statement) in [
        ("payment", "UPDATE orders SET state = 'CONFIRMED'"),
        ("payment", "SELECT email FROM orders"),
        ("payment", "SELECT * FROM parked_orders"),
        ("order-worker", "INSERT INTO payments SELECT * FROM payments"),
        ("order-worker", "UPDATE payments SET state = 'SUCCEEDED'"),
        ("order-worker", "UPDATE allotments SET allotted = 1000"),
        ("order-worker", "UPDATE sale_items SET price_minor = 1"),
        ("order-worker", "UPDATE sale_stock SET epoch = 9"),
        ("inventory", "UPDATE allotments SET claimed = 0"),
        ("inventory", "UPDATE sales SET state = 'ENDED'"),
        ("inventory", "SELECT contact_name FROM orders"),
        ("checkout", "UPDATE orders SET state = 'CANCELLED'"),
        ("checkout", "SELECT payload FROM dead_letters"),
        ("checkout", "SELECT 1 FROM sales FOR UPDATE"),
        ("sale", "DELETE FROM sale_changes"),
        ("sale", "UPDATE sale_changes SET reason = ''"),
        ("sale", "UPDATE sale_stock SET loaded_at = now()"),
        ("waiting-room", "SELECT sale_id FROM sales"),
        ("waiting-room", "DELETE FROM rooms"),
        ("auditor", "UPDATE payments SET captured_minor = 0"),
    ] {
        let code = refusal(&mut connect(&pg, role).await, statement).await;
        assert_eq!(code.as_deref(), Some(REFUSED), "{role}: {statement}");
    }
    // What stands for the right to lock says nothing.
    let sale = flashsale_testbed::fixtures::SaleSpec::default();
    flashsale_testbed::fixtures::record_sale(&pg.pool, sale, []).await.unwrap();
    let mut inventory = connect(&pg, "inventory").await;
    let code = refusal(&mut inventory, "UPDATE sales SET row_lock = false").await;
    assert_eq!(code.as_deref(), Some("23514"), "a check refuses it");
}

/// The statements in the `sql/` of a service, by name.
fn statements(service: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services").join(service);
    let files = fs::read_dir(folder.join("sql")).unwrap().map(|file| file.unwrap().path());
    let named = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    files.map(named).collect()
}

/// A table in the text of a statement, not a longer name that it is part of.
fn mentions(statement: &str, table: &str) -> bool {
    let parts = |c: char| !c.is_alphanumeric() && c != '_';
    statement
        .lines()
        .filter(|line| !line.starts_with("--"))
        .any(|line| line.split(parts).any(|word| word == table))
}

/// Every statement of every service is planned as its role, which is when Postgres looks at
/// privileges: with those of the list all of them pass, and without any one of them some do not.
#[tokio::test]
async fn services_need_all_that_they_have_and_no_more() {
    let pg = flashsale_testbed::postgres().await;
    let mut connection = PgConnection::connect(&pg.url).await.unwrap();
    run(&mut connection, "SET plan_cache_mode = force_generic_plan").await;
    for service in flashsale_testbed::grants::SERVICES {
        let statements = statements(service);
        let mut explained = BTreeMap::new();
        for (name, statement) in &statements {
            let prepared = format!("{}_{name}", service.replace('-', "_"));
            run(&mut connection, &format!("PREPARE {prepared} AS {statement}")).await;
            let parameters: i32 = sqlx::query_scalar(
                "SELECT coalesce(cardinality(parameter_types), 0) FROM pg_prepared_statements WHERE name = $1",
            )
            .bind(&prepared)
            .fetch_one(&mut connection)
            .await
            .unwrap();
            let nulls = vec!["NULL"; usize::try_from(parameters).unwrap()].join(", ");
            let nulls = if nulls.is_empty() { nulls } else { format!("({nulls})") };
            explained.insert(name, format!("EXPLAIN EXECUTE {prepared}{nulls}"));
        }
        let own = format!("SET LOCAL ROLE \"{service}\"");
        for (name, explain) in &explained {
            run(&mut connection, "BEGIN").await;
            run(&mut connection, &own).await;
            let code = refusal(&mut connection, explain).await;
            assert_eq!(code, None, "{service} may not do what its {name}.sql does");
            run(&mut connection, "ROLLBACK").await;
        }
        for (table, privileges) in &Grants::list().postgres[service] {
            for privilege in privileges {
                let verb = privilege.verb.as_str();
                let taken: Vec<String> = if privilege.columns.is_empty() {
                    vec![verb.to_owned()]
                } else {
                    privilege.columns.iter().map(|column| format!("{verb} ({column})")).collect()
                };
                for taken in taken {
                    let mut needed = false;
                    for (name, explain) in &explained {
                        if needed || !mentions(&statements[*name], table) {
                            continue;
                        }
                        run(&mut connection, "BEGIN").await;
                        let revoke = format!("REVOKE {taken} ON {table} FROM \"{service}\"");
                        run(&mut connection, &revoke).await;
                        run(&mut connection, &own).await;
                        needed =
                            refusal(&mut connection, explain).await.as_deref() == Some(REFUSED);
                        run(&mut connection, "ROLLBACK").await;
                    }
                    assert!(needed, "no statement of {service} needs {taken} on {table}");
                }
            }
        }
    }
}

/// Roles, each with the columns that it writes.
type Writers<'a> = Vec<(&'a str, &'a [String])>;

#[test]
fn every_value_has_one_writer() {
    // By table and verb, the columns that each role writes.
    let mut writers: BTreeMap<(&str, Verb), Writers<'_>> = BTreeMap::new();
    for (role, tables) in &Grants::list().postgres {
        for (table, privileges) in tables {
            for privilege in privileges.iter().filter(|privilege| privilege.writes()) {
                let of = writers.entry((table, privilege.verb)).or_default();
                of.push((role, &privilege.columns));
            }
        }
    }
    for ((table, verb), writers) in writers {
        for (index, (role, columns)) in writers.iter().enumerate() {
            for (other, others) in &writers[..index] {
                let apart = !columns.is_empty()
                    && !others.is_empty()
                    && columns.iter().all(|column| !others.contains(column));
                assert!(verb == Verb::Update && apart, "{role} and {other}: {verb:?} {table}");
            }
        }
    }
}
