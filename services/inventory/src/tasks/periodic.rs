//! Work that is repeated until the drain starts.

use std::time::Duration;

use flashsale_service::Drain;
use tokio::time::{MissedTickBehavior, interval};

/// Runs `work` every `every`, one run at a time, until the drain starts, which also cancels a run
/// under way.
pub(super) async fn periodically<Fut>(every: Duration, drain: &Drain, work: impl Fn() -> Fut)
where
    Fut: Future<Output = ()>,
{
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let turns = async {
        loop {
            ticks.tick().await;
            work().await;
        }
    };
    tokio::select! {
        () = drain.started() => {}
        () = turns => {}
    }
}
