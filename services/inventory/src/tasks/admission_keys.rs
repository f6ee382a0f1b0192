//! The background task that keeps the public keys of admissions up to date.

use std::time::Duration;

use flashsale_service::{Drain, periodic};

use crate::app::admissions::Admissions;

/// How often the keys are fetched.
const FETCH_EVERY: Duration = Duration::from_secs(30);

/// Fetches the keys periodically until the drain starts.
///
/// # Errors
/// None: while the waiting room is away the known keys stay valid.
pub async fn run(admissions: Admissions, drain: Drain) -> anyhow::Result<()> {
    periodic(FETCH_EVERY, &drain, || admissions.refresh()).await;
    Ok(())
}
