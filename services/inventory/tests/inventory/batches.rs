//! Requests of one batch share a run of the script, and each is decided as if it were alone, on
//! what those before it left.

use std::time::Duration;

use flashsale_inventory::domain::{Line, Refusal, Request, Retaken, Straggler};
use flashsale_service::deadline;
use futures::future::{join, join_all};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    books::assert_books_balance,
    world::{DETAILS, SaleSpec, World, extend, good, place_lines, reserve, world},
};

/// How many scripts Redis has run, including this one.
async fn scripts_run(world: &World) -> u64 {
    let stats = world.lua("return redis.call('INFO', 'commandstats')", vec![]).await;
    let stats = stats.into_string().unwrap();
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap();
    calls.split(',').next().unwrap().parse().unwrap()
}

/// Sends all of them at once and returns their answers, and how many runs they took.
async fn together<T>(world: &World, asked: impl IntoIterator<Item = T>) -> (Vec<T::Output>, u64)
where
    T: Future,
{
    // All that had to be loaded or looked up is there now.
    let before = scripts_run(world).await;
    let answers = join_all(asked).await;
    (answers, scripts_run(world).await - before - 1)
}

/// A sale that inventory has already served.
async fn warm_sale(world: &World, spec: SaleSpec, items: &[(&str, i64, i64, i64)]) -> Uuid {
    let sale = world.sale(spec, items).await;
    let proof = good("warm");
    world.ask_with(&reserve(sale, "warm", &[(items[0].0, 1)]), &proof).await.unwrap();
    scripts_run(world).await;
    sale
}

#[tokio::test]
async fn crowd_shares_runs() {
    let world = world().await;
    let sale = warm_sale(&world, SaleSpec::default(), &[("a", 1_000, 0, 1)]).await;
    let crowd: Vec<Request> =
        (0..500).map(|number| reserve(sale, &format!("buyer-{number}"), &[("a", 1)])).collect();
    let (answers, runs) = together(&world, crowd.iter().map(|request| world.ask(request))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| !answer.replayed)));
    // 500 need at least eight runs.
    assert!((8..=20).contains(&runs), "{runs} runs");
    let alone = reserve(sale, "alone", &[("a", 1)]);
    assert_eq!(together(&world, [world.ask(&alone)]).await.1, 1);
    assert_eq!(world.books(sale, "a").await, [498, 502, 0, 0]);
    assert_books_balance(&world, sale).await;
}

