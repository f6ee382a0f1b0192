//! The provider's answers are lost, wrong or late, each kind for itself, while orders are paid.

use std::{collections::BTreeSet, time::Duration};

use flashsale_auditor::Invariant;
use rand::seq::SliceRandom as _;
use serde_json::json;

use super::{
    book::{Book, CARD, OF_MONEY, brisk, serve},
    provider::{relent, strike_some, traffic},
};
use crate::{figures::Figures, patience::until_some, task::Task};

/// What may come of a call in place of its answer, as the stand-in names it.
const KINDS: [&str; 16] = [
    "hang_before",
    "hang_after",
    "reset_before",
    "reset_after",
    "html_502_before",
    "html_502_after",
    "error_500",
    "error_500_after",
    "conflict_409",
    "lock_timeout_429",
    "rate_limit_429",
    "unauthorized_401",
    "parameter_unknown_400",
    "refused_400",
    "unreadable_200",
    WRONG_AMOUNT,
];
/// Takes one cent too little. The order ends without a payment then, and the money goes back.
const WRONG_AMOUNT: &str = "wrong_amount";
/// The share of calls that it comes of.
const SHARE: f64 = 0.3;
/// Orders that are paid meanwhile, and in the short form.
const ORDERS: (usize, usize) = (40, 20);
/// How long it may take until so many calls were struck that it is enough, or all is paid.
const STRUCK_WITHIN: Duration = Duration::from_secs(30);

/// How many kinds there are.
pub(super) fn kinds() -> u64 {
    KINDS.len() as u64
}

/// Each kind in turn.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let settings = brisk(&task.platform);
    serve(&mut task.platform, settings).await?;
    let mut kinds = KINDS;
    kinds.shuffle(&mut task.random);
    let mut done = BTreeSet::new();
    for kind in kinds.into_iter().cycle().take(usize::try_from(task.asked)?) {
        let before = figures.broken.len();
        one(task, kind, figures).await?;
        if figures.broken.len() > before {
            figures.broken.push(format!("that was {kind}"));
        }
        done.insert(kind);
        figures.runs += 1;
    }
    figures.more.insert("kinds".to_owned(), json!(done));
    Ok(())
}

/// Has a share of all calls that change something end in this way until it is enough, and then none.
async fn one(task: &Task, kind: &str, figures: &mut Figures) -> anyhow::Result<()> {
    let platform = &task.platform;
    let orders = if task.short { ORDERS.1 } else { ORDERS.0 };
    let book = Book::of(platform, orders, CARD).await?;
    let before = traffic(platform).await?.struck;
    strike_some(platform, "POST *", kind, SHARE).await?;
    book.pay(platform).await?;
    let enough = before + orders as u64 / 4;
    let struck = until_some(STRUCK_WITHIN, "calls are struck", async || {
        let struck = traffic(platform).await?.struck;
        let over = struck >= enough || book.under_way(platform).await? == 0;
        anyhow::Ok(over.then_some(struck))
    })
    .await;
    relent(platform).await?;
    let struck = struck? - before;
    figures.expect(struck > 0, || "no call was struck".to_owned());
    figures.count("calls_struck", struck);
    if kind == WRONG_AMOUNT {
        // What was captured is not what the orders cost, on purpose.
        let others = OF_MONEY.into_iter().filter(|promise| *promise != Invariant::I9);
        let promises: Vec<Invariant> = others.collect();
        book.conclude_by(platform, &["CONFIRMED", "CANCELLED"], &promises, figures).await?;
        let by_another_reason: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM orders
             WHERE sale_id = $1 AND state = 'CANCELLED' AND end_reason IS DISTINCT FROM 'amount_mismatch'",
        )
        .bind(book.sale.id)
        .fetch_one(&platform.pool)
        .await?;
        figures.expect(by_another_reason == 0, || {
            format!("{by_another_reason} orders were cancelled for another reason")
        });
        return Ok(());
    }
    book.conclude(platform, &["CONFIRMED"], figures).await
}
