//! Reading everything that Redis has of a sale, page by page, and repairing its indexes.

use std::collections::{BTreeSet, HashMap};

use fred::types::Value;
use uuid::Uuid;

use super::{
    Stock,
    reply::{self, Reply},
    stored_hold,
};
use crate::domain::{Refusal, reconcile::SeenHold};

/// About how many entries a page has: bounded, because a run of the script blocks the store for all
/// others.
const PAGE: usize = 500;
/// About how many fields of the books a page of skus looks at, seven for each sku.
const FIELDS: usize = 2_000;
/// How many holds one run of a script looks up or mends.
const AT_ONCE: usize = 200;

/// A page, and the cursor of the next.
struct Page {
    next: String,
    now_ms: i64,
    reply: Reply,
}

impl Stock {
    /// Every hold that exists throughout, by id, and the store's time at the first page. Holds
    /// taken meanwhile may be among them.
    ///
    /// # Errors
    /// Those of every script, see [`Stock`].
    pub async fn all_holds(
        &self,
        sale_id: Uuid,
        epoch: i64,
    ) -> Result<(HashMap<Uuid, SeenHold>, i64), Refusal> {
        let mut holds = HashMap::new();
        let mut began_ms = None;
        let mut cursor = "0".to_owned();
        loop {
            let mut page = self.page(sale_id, epoch, "holds", &cursor, PAGE).await?;
            began_ms.get_or_insert(page.now_ms);
            read_holds(&mut page.reply, &mut holds)?;
            if page.next == "0" {
                return Ok((holds, began_ms.unwrap_or(page.now_ms)));
            }
            cursor = page.next;
        }
    }

    /// Those of `ids` that exist, and the store's time.
    ///
    /// # Errors
    /// Those of every script, see [`Stock`].
    pub async fn some_holds(
        &self,
        sale_id: Uuid,
        ids: &[Uuid],
        epoch: i64,
    ) -> Result<(HashMap<Uuid, SeenHold>, i64), Refusal> {
        let mut holds = HashMap::new();
        let mut now_ms = 0;
        for some in ids.chunks(AT_ONCE) {
            let mut args: Vec<Value> = vec!["ids".into()];
            args.extend(some.iter().map(|id| Value::from(id.to_string())));
            let mut page = self.inspect(sale_id, epoch, args).await?;
            now_ms = page.now_ms;
            read_holds(&mut page.reply, &mut holds)?;
        }
        Ok((holds, now_ms))
    }

    /// Units by sku and buyer.
    ///
    /// # Errors
    /// Those of every script, see [`Stock`].
    pub async fn all_buyers(
        &self,
        sale_id: Uuid,
        epoch: i64,
    ) -> Result<HashMap<(String, String), i64>, Refusal> {
        let mut buyers = HashMap::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut page = self.page(sale_id, epoch, "buyers", &cursor, PAGE).await?;
            while page.reply.has_more() {
                let (field, units) = (page.reply.text()?, page.reply.text()?);
                let (sku, buyer) = field
                    .split_once('\u{1f}')
                    .ok_or_else(|| reply::unreadable("a field of the buyers"))?;
                let units = units.parse().map_err(|_| reply::unreadable("a buyer's units"))?;
                buyers.insert((sku.to_owned(), buyer.to_owned()), units);
            }
            if page.next == "0" {
                return Ok(buyers);
            }
            cursor = page.next;
        }
    }

    /// Every sku of the stock.
    ///
    /// # Errors
    /// Those of every script, see [`Stock`].
    pub(super) async fn all_skus(
        &self,
        sale_id: Uuid,
        epoch: i64,
    ) -> Result<BTreeSet<String>, Refusal> {
        let mut skus = BTreeSet::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut page = self.page(sale_id, epoch, "skus", &cursor, FIELDS).await?;
            while page.reply.has_more() {
                skus.insert(page.reply.text()?);
            }
            if page.next == "0" {
                return Ok(skus);
            }
            cursor = page.next;
        }
    }

    /// Entries of `deadlines` without a hold.
    ///
    /// # Errors
    /// Those of every script, see [`Stock`].
    pub async fn stray_deadlines(&self, sale_id: Uuid, epoch: i64) -> Result<Vec<Uuid>, Refusal> {
        let mut strays = Vec::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut page = self.page(sale_id, epoch, "strays", &cursor, PAGE).await?;
            while page.reply.has_more() {
                strays.push(id(&page.reply.text()?)?);
            }
            if page.next == "0" {
                strays.sort_unstable();
                strays.dedup();
                return Ok(strays);
            }
            cursor = page.next;
        }
    }

    /// Brings the indexes of holds in line with the holds; returns how many changed.
    ///
    /// # Errors
    /// Those of every script, see [`Stock`]. A retry is safe.
    pub async fn mend(&self, sale_id: Uuid, ids: &[Uuid], epoch: i64) -> Result<i64, Refusal> {
        let mut mended = 0;
        for some in ids.chunks(AT_ONCE) {
            let args = some.iter().map(|id| Value::from(id.to_string())).collect();
            let mut reply = self.run(&self.scripts.mend, sale_id, epoch, args).await?;
            if reply.word != "MENDED" {
                return Err(reply.refusal());
            }
            mended += reply.int()?;
        }
        Ok(mended)
    }

    async fn page(
        &self,
        sale_id: Uuid,
        epoch: i64,
        what: &str,
        cursor: &str,
        about: usize,
    ) -> Result<Page, Refusal> {
        let args = vec![what.into(), cursor.into(), about.to_string().into()];
        self.inspect(sale_id, epoch, args).await
    }

    async fn inspect(&self, sale_id: Uuid, epoch: i64, args: Vec<Value>) -> Result<Page, Refusal> {
        let mut reply = self.run(&self.scripts.inspect, sale_id, epoch, args).await?;
        if reply.word != "PAGE" {
            return Err(reply.refusal());
        }
        Ok(Page { next: reply.text()?, now_ms: reply.now_ms, reply })
    }
}

fn id(text: &str) -> Result<Uuid, Refusal> {
    text.parse().map_err(|_| reply::unreadable("a hold's id"))
}

fn read_holds(reply: &mut Reply, holds: &mut HashMap<Uuid, SeenHold>) -> Result<(), Refusal> {
    while reply.has_more() {
        let (text, json) = (reply.text()?, reply.text()?);
        let (deadline, pending, details) = (reply.text()?, reply.text()?, reply.int()? == 1);
        if !json.is_empty() {
            let hold = stored_hold::seen(&text, &json, [&deadline, &pending], details)?;
            holds.insert(id(&text)?, hold);
        }
    }
    Ok(())
}
