//! What may happen to the stock: Redis is killed, wiped, stopped, robbed of a key or replaced by a
//! replica that lags, an old one goes on serving or comes back with the replica's data, replies and
//! messages are lost or late, inventory dies between any two of its steps, and clocks are off.

mod clocks;
mod failover;
mod killed;
mod late_publish;
mod lost_reply;
mod redis;
mod tour;

use crate::{figures::Zeros, task::Fault};

/// What each of them counts and must come to nothing.
pub(crate) const ZEROS: Zeros = &[
    ("oversold", "units oversold"),
    ("leaked_units", "units leaked"),
    ("double_executions", "requests carried out twice"),
    ("old_epoch_served", "orders served by an old epoch"),
];

/// All of them.
pub(crate) fn faults() -> Vec<Fault> {
    let points = 2 * killed::steps_toured().count() as u64;
    vec![
        Fault {
            name: "lost_reply",
            full: 1_000,
            short: 40,
            run: |task, figures| Box::pin(lost_reply::run(task, figures)),
        },
        Fault {
            name: "redis_killed",
            full: 20,
            short: 2,
            run: |task, figures| Box::pin(redis::killed(task, figures)),
        },
        Fault {
            name: "flushall",
            full: 10,
            short: 1,
            run: |task, figures| Box::pin(redis::flushed(task, figures)),
        },
        Fault {
            name: "evicted_key",
            full: 18,
            short: 2,
            run: |task, figures| Box::pin(redis::evicted(task, figures)),
        },
        Fault {
            name: "failover",
            full: 20,
            short: 1,
            run: |task, figures| Box::pin(failover::run(task, figures)),
        },
        Fault {
            name: "failover_of_many",
            full: 3,
            short: 0,
            run: |task, figures| Box::pin(failover::of_many(task, figures)),
        },
        Fault {
            name: "old_primary",
            full: 20,
            short: 1,
            run: |task, figures| Box::pin(failover::old_primary(task, figures)),
        },
        Fault {
            name: "failback",
            full: 20,
            short: 1,
            run: |task, figures| Box::pin(failover::failback(task, figures)),
        },
        Fault {
            name: "late_publish",
            full: 10,
            short: 1,
            run: |task, figures| Box::pin(late_publish::run(task, figures)),
        },
        Fault {
            name: "redis_stopped",
            full: 10,
            short: 1,
            run: |task, figures| Box::pin(redis::stopped(task, figures)),
        },
        Fault {
            name: "inventory_killed",
            full: points,
            short: 4,
            run: |task, figures| Box::pin(killed::run(task, figures)),
        },
        Fault {
            name: "clocks",
            full: 4,
            short: 1,
            run: |task, figures| Box::pin(clocks::run(task, figures)),
        },
    ]
}
