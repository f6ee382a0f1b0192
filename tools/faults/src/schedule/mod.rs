//! What may happen to a sale that is to open by itself: sale dies between any two of its steps, all
//! of its instances stand still across the start and the end, Postgres is away at the start, Redis
//! loses everything before it, clocks are off, a sale is paused and resumed under its buyers, its
//! prices change, and it is called off in the instant in which it opens. Units go by the clock of
//! Redis, and the record follows.

mod buyers;
mod cancels;
mod clocks;
mod flushed;
mod killed;
mod others;
mod paused;
mod postgres;
mod prices;
mod record;
mod reprice;
mod shop;
mod stopped;

use std::time::Duration;

pub(crate) use reprice::OF_INVENTORY as INVENTORY_STEPS_OF_PRICES;
use tokio::time::sleep;

use crate::{crowd::now_ms, figures::Zeros, platform::SaleSpec, task::Fault};

/// What each of them counts and must come to nothing.
pub(crate) const ZEROS: Zeros = &[
    ("early_accepted", "holds taken before the start"),
    ("late_accepted", "holds taken after the end"),
    ("taken_while_paused", "holds taken while the sale was paused"),
    ("cancelled_with_orders", "holds and orders of sales that were called off"),
    ("old_price_taken", "units taken at an old price after the switch"),
    ("new_price_taken", "units taken at a new price before the switch"),
    ("foreign_prices", "lines at a price that their revision does not have"),
    ("versions_wrong", "versions that the history lacks or does not follow on from"),
    ("oversold", "units oversold"),
];

/// Holds that run out soon: what buyers leave behind is not waited for longer than that.
const SPEC: SaleSpec = SaleSpec { scarce: 30, hold: Duration::from_secs(5), room: false };

/// All of them.
pub(crate) fn faults() -> Vec<Fault> {
    vec![
        Fault {
            name: "schedule_killed",
            full: 5 * killed::points(),
            short: 1,
            run: |task, figures| Box::pin(killed::run(task, figures)),
        },
        Fault {
            name: "all_stopped",
            full: 10,
            short: 1,
            run: |task, figures| Box::pin(stopped::run(task, figures)),
        },
        Fault {
            name: "postgres_away_at_start",
            full: 6,
            short: 1,
            run: |task, figures| Box::pin(postgres::run(task, figures)),
        },
        Fault {
            name: "flushed_while_prepared",
            full: 6,
            short: 1,
            run: |task, figures| Box::pin(flushed::run(task, figures)),
        },
        Fault {
            name: "sale_clocks",
            full: 4,
            short: 1,
            run: |task, figures| Box::pin(clocks::run(task, figures)),
        },
        Fault {
            name: "pause_under_load",
            full: 50,
            short: 4,
            run: |task, figures| Box::pin(paused::run(task, figures)),
        },
        Fault {
            name: "reprice",
            full: 3 * reprice::count(),
            short: 1,
            run: |task, figures| Box::pin(reprice::run(task, figures)),
        },
        Fault {
            name: "cancel_races",
            full: 200,
            short: 8,
            run: |task, figures| Box::pin(cancels::run(task, figures)),
        },
    ]
}

/// This machine's clock, which is that of its stores, too.
fn now() -> i64 {
    i64::try_from(now_ms()).unwrap_or(i64::MAX)
}

/// Waits until that clock shows so many milliseconds.
async fn sleep_until(at_ms: i64) {
    let left_ms = u64::try_from(at_ms - now()).unwrap_or(0);
    sleep(Duration::from_millis(left_ms)).await;
}
