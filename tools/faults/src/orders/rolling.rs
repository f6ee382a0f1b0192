//! Every service is stopped in order and started again, one after the other, while buyers go on.

use std::time::Duration;

use rand::seq::SliceRandom as _;

use super::{calm, rush};
use crate::{figures::Figures, task::Task};

/// What Kubernetes allows before it kills.
const GRACE: Duration = Duration::from_secs(30);

/// SIGTERM to each in turn, in some order.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    for _ in 0..task.asked {
        let round = rush(task).await?;
        let mut order: Vec<usize> = (0..6).collect();
        order.shuffle(&mut task.random);
        for number in order {
            let platform = &task.platform;
            let (name, service) = match number {
                0 => ("sale", &platform.services.sale),
                1 => ("waiting-room", &platform.services.waiting_room),
                2 => ("inventory", &platform.services.inventory),
                3 => ("checkout", &platform.services.checkout),
                4 => ("order-worker", &platform.services.worker),
                _ => ("payment", &platform.services.payment),
            };
            match service.roll(GRACE).await {
                Ok(drained) => figures.longest("drain_seconds_max", drained),
                Err(error) => figures.broken.push(format!("{name}: {error:#}")),
            }
            figures.count("restarts", 1);
            task.goes_on(&round.crowd).await?;
        }
        calm(task, round, figures).await?;
        figures.runs += 1;
    }
    Ok(())
}
