//! What stands in the stores, read raw: no service is asked.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use flashsale_testbed::{Reply, ask};
use serde::Deserialize;
use serde_json::Value;
use sqlx::Row as _;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::{Platform, Sale};
use crate::patience::until_some;

/// All keys of a sale's stock.
pub(crate) const KEYS: [&str; 9] =
    ["meta", "stock", "holds", "deadlines", "pending", "orders", "requests", "buyers", "spent"];
/// How long a sale may take to come to rest: payments, mails and holds that are closed.
const REST_WITHIN: Duration = Duration::from_secs(60);
/// How long a closed sale is waited for; more than it may take.
const REOPEN_WITHIN: Duration = Duration::from_secs(30);

/// A key of a sale.
pub(crate) fn key(sale: Uuid, name: &str) -> String {
    format!("fs:{{{sale}}}:{name}")
}

/// What a hold has of a sku: the sku, the units, what one of them costs, and the revision of the
/// sale's prices that says so, which is left out if it is the first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct HoldLine(
    pub(crate) String,
    pub(crate) i64,
    pub(crate) i64,
    #[serde(default = "first_revision")] pub(crate) i64,
);

fn first_revision() -> i64 {
    1
}

/// A hold as it stands in Redis.
#[derive(Debug, Deserialize)]
pub(crate) struct Hold {
    /// Its buyer.
    #[serde(rename = "b")]
    pub(crate) buyer: String,
    /// Its state.
    #[serde(rename = "s")]
    pub(crate) state: String,
    /// When its units were taken, by Redis's clock.
    #[serde(rename = "t")]
    pub(crate) taken_ms: i64,
    /// When it ends unless it is placed.
    #[serde(rename = "d")]
    pub(crate) deadline_ms: i64,
    #[serde(rename = "l")]
    pub(crate) lines: Vec<HoldLine>,
    #[serde(rename = "o")]
    pub(crate) order: Option<Uuid>,
    /// The request that placed it.
    #[serde(rename = "q")]
    pub(crate) request: Option<Uuid>,
}

impl Hold {
    fn takes_units(&self) -> bool {
        matches!(self.state.as_str(), "HELD" | "PLACED" | "SOLD")
    }

    fn units(&self) -> i64 {
        self.lines.iter().map(|HoldLine(_, quantity, ..)| quantity).sum()
    }
}

/// A sale's stock in one Redis.
#[derive(Debug)]
pub(crate) struct Stock {
    /// Its epoch.
    pub(crate) epoch: i64,
    /// The holds.
    pub(crate) holds: HashMap<Uuid, Hold>,
    /// The requests that were carried out.
    pub(crate) requests: HashSet<String>,
    /// Units that the books have out of sale.
    out_of_sale: i64,
}

impl Stock {
    /// Reads it.
    pub(crate) async fn read(port: u16, sale: Uuid) -> anyhow::Result<Self> {
        let epoch = ask(port, &["HGET", &key(sale, "meta"), "epoch"]).await?;
        let mut holds = HashMap::new();
        for (id, json) in pairs(port, &key(sale, "holds")).await? {
            let hold = serde_json::from_str(&json).with_context(|| format!("hold {id}: {json}"))?;
            holds.insert(id.parse().with_context(|| format!("hold {id}"))?, hold);
        }
        // A request that took a hold has the hold's id for its key, and stands in the hold.
        let took = holds.keys().map(Uuid::to_string);
        let changed = pairs(port, &key(sale, "requests")).await?.into_iter().map(|(key, _)| key);
        let books = pairs(port, &key(sale, "stock")).await?;
        let out_of_sale = books
            .iter()
            .map(|(field, units)| match (field.get(..2), units.parse::<i64>()) {
                (Some("t:"), Ok(units)) => units,
                (Some("a:"), Ok(units)) => -units,
                _ => 0,
            })
            .sum();
        Ok(Self {
            epoch: epoch.text().parse().unwrap_or_default(),
            requests: took.chain(changed).collect(),
            holds,
            out_of_sale,
        })
    }

    /// Units that are out of sale for no hold: each was taken by something that was done twice.
    pub(crate) fn taken_twice(&self) -> i64 {
        let held: i64 =
            self.holds.values().filter(|hold| hold.takes_units()).map(Hold::units).sum();
        (self.out_of_sale - held).max(0)
    }
}

