//! What may happen between payment and its provider: answers that are lost, wrong or late, a
//! provider that is away, slow or limits calls, events that come twice, late or forged, refunds that
//! fail, and payment, Postgres or the provider dying in the middle. Most of it is done to orders that
//! are recorded past the other services, many at once.

mod answers;
mod book;
mod calls;
mod death;
mod events;
mod killed;
mod outage;
mod pace;
mod provider;
mod refunds;

use crate::{figures::Zeros, task::Fault};

/// What each of them counts and must come to nothing.
pub(crate) const ZEROS: Zeros = &[
    ("double_captures", "orders captured twice"),
    ("money_difference_minor", "cents by which the record and the provider differ"),
    ("unrefunded_orphans", "orders that ended unpaid and whose money was kept"),
    ("orders_lost", "orders at no end"),
    ("second_intents", "orders with more than one intent"),
    ("given_up_while_waiting", "orders given up before their time was over"),
    ("declined_without_a_card", "orders declined whose card is good"),
    ("stuck", "payments stuck"),
];

/// All of them.
pub(crate) fn faults() -> Vec<Fault> {
    vec![
        Fault {
            name: "answers",
            full: answers::kinds(),
            short: 3,
            run: |task, figures| Box::pin(answers::run(task, figures)),
        },
        Fault {
            name: "provider_down",
            full: 1,
            short: 1,
            run: |task, figures| Box::pin(outage::down(task, figures)),
        },
        Fault {
            name: "slow_provider",
            full: 2,
            short: 0,
            run: |task, figures| Box::pin(pace::slow(task, figures)),
        },
        Fault {
            name: "decline_storm",
            full: 1,
            short: 1,
            run: |task, figures| Box::pin(pace::declines(task, figures)),
        },
        Fault {
            name: "two_instances",
            full: 1,
            short: 1,
            run: |task, figures| Box::pin(pace::shared(task, figures)),
        },
        Fault {
            name: "longer_than_patience",
            full: 3,
            short: 1,
            run: |task, figures| Box::pin(outage::longer_than_patience(task, figures)),
        },
        Fault {
            name: "forced_open",
            full: 1,
            short: 0,
            run: |task, figures| Box::pin(outage::forced_open(task, figures)),
        },
        Fault {
            name: "events",
            full: events::ways(),
            short: 3,
            run: |task, figures| Box::pin(events::run(task, figures)),
        },
        Fault {
            name: "payment_killed",
            full: killed::points().max(200),
            short: 1,
            run: |task, figures| Box::pin(killed::run(task, figures)),
        },
        Fault {
            name: "paused_past_lease",
            full: 5,
            short: 1,
            run: |task, figures| Box::pin(death::paused(task, figures)),
        },
        Fault {
            name: "postgres_lost",
            full: 3,
            short: 1,
            run: |task, figures| Box::pin(death::postgres(task, figures)),
        },
        Fault {
            name: "refunds",
            full: refunds::ways(),
            short: 1,
            run: |task, figures| Box::pin(refunds::run(task, figures)),
        },
        Fault {
            name: "stand_in_killed",
            full: 1,
            short: 1,
            run: |task, figures| Box::pin(death::provider(task, figures)),
        },
    ]
}
