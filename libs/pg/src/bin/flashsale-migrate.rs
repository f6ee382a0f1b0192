//! Applies the migrations to the database in `DATABASE_URL`.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Ok(url) = std::env::var("DATABASE_URL") else {
        return fail("DATABASE_URL is not set: give the Postgres URL of the database to migrate");
    };
    let options = match flashsale_pg::read_url(&url.into()) {
        Ok(options) => options,
        Err(error) => return fail(&format!("DATABASE_URL {error}")),
    };
    let pool = match sqlx::PgPool::connect_with(options).await {
        Ok(pool) => pool,
        Err(error) => return fail(&format!("Postgres does not answer: {error}")),
    };
    match flashsale_pg::migrate(&pool).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("a migration failed: {error}")),
    }
}

#[allow(clippy::print_stderr, reason = "a command line tool speaks on stderr")]
fn fail(message: &str) -> ExitCode {
    eprintln!("flashsale-migrate: {message}");
    ExitCode::FAILURE
}
