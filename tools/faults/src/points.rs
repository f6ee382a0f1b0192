//! Kill points, in turn.

use std::time::Duration;

use flashsale_failpoint::{KillPoint, Moment};
use flashsale_testbed::platform::Service;
use futures::future::BoxFuture;
use rand::{Rng as _, seq::SliceRandom as _};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{figures::Figures, task::Task};

/// How often a service is looked at that is to die.
const POLL: Duration = Duration::from_millis(5);

/// A step, before or after it, and which time it is come by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) step: &'static str,
    pub(crate) moment: Moment,
    pub(crate) count: u32,
}

impl Point {
    /// As it is armed.
    pub(crate) fn armed(self) -> String {
        let Self { step, moment, count } = self;
        KillPoint { step: step.to_owned(), moment, count }.to_string()
    }
}

/// Waits until a service has died at its point; false if that takes longer than `within`.
pub(crate) async fn was_reached(service: &Service, within: Duration) -> bool {
    timeout(within, is_reached(service, &CancellationToken::new())).await.unwrap_or(false)
}

/// Waits until a service has died at its point; false if it has not when it is `over`.
pub(crate) async fn is_reached(service: &Service, over: &CancellationToken) -> bool {
    loop {
        // In this order: it may have died of the last thing that was asked of it.
        let over = over.is_cancelled();
        if service.was_killed().await {
            return true;
        }
        if over {
            return false;
        }
        sleep(POLL).await;
    }
}

/// Dies at one of them; whether it was come by.
type At = for<'a> fn(&'a mut Task, Point, &'a mut Figures) -> BoxFuture<'a, anyhow::Result<bool>>;

/// Has `at` done at the points of these steps in turn, as often as the task asks. `times` says how
/// often a step is come by at least.
pub(crate) async fn each(
    task: &mut Task,
    figures: &mut Figures,
    steps: impl IntoIterator<Item = &'static str>,
    times: fn(&str) -> u32,
    at: At,
) -> anyhow::Result<()> {
    let mut points: Vec<(&str, Moment)> =
        steps.into_iter().flat_map(|step| Moment::ALL.map(|moment| (step, moment))).collect();
    let asked = usize::try_from(task.asked)?;
    let mut turns = Vec::with_capacity(asked);
    while turns.len() < asked && !points.is_empty() {
        // Each of them once, then each once more in another order.
        points.shuffle(&mut task.random);
        turns.extend(points.iter().copied().take(asked - turns.len()));
    }
    let mut unreached = Vec::new();
    for (step, moment) in turns {
        // In the middle of things, not always at the first of its kind; but rather there than
        // never.
        let count = task.random.random_range(1..=times(step));
        let mut reached = at(task, Point { step, moment, count }, figures).await?;
        if !reached && count > 1 {
            reached = at(task, Point { step, moment, count: 1 }, figures).await?;
        }
        if reached {
            figures.runs += 1;
        } else {
            unreached.push(format!("{step}:{moment}"));
        }
    }
    figures.expect(unreached.is_empty(), || format!("never came by {}", unreached.join(", ")));
    let asked = asked.min(points.len());
    unreached.sort();
    unreached.dedup();
    figures.count("points", points.len() as u64);
    figures.count("points_asked", asked as u64);
    figures.count("points_hit", (asked - unreached.len().min(asked)) as u64);
    figures.more.insert("points_not_hit".to_owned(), json!(unreached));
    Ok(())
}
