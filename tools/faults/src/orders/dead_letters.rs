//! Dead letters made on purpose, and the operator who decides about them.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use async_nats::jetstream;
use flashsale_proto::{
    NamedChannel,
    order::{
        DeadLetter, DropDeadLetterRequest, ListDeadLettersRequest, ListTransitionsRequest,
        RetryDeadLetterRequest, order_admin_service_client::OrderAdminServiceClient,
    },
};
use serde_json::{Value, json};
use tonic::Code;
use uuid::Uuid;

use crate::{
    patience::until_some,
    platform::{PLENTY, Platform, Sale, stores::Stock},
};

const WITHIN: Duration = Duration::from_secs(30);

/// An order that no buyer placed.
pub(super) fn order(sale: &Sale, epoch: i64) -> Value {
    json!({
        "kind": "place",
        "order_id": Uuid::new_v4(),
        "sale_id": sale.id,
        "buyer_id": "poison",
        "hold_id": Uuid::new_v4(),
        "epoch": epoch,
        "admission_id": null,
        "request_id": Uuid::new_v4(),
        "request_hash": "0",
        "lines": [{ "sku": PLENTY, "quantity": 1, "unit_price_minor": 1_000 }],
        "currency": "EUR",
        "total_minor": 1_000,
        "placed_at_ms": 1_790_000_000_000_i64,
        "email": "poison@example.com",
        "contact_name": "poison",
        "payment_method": "pm_card_visa",
    })
}

/// Puts a message into the queue as it is; its number there.
pub(super) async fn publish(
    jetstream: &jetstream::Context,
    sale: &Sale,
    body: Vec<u8>,
) -> anyhow::Result<i64> {
    let subject = format!("orders.place.{}", sale.id);
    let ack = jetstream.publish(subject, body.into()).await?.await?;
    Ok(i64::try_from(ack.sequence)?)
}

/// Has an order that no buyer placed made a dead letter in a sale without buyers.
pub(super) async fn strange(platform: &Platform, decoy: &Sale) -> anyhow::Result<DeadLetter> {
    let (epoch, _) = platform.epoch(decoy).await?;
    let mut order = order(decoy, epoch);
    order["total_minor"] = json!(1);
    make_dead_letter(platform, decoy, &order).await
}

/// Has an order made a dead letter whose hold carries it. The queue must be held back from
/// checkout, so that the real message comes later. One that had slipped through is claimed before,
/// and another one is taken.
pub(super) async fn held_back(platform: &Platform, sale: &Sale) -> anyhow::Result<DeadLetter> {
    let jetstream = platform.jetstream().await?;
    until_some(WITHIN, "an order that waits for the queue is a dead letter", async || {
        let Some(broken) = waits_for_the_queue(platform, sale).await? else { return Ok(None) };
        let seq = publish(&jetstream, sale, serde_json::to_vec(&broken)?).await?;
        until_some(WITHIN, "the claims pass it", async || {
            let passed: bool = sqlx::query_scalar("SELECT max(seq) >= $1 FROM queue_positions")
                .bind(seq)
                .fetch_one(&platform.pool)
                .await?;
            anyhow::Ok(passed.then_some(()))
        })
        .await?;
        // It is not the services' own: the audit is to see what they wrote.
        jetstream.get_stream("ORDERS").await?.delete_message(u64::try_from(seq)?).await?;
        let letters = waiting(platform).await?;
        anyhow::Ok(letters.into_iter().find(|letter| letter.queue_seq == seq))
    })
    .await
}

/// A broken copy of an order that is placed and not recorded.
async fn waits_for_the_queue(platform: &Platform, sale: &Sale) -> anyhow::Result<Option<Value>> {
    let (epoch, _) = platform.epoch(sale).await?;
    let stock = Stock::read(platform.redis.port(), sale.id).await?;
    for (hold_id, hold) in &stock.holds {
        let Some(order_id) = hold.order.filter(|_| hold.state == "PLACED") else { continue };
        let recorded: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM orders WHERE order_id = $1)")
                .bind(order_id)
                .fetch_one(&platform.pool)
                .await?;
        if !recorded {
            let mut broken = order(sale, epoch);
            broken["order_id"] = json!(order_id);
            broken["hold_id"] = json!(hold_id);
            broken["buyer_id"] = json!(hold.buyer);
            broken["request_id"] = json!(hold.request);
            broken["total_minor"] = json!(1);
            return Ok(Some(broken));
        }
    }
    Ok(None)
}

async fn make_dead_letter(
    platform: &Platform,
    sale: &Sale,
    order: &Value,
) -> anyhow::Result<DeadLetter> {
    let seq = publish(&platform.jetstream().await?, sale, serde_json::to_vec(order)?).await?;
    until_some(WITHIN, "it is a dead letter", async || {
        let letters = waiting(platform).await?;
        anyhow::Ok(letters.into_iter().find(|letter| letter.queue_seq == seq))
    })
    .await
}

fn admin(platform: &Platform) -> anyhow::Result<OrderAdminServiceClient<NamedChannel>> {
    Ok(OrderAdminServiceClient::new(platform.services.worker.channel()?))
}

/// What waits for a decision.
async fn waiting(platform: &Platform) -> anyhow::Result<Vec<DeadLetter>> {
    let asked = ListDeadLettersRequest { page_size: 500, ..ListDeadLettersRequest::default() };
    Ok(admin(platform)?.list_dead_letters(asked).await?.into_inner().dead_letters)
}

/// Asks for everything that can be asked about a letter. The worker may die of it.
pub(super) async fn decide(
    platform: &Platform,
    letter: &DeadLetter,
    drop: bool,
) -> anyhow::Result<()> {
    let request_id = Uuid::new_v4().to_string();
    let dead_letter_id = letter.dead_letter_id;
    waiting(platform).await?;
    let mut admin = admin(platform)?;
    let order_id = letter.order_id.clone();
    let asked = ListTransitionsRequest { order_id, ..ListTransitionsRequest::default() };
    match admin.list_transitions(asked).await {
        Ok(_) => {}
        // What could not be read may name no order, or one that has no row.
        Err(status) if matches!(status.code(), Code::NotFound | Code::InvalidArgument) => {}
        Err(status) => return Err(status.into()),
    }
    if drop {
        admin.drop_dead_letter(DropDeadLetterRequest { request_id, dead_letter_id }).await?;
    } else {
        admin.retry_dead_letter(RetryDeadLetterRequest { request_id, dead_letter_id }).await?;
    }
    Ok(())
}

/// Gives up whatever waits; how many.
pub(super) async fn give_up(platform: &Platform) -> anyhow::Result<usize> {
    let given_up = AtomicUsize::new(0);
    until_some(WITHIN, "dead letters are given up", async || {
        let letters = waiting(platform).await?;
        for letter in &letters {
            decide(platform, letter, true).await?;
            given_up.fetch_add(1, Ordering::Relaxed);
        }
        anyhow::Ok(letters.is_empty().then_some(()))
    })
    .await?;
    Ok(given_up.into_inner())
}