#[tokio::test]
async fn long_requests_share_less() {
    let world = world().await;
    let skus: Vec<String> = (0..50).map(|number| format!("sku-{number}")).collect();
    let items: Vec<_> = skus.iter().map(|sku| (sku.as_str(), 100, 0, 1)).collect();
    let sale = warm_sale(&world, SaleSpec::default(), &items).await;
    let asked: Vec<_> = skus.iter().map(|sku| (sku.as_str(), 1)).collect();
    let crowd: Vec<Request> =
        (0..20).map(|number| reserve(sale, &format!("buyer-{number}"), &asked)).collect();
    let (answers, runs) = together(&world, crowd.iter().map(|request| world.ask(request))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(runs, 4, "1,000 lines, at most 256 in a run");
    assert_books_balance(&world, sale).await;
}

#[tokio::test]
async fn batch_is_decided_in_order() {
    let world = world().await;
    let sale = warm_sale(&world, SaleSpec::default(), &[("a", 9, 3, 1), ("b", 1, 0, 1)]).await;
    let one = reserve(sale, "ada", &[("a", 2)]);
    let reused = Request { content: reserve(sale, "", &[("a", 1)]).content, ..one.clone() };
    let other_operation =
        Request { content: place_lines(sale, "", &[("a", 2)]).content, ..one.clone() };
    let asked = [
        one.clone(),
        // A repetition, and its id with other content.
        one.clone(),
        reused,
        other_operation,
        // The buyer's limit is nearly used up by requests that are not written yet.
        reserve(sale, "ada", &[("a", 2)]),
        place_lines(sale, "ada", &[("a", 1)]),
        // The last unit.
        place_lines(sale, "bob", &[("b", 1)]),
        reserve(sale, "cyd", &[("a", 1), ("b", 1)]),
        reserve(sale, "cyd", &[("a", 1), ("none", 1)]),
        reserve(sale, "cyd", &[("a", 1)]),
    ];
    let (answers, runs) = together(&world, asked.iter().map(|request| world.ask(request))).await;
    assert_eq!(runs, 1);
    let taken = |index: usize| answers[index].as_ref().unwrap();
    let refused = |index: usize| answers[index].as_ref().unwrap_err();
    assert!(!taken(0).replayed && taken(1).replayed);
    assert_eq!(taken(0).hold, taken(1).hold);
    assert_eq!([refused(2), refused(3)], [&Refusal::RequestReused; 2]);
    let limit = Refusal::BuyerLimit { sku: "a".to_owned(), limit: 3, has: 2, requested: 2 };
    assert_eq!(refused(4), &limit);
    assert!(!taken(5).replayed && !taken(6).replayed && !taken(9).replayed);
    let sold_out = Refusal::SoldOut { sku: "b".to_owned(), available: 0, requested: 1 };
    assert_eq!(refused(7), &sold_out);
    assert_eq!(refused(8), &Refusal::SkuUnknown { sku: "none".to_owned() });
    assert_eq!(world.books(sale, "a").await, [4, 4, 1, 0]);
    assert_eq!(world.books(sale, "b").await, [0, 0, 1, 0]);
    assert_books_balance(&world, sale).await;

    // The store has what the answers say.
    for index in [0, 5, 6, 9] {
        assert_eq!(world.hold(sale, taken(index).hold.hold_id).await, taken(index).hold);
    }
    // A request id that changed a hold takes none.
    let extended = extend(sale, "cyd", taken(9).hold.hold_id);
    world.ask(&extended).await.unwrap();
    let taking = Request { content: reserve(sale, "", &[("a", 1)]).content, ..extended };
    assert_eq!(world.ask(&taking).await, Err(Refusal::RequestReused));
}

#[tokio::test]
async fn admission_is_spent_once_in_batch() {
    let world = world().await;
    let spec = SaleSpec { room: true, ..SaleSpec::default() };
    let sale = warm_sale(&world, spec, &[("a", 9, 0, 1)]).await;
    let proof = good("one");
    let asked = [reserve(sale, "ada", &[("a", 1)]), reserve(sale, "ada", &[("a", 2)])];
    let (answers, runs) =
        together(&world, asked.iter().map(|request| world.ask_with(request, &proof))).await;
    assert_eq!(runs, 1);
    let hold_id = answers[0].as_ref().unwrap().hold.hold_id.to_string();
    assert_eq!(answers[1], Err(Refusal::AdmissionSpent { hold_id }));
}

#[tokio::test]
async fn abandoned_request_takes_nothing() {
    let world = world().await;
    let sale = warm_sale(&world, SaleSpec::default(), &[("a", 9, 0, 1)]).await;
    let (hasty, patient) = (reserve(sale, "ada", &[("a", 1)]), reserve(sale, "bob", &[("a", 2)]));
    let within = |ms: u64, request| {
        deadline::within(Instant::now() + Duration::from_millis(ms), world.ask(request))
    };
    world.redis.server.pause();
    let gave_up = async {
        assert_eq!(within(50, &hasty).await, Err(Refusal::Unanswered));
        // The store hangs for longer than its clock may differ from ours.
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.redis.server.resume();
    };
    let ((), answer) = join(gave_up, within(5_000, &patient)).await;
    answer.unwrap();
    // The hold from before, and the two of the patient caller.
    assert_eq!(world.books(sale, "a").await, [6, 3, 0, 0]);
    assert!(!world.ask(&hasty).await.unwrap().replayed);
}

#[tokio::test]
async fn outage_reaches_every_waiter() {
    let world = world().await;
    let sale = warm_sale(&world, SaleSpec::default(), &[("a", 900, 0, 1)]).await;
    world.lua("redis.call('FLUSHALL')", vec![]).await;
    let asked: Vec<Request> =
        (0..200).map(|number| reserve(sale, &format!("buyer-{number}"), &[("a", 1)])).collect();
    let (answers, _) = together(&world, asked.iter().map(|request| world.ask(request))).await;
    assert!(answers.iter().all(|answer| *answer == Err(Refusal::Fenced)), "{answers:?}");
}

#[tokio::test]
async fn retaken_order_answers_its_request() {
    let world = world().await;
    let sale = warm_sale(&world, SaleSpec::default(), &[("a", 9, 0, 5)]).await;
    let ordered = place_lines(sale, "ada", &[("a", 2)]);
    // The order's own epoch is gone; its buyer fills a cart under the same request id before the
    // order is retaken.
    let cart = Request { content: reserve(sale, "", &[("a", 2)]).content, ..ordered.clone() };
    let held = world.ask(&cart).await.unwrap().hold;
    let straggler = Straggler {
        hold_id: held.hold_id,
        order_id: held.hold_id,
        buyer_id: "ada".to_owned(),
        admission_id: None,
        request_id: ordered.request_id.to_string(),
        request_hash: ordered.hash(),
        placed_ms: held.deadline_ms,
        lines: vec![(Line { sku: "a".to_owned(), quantity: 2 }, 1)],
        details: DETAILS.to_owned(),
    };
    let retaken = world.inventory.retake(sale, 1, &[straggler]).await.unwrap();
    assert_eq!(retaken, (1, vec![Retaken::Taken]));
    let again = world.ask(&ordered).await.unwrap();
    assert!(again.replayed);
    assert_eq!((again.hold.hold_id, again.hold.order_id), (held.hold_id, Some(held.hold_id)));
    assert_eq!(world.ask(&cart).await, Err(Refusal::RequestReused));
    assert_eq!(world.books(sale, "a").await, [6, 1, 2, 0]);
}
