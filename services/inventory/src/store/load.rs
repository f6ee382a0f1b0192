//! Loading a sale's stock: from the record into Redis, under a new epoch.
//!
//! Three steps, each of which may be the last before a crash, and all of which LoadStock may be called again after:
//! 1. the record hands out an epoch, which nobody may use yet, and has the allotments;
//! 2. the stock is staged in Redis and published there in one step;
//! 3. the record lets everybody use the epoch.
//!
//! As nobody uses an epoch before the third step, stock that did not get there was never opened and may be loaded again.

use fred::types::Value;
use uuid::Uuid;

use super::{Claimed, Record, Stock, stock};
use crate::domain::{MAX_TOTAL_MINOR, Refusal, Rules};

/// How many skus are staged by one run of the script.
const STAGE_AT_ONCE: usize = 500;
/// How often the record may move on under a loader before it gives up.
const MAX_ROUNDS: u32 = 3;

/// What is loaded in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InRedis {
    epoch: i64,
    request_id: String,
    run_id: String,
}

/// Loaded stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// Its epoch.
    pub epoch: i64,
}

/// Loads stock.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    /// What is on record.
    pub record: &'a Record,
    /// Where it goes.
    pub stock: &'a Stock,
}

impl Load<'_> {
    /// Loads a sale's stock. The same `request_id` gets the same answer again.
    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`]; [`Refusal::AlreadyLoaded`]; [`Refusal::NotLoadable`]; [`Refusal::Fenced`] when the stock was in use and is
    /// gone, so that it has to be rebuilt, or when another loader is at it; or when a store does not answer.
    pub async fn run(&self, sale_id: Uuid, request_id: Uuid) -> Result<Loaded, Refusal> {
        for _ in 0..MAX_ROUNDS {
            let known = self.record.lookup(sale_id).await?;
            if let Some((epoch, usable)) = known.epoch {
                if let Some(there) = self.probe(sale_id).await?.filter(|there| there.epoch == epoch)
                {
                    if !usable && !self.record.publish(sale_id, epoch, &there.run_id).await? {
                        continue;
                    }
                    return if there.request_id == request_id.to_string() {
                        Ok(Loaded { epoch })
                    } else {
                        Err(Refusal::AlreadyLoaded { epoch })
                    };
                }
                // In a sale that has not opened yet nobody can have taken anything.
                let never_opened = matches!(known.state.as_str(), "DRAFT" | "SCHEDULED");
                if usable && !never_opened {
                    return Err(Refusal::Fenced);
                }
            }
            let Some(claimed) = self.record.claim(sale_id, &known).await? else { continue };
            let run_id = self.fill(sale_id, request_id, &claimed).await?;
            if self.record.publish(sale_id, claimed.epoch, &run_id).await? {
                return Ok(Loaded { epoch: claimed.epoch });
            }
        }
        Err(Refusal::Fenced)
    }

    async fn probe(&self, sale_id: Uuid) -> Result<Option<InRedis>, Refusal> {
        let mut reply = self.step(sale_id, 0, "probe", vec![]).await?;
        match reply.word.as_str() {
            "NOTHING" => Ok(None),
            "LOADED" => Ok(Some(InRedis {
                epoch: reply.int()?,
                request_id: reply.text()?,
                run_id: reply.text()?,
            })),
            _ => Err(reply.refusal()),
        }
    }

    /// Stages the stock and publishes it; returns the run id of the server that has it.
    async fn fill(
        &self,
        sale_id: Uuid,
        request_id: Uuid,
        claimed: &Claimed,
    ) -> Result<String, Refusal> {
        let Claimed { epoch, rules, items } = claimed;
        if items
            .iter()
            .any(|item| item.price_minor > MAX_TOTAL_MINOR || item.quantity > MAX_TOTAL_MINOR)
        {
            return Err(Refusal::NotLoadable {
                why: "a price or quantity is beyond what stock can hold",
            });
        }
        self.done(sale_id, *epoch, "claim", vec![]).await?;
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
            self.done(sale_id, *epoch, "stage", args).await?;
        }
        self.done(sale_id, *epoch, "publish", publish(request_id, items.len(), rules)).await
    }

    async fn done(
        &self,
        sale_id: Uuid,
        epoch: i64,
        step: &str,
        args: Vec<Value>,
    ) -> Result<String, Refusal> {
        let mut reply = self.step(sale_id, epoch, step, args).await?;
        if reply.word == "OK" { reply.text() } else { Err(reply.refusal()) }
    }

    async fn step(
        &self,
        sale_id: Uuid,
        epoch: i64,
        step: &str,
        args: Vec<Value>,
    ) -> Result<super::reply::Reply, Refusal> {
        let mut all = vec![step.into()];
        all.extend(args);
        self.stock.run(&self.stock.scripts.load, sale_id, epoch, all).await
    }
}

fn publish(request_id: Uuid, skus: usize, rules: &Rules) -> Vec<Value> {
    let mut args: Vec<Value> = vec![request_id.to_string().into(), skus.to_string().into()];
    args.push("version".into());
    args.push(rules.version.into());
    args.extend(stock::fields(rules));
    args
}
