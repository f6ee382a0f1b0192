//! Waiting for what has to come.

use std::{future::Future, time::Duration};

use anyhow::bail;
use tokio::time::{Instant, sleep};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Asks until there is an answer. A failure is only told when the time is over: things fail here.
pub(crate) async fn until_some<T, E: std::fmt::Display, Fut>(
    within: Duration,
    what: &str,
    ask: impl Fn() -> Fut,
) -> anyhow::Result<T>
where
    Fut: Future<Output = Result<Option<T>, E>>,
{
    let until = Instant::now() + within;
    loop {
        let asked = ask().await;
        if let Ok(Some(answer)) = asked {
            return Ok(answer);
        }
        if Instant::now() >= until {
            let last = asked.err().map_or_else(String::new, |error| format!(" ({error:#})"));
            bail!("not within {within:?}: {what}{last}");
        }
        sleep(POLL).await;
    }
}
