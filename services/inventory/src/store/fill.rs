//! Filling a sale's keys step by step, of which only the last lets anybody see the stock: for a load and for a rebuild.

use flashsale_failpoint::Step as _;
use fred::types::Value;
use serde::Serialize;
use uuid::Uuid;

use super::{Stock, reply::Reply, stock};
use crate::domain::{Item, MAX_TOTAL_MINOR, RecordedOrder, Refusal, Rules};

/// How many skus, or orders, are staged by one run of the script, so that it does not keep the store from others for long.
const STAGE_AT_ONCE: usize = 500;

/// What is loaded in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InRedis {
    /// Its epoch.
    pub epoch: i64,
    /// The request it was loaded by; empty after a rebuild.
    pub request_id: String,
    /// The server that has it.
    pub server: String,
}

/// A hold of a recorded order, as the scripts write holds, but for when its units were taken: the script that takes them knows.
#[derive(Serialize)]
struct StoredHold<'a> {
    b: &'a str,
    s: &'static str,
    d: i64,
    l: Vec<(&'a str, i64, i64)>,
    e: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    j: Option<&'a str>,
    o: Uuid,
    p: i64,
    q: Uuid,
    h: &'a str,
}

impl Stock {
    /// What stands under the sale's keys on the server that has them now; `None` if it is not whole, or of another server.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn probe(&self, sale_id: Uuid) -> Result<Option<InRedis>, Refusal> {
        let mut reply = self.step(sale_id, 0, "load/probe", vec![]).await?;
        match reply.word.as_str() {
            "NOTHING" => Ok(None),
            "LOADED" => Ok(Some(InRedis {
                epoch: reply.int()?,
                request_id: reply.text()?,
                server: reply.text()?,
            })),
            _ => Err(reply.refusal()),
        }
    }

    /// Clears a sale's keys for an epoch to come: whatever stood there serves nobody any more.
    ///
    /// # Errors
    /// [`Refusal::Fenced`] when a later epoch came in between; or when the store does not answer.
    pub async fn clear(&self, sale_id: Uuid, epoch: i64) -> Result<String, Refusal> {
        self.done(sale_id, epoch, "load/claim", vec![]).await
    }

    /// Puts stock under the sale's keys in place of what is there, with the holds of `orders`, and returns the name of the server that
    /// has it.
    ///
    /// # Errors
    /// [`Refusal::Fenced`] when a later epoch came in between; [`Refusal::NotLoadable`]; or when the store does not answer: then
    /// some of it may stand there, and nobody sees it.
    pub async fn fill(
        &self,
        sale_id: Uuid,
        epoch: i64,
        request_id: &str,
        rules: &Rules,
        items: &[Item],
        orders: &[RecordedOrder],
    ) -> Result<String, Refusal> {
        if items
            .iter()
            .any(|item| item.price_minor > MAX_TOTAL_MINOR || item.quantity > MAX_TOTAL_MINOR)
        {
            return Err(Refusal::NotLoadable {
                why: "a price or quantity is beyond what stock can hold",
            });
        }
        self.clear(sale_id, epoch).await?;
        for some in items.chunks(STAGE_AT_ONCE) {
            let args = some
                .iter()
                .flat_map(|item| -> [Value; 4] {
                    [
                        item.sku.clone().into(),
                        item.quantity.into(),
                        item.per_buyer_limit.into(),
                        item.price_minor.into(),
                    ]
                })
                .collect();
            self.done(sale_id, epoch, "load/stage", args).await?;
        }
        for some in orders.chunks(STAGE_AT_ONCE) {
            let mut args = Vec::with_capacity(some.len() * 5);
            for order in some {
                args.extend(order_args(epoch, order)?);
            }
            self.done(sale_id, epoch, "load/orders", args).await?;
        }
        let mut args: Vec<Value> = vec![
            request_id.into(),
            items.len().to_string().into(),
            orders.len().to_string().into(),
            "version".into(),
            rules.version.into(),
        ];
        args.extend(stock::fields(rules));
        self.done(sale_id, epoch, "load/publish", args).await
    }

    async fn done(
        &self,
        sale_id: Uuid,
        epoch: i64,
        step: &'static str,
        args: Vec<Value>,
    ) -> Result<String, Refusal> {
        let mut reply = self.step(sale_id, epoch, step, args).await?;
        if reply.word == "OK" { reply.text() } else { Err(reply.refusal()) }
    }

    async fn step(
        &self,
        sale_id: Uuid,
        epoch: i64,
        step: &'static str,
        args: Vec<Value>,
    ) -> Result<Reply, Refusal> {
        let mut all = vec![step.trim_start_matches("load/").into()];
        all.extend(args);
        self.run(&self.scripts.load, sale_id, epoch, all).step(step).await
    }
}

fn order_args(epoch: i64, order: &RecordedOrder) -> Result<[Value; 5], Refusal> {
    let hold = StoredHold {
        b: &order.buyer_id,
        s: order.units.hold_state().as_str(),
        // When it would have expired nobody knows any more; nor does it matter to a hold that was placed.
        d: order.placed_ms,
        l: order
            .lines
            .iter()
            .map(|line| (line.sku.as_str(), line.quantity, line.price_minor))
            .collect(),
        e: epoch,
        j: order.admission_id.as_deref(),
        o: order.order_id,
        p: order.placed_ms,
        q: order.request_id,
        h: &order.request_hash,
    };
    let json = serde_json::to_string(&hold)
        .map_err(|error| Refusal::Fault { cause: format!("a hold cannot be written: {error}") })?;
    Ok([
        order.hold_id.to_string().into(),
        json.into(),
        order.units.column().into(),
        order.order_id.to_string().into(),
        order.request_hash.clone().into(),
    ])
}
