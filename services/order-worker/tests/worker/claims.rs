//! The claims' transaction, over Postgres alone.

use flashsale_order_worker::store::{
    claims::{Claimed, claim},
    position,
    received::receive,
};
use flashsale_pg::PgConfig;
use flashsale_queue::{ORDERS, OrderMessage, QueueMessage};
use flashsale_testbed::fixtures::PriceRevision;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::shop::{EPOCH, REVIEW, Shop, at, batch, cancel, done, in_revision, place, reprice};

const CLAIMED: [&str; 2] = ["charge/CLAIMED", "event/CLAIMED"];
const CANCELLED: [&str; 3] = ["close_hold/RELEASED", "event/CANCELLED", "mail/CANCELLED"];

#[tokio::test]
async fn a_claim_writes_order_history_and_outbox() {
    let shop = Shop::open(&[("A", 10), ("B", 10)]).await;
    let order = shop.order(&[("A", 2), ("B", 3)]);
    shop.claim(&[place(&order)]).await;

    assert_eq!(shop.state(order.order_id).await.as_deref(), Some("CLAIMED"));
    assert_eq!(shop.history(order.order_id).await, [">CLAIMED:claimed"]);
    assert_eq!(shop.owed(order.order_id).await, CLAIMED);
    assert_eq!((shop.units_claimed("A").await, shop.units_claimed("B").await), (2, 3));
    assert_eq!(shop.position().await.seq, 1);
    let placed_at: OffsetDateTime =
        sqlx::query_scalar("SELECT placed_at FROM orders").fetch_one(shop.pool()).await.unwrap();
    assert_eq!(placed_at.unix_timestamp(), 1_795_000_000);
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn a_redelivered_message_changes_nothing() {
    let shop = Shop::open(&[("A", 10)]).await;
    let order = shop.order(&[("A", 1)]);
    // Twice in one batch, then once more in another.
    let first = shop.claim(&[place(&order), place(&order)]).await;
    assert_eq!(first.states.len(), 1);
    let second = shop.claim(&[place(&order)]).await;
    assert!(second.states.is_empty() && second.kinds.is_empty());

    assert_eq!(shop.units_claimed("A").await, 1);
    assert_eq!(shop.history(order.order_id).await.len(), 1);
    assert_eq!(shop.position().await.seq, 3);
}

#[tokio::test]
async fn a_recorded_batch_is_refused_again() {
    let shop = Shop::open(&[("A", 10)]).await;
    let from = shop.position().await;
    let batch = batch(from, &[place(&shop.order(&[("A", 1)]))]);
    done(claim(shop.record(), ORDERS, from, &batch, REVIEW).await.unwrap());
    let again = claim(shop.record(), ORDERS, from, &batch, REVIEW).await.unwrap();
    assert_eq!(again, Claimed::Overtaken);
    assert_eq!(shop.units_claimed("A").await, 1);
}

#[tokio::test]
async fn a_stalled_claimer_delays_no_other_for_long() {
    let shop = Shop::open(&[("A", 10)]).await;
    shop.position().await;
    let config = PgConfig { statement_timeout_ms: 300, ..shop.pg.config_of("order-worker") };
    let pool = flashsale_pg::connect(&config, "stands still").unwrap();
    let mut stopped = pool.begin().await.unwrap();
    let locked = sqlx::query("UPDATE queue_positions SET updated_at = now()");
    assert_eq!(locked.execute(&mut *stopped).await.unwrap().rows_affected(), 1);

    let order = shop.order(&[("A", 1)]);
    shop.claim(&[place(&order)]).await;
    assert_eq!(shop.state(order.order_id).await.as_deref(), Some("CLAIMED"));
    assert!(stopped.commit().await.is_err());
}

#[tokio::test]
async fn one_of_two_claimers_records_a_batch() {
    let shop = Shop::open(&[("A", 1_000)]).await;
    for _ in 0..10 {
        let from = shop.position().await;
        let messages: Vec<_> = (0..20).map(|_| place(&shop.order(&[("A", 1)]))).collect();
        let batch = batch(from, &messages);
        let (one, other) = tokio::join!(
            claim(shop.record(), ORDERS, from, &batch, REVIEW),
            claim(shop.record(), ORDERS, from, &batch, REVIEW)
        );
        let outcomes = [one.unwrap(), other.unwrap()];
        let overtaken = outcomes.iter().filter(|claimed| **claimed == Claimed::Overtaken).count();
        assert_eq!(overtaken, 1);
    }
    assert_eq!(shop.units_claimed("A").await, 200);
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn an_order_beyond_the_allotment_ends() {
    let shop = Shop::open(&[("A", 3)]).await;
    let orders: Vec<_> = [2, 2, 1].map(|units| shop.order(&[("A", units)])).into();
    shop.claim(&orders.iter().map(place).collect::<Vec<_>>()).await;

    assert_eq!(shop.state(orders[0].order_id).await.as_deref(), Some("CLAIMED"));
    let refused = orders[1].order_id;
    assert_eq!(shop.state(refused).await.as_deref(), Some("CANCELLED/allotment_exhausted"));
    assert_eq!(shop.owed(refused).await, CANCELLED);
    assert_eq!(shop.state(orders[2].order_id).await.as_deref(), Some("CLAIMED"));
    assert_eq!(shop.units_claimed("A").await, 3);
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn an_early_cancellation_ends_its_order() {
    let shop = Shop::open(&[("A", 3)]).await;
    let order = shop.order(&[("A", 1)]);
    shop.claim(&[cancel(&order)]).await;
    shop.claim(&[place(&order), cancel(&order)]).await;

    assert_eq!(shop.state(order.order_id).await.as_deref(), Some("CANCELLED/buyer"));
    assert_eq!(shop.history(order.order_id).await, [">CANCELLED:buyer"]);
    assert_eq!(shop.owed(order.order_id).await, CANCELLED);
    assert_eq!(shop.units_claimed("A").await, 0);
}

#[tokio::test]
async fn cancelling_a_claimed_order_asks_payment() {
    let shop = Shop::open(&[("A", 3)]).await;
    let (early, late) = (shop.order(&[("A", 1)]), shop.order(&[("A", 1)]));
    // One in the batch that claims, one in a later batch, and the wish repeated.
    shop.claim(&[place(&early), cancel(&early), place(&late)]).await;
    shop.claim(&[cancel(&late), cancel(&late), cancel(&early)]).await;

    for order in [&early, &late] {
        assert_eq!(shop.state(order.order_id).await.as_deref(), Some("CLAIMED"));
        let owed = shop.owed(order.order_id).await;
        assert_eq!(owed, ["cancel_charge/CANCEL_REQUESTED", "charge/CLAIMED", "event/CLAIMED"]);
        let asked: Option<OffsetDateTime> =
            sqlx::query_scalar("SELECT cancel_requested_at FROM orders WHERE order_id = $1")
                .bind(order.order_id)
                .fetch_one(shop.pool())
                .await
                .unwrap();
        assert!(asked.is_some());
    }
    assert_eq!(shop.units_claimed("A").await, 2);
}

#[tokio::test]
async fn a_poison_message_stops_no_other() {
    let shop = Shop::open(&[("A", 10)]).await;
    // Stands for whatever Postgres may refuse that we did not think of.
    sqlx::query("ALTER TABLE orders ADD CHECK (buyer_id <> 'cursed')")
        .execute(shop.pool())
        .await
        .unwrap();
    let fine: Vec<_> = (0..4).map(|_| shop.order(&[("A", 1)])).collect();
    let mut cursed = shop.order(&[("A", 1)]);
    cursed.buyer_id = "cursed".to_owned();
    let mut stranger = shop.order(&[("A", 1)]);
    stranger.sale_id = Uuid::new_v4();
    let mut greedy = shop.order(&[("A", 1)]);
    greedy.total_minor += 1;
    let from = shop.position().await;
    let batch = vec![
        receive(1, place(&fine[0]).encode()),
        receive(2, vec![0xff; 100_000]),
        receive(3, place(&fine[1]).encode()),
        receive(4, place(&cursed).encode()),
        receive(5, place(&stranger).encode()),
        receive(6, place(&fine[2]).encode()),
        receive(7, place(&greedy).encode()),
        receive(8, br#"{"kind":"order"}"#.to_vec()),
        receive(9, cancel(&stranger).encode()),
        receive(10, place(&fine[3]).encode()),
    ];
    let summary = done(claim(shop.record(), ORDERS, from, &batch, REVIEW).await.unwrap());

    // One of the six says enough to wait in a row of its own.
    assert_eq!((summary.states.len(), summary.dead), (5, 6));
    assert_eq!(shop.state(greedy.order_id).await.as_deref(), Some("DEAD_LETTER"));
    assert_eq!(shop.state(cursed.order_id).await, None);
    let dead = shop.dead().await;
    let expected = [
        (2, "unreadable"),
        (4, "refused_by_store:23514"),
        (5, "sale_unknown"),
        (7, "total_is_not_the_sum"),
        (8, "unreadable"),
        (9, "sale_unknown"),
    ];
    let expected: Vec<_> = expected.iter().map(|(seq, why)| (*seq, (*why).to_owned())).collect();
    assert_eq!(dead, expected);
    // The orders that were to be placed can be told; a wish to cancel places none.
    let orders: Vec<(i64, Uuid)> = sqlx::query_as(
        "SELECT seq, order_id FROM dead_letters WHERE order_id IS NOT NULL ORDER BY seq",
    )
    .fetch_all(shop.pool())
    .await
    .unwrap();
    let told = [(4, cursed.order_id), (5, stranger.order_id), (7, greedy.order_id)];
    assert_eq!(orders, told);
    let kept: i32 = sqlx::query_scalar("SELECT length(payload) FROM dead_letters WHERE seq = 2")
        .fetch_one(shop.pool())
        .await
        .unwrap();
    assert_eq!(kept, 65_536);
    assert_eq!(shop.units_claimed("A").await, 4);
    assert_eq!(shop.position().await.seq, 10);
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn a_foreign_price_is_a_dead_letter() {
    let shop = Shop::open(&[("A", 10), ("B", 10)]).await;
    let unsold = shop.another(&[("C", 10)]).await;
    type Spoil = fn(&mut OrderMessage);
    let cases: [(Spoil, &str); 6] = [
        (|order| reprice(order, 1, 99), "one cent less for the second line"),
        (|order| reprice(order, 0, 101), "one cent more for the first line"),
        (|order| reprice(order, 0, 0), "for nothing"),
        (|order| reprice(order, 0, i64::MAX / 4), "for all the money there is"),
        (|order| order.currency = "USD".to_owned(), "in another currency"),
        (|order| order.lines[1].sku = "C".to_owned(), "a sku of another sale"),
    ];
    for (spoil, what) in cases {
        let (mut foreign, fine) = (shop.order(&[("A", 2), ("B", 1)]), shop.order(&[("A", 1)]));
        spoil(&mut foreign);
        let summary = shop.claim(&[place(&foreign), place(&fine)]).await;
        assert_eq!(summary.dead, 1, "{what}");
        assert_eq!(shop.state(foreign.order_id).await.as_deref(), Some("DEAD_LETTER"), "{what}");
        assert_eq!(shop.history(foreign.order_id).await, [">DEAD_LETTER:price_foreign"]);
        assert_eq!(shop.owed(foreign.order_id).await, ["event/DEAD_LETTER"]);
        assert_eq!(shop.state(fine.order_id).await.as_deref(), Some("CLAIMED"), "{what}");
        // Nor does its price get into the record by its cancellation.
        let mut wished_away = shop.order(&[("A", 1), ("B", 1)]);
        spoil(&mut wished_away);
        shop.claim(&[cancel(&wished_away)]).await;
        assert_eq!(shop.state(wished_away.order_id).await, None, "{what}");
        let kept: (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM order_lines WHERE order_id = $1), total_minor
             FROM orders WHERE order_id = $1",
        )
        .bind(foreign.order_id)
        .fetch_one(shop.pool())
        .await
        .unwrap();
        assert_eq!(kept, (0, 0), "{what}");
    }
    assert!(shop.dead().await.iter().all(|(_, reason)| reason == "price_foreign"));
    assert_eq!((shop.units_claimed("A").await, shop.units_claimed("B").await), (6, 0));
    assert_eq!(unsold.units_claimed("C").await, 0);
    shop.assert_books_balance().await;
}

/// When the second revision of the prices takes effect.
const SWITCH_MS: i64 = 1_795_000_000_000;
/// Until when an order at the first one may be placed: three lengths of the shop's holds of a
/// second each, and a minute.
const UNTIL_MS: i64 = SWITCH_MS + 3 * 1_000 + 60_000;

fn second<'a>(prices: &'a [(&'a str, i64)]) -> PriceRevision<'a> {
    PriceRevision { revision: 2, switches_at: Some(at(SWITCH_MS)), replaced_by: None, prices }
}

/// A new order of one A, placed then.
fn placed_at(shop: &Shop, placed_at_ms: i64) -> OrderMessage {
    OrderMessage { placed_at_ms, ..shop.order(&[("A", 1)]) }
}

#[tokio::test]
async fn lines_of_several_revisions_are_claimed() {
    let shop = Shop::open(&[("A", 10), ("B", 10), ("C", 10)]).await;
    shop.revise(second(&[("A", 80), ("B", 70)])).await;
    shop.revise(PriceRevision { revision: 3, ..second(&[("B", 60)]) }).await;
    let mut order = shop.order(&[("A", 2), ("B", 1), ("C", 1)]);
    in_revision(&mut order, 0, 2, 80);
    in_revision(&mut order, 1, 3, 60);
    // The version before names none: its prices are the first.
    let mut before = serde_json::to_value(place(&shop.order(&[("A", 1)]))).unwrap();
    let line = before["lines"][0].as_object_mut().unwrap();
    assert!(line.remove("price_revision").is_none());
    let from = shop.position().await;
    let messages =
        vec![receive(1, place(&order).encode()), receive(2, before.to_string().into_bytes())];
    let summary = done(claim(shop.record(), ORDERS, from, &messages, REVIEW).await.unwrap());
    assert_eq!((summary.states.len(), summary.dead), (2, 0));

    assert_eq!(shop.state(order.order_id).await.as_deref(), Some("CLAIMED"));
    let lines: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT sku, unit_price_minor, price_revision FROM order_lines WHERE order_id = $1 ORDER BY sku",
    )
    .bind(order.order_id)
    .fetch_all(shop.pool())
    .await
    .unwrap();
    let expected = [("A", 80, 2), ("B", 60, 3), ("C", 100, 1)];
    assert_eq!(lines, expected.map(|(sku, price, revision)| (sku.to_owned(), price, revision)));
    assert_eq!(shop.units_claimed("A").await, 3);
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn a_price_of_another_revision_is_a_dead_letter() {
    let shop = Shop::open(&[("A", 10), ("B", 10)]).await;
    let elsewhere = shop.another(&[("A", 10)]).await;
    shop.revise(second(&[("A", 80)])).await;
    elsewhere.revise(PriceRevision { revision: 3, ..second(&[("A", 1)]) }).await;
    for (line, revision, price, what) in [
        (0, 1, 80, "the second one's price in the first"),
        (0, 2, 100, "the first one's price in the second"),
        (0, 3, 1, "a revision of another sale"),
        (0, 3, 80, "a revision that there is none of"),
        (1, 2, 100, "a revision that does not change the sku"),
    ] {
        let mut foreign = shop.order(&[("A", 1), ("B", 1)]);
        in_revision(&mut foreign, line, revision, price);
        shop.claim(&[place(&foreign), place(&shop.order(&[("B", 1)]))]).await;
        assert_eq!(shop.history(foreign.order_id).await, [">DEAD_LETTER:price_foreign"], "{what}");
    }
    let mut none = shop.order(&[("A", 1)]);
    in_revision(&mut none, 0, 0, 100);
    shop.claim(&[place(&none)]).await;
    assert_eq!(shop.history(none.order_id).await, [">DEAD_LETTER:price_invalid"]);
    assert_eq!((shop.units_claimed("A").await, shop.units_claimed("B").await), (0, 5));
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn a_price_replaced_too_long_ago_is_a_dead_letter() {
    let shop = Shop::open(&[("A", 10), ("B", 10)]).await;
    shop.revise(second(&[("A", 80)])).await;
    // Each is claimed long after its price was replaced.
    let (timely, late) = (placed_at(&shop, UNTIL_MS), placed_at(&shop, UNTIL_MS + 1));
    let mut newer = placed_at(&shop, UNTIL_MS + 1);
    in_revision(&mut newer, 0, 2, 80);
    let unchanged = OrderMessage { placed_at_ms: UNTIL_MS + 1, ..shop.order(&[("B", 1)]) };
    let summary =
        shop.claim(&[place(&late), place(&timely), place(&newer), place(&unchanged)]).await;
    assert_eq!(summary.dead, 1);
    for order in [&timely, &newer, &unchanged] {
        assert_eq!(shop.state(order.order_id).await.as_deref(), Some("CLAIMED"), "{order:?}");
    }
    assert_eq!(shop.history(late.order_id).await, [">DEAD_LETTER:price_replaced"]);
    assert_eq!(shop.dead().await, [(1, "price_replaced".to_owned())]);
    assert_eq!(shop.owed(late.order_id).await, ["event/DEAD_LETTER"]);
    // Nor does it get into the record by its cancellation.
    let wished_away = placed_at(&shop, UNTIL_MS + 1);
    shop.claim(&[cancel(&wished_away)]).await;
    assert_eq!(shop.state(wished_away.order_id).await, None);
    assert_eq!(shop.units_claimed("A").await, 2);
    shop.assert_books_balance().await;
}

/// The earliest revision that changes the sku counts.
#[tokio::test]
async fn a_price_is_replaced_once() {
    let shop = Shop::open(&[("A", 10), ("B", 10)]).await;
    shop.revise(PriceRevision { switches_at: Some(at(SWITCH_MS - 1)), ..second(&[("B", 90)]) })
        .await;
    shop.revise(PriceRevision { revision: 3, ..second(&[("A", 80)]) }).await;
    let later = PriceRevision { switches_at: Some(at(SWITCH_MS + 600_000)), ..second(&[]) };
    shop.revise(PriceRevision { revision: 4, prices: &[("A", 70)], ..later }).await;
    let (timely, late) = (placed_at(&shop, UNTIL_MS), placed_at(&shop, UNTIL_MS + 1));
    let mut third = [placed_at(&shop, UNTIL_MS + 600_000), placed_at(&shop, UNTIL_MS + 600_001)];
    for order in &mut third {
        in_revision(order, 0, 3, 80);
    }
    shop.claim(&[place(&timely), place(&late), place(&third[0]), place(&third[1])]).await;
    for order in [&timely, &third[0]] {
        assert_eq!(shop.history(order.order_id).await, [">CLAIMED:claimed"]);
    }
    for order in [&late, &third[1]] {
        assert_eq!(shop.history(order.order_id).await, [">DEAD_LETTER:price_replaced"]);
    }
}

#[tokio::test]
async fn a_revision_not_in_effect_replaces_no_price() {
    let shop = Shop::open(&[("A", 10)]).await;
    // One was replaced itself, of the other the stock's store is not known to have it.
    let withdrawn = PriceRevision { replaced_by: Some(3), ..second(&[("A", 90)]) };
    shop.revise(withdrawn).await;
    shop.revise(PriceRevision { revision: 3, switches_at: None, ..second(&[("A", 80)]) }).await;
    let order = placed_at(&shop, UNTIL_MS + 1);
    // A store that had switched by then has sold at the withdrawn one.
    let mut sold = placed_at(&shop, UNTIL_MS + 1);
    in_revision(&mut sold, 0, 2, 90);
    shop.claim(&[place(&order), place(&sold)]).await;
    for order in [&order, &sold] {
        assert_eq!(shop.history(order.order_id).await, [">CLAIMED:claimed"]);
    }
}

#[tokio::test]
async fn the_longest_hold_ever_counts() {
    let shop = Shop::open(&[("A", 10)]).await;
    shop.revise(second(&[("A", 80)])).await;
    // A sale that once gave longer holds than now, and once shorter ones.
    for (version, hold_ms) in [(1_i64, 500_i64), (2, 20_000), (3, 1_000)] {
        sqlx::query(
            "INSERT INTO sale_changes (sale_id, version, kind, actor, reason, after, skus, skus_changed)
             VALUES ($1, $2, 'UPDATE', 'test', '', jsonb_build_object('hold_ms', $3::bigint), '{}', 0)",
        )
        .bind(shop.sale)
        .bind(version)
        .bind(hold_ms)
        .execute(shop.pool())
        .await
        .unwrap();
    }
    let until_ms = UNTIL_MS + 3 * (20_000 - 1_000);
    let (timely, late) = (placed_at(&shop, until_ms), placed_at(&shop, until_ms + 1));
    shop.claim(&[place(&timely), place(&late)]).await;
    assert_eq!(shop.history(timely.order_id).await, [">CLAIMED:claimed"]);
    assert_eq!(shop.history(late.order_id).await, [">DEAD_LETTER:price_replaced"]);
}

#[tokio::test]
async fn a_claim_without_commit_leaves_nothing() {
    let shop = Shop::open(&[("A", 10)]).await;
    let from = shop.position().await;
    let order = shop.order(&[("A", 1)]);
    let batch = batch(from, &[place(&order)]);

    // The claim has moved the position and waits for the allotment, when its connection is cut.
    let mut blocker = shop.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM allotments FOR UPDATE").execute(&mut *blocker).await.unwrap();
    let pool = shop.record().clone();
    let dying = tokio::spawn({
        let batch = batch.clone();
        async move { claim(&pool, ORDERS, from, &batch, REVIEW).await }
    });
    let mut admin = shop.pg.admin().await;
    let database = shop.pg.database().to_owned();
    let pid: i32 = loop {
        let waiting: Option<i32> = sqlx::query_scalar(
            "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'",
        )
        .bind(&database)
        .fetch_optional(&mut admin)
        .await
        .unwrap();
        match waiting {
            Some(pid) => break pid,
            None => tokio::task::yield_now().await,
        }
    };
    sqlx::query("SELECT pg_terminate_backend($1)").bind(pid).execute(&mut admin).await.unwrap();
    assert!(dying.await.unwrap().is_err());
    blocker.rollback().await.unwrap();

    assert_eq!(shop.state(order.order_id).await, None);
    assert_eq!(shop.position().await, from);
    assert_eq!(shop.units_claimed("A").await, 0);
    done(claim(shop.record(), ORDERS, from, &batch, REVIEW).await.unwrap());
    assert_eq!(shop.state(order.order_id).await.as_deref(), Some("CLAIMED"));
    assert_eq!(shop.units_claimed("A").await, 1);
}

#[tokio::test]
async fn claims_and_settlements_do_not_deadlock() {
    let shop = Shop::open(&[("A", 10_000), ("B", 10_000)]).await;
    let mut open = Vec::new();
    for _ in 0..20 {
        let orders: Vec<_> = (0..10).map(|_| shop.order(&[("B", 1), ("A", 1)])).collect();
        shop.claim(&orders.iter().map(place).collect::<Vec<_>>()).await;
        open.push(orders);
    }
    for orders in &open {
        for order in orders {
            shop.pay(order, "FAILED", Some("card_declined")).await;
        }
    }
    let claiming = async {
        for _ in 0..20 {
            let messages: Vec<_> =
                (0..10).map(|_| place(&shop.order(&[("A", 1), ("B", 1)]))).collect();
            shop.claim(&messages).await;
        }
    };
    let settling = async {
        for orders in &open {
            let ids: Vec<Uuid> = orders.iter().map(|order| order.order_id).collect();
            flashsale_order_worker::store::settlements::follow_payments(shop.record(), &ids)
                .await
                .unwrap();
        }
    };
    tokio::join!(claiming, settling);
    assert_eq!(shop.units_claimed("A").await, 200);
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn a_position_restarts_with_its_stream() {
    let shop = Shop::open(&[("A", 10)]).await;
    let born = OffsetDateTime::UNIX_EPOCH;
    shop.claim(&[place(&shop.order(&[("A", 1)])), place(&shop.order(&[("A", 1)]))]).await;
    let same = position::open(shop.record(), ORDERS, born, 2).await.unwrap();
    assert_eq!(same.seq, 2);
    let lost = position::open(shop.record(), ORDERS, born, 1).await.unwrap();
    assert_eq!(lost.seq, 0);
    let created = born + Duration::days(1) + Duration::nanoseconds(1_234_567);
    let again = position::open(shop.record(), ORDERS, created, 0).await.unwrap();
    assert_eq!((again.seq, again.created.nanosecond()), (0, 1_234_000));
    assert_eq!(position::read(shop.record(), ORDERS).await.unwrap(), Some(again));
}

#[tokio::test]
async fn a_fence_never_goes_back() {
    let shop = Shop::open(&[("A", 10)]).await;
    let fence = |epoch| QueueMessage::Fence { sale_id: shop.sale, epoch };
    assert_eq!(shop.fence().await, None);
    let order = shop.order(&[("A", 1)]);
    let from = shop.position().await;
    let messages = batch(from, &[place(&order), fence(EPOCH)]);
    // The allotment is locked: neither the claim nor the marker behind it is written.
    let mut blocker = shop.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM allotments FOR UPDATE").execute(&mut *blocker).await.unwrap();
    let claiming = claim(shop.record(), ORDERS, from, &messages, REVIEW);
    let mut claiming = std::pin::pin!(claiming);
    assert!(futures::poll!(claiming.as_mut()).is_pending());
    assert_eq!((shop.fence().await, shop.state(order.order_id).await), (None, None));
    blocker.rollback().await.unwrap();
    done(claiming.await.unwrap());
    assert_eq!(shop.fence().await, Some(EPOCH));
    assert_eq!(shop.state(order.order_id).await.as_deref(), Some("CLAIMED"));

    shop.begin_epoch(EPOCH + 2).await;
    shop.claim(&[fence(EPOCH + 2)]).await;
    for epoch in [EPOCH + 2, EPOCH + 1, EPOCH] {
        shop.claim(&[fence(epoch)]).await;
        assert_eq!(shop.fence().await, Some(EPOCH + 2));
    }
    assert!(shop.dead().await.is_empty());
}

#[tokio::test]
async fn a_marker_above_the_recorded_epoch_is_a_dead_letter() {
    let shop = Shop::open(&[("A", 10)]).await;
    let unloaded = shop.another(&[]).await;
    sqlx::query("DELETE FROM sale_stock WHERE sale_id = $1")
        .bind(unloaded.sale)
        .execute(shop.pool())
        .await
        .unwrap();
    let order = shop.order(&[("A", 1)]);
    let absurd = [shop.marker(1_000_000_000_000_000), unloaded.marker(1)];
    shop.claim(&[absurd[0].clone(), absurd[1].clone(), place(&order)]).await;
    assert_eq!(shop.state(order.order_id).await.as_deref(), Some("CLAIMED"));
    assert_eq!((shop.fence().await, unloaded.fence().await), (None, None));
    let dead = shop.dead().await;
    assert_eq!(dead, [(1, "epoch_invalid".to_owned()), (2, "epoch_invalid".to_owned())]);
    // The true one is passed as ever.
    shop.claim(&[shop.marker(EPOCH)]).await;
    assert_eq!(shop.fence().await, Some(EPOCH));
}
