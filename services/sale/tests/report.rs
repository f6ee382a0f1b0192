//! How a sale went: by the record, and final only when nothing can change any more.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::time::Duration;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::sale::{self, SaleState};
use flashsale_testbed::{
    eventually,
    fixtures::{self, OrderSpec, RefundSpec},
};
use tonic::{Request, Status};
use uuid::Uuid;
use world::{World, creation, eur, id};

/// An order of units of TEE-M at 29.90, recorded as the claims do.
async fn record(world: &World, sale: &str, state: &str, units: i64) -> Uuid {
    let order = OrderSpec {
        state,
        total_minor: 2_990 * units,
        lines: vec![("TEE-M", units, 2_990)],
        ..OrderSpec::new(sale.parse().unwrap(), "b")
    };
    fixtures::record_order(&world.pg.pool, &order).await.unwrap();
    order.order_id
}

async fn pay(world: &World, order_id: Uuid, state: &str, captured_minor: i64) {
    run(
        world,
        &format!(
            "INSERT INTO payments (order_id, sale_id, state, currency, amount_minor, payment_method, captured_minor)
             SELECT order_id, sale_id, '{state}', currency, total_minor, payment_method, {captured_minor}
             FROM orders WHERE order_id = '{order_id}'"
        ),
    )
    .await;
}

async fn refund(world: &World, order_id: Uuid, state: &str, amount_minor: i64) {
    let refund = RefundSpec { refund_id: Uuid::new_v4(), order_id, state, amount_minor };
    fixtures::record_refund(&world.pg.pool, refund).await.unwrap();
}

async fn run(world: &World, statement: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&world.pg.pool).await.unwrap();
}

async fn ended_sale(world: &World) -> String {
    let sale = world.draft(creation()).await.sale_id;
    world.start(&sale, &id()).await.unwrap();
    world.end(&sale, &id()).await.unwrap();
    sale
}

