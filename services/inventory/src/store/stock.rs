//! Stock in Redis: each call runs one script.

use std::{sync::Arc, time::Duration};

use flashsale_record::SaleState;
use flashsale_redis::{Script, Store};
use fred::types::Value;
use uuid::Uuid;

use super::{
    batch::{BatchRequest, Batches},
    keys::keys,
    reading::SkuLists,
    reply::Reply,
    runner::Runner,
    scripts::Scripts,
    stored_hold,
};
use crate::domain::{
    Adjusted, AdjustmentRequest, Amount, Answer, Content, Hold, HoldId, Lines, Listed,
    MAX_HOLD_LENGTHS, Placing, Priced, Proof, Refusal, Request, Retaken, Rules, Settled,
    Settlement, Straggler, Swept, Synced, UnreadableHold,
};

/// How many holds one run of a script settles: bounded, because a run blocks the store for all
/// others.
const SETTLE_AT_ONCE: usize = 100;
/// How many orders' units one run of a script takes again.
const RETAKE_AT_ONCE: usize = 50;
/// How many bytes of holds one listing returns; beyond it the list is cut.
const LIST_BYTES: usize = 1_024 * 1_024;

/// The stock of all sales. Every call may fail with [`Refusal::Fenced`] (not this epoch or server),
/// [`Refusal::TooLate`] (the script did not run before the deadline), [`Refusal::Unanswered`] (it
/// may have run), [`Refusal::StoreAway`], or [`Refusal::Fault`] for a reply that cannot be read.
#[derive(Debug)]
pub struct Stock {
    pub(super) scripts: Arc<Scripts>,
    pub(super) sku_lists: SkuLists,
    runner: Arc<Runner>,
    batches: Batches,
}

impl Stock {
    /// Stock in `store`, where no script may start later than `timeout` after its call.
    pub fn new(store: Store, scripts: Arc<Scripts>, timeout: Duration) -> Self {
        let runner = Arc::new(Runner::new(store, timeout));
        let batches = Batches::new(Arc::clone(&runner), Arc::clone(&scripts));
        Self { scripts, sku_lists: SkuLists::default(), runner, batches }
    }

    /// Takes, places, extends or releases a hold, depending on the request's content.
    ///
    /// # Errors
    /// Any refusal of `reserve.lua`, `place.lua`, `extend.lua` or `release.lua`; those of every
    /// script, see [`Stock`]. Unless it is [`Refusal::Unanswered`], nothing was done.
    pub async fn request(
        &self,
        request: &Request,
        proof: &Proof,
        epoch: i64,
    ) -> Result<Answer, Refusal> {
        let common = [request.key().to_string(), request.hash()];
        let scripts = &self.scripts;
        match &request.content {
            Content::Reserve(lines) => {
                self.take(request, common, lines, proof, &Placing::default(), epoch).await
            }
            Content::PlaceLines(lines, placing) => {
                self.take(request, common, lines, proof, placing, epoch).await
            }
            Content::PlaceHold(hold_id, placing) => {
                let id = request.request_id.to_string();
                let more = [placing.details.clone(), id, expected(placing)];
                self.change(&scripts.place, request, common, *hold_id, &more, epoch).await
            }
            Content::Extend(hold_id) => {
                let more = [MAX_HOLD_LENGTHS.to_string()];
                self.change(&scripts.extend, request, common, *hold_id, &more, epoch).await
            }
            Content::Release(hold_id) => {
                self.change(&scripts.release, request, common, *hold_id, &[], epoch).await
            }
        }
    }

    async fn take(
        &self,
        request: &Request,
        [key, hash]: [String; 2],
        lines: &Lines,
        proof: &Proof,
        placing: &Placing,
        epoch: i64,
    ) -> Result<Answer, Refusal> {
        let (key, hash, details, expected) = (&key, &hash, &placing.details, &expected(placing));
        let batched = BatchRequest { request, key, hash, lines, proof, details, expected, epoch };
        self.batches.run(batched, self.runner.until()).await.and_then(answer)
    }

    async fn change(
        &self,
        script: &Script,
        request: &Request,
        [key, hash]: [String; 2],
        hold_id: Uuid,
        more: &[String],
        epoch: i64,
    ) -> Result<Answer, Refusal> {
        let mut args: Vec<Value> = vec![
            key.into(),
            hash.into(),
            hold_id.to_string().into(),
            request.buyer_id.clone().into(),
        ];
        args.extend(more.iter().map(|arg| arg.clone().into()));
        self.run(script, request.sale_id, epoch, args).await.and_then(answer)
    }