/// What tells a Redis server's data from that of any other: its run, and the history of its data,
/// which is another one once it was promoted.
pub(crate) async fn server_name(port: u16) -> anyhow::Result<String> {
    let info = ask(port, &["INFO"]).await?;
    let field = |name: &str| {
        let value = info.text().lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        value.with_context(|| format!("INFO has no {name}"))
    };
    Ok(format!("{}/{}", field("run_id:")?, field("master_replid:")?))
}

async fn pairs(port: u16, key: &str) -> anyhow::Result<Vec<(String, String)>> {
    let reply = ask(port, &["HGETALL", key]).await?;
    let texts: Vec<&str> = reply.list().iter().map(Reply::text).collect();
    Ok(texts.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect())
}

/// A message of the order queue.
#[derive(Debug)]
pub(crate) struct Message {
    /// `place`, `cancel` or `fence`.
    pub(crate) kind: String,
    /// The epoch it was made in; of a fence, the one that it opens.
    pub(crate) epoch: i64,
    /// The order it is about, if it is about one.
    pub(crate) order: Option<Uuid>,
}

impl Platform {
    /// The epochs of sales by the record, beside each.
    pub(crate) async fn epochs(&self, sales: &[Sale]) -> anyhow::Result<Vec<(Sale, i64)>> {
        let mut epochs = Vec::with_capacity(sales.len());
        for sale in sales {
            epochs.push((*sale, self.epoch(sale).await?.0));
        }
        Ok(epochs)
    }

    /// The epoch of a sale by the record, and the server it stands on if it may be used.
    pub(crate) async fn epoch(&self, sale: &Sale) -> anyhow::Result<(i64, Option<String>)> {
        let row = sqlx::query("SELECT epoch, run_id FROM sale_stock WHERE sale_id = $1")
            .bind(sale.id)
            .fetch_one(&self.pool)
            .await?;
        let run_id: String = row.try_get("run_id")?;
        Ok((row.try_get("epoch")?, Some(run_id).filter(|run_id| !run_id.is_empty())))
    }

    /// Waits until a sale is open in an epoch after `before`, and answers how long that was after
    /// `since`.
    pub(crate) async fn reopened(
        &self,
        sale: &Sale,
        before: i64,
        since: Instant,
    ) -> anyhow::Result<Duration> {
        let opened = self.reopened_all(&[(*sale, before)], since).await?;
        opened.into_iter().next().context("no sale")
    }

    /// Waits until each of these sales is open in an epoch after the one beside it, and answers how
    /// long each took after `since`.
    pub(crate) async fn reopened_all(
        &self,
        sales: &[(Sale, i64)],
        since: Instant,
    ) -> anyhow::Result<Vec<Duration>> {
        let opened = Mutex::new(HashMap::new());
        let all = async || {
            let closed: Vec<(Sale, i64)> = {
                let opened = opened.lock().await;
                sales.iter().filter(|(sale, _)| !opened.contains_key(&sale.id)).copied().collect()
            };
            for id in self.open(&closed).await? {
                opened.lock().await.insert(id, since.elapsed());
            }
            let opened = opened.lock().await;
            ensure!(opened.len() == sales.len(), "{} of {}", opened.len(), sales.len());
            anyhow::Ok(Some(()))
        };
        until_some(REOPEN_WITHIN, "the sales are open again", all).await?;
        Ok(opened.into_inner().into_values().collect())
    }

    /// Which of these sales are open in an epoch after the one beside them: the record says that
    /// the epoch may be used and on which server it stands, and the server that has the stock now
    /// is that one and has it.
    async fn open(&self, sales: &[(Sale, i64)]) -> anyhow::Result<Vec<Uuid>> {
        let before: HashMap<Uuid, i64> =
            sales.iter().map(|(sale, epoch)| (sale.id, *epoch)).collect();
        let ids: Vec<Uuid> = before.keys().copied().collect();
        let rows =
            sqlx::query("SELECT sale_id, epoch, run_id FROM sale_stock WHERE sale_id = ANY($1)")
                .bind(&ids)
                .fetch_all(&self.pool)
                .await?;
        let port = self.redis.port();
        let server = timeout(Duration::from_secs(1), server_name(port)).await??;
        let mut open = Vec::new();
        for row in rows {
            let (id, epoch, stands_on): (Uuid, i64, String) =
                (row.try_get("sale_id")?, row.try_get("epoch")?, row.try_get("run_id")?);
            if stands_on != server || before.get(&id).is_none_or(|before| epoch <= *before) {
                continue;
            }
            let meta = key(id, "meta");
            let fields = ["HMGET", &meta, "epoch", "run_id", "state"];
            let there = timeout(Duration::from_secs(1), ask(port, &fields)).await??;
            let words: Vec<&str> = there.list().iter().map(Reply::text).collect();
            if words == [&epoch.to_string(), &server, "OPEN"] {
                open.push(id);
            }
        }
        Ok(open)
    }