#[tokio::test]
async fn a_report_counts_its_own_sale() {
    let world = World::new().await;
    let sale = ended_sale(&world).await;
    let other = ended_sale(&world).await;
    run(
        &world,
        &format!("INSERT INTO allotments (sale_id, sku, allotted) VALUES ('{sale}', 'TEE-M', 12)"),
    )
    .await;
    for (state, payment, units) in [
        ("CONFIRMED", "SUCCEEDED", 1),
        ("CONFIRMED", "SUCCEEDED", 2),
        ("DECLINED", "FAILED", 1),
        ("CANCELLED", "CANCELLED", 1),
        ("REFUNDED", "REFUNDED", 1),
    ] {
        let order = record(&world, &sale, state, units).await;
        let captured = if matches!(payment, "SUCCEEDED" | "REFUNDED") { 2_990 * units } else { 0 };
        pay(&world, order, payment, captured).await;
        if state == "REFUNDED" {
            for part in [990, 2_000] {
                refund(&world, order, "DONE", part).await;
            }
        } else if state == "CONFIRMED" && units == 2 {
            for (state, part) in [("DONE", 10), ("DUE", 200), ("PENDING", 3_000), ("FAILED", 1_000)]
            {
                refund(&world, order, state, part).await;
            }
        }
    }
    let foreign = record(&world, &other, "CONFIRMED", 5).await;
    pay(&world, foreign, "SUCCEEDED", 14_950).await;

    let report = world.report(&sale).await;
    assert_eq!((report.state(), report.r#final), (SaleState::Ended, false));
    assert_eq!(
        report.orders.unwrap(),
        sale::OrderCounts {
            open: 0,
            dead_letters: 0,
            confirmed: 2,
            declined: 1,
            cancelled: 1,
            refunded: 1
        }
    );
    assert_eq!(report.captured, eur(119, 60));
    assert_eq!((report.refunded, report.refund_due), (eur(30, 0), eur(32, 0)));
    assert_eq!((report.units_held, report.units_placed), (Some(0), Some(0)));
    assert_eq!((report.payments_open, report.consequences_due), (0, 0));
    let items: Vec<_> = report
        .items
        .iter()
        .map(|item| (item.sku.as_str(), item.allotted, item.sold, item.open, item.gross.clone()))
        .collect();
    // What was allotted since counts, not what the sale began with.
    assert_eq!(items, [("TEE-L", 10, 0, 0, eur(0, 0)), ("TEE-M", 12, 3, 0, eur(89, 70))]);
    assert_eq!(world.report(&other).await.captured, eur(149, 50));

    run(&world, "UPDATE refunds SET state = 'DONE' WHERE state IN ('DUE', 'PENDING')").await;
    let report = world.report(&sale).await;
    assert_eq!((report.refunded, report.refund_due), (eur(62, 0), eur(0, 0)));
    assert!(report.r#final);
}

#[tokio::test]
async fn a_changing_report_is_not_final() {
    let world = World::new().await;
    let sale = ended_sale(&world).await;
    let order = record(&world, &sale, "CONFIRMED", 1).await;
    pay(&world, order, "SUCCEEDED", 2_990).await;
    assert!(world.report(&sale).await.r#final);
    // As if no report had been made yet.
    let forget = format!("UPDATE sales SET final_at = NULL WHERE sale_id = '{sale}'");

    let order_is =
        |state| format!("UPDATE orders SET state = '{state}' WHERE order_id = '{order}'");
    let payment_is =
        |state| format!("UPDATE payments SET state = '{state}' WHERE order_id = '{order}'");
    let owes = |kind| {
        format!("INSERT INTO outbox (order_id, kind, about) VALUES ('{order}', '{kind}', 'a')")
    };
    let carried_out = "UPDATE outbox SET done_at = now()".to_owned();
    let refund_is = |state| {
        format!(
            "INSERT INTO refunds (refund_id, order_id, intent_id, state, amount_minor, reason)
             VALUES (gen_random_uuid(), '{order}', 'pi', '{state}', 2990, 'r')"
        )
    };
    for (what, make, undo) in [
        ("an order on its way", order_is("CLAIMED"), order_is("CONFIRMED")),
        ("an order being charged", order_is("PAYING"), order_is("CONFIRMED")),
        ("an order that waits for its buyer", order_is("ACTION_REQUIRED"), order_is("CONFIRMED")),
        ("a dead letter", order_is("DEAD_LETTER"), order_is("CONFIRMED")),
        ("a payment that is due", payment_is("DUE"), payment_is("SUCCEEDED")),
        ("a payment at the provider", payment_is("PROCESSING"), payment_is("SUCCEEDED")),
        ("a payment of a buyer", payment_is("REQUIRES_ACTION"), payment_is("SUCCEEDED")),
        ("a refund that is due", refund_is("DUE"), "DELETE FROM refunds".to_owned()),
        ("a refund at the provider", refund_is("PENDING"), "DELETE FROM refunds".to_owned()),
        (
            "a refund that its order does not know of",
            payment_is("REFUNDED"),
            payment_is("SUCCEEDED"),
        ),
        ("a payment that came too late", order_is("CANCELLED"), order_is("CONFIRMED")),
        ("a charge to ask for", owes("charge"), carried_out.clone()),
        ("a charge to cancel", owes("cancel_charge"), carried_out.clone()),
        ("a refund to ask for", owes("refund"), carried_out.clone()),
        ("a hold to close", owes("close_hold"), carried_out.clone()),
        (
            "an order whose units are to be taken again",
            format!(
                "INSERT INTO parked_orders (order_id, sale_id, seq, message) VALUES (gen_random_uuid(), '{sale}', 1, '{{}}')"
            ),
            "DELETE FROM parked_orders".to_owned(),
        ),
        (
            "an adjustment that is half done",
            format!(
                "INSERT INTO stock_adjustments (request_id, sale_id, sku, delta, reason, state)
                 VALUES (gen_random_uuid(), '{sale}', 'TEE-M', -1, 'r', 'STARTED')"
            ),
            "DELETE FROM stock_adjustments".to_owned(),
        ),
        (
            "a rebuild of just now",
            "UPDATE sale_stock SET epoch = 2, loaded_at = now()".to_owned(),
            "UPDATE sale_stock SET loaded_at = now() - interval '61 seconds'".to_owned(),
        ),
        (
            "a state that the others do not know",
            format!("UPDATE sales SET version = version + 1 WHERE sale_id = '{sale}'"),
            format!("UPDATE sales SET version = version - 1 WHERE sale_id = '{sale}'"),
        ),
    ] {
        // The others are not told meanwhile.
        world.peers.fail("SyncSale", Failure::new(Reason::StockFenced, "not now"));
        run(&world, &forget).await;
        run(&world, &make).await;
        assert!(!world.report(&sale).await.r#final, "{what}");
        run(&world, &undo).await;
        assert!(world.report(&sale).await.r#final, "without {what}");
        world.peers.recover();
    }
    run(&world, &forget).await;
    for (held, placed) in [(1, 0), (0, 1)] {
        world.peers.have_out(held, placed);
        let report = world.report(&sale).await;
        assert_eq!((report.units_held, report.units_placed), (Some(held), Some(placed)));
        assert!(!report.r#final);
    }
    world.peers.have_out(0, 0);
    // Who is to be told of it changes nothing of it.
    run(&world, &owes("mail")).await;
    let report = world.report(&sale).await;
    assert_eq!((report.r#final, report.consequences_due), (true, 1));

    let open = world.draft(creation()).await.sale_id;
    world.start(&open, &id()).await.unwrap();
    assert!(!world.report(&open).await.r#final, "it sells");
}

#[tokio::test]
async fn an_order_settled_meanwhile_is_in_the_report() {
    let world = World::new().await;
    let sale = ended_sale(&world).await;
    let order = record(&world, &sale, "PAYING", 2).await;
    pay(&world, order, "SUCCEEDED", 5_980).await;
    // Inventory says that nothing is placed, and the record has it.
    world.peers.confirm_when_asked(order);
    let report = world.report(&sale).await;
    assert_eq!((report.r#final, report.orders.unwrap().confirmed), (true, 1));
    assert_eq!(report.items[1].sold, 2);
}

#[tokio::test]
async fn a_report_without_inventory_is_not_final() {
    let world = World::new().await;
    let sale = ended_sale(&world).await;
    world.peers.fail("GetStock", Failure::new(Reason::StockFenced, "it is being rebuilt"));
    let report = world.report(&sale).await;
    assert_eq!((report.units_held, report.units_placed, report.r#final), (None, None, false));

    // One that hangs does not take the caller's whole time.
    world.peers.fail("GetStock", Status::cancelled("it hangs"));
    let mut asked = Request::new(sale::GetSaleReportRequest { sale_id: sale.clone() });
    asked.set_timeout(Duration::from_secs(2));
    let report = world.client.clone().get_sale_report(asked).await.unwrap().into_inner();
    assert_eq!(report.report.unwrap().units_held, None);

    let never = world.draft(creation()).await.sale_id;
    world.end(&never, &id()).await.unwrap();
    let report = world.report(&never).await;
    assert_eq!((report.units_held, report.units_placed, report.r#final), (Some(0), Some(0), true));
    world.peers.recover();
    assert!(world.report(&sale).await.r#final);
}

async fn final_at(world: &World, sale: &str) -> Option<time::OffsetDateTime> {
    sqlx::query_scalar("SELECT final_at FROM sales WHERE sale_id = $1")
        .bind(sale.parse::<Uuid>().unwrap())
        .fetch_one(&world.pg.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_final_report_stays_final() {
    let world = World::new().await;
    let sale = ended_sale(&world).await;
    assert_eq!(final_at(&world, &sale).await, None);
    let report = world.report(&sale).await;
    assert!(report.r#final);
    let at = final_at(&world, &sale).await;
    assert!(at.is_some());

    for failure in [
        Failure::new(Reason::SaleNotOpen, "it is over"),
        Failure::new(Reason::StockFenced, "its server is gone"),
    ] {
        world.peers.fail("GetStock", failure);
        let again = world.report(&sale).await;
        assert_eq!((again.units_held, again.units_placed), (Some(0), Some(0)));
        assert!(again.r#final);
    }
    // Neither what the stock says now nor what the shop gives back takes it back.
    world.peers.recover();
    world.peers.have_out(1, 1);
    let order = record(&world, &sale, "REFUNDED", 1).await;
    pay(&world, order, "REFUNDED", 2_990).await;
    assert!(world.report(&sale).await.r#final);
    assert_eq!(final_at(&world, &sale).await, at);
}

#[tokio::test]
async fn ended_sales_become_final_once() {
    let world = World::settling().await;
    let (_second, other) = world.instance().await;
    world.peers.have_out(0, 1);
    let sales = [ended_sale(&world).await, ended_sale(&world).await];
    let open = world.draft(creation()).await.sale_id;
    world.start(&open, &id()).await.unwrap();
    let asked = sale::GetSaleReportRequest { sale_id: sales[0].clone() };
    let report = other.clone().get_sale_report(asked).await.unwrap().into_inner().report.unwrap();
    assert!(!report.r#final);
    for sale in &sales {
        assert_eq!(final_at(&world, sale).await, None);
    }

    world.peers.have_out(0, 0);
    let mut first = Vec::new();
    for sale in &sales {
        let at = eventually("the sale is final", || final_at(&world, sale)).await;
        first.push(Some(at));
    }
    // The task finds nothing to do now.
    let last = world.draft(creation()).await.sale_id;
    world.end(&last, &id()).await.unwrap();
    eventually("a later sale is final", || final_at(&world, &last)).await;
    assert_eq!([final_at(&world, &sales[0]).await, final_at(&world, &sales[1]).await], first[..]);
    assert_eq!(final_at(&world, &open).await, None);
}

#[tokio::test]
async fn changes_meanwhile_keep_a_report_from_final() {
    let world = World::new().await;
    let store = flashsale_sale::store::Store::new(world.pg.pool_of("sale"));
    let sale = ended_sale(&world).await;
    let read = store.head(sale.parse().unwrap()).await.unwrap().unwrap();
    for (what, make, undo) in [
        (
            "an order",
            "UPDATE orders SET state = 'CLAIMED'".to_owned(),
            "UPDATE orders SET state = 'CANCELLED'".to_owned(),
        ),
        (
            "a parked order",
            format!(
                "INSERT INTO parked_orders (order_id, sale_id, seq, message) VALUES (gen_random_uuid(), '{sale}', 1, '{{}}')"
            ),
            "DELETE FROM parked_orders".to_owned(),
        ),
        (
            "a rebuild",
            "UPDATE sale_stock SET epoch = 2, loaded_at = now()".to_owned(),
            "UPDATE sale_stock SET loaded_at = now() - interval '61 seconds'".to_owned(),
        ),
        (
            "a change",
            "UPDATE sales SET version = version + 1, propagated_version = version + 1".to_owned(),
            "UPDATE sales SET version = version - 1, propagated_version = version - 1".to_owned(),
        ),
    ] {
        if what == "an order" {
            record(&world, &sale, "CANCELLED", 1).await;
        }
        run(&world, &make).await;
        assert_eq!(store.finalize(&read).await.unwrap(), None, "{what}");
        run(&world, &undo).await;
    }
    let at = store.finalize(&read).await.unwrap();
    assert!(at.is_some());
    assert_eq!(store.finalize(&read).await.unwrap(), None, "once");
    assert_eq!(final_at(&world, &sale).await, at);
}

#[tokio::test]
async fn a_report_waits_for_a_claim() {
    let world = World::new().await;
    let store = flashsale_sale::store::Store::new(world.pg.pool_of("sale"));
    let sale = ended_sale(&world).await;
    let read = store.head(sale.parse().unwrap()).await.unwrap().unwrap();
    let order = record(&world, &sale, "CANCELLED", 1).await;
    // As the claims do with an order of an older epoch.
    let mut claim = world.pg.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM sale_stock WHERE sale_id = $1 FOR SHARE")
        .bind(read.id)
        .execute(&mut *claim)
        .await
        .unwrap();
    sqlx::query("UPDATE orders SET state = 'CLAIMED' WHERE order_id = $1")
        .bind(order)
        .execute(&mut *claim)
        .await
        .unwrap();
    let writing = tokio::spawn(async move { store.finalize(&read).await });
    eventually("the write waits", || async {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN
                 (SELECT pid FROM pg_stat_activity WHERE datname = current_database())",
        )
        .fetch_one(&world.pg.pool)
        .await
        .unwrap();
        (waiting > 0).then_some(())
    })
    .await;
    claim.commit().await.unwrap();
    assert_eq!(writing.await.unwrap().unwrap(), None);
}
