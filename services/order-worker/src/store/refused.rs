//! Errors of Postgres that are about the data.

/// The SQLSTATE if Postgres objects to the data itself (classes 22 and 23), so that repeating the
/// statement cannot help.
pub(super) fn refused_content(error: &sqlx::Error) -> Option<String> {
    let state = error.as_database_error()?.code()?;
    (state.starts_with("22") || state.starts_with("23")).then(|| state.into_owned())
}