    /// Waits until nothing is on its way any more; what still is after a while stays for the audit
    /// to find.
    pub(crate) async fn rest(&self, sale: &Sale) -> anyhow::Result<()> {
        let undone = async || {
            let undone: i64 = sqlx::query_scalar(
                "SELECT (SELECT count(*) FROM orders WHERE sale_id = $1 AND state IN ('CLAIMED', 'PAYING', 'ACTION_REQUIRED'))
                    + (SELECT count(*) FROM parked_orders WHERE sale_id = $1)
                    + (SELECT count(*) FROM outbox JOIN orders USING (order_id) WHERE sale_id = $1 AND done_at IS NULL)
                    + (SELECT count(*) FROM stock_adjustments WHERE sale_id = $1 AND state = 'STARTED')",
            )
            .bind(sale.id)
            .fetch_one(&self.pool)
            .await?;
            if undone > 0 || self.epoch(sale).await?.1.is_none() {
                return anyhow::Ok(None);
            }
            let held = pairs(self.redis.port(), &key(sale.id, "stock")).await?;
            let busy = held.iter().any(|(field, units)| {
                (field.starts_with("h:") || field.starts_with("p:")) && units != "0"
            });
            Ok((!busy && !held.is_empty()).then_some(()))
        };
        until_some(REST_WITHIN, "the sale comes to rest", undone).await
    }

    /// Orders that hold units by the record and not in the stock of the current epoch: an older one
    /// served them.
    pub(crate) async fn served_by_an_old_epoch(
        &self,
        sale: &Sale,
        stock: &Stock,
    ) -> anyhow::Result<Vec<Uuid>> {
        let rows = sqlx::query(
            "SELECT order_id, hold_id FROM orders WHERE sale_id = $1 AND state NOT IN ('CANCELLED', 'DECLINED')",
        )
        .bind(sale.id)
        .fetch_all(&self.pool)
        .await?;
        let mut served = Vec::new();
        for row in rows {
            let (order, hold): (Uuid, Uuid) = (row.try_get("order_id")?, row.try_get("hold_id")?);
            let hold = stock.holds.get(&hold);
            if !hold.is_some_and(|hold| hold.order == Some(order) && hold.takes_units()) {
                served.push(order);
            }
        }
        Ok(served)
    }

    /// What was published about a sale, oldest first.
    pub(crate) async fn published(&self, sale: &Sale) -> anyhow::Result<Vec<Message>> {
        let client = async_nats::connect(self.nats_url()).await?;
        let stream = async_nats::jetstream::new(client).get_stream("ORDERS").await?;
        let state = stream.get_info().await?.state;
        let mut messages = Vec::new();
        for seq in state.first_sequence..=state.last_sequence {
            // It may have been taken out.
            let Ok(message) = stream.get_raw_message(seq).await else { continue };
            if !message.subject.ends_with(&sale.id.to_string()) {
                continue;
            }
            let body: Value = serde_json::from_slice(&message.payload)?;
            messages.push(Message {
                kind: body["kind"].as_str().unwrap_or_default().to_owned(),
                epoch: body["epoch"].as_i64().unwrap_or_default(),
                order: body["order_id"].as_str().and_then(|id| id.parse().ok()),
            });
        }
        Ok(messages)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn line_without_revision_is_of_the_first() {
        let hold = r#"{"b":"ada","s":"HELD","d":2,"t":1,"l":[["A",1,500],["B",2,400,3]]}"#;
        let hold: Hold = serde_json::from_str(hold).unwrap();
        let line =
            |sku: &str, units, minor, revision| HoldLine(sku.to_owned(), units, minor, revision);
        assert_eq!(hold.lines, [line("A", 1, 500, 1), line("B", 2, 400, 3)]);
        assert_eq!(hold.units(), 3);
    }
}
