//! Filling a sale's keys in steps, of which only the last makes the stock visible: for a load and
//! for a rebuild.

use flashsale_failpoint::{AsStep as _, Step};
use flashsale_record::FIRST_PRICE_REVISION;
use fred::types::Value;
use uuid::Uuid;

use super::{Snapshot, Stock, reply::Reply, stock, stored_hold::StoredHold};
use crate::{
    domain::{MAX_TOTAL_MINOR, RecordedOrder, Refusal},
    steps,
};

/// How many skus or orders one run of the script stages: bounded, because a run blocks the store
/// for all others.
const STAGE_AT_ONCE: usize = 500;
/// Fields that every sku has in the stock.
const FIELDS: usize = 7;

/// The stock loaded in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InRedis {
    pub epoch: i64,
    /// The request id of its load; empty after a rebuild.
    pub request_id: String,
}

impl Stock {
    /// The server that has the sale's keys now, and the stock under them; `None` if that is not
    /// whole, or belongs to another server.
    ///
    /// # Errors
    /// Those of every script, see [`Stock`].
    pub async fn probe(&self, sale_id: Uuid) -> Result<(String, Option<InRedis>), Refusal> {
        let mut reply = self.step(sale_id, 0, steps::LOAD_PROBE, vec![]).await?;
        match reply.word.as_str() {
            "NOTHING" => Ok((reply.text()?, None)),
            "LOADED" => {
                let (epoch, request_id) = (reply.int()?, reply.text()?);
                Ok((reply.text()?, Some(InRedis { epoch, request_id })))
            }
            _ => Err(reply.refusal()),
        }
    }

    /// Clears a sale's keys for an epoch to come, so that what stood there serves no caller any
    /// more.
    ///
    /// # Errors
    /// [`Refusal::Fenced`] when a later epoch came first; those of every script, see [`Stock`].
    pub async fn clear(&self, sale_id: Uuid, epoch: i64) -> Result<String, Refusal> {
        self.done(sale_id, epoch, steps::LOAD_CLAIM, vec![]).await
    }

    /// Replaces what stands under the sale's keys by this stock, with the holds of its orders, and
    /// returns the name of the server that has it.
    ///
    /// # Errors
    /// [`Refusal::Fenced`] when a later epoch came first; [`Refusal::NotLoadable`]; those of every
    /// script, see [`Stock`]. Some of the stock may stand there then, invisible to all callers.
    pub async fn fill(
        &self,
        sale_id: Uuid,
        epoch: i64,
        request_id: &str,
        snapshot: &Snapshot,
    ) -> Result<String, Refusal> {
        let Snapshot { rules, items, prices, orders } = snapshot;
        if items
            .iter()
            .any(|item| item.price_minor > MAX_TOTAL_MINOR || item.quantity > MAX_TOTAL_MINOR)
        {
            return Err(Refusal::NotLoadable {
                why: "a price or quantity is beyond what stock can hold",
            });
        }
        // What a fill that broke off has left. No caller sees a stage before the last script.
        self.clear(sale_id, epoch).await?;
        for some in items.chunks(STAGE_AT_ONCE) {
            let args = some
                .iter()
                .flat_map(|item| -> [Value; 5] {
                    let price = match item.price_revision {
                        FIRST_PRICE_REVISION => item.price_minor.to_string(),
                        later => format!("{},{later}", item.price_minor),
                    };
                    let regular = item.regular_minor.map(|regular| regular.to_string());
                    [
                        item.sku.clone().into(),
                        item.quantity.into(),
                        item.per_buyer_limit.into(),
                        price.into(),
                        regular.unwrap_or_default().into(),
                    ]
                })
                .collect();
            self.done(sale_id, epoch, steps::LOAD_STAGE, args).await?;
        }
        let staged = prices.staged();
        for some in staged.chunks(STAGE_AT_ONCE) {
            self.done(sale_id, epoch, steps::LOAD_PRICES, some.concat()).await?;
        }
        for some in orders.chunks(STAGE_AT_ONCE) {
            let mut args = Vec::with_capacity(some.len() * 5);
            for order in some {
                args.extend(order_args(epoch, order)?);
            }
            self.done(sale_id, epoch, steps::LOAD_ORDERS, args).await?;
        }
        let regular = items.iter().filter(|item| item.regular_minor.is_some()).count();
        let mut args: Vec<Value> = vec![
            request_id.into(),
            (FIELDS * items.len() + regular + staged.len()).to_string().into(),
            orders.len().to_string().into(),
            "version".into(),
            rules.version.into(),
            "begun".into(),
            flag(rules.begun),
            "over".into(),
            flag(rules.over),
        ];
        args.extend(stock::fields(rules));
        args.extend(prices.fields());
        self.done(sale_id, epoch, steps::LOAD_PUBLISH, args).await
    }

    async fn done(
        &self,
        sale_id: Uuid,
        epoch: i64,
        step: Step,
        args: Vec<Value>,
    ) -> Result<String, Refusal> {
        let mut reply = self.step(sale_id, epoch, step, args).await?;
        if reply.word == "OK" { reply.text() } else { Err(reply.refusal()) }
    }

    async fn step(
        &self,
        sale_id: Uuid,
        epoch: i64,
        step: Step,
        args: Vec<Value>,
    ) -> Result<Reply, Refusal> {
        let mut all = vec![step.name().trim_start_matches("load/").into()];
        all.extend(args);
        self.run(&self.scripts.load, sale_id, epoch, all).step(step).await
    }
}

fn flag(set: bool) -> Value {
    if set { "1".into() } else { "0".into() }
}

fn order_args(epoch: i64, order: &RecordedOrder) -> Result<[Value; 5], Refusal> {
    // Without the time at which its units were taken, which the script adds.
    let json = StoredHold::of_order(epoch, order).encode()?;
    Ok([
        order.hold_id.to_string().into(),
        json.into(),
        order.units.column().into(),
        order.order_id.to_string().into(),
        order.request_hash.clone().into(),
    ])
}
