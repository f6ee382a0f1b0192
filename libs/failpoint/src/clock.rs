//! The wall clock, which the environment may put forward or back.

use time::OffsetDateTime;

/// The environment variable: by how many milliseconds the clock is ahead; negative if it is behind.
pub const CLOCK_OFFSET_MS: &str = "FLASHSALE_CLOCK_OFFSET_MS";

/// What the clock on the wall shows.
pub fn now_utc() -> OffsetDateTime {
    OffsetDateTime::now_utc() + offset()
}

#[cfg(not(debug_assertions))]
fn offset() -> time::Duration {
    time::Duration::ZERO
}

#[cfg(debug_assertions)]
fn offset() -> time::Duration {
    use std::sync::OnceLock;

    static OFFSET: OnceLock<time::Duration> = OnceLock::new();
    *OFFSET.get_or_init(|| match std::env::var(CLOCK_OFFSET_MS) {
        Ok(text) => match text.parse() {
            Ok(ms) => time::Duration::milliseconds(ms),
            Err(_) => crate::step::refuse(CLOCK_OFFSET_MS, &text, "a number of milliseconds"),
        },
        Err(_) => time::Duration::ZERO,
    })
}
