//! What may happen to placed orders: the queue is killed, wiped, filled, poisoned or told
//! everything twice, the record dies or hangs, the order worker and sale die between any two of their
//! steps, a claimer is overtaken by another one, mails find no server, and services are rolled.

pub(crate) mod books;
mod cancels;
mod dead_letters;
mod killed;
mod mails;
mod paused;
mod poison;
mod queue;
mod record;
mod rolling;
mod sale_killed;
mod tour;

use std::time::Duration;

use rand::Rng as _;
use tokio::time::sleep;

use crate::{
    crowd::Manners,
    figures::{Figures, Zeros},
    platform::SaleSpec,
    task::{Fault, Round, Task},
};

/// What each of them counts and must come to nothing.
pub(crate) const ZEROS: Zeros = &[
    ("lost_orders", "orders lost"),
    ("duplicate_orders", "orders recorded or ended twice"),
    ("oversold", "units oversold"),
    ("duplicate_mails", "mails written twice"),
    ("failed_accepted", "accepted orders that were unknown or never ended"),
];

/// All of them.
pub(crate) fn faults() -> Vec<Fault> {
    vec![
        Fault {
            name: "nats_killed",
            full: 60,
            short: 3,
            run: |task, figures| Box::pin(queue::killed(task, figures)),
        },
        Fault {
            name: "queue_wiped",
            full: 5,
            short: 1,
            run: |task, figures| Box::pin(queue::wiped(task, figures)),
        },
        Fault {
            name: "events_wiped",
            full: 5,
            short: 1,
            run: |task, figures| Box::pin(queue::events_wiped(task, figures)),
        },
        Fault {
            name: "published_again",
            full: 5,
            short: 1,
            run: |task, figures| Box::pin(queue::published_again(task, figures)),
        },
        Fault {
            name: "cancel_races",
            full: 1_000,
            short: 60,
            run: |task, figures| Box::pin(cancels::run(task, figures)),
        },
        Fault {
            name: "queue_full",
            full: 3,
            short: 1,
            run: |task, figures| Box::pin(queue::full(task, figures)),
        },
        Fault {
            name: "poison",
            full: 3,
            short: 1,
            run: |task, figures| Box::pin(poison::run(task, figures)),
        },
        Fault {
            name: "postgres_killed",
            full: 5,
            short: 1,
            run: |task, figures| Box::pin(record::killed(task, figures)),
        },
        Fault {
            name: "postgres_stalled",
            full: 2,
            short: 1,
            run: |task, figures| Box::pin(record::stalled(task, figures)),
        },
        Fault {
            name: "order_worker_killed",
            full: 200,
            short: 3,
            run: |task, figures| Box::pin(killed::run(task, figures)),
        },
        Fault {
            name: "sale_killed",
            full: sale_killed::points(),
            short: 1,
            run: |task, figures| Box::pin(sale_killed::run(task, figures)),
        },
        Fault {
            name: "claimers_paused",
            full: 5,
            short: 1,
            run: |task, figures| Box::pin(paused::run(task, figures)),
        },
        Fault {
            name: "smtp_down",
            full: 2,
            short: 1,
            run: |task, figures| Box::pin(mails::down(task, figures)),
        },
        Fault {
            name: "rolling_restart",
            full: 2,
            short: 1,
            run: |task, figures| Box::pin(rolling::run(task, figures)),
        },
    ]
}

/// A sale in the middle of its rush, whose buyers care what becomes of their orders.
pub(crate) async fn rush(task: &mut Task) -> anyhow::Result<Round> {
    task.round(SaleSpec::default(), Manners::lively()).await
}

/// Lets the buyers place some more orders and end, and reads what became of all of them.
async fn calm(task: &mut Task, round: Round, figures: &mut Figures) -> anyhow::Result<()> {
    task.goes_on(&round.crowd).await?;
    let story = round.crowd.leave().await;
    books::conclude(task, &round.sale, &[story], figures).await
}

/// A moment of some length within `ms`.
async fn a_moment(task: &mut Task, ms: std::ops::Range<u64>) {
    sleep(Duration::from_millis(task.random.random_range(ms))).await;
}