    /// Reads a hold; only one of `buyer_id`, if given.
    ///
    /// # Errors
    /// [`Refusal::HoldUnknown`]; those of every script, see [`Stock`].
    pub async fn hold(
        &self,
        sale_id: Uuid,
        id: HoldId,
        buyer_id: Option<&str>,
        epoch: i64,
    ) -> Result<Hold, Refusal> {
        let (by, id) = match id {
            HoldId::Hold(id) => ("hold", id),
            HoldId::Order(id) => ("order", id),
        };
        let args = vec![by.into(), id.to_string().into(), buyer_id.unwrap_or_default().into()];
        let reply = self.run(&self.scripts.get, sale_id, epoch, args).await?;
        answer(reply).map(|answer| answer.hold)
    }

    /// Settles holds, each on its own; the results are in the order of `holds`.
    ///
    /// # Errors
    /// Those of every script, see [`Stock`]. Some of the holds may be settled then; a retry is
    /// safe.
    pub async fn settle(
        &self,
        sale_id: Uuid,
        holds: &[Settlement],
        epoch: i64,
    ) -> Result<Vec<Settled>, Refusal> {
        let mut results = Vec::with_capacity(holds.len());
        for some in holds.chunks(SETTLE_AT_ONCE) {
            let args = some
                .iter()
                .flat_map(|hold| -> [Value; 3] {
                    let order = hold.order_id.map(|id| id.to_string()).unwrap_or_default();
                    [hold.hold_id.to_string().into(), hold.outcome.as_str().into(), order.into()]
                })
                .collect();
            let mut reply = self.run(&self.scripts.settle, sale_id, epoch, args).await?;
            if reply.word != "SETTLED" {
                return Err(reply.refusal());
            }
            for _ in some {
                let result = reply.text()?;
                let result = Settled::parse(&result)
                    .ok_or_else(|| Refusal::Fault { cause: format!("settled to {result}") })?;
                results.push(result);
            }
        }
        Ok(results)
    }

    /// Lists at most `limit` placed holds whose order the record is not known to have, placed
    /// before `before_ms` of the store's clock, oldest first. The list is also cut at `LIST_BYTES`.
    /// A hold that cannot be read is listed as such and does not affect the others.
    ///
    /// # Errors
    /// Those of every script, see [`Stock`].
    pub async fn list_placed(
        &self,
        sale_id: Uuid,
        before_ms: i64,
        limit: usize,
        epoch: i64,
    ) -> Result<Listed, Refusal> {
        let args = vec![before_ms.into(), limit.to_string().into(), LIST_BYTES.to_string().into()];
        let mut reply = self.run(&self.scripts.list_placed, sale_id, epoch, args).await?;
        if reply.word != "PLACED" {
            return Err(reply.refusal());
        }
        let currency = reply.text()?;
        let mut listed = Listed::default();
        while reply.has_more() {
            let (id, json, details) = (reply.lossy()?, reply.lossy()?, reply.lossy()?);
            match stored_hold::read(&id, &json, details.clone(), currency.clone(), reply.now_ms) {
                Ok(hold) => listed.placed.push(hold),
                Err(_) => {
                    tracing::error!(%sale_id, hold_id = id, "a placed hold cannot be read");
                    listed.unreadable.push(UnreadableHold::new(&id, &json, &details));
                }
            }
        }
        Ok(listed)
    }

    /// Takes the units of orders of an older epoch again, each order on its own, at what `priced`
    /// says of each sku and revision; the results are in the order of `orders`.
    ///
    /// # Errors
    /// Those of every script, see [`Stock`]. Some may be taken then; a retry is safe.
    pub async fn retake(
        &self,
        sale_id: Uuid,
        orders: &[Straggler],
        priced: &Priced,
        epoch: i64,
    ) -> Result<Vec<Retaken>, Refusal> {
        let mut results = Vec::with_capacity(orders.len());
        for some in orders.chunks(RETAKE_AT_ONCE) {
            let mut args: Vec<Value> = Vec::new();
            for order in some {
                args.extend([
                    order.hold_id.to_string().into(),
                    order.order_id.to_string().into(),
                    order.buyer_id.clone().into(),
                    order.admission_id.clone().unwrap_or_default().into(),
                    order.request_id.clone().into(),
                    order.request_hash.clone().into(),
                    order.placed_ms.into(),
                    order.details.clone().into(),
                    order.lines.len().to_string().into(),
                ]);
                for (line, revision) in &order.lines {
                    args.extend([
                        line.sku.clone().into(),
                        line.quantity.into(),
                        priced.of(&line.sku, *revision).map(text).unwrap_or_default().into(),
                        (*revision).into(),
                    ]);
                }
            }
            let mut reply = self.run(&self.scripts.retake, sale_id, epoch, args).await?;
            if reply.word != "RETAKEN" {
                return Err(reply.refusal());
            }
            for _ in some {
                results.push(match reply.text()?.as_str() {
                    "TAKEN" => Retaken::Taken,
                    "REFUSED" => Retaken::Refused,
                    other => return Err(Refusal::Fault { cause: format!("retaken to {other}") }),
                });
            }
        }
        Ok(results)
    }

