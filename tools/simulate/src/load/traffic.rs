//! Lets buyers come when the schedule says, whatever became of those before them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, rngs::StdRng};
use tokio::{sync::Semaphore, task::JoinSet};

use super::schedule::Schedule;
use crate::crowd::{Crowd, Latency, Mix, turned_away, visit};

/// How long those who are inside when the last one has come may take to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(300);

/// The buyers of a load. No buyer waits for an answer to another, and none is delayed: one that
/// finds `max_in_flight` visits under way is not let come at all, and counted.
#[derive(Debug)]
pub(super) struct Traffic {
    pub(super) crowd: Arc<Crowd>,
    pub(super) began: Instant,
    max_in_flight: usize,
    slots: Arc<Semaphore>,
    /// Buyers whose moment has come.
    pub(super) scheduled: AtomicU64,
    /// Of them, those who found no place under the bound.
    pub(super) dropped: AtomicU64,
    /// Buyers whose visit has ended, however.
    pub(super) ended: AtomicU64,
    /// Of them, those who were refused until they gave up, each time typed and with an invitation
    /// to come again.
    pub(super) turned_away: AtomicU64,
    /// How much later than scheduled buyers were sent on their way.
    pub(super) lag: Latency,
}

impl Traffic {
    pub(super) fn new(crowd: Arc<Crowd>, max_in_flight: usize) -> anyhow::Result<Self> {
        Ok(Self {
            crowd,
            began: Instant::now(),
            max_in_flight,
            slots: Arc::new(Semaphore::new(max_in_flight)),
            scheduled: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            lag: Latency::new(3)?,
        })
    }

    /// Visits under way.
    pub(super) fn in_flight(&self) -> usize {
        self.max_in_flight.saturating_sub(self.slots.available_permits())
    }

    /// Lets everybody come, and waits until the last one has left or patience is at an end.
    /// Dropped, it ends all visits.
    pub(super) async fn run(self: &Arc<Self>, schedule: &Schedule, mix: &Mix) {
        let mut inside = JoinSet::new();
        let moments = schedule.arrivals(StdRng::seed_from_u64(self.crowd.seed));
        for (number, moment) in moments.enumerate() {
            let due = self.began + moment;
            tokio::time::sleep_until(due.into()).await;
            self.lag.record(due.elapsed());
            self.scheduled.fetch_add(1, Ordering::Relaxed);
            while inside.try_join_next().is_some() {}
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let traffic = Arc::clone(self);
            let intent = mix.draw(&mut self.crowd.rng(number));
            inside.spawn(async move {
                let crowd = &traffic.crowd;
                match visit(crowd, number, intent, due).await {
                    Ok(()) => {}
                    Err(error) if turned_away(&error) => {
                        traffic.turned_away.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => crowd.fail(format!("buyer {number} ({intent:?}): {error:#}")),
                }
                traffic.ended.fetch_add(1, Ordering::Relaxed);
                drop(slot);
            });
        }
        tokio::time::timeout(LEAVE_WITHIN, async { while inside.join_next().await.is_some() {} })
            .await
            .ok();
    }
}
