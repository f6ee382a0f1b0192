//! How a sale went: by the record, and final only when nothing can change any more.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::time::Duration;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::sale::{self, SaleState};
use tonic::{Request, Status};
use uuid::Uuid;
use world::{World, creation, eur, id};

/// An order of units of TEE-M at 29.90, recorded as the claims do.
async fn record(world: &World, sale: &str, state: &str, units: i64) -> Uuid {
    let order_id = Uuid::new_v4();
    sqlx::query(
        "WITH placed AS (
             INSERT INTO orders (order_id, sale_id, buyer_id, hold_id, epoch, request_id, request_hash, state, currency, total_minor,
                 email, contact_name, payment_method, placed_at)
             VALUES ($1, $2, 'b', gen_random_uuid(), 1, gen_random_uuid(), 'h', $3, 'EUR', 2990 * $4, 'a@example.com', 'A', 'pm', now())
             RETURNING order_id
         )
         INSERT INTO order_lines (order_id, sku, quantity, unit_price_minor) SELECT order_id, 'TEE-M', $4, 2990 FROM placed",
    )
    .bind(order_id)
    .bind(sale.parse::<Uuid>().unwrap())
    .bind(state)
    .bind(units)
    .execute(&world.pg.pool)
    .await
    .unwrap();
    order_id
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
async fn a_report_counts_orders_units_and_money_of_its_own_sale() {
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
            let refund = "INSERT INTO refunds (order_id, state, amount_minor, reason) VALUES";
            run(&world, &format!("{refund} ('{order}', 'DONE', 2990, 'r')")).await;
        }
    }
    let foreign = record(&world, &other, "CONFIRMED", 5).await;
    pay(&world, foreign, "SUCCEEDED", 14_950).await;

    let report = world.report(&sale).await;
    assert_eq!((report.state(), report.r#final), (SaleState::Ended, true));
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
    assert_eq!((report.refunded, report.refund_due), (eur(29, 90), eur(0, 0)));
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
}

#[tokio::test]
async fn a_report_is_not_final_while_anything_can_still_change() {
    let world = World::new().await;
    let sale = ended_sale(&world).await;
    let order = record(&world, &sale, "CONFIRMED", 1).await;
    pay(&world, order, "SUCCEEDED", 2_990).await;
    assert!(world.report(&sale).await.r#final);

    let order_is =
        |state| format!("UPDATE orders SET state = '{state}' WHERE order_id = '{order}'");
    let payment_is =
        |state| format!("UPDATE payments SET state = '{state}' WHERE order_id = '{order}'");
    let owes = |kind| {
        format!("INSERT INTO outbox (order_id, kind, about) VALUES ('{order}', '{kind}', 'a')")
    };
    let carried_out = "UPDATE outbox SET done_at = now()".to_owned();
    let refund_due = format!(
        "INSERT INTO refunds (order_id, state, amount_minor, reason) VALUES ('{order}', 'DUE', 2990, 'r')"
    );
    for (what, make, undo) in [
        ("an order on its way", order_is("CLAIMED"), order_is("CONFIRMED")),
        ("an order being charged", order_is("PAYING"), order_is("CONFIRMED")),
        ("an order that waits for its buyer", order_is("ACTION_REQUIRED"), order_is("CONFIRMED")),
        ("a dead letter", order_is("DEAD_LETTER"), order_is("CONFIRMED")),
        ("a payment that is due", payment_is("DUE"), payment_is("SUCCEEDED")),
        ("a payment at the provider", payment_is("PROCESSING"), payment_is("SUCCEEDED")),
        ("a payment of a buyer", payment_is("REQUIRES_ACTION"), payment_is("SUCCEEDED")),
        ("a refund that is due", refund_due, "DELETE FROM refunds".to_owned()),
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
            "a state that the others do not know",
            format!("UPDATE sales SET version = version + 1 WHERE sale_id = '{sale}'"),
            format!("UPDATE sales SET version = version - 1 WHERE sale_id = '{sale}'"),
        ),
    ] {
        // Nobody tells the others meanwhile.
        world.peers.fail("SyncSale", Failure::new(Reason::StockFenced, "not now"));
        run(&world, &make).await;
        assert!(!world.report(&sale).await.r#final, "{what}");
        run(&world, &undo).await;
        assert!(world.report(&sale).await.r#final, "without {what}");
        world.peers.recover();
    }
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
async fn an_order_that_is_settled_while_the_report_is_made_is_in_it_or_the_report_is_not_final() {
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
async fn a_report_without_inventory_says_so_and_is_not_final_and_a_sale_that_never_opened_needs_none()
 {
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