    /// Ends at most `limit` holds whose deadline has passed.
    ///
    /// # Errors
    /// Those of every script, see [`Stock`].
    pub async fn sweep(&self, sale_id: Uuid, limit: usize, epoch: i64) -> Result<Swept, Refusal> {
        let args = vec![limit.to_string().into()];
        let mut reply = self.run(&self.scripts.sweep, sale_id, epoch, args).await?;
        if reply.word != "SWEPT" {
            return Err(reply.refusal());
        }
        let ended = usize::try_from(reply.int()?).unwrap_or(0);
        Ok(Swept { ended, over: reply.int()? == 1 })
    }

    /// Copies the sale's rules beside its stock, unless newer ones stand there. A sale that is to be
    /// called off is, unless it has begun by the store's clock.
    ///
    /// # Errors
    /// Those of every script, see [`Stock`].
    pub async fn sync(&self, sale_id: Uuid, rules: &Rules, epoch: i64) -> Result<Synced, Refusal> {
        let cancels = if rules.cancel_requested { "1" } else { "0" };
        let mut args = vec![rules.version.into(), cancels.into()];
        args.extend(fields(rules));
        let mut reply = self.run(&self.scripts.sync, sale_id, epoch, args).await?;
        if reply.word != "VERSION" {
            return Err(reply.refusal());
        }
        let (version, state) = (reply.int()?, reply.text()?);
        let cancelled = state == SaleState::Cancelled.as_str();
        Ok(Synced { version, cancelled, over: reply.int()? == 1, switches: Vec::new() })
    }

    /// Adds units to the stock, or takes out free ones; once in an epoch, whether done or refused.
    ///
    /// # Errors
    /// [`Refusal::SkuUnknown`]; those of every script, see [`Stock`].
    pub async fn adjust(
        &self,
        request: &AdjustmentRequest,
        epoch: i64,
    ) -> Result<Adjusted, Refusal> {
        let args = vec![
            request.request_id.to_string().into(),
            request.sku.clone().into(),
            request.delta.units().to_string().into(),
        ];
        let mut reply = self.run(&self.scripts.adjust, request.sale_id, epoch, args).await?;
        match reply.word.as_str() {
            "ADJUSTED" => Ok(Adjusted::Applied),
            "COMMITTED" => Ok(Adjusted::Committed { available: reply.int()? }),
            _ => Err(reply.refusal()),
        }
    }

    /// Runs a script with the epoch and the deadline of the call.
    pub(super) async fn run(
        &self,
        script: &Script,
        sale_id: Uuid,
        epoch: i64,
        args: Vec<Value>,
    ) -> Result<Reply, Refusal> {
        let until = self.runner.until();
        self.runner.run(script, keys(sale_id), epoch, until, |_| args.clone()).await
    }
}

/// The rules as fields and values of `meta`, without the version.
pub(super) fn fields(rules: &Rules) -> Vec<Value> {
    let flag = if rules.room { "1" } else { "0" };
    vec![
        "state".into(),
        rules.state_at_stock().as_str().into(),
        "currency".into(),
        rules.currency.clone().into(),
        "starts_ms".into(),
        rules.starts_ms.into(),
        "ends_ms".into(),
        rules.ends_ms.into(),
        "hold_ms".into(),
        rules.hold_ms.into(),
        "room".into(),
        flag.into(),
        "max_total".into(),
        rules.max_total_minor().into(),
    ]
}

/// The total that a script expects, with its currency behind a comma; empty for any.
fn expected(placing: &Placing) -> String {
    let text = |Amount { minor, currency }: &Amount| format!("{minor},{currency}");
    placing.expected.as_ref().map(text).unwrap_or_default()
}

fn text(number: i64) -> String {
    number.to_string()
}

fn answer(mut reply: Reply) -> Result<Answer, Refusal> {
    if reply.word != "HOLD" {
        return Err(reply.refusal());
    }
    let replayed = reply.int()? == 1;
    let (id, json, details, currency) =
        (reply.text()?, reply.text()?, reply.text()?, reply.text()?);
    Ok(Answer { hold: stored_hold::read(&id, &json, details, currency, reply.now_ms)?, replayed })
}
