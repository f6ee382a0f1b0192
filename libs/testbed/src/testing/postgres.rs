//! A database per test.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Mutex,
    time::Duration,
};

use flashsale_pg::{MIGRATOR, PgConfig};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, postgres::PgConnectOptions};
use tempfile::TempDir;

use super::{folder, init, tools};
use crate::{
    grants::{self, Grants, as_own, as_user},
    servers::{PostgresOptions, PostgresServer},
};

/// Where `make test` keeps one Postgres for all tests: the URL of its superuser.
const SHARED: &str = "FLASHSALE_TEST_PG_URL";
/// Any number, the same for everybody who makes the template.
const TEMPLATE_LOCK: i64 = 0x666c_6173_6873_616c;

/// How long a test waits for a connection and for a statement, in milliseconds.
const PATIENCE_MS: u64 = 10_000;

/// A database of this test's own, with every migration and the services' grants applied.
#[derive(Debug)]
pub struct TestPg {
    /// Its URL as superuser.
    pub url: String,
    /// A pool on it as superuser, for what tests write and read. A service under test has one of
    /// its own: [`Self::pool_of`].
    pub pool: PgPool,
    /// By service.
    pools: Mutex<BTreeMap<&'static str, PgPool>>,
    admin: PgConnectOptions,
    database: String,
    // Without `make test` around it, the test has a whole server of its own.
    _server: Option<(PostgresServer, TempDir)>,
}

impl TestPg {
    /// The `[postgres]` section that leads this service here.
    pub fn config_of(&self, service: &str) -> PgConfig {
        PgConfig {
            max_connections: 8,
            acquire_timeout_ms: PATIENCE_MS,
            statement_timeout_ms: PATIENCE_MS,
            ..PgConfig::at(as_user(&self.url, service))
        }
    }

    /// The pool of this service, with its grants and no more: one for all who ask.
    pub fn pool_of(&self, service: &'static str) -> PgPool {
        let mut pools = self.pools.lock().expect("no test panics with it");
        let pool = pools.entry(service).or_insert_with(|| {
            flashsale_pg::connect(&self.config_of(service), service).expect("the URL is one")
        });
        pool.clone()
    }

    /// The URL that leads every service here as itself.
    pub fn own_url(&self) -> String {
        as_own(&self.url)
    }

    /// The variables that lead a service here, with as much patience: a busy machine that answers
    /// late is no outage.
    pub fn env(&self) -> impl Iterator<Item = (String, String)> {
        [
            ("URL", self.own_url()),
            ("ACQUIRE_TIMEOUT_MS", PATIENCE_MS.to_string()),
            ("STATEMENT_TIMEOUT_MS", PATIENCE_MS.to_string()),
        ]
        .map(|(key, value)| (format!("FLASHSALE_POSTGRES__{key}"), value))
        .into_iter()
    }

    /// A connection as superuser to the server, for what tests do to it.
    pub async fn admin(&self) -> PgConnection {
        PgConnection::connect_with(&self.admin).await.expect("the admin connection")
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }
}

/// Makes a database for this test.
pub async fn postgres() -> TestPg {
    init();
    let (admin_url, server) = match std::env::var(SHARED) {
        Ok(url) => (url, None),
        Err(_) => {
            let folder = folder();
            let options = PostgresOptions { fsync: false, ..PostgresOptions::default() };
            let server = PostgresServer::start(&tools(), folder.path(), options)
                .await
                .expect("Postgres starts");
            (server.url(), Some((server, folder)))
        }
    };
    let admin: PgConnectOptions = admin_url.parse().expect("the admin URL");
    let mut connection = PgConnection::connect_with(&admin).await.expect("Postgres answers");
    let template = template(&mut connection, &admin).await;
    let database = format!("test_{}", uuid::Uuid::new_v4().simple());
    run(&mut connection, format!("CREATE DATABASE {database} TEMPLATE {template}")).await;
    let options = admin.clone().database(&database);
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(8)
        .acquire_timeout(Duration::from_millis(PATIENCE_MS))
        .connect_lazy_with(options);
    // A copy has the template's grants, but what may be done to the database itself is its own.
    let statements = AssertSqlSafe(Grants::list().postgres_roles());
    sqlx::raw_sql(statements).execute(&pool).await.expect("the roles");
    let (host, port) = (admin.get_host().to_owned(), admin.get_port());
    let url = format!("postgres://{}@{host}:{port}/{database}", admin.get_username());
    TestPg { url, pool, pools: Mutex::default(), admin, database, _server: server }
}

/// The name of a database with every migration and grant applied, made by the first caller.
async fn template(connection: &mut PgConnection, admin: &PgConnectOptions) -> String {
    // One number for all of them: a name has 63 bytes, of longer ones Postgres keeps the beginning.
    let mut versions = DefaultHasher::new();
    for migration in MIGRATOR.iter() {
        migration.checksum.hash(&mut versions);
    }
    Grants::list().files().hash(&mut versions);
    let template = format!("template_{:016x}", versions.finish());
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut *connection)
        .await
        .expect("the template lock");
    let ready: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)",
    )
    .bind(&template)
    .fetch_one(&mut *connection)
    .await
    .expect("the list of databases");
    if !ready {
        run(connection, format!("DROP DATABASE IF EXISTS {template}")).await;
        run(connection, format!("CREATE DATABASE {template}")).await;
        let database = admin.clone().database(&template);
        let mut inside = PgConnection::connect_with(&database).await.expect("the template");
        // Roles are the server's, whose template's lock this has.
        grants::postgres::make_roles(&mut inside).await.expect("the roles");
        inside.close().await.expect("the template closes");
        grants::postgres::migrate(database).await.expect("the migrations and grants apply");
        run(connection, format!("ALTER DATABASE {template} IS_TEMPLATE true")).await;
    }
    sqlx::query("SELECT pg_advisory_unlock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut *connection)
        .await
        .expect("the template unlock");
    template
}

/// Runs a statement that takes no parameters; the names in it are ours.
async fn run(connection: &mut PgConnection, statement: String) {
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await.expect("the statement");
}
