//! Kill points, in turn.

use flashsale_failpoint::Moment;
use futures::future::BoxFuture;
use rand::{Rng as _, seq::SliceRandom as _};
use serde_json::json;

use crate::{figures::Figures, task::Task};

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
        format!("{step}:{moment}:{count}")
    }
}

/// Dies at one of them; whether it was come by.
type At = for<'a> fn(&'a mut Task, Point, &'a mut Figures) -> BoxFuture<'a, anyhow::Result<bool>>;

/// Has `at` done at the points of these steps in turn, as often as the task asks. `times` says how often a step is come by at least.
pub(crate) async fn each(
    task: &mut Task,
    figures: &mut Figures,
    steps: impl IntoIterator<Item = &'static str>,
    times: fn(&str) -> u32,
    at: At,
) -> anyhow::Result<()> {
    let mut points: Vec<(&str, Moment)> =
        steps.into_iter().flat_map(|step| Moment::ALL.map(|moment| (step, moment))).collect();
    points.shuffle(&mut task.random);
    let asked = usize::try_from(task.asked)?;
    let mut unreached = Vec::new();
    for (step, moment) in points.iter().copied().cycle().take(asked) {
        // In the middle of things, not always at the first of its kind; but rather there than never.
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
