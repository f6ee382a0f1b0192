//! Comparing what Redis, the queue and the record say of a sale, and repairing what the record
//! proves.
//!
//! Redis is read first, then Postgres, which orders reach later and never leave. What differs is
//! read a second time in the same order and counts only if it is unchanged: what was on its way has
//! arrived by then. Repairs use the same scripts as all other callers, which change nothing if the
//! hold has moved on meanwhile.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use uuid::Uuid;

use super::Inventory;
use crate::domain::{
    Refusal, Settled, Settlement,
    reconcile::{self, Difference, Holds, Kind, Repair, UnitTotals},
};

/// The pause before the second reading, for what was on its way to arrive.
pub(crate) const SECOND_LOOK_AFTER: Duration = Duration::from_millis(500);
/// The most hold ids that one entry of a report lists.
const MAX_IDS: usize = 100;
/// How many holds one sweep ends, and how many sweeps one repair makes at most.
const SWEEP_BATCH: usize = 200;
const MAX_SWEEPS: usize = 100;

/// Differences of one kind and sku with the same description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    /// The sku; empty if the entry concerns no single one.
    pub sku: String,
    /// A description of the difference.
    pub what: String,
    /// Units concerned.
    pub units: i64,
    /// The holds concerned, at most `MAX_IDS`.
    pub hold_ids: Vec<Uuid>,
    pub repaired: bool,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub differences: Vec<Entry>,
    /// Units promised beyond what is allotted.
    pub oversold: i64,
    /// Units that are neither on sale nor in a hold that can end.
    pub stranded: i64,
    /// How long the oldest hold is past its deadline.
    pub oldest_expired_ms: i64,
    /// The epoch that was compared.
    pub epoch: i64,
    /// Whether there was a second reading, after a pause.
    pub looked_twice: bool,
}

/// One comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comparison<'a> {
    pub(crate) inventory: &'a Inventory,
    pub(crate) sale_id: Uuid,
    pub(crate) epoch: i64,
}

impl Comparison<'_> {
    /// Compares, repairs if `repair` is set, and reports.
    pub(crate) async fn run(self, repair: bool) -> Result<Report, Refusal> {
        let (units, holds) = self.read().await?;
        let first = reconcile::differences(&units, &holds);
        let overdue = holds.overdue();
        let mut report = Report {
            differences: Vec::new(),
            oversold: 0,
            stranded: 0,
            oldest_expired_ms: holds.oldest_expired_ms(),
            epoch: self.epoch,
            looked_twice: false,
        };
        if first.is_empty() && overdue.is_empty() {
            return Ok(report);
        }
        // What was on its way gets the time to arrive.
        report.looked_twice = true;
        tokio::time::sleep(SECOND_LOOK_AFTER).await;
        // Sums, record and holds are read again, and only what differs in the same way counts.
        let mut found = self.units_again(&units, holds.holds.clone(), &first).await?;
        let (of_record, oversold) = self.record_again(&first).await?;
        found.extend(of_record);
        report.oversold = oversold;
        let suspects = Suspects::of(&first, &overdue);
        let second = self.holds_again(&suspects).await?;
        let confirmed = reconcile::of_holds(&second);
        found.extend(first.into_iter().filter(|difference| confirmed.contains(difference)));
        found.extend(self.messages(&second).await?);
        // Whether a repair took effect shows in a third reading.
        let mut left = HashSet::new();
        if repair && found.iter().any(|difference| difference.repair.is_some()) {
            self.repair(&found).await?;
            let third = self.holds_again(&suspects).await?;
            left.extend(reconcile::of_holds(&third).iter().map(key));
            let expired = third.oldest_expired_ms();
            report.oldest_expired_ms = report.oldest_expired_ms.min(expired);
        } else {
            left.extend(found.iter().map(key));
        }
        report.differences = entries(&found, |difference| {
            difference.repair.is_some() && !left.contains(&key(difference))
        });
        report.stranded = found
            .iter()
            .filter(|difference| difference.repair.is_none() || left.contains(&key(difference)))
            .map(|difference| difference.stranded)
            .sum();
        Ok(report)
    }

    /// Reads everything, Redis first. Books and buyers are read between two readings of the holds,
    /// if there is to be a second.
    async fn read(self) -> Result<(UnitTotals, Holds), Refusal> {
        let Self { inventory: Inventory { stock, record, .. }, sale_id, epoch } = self;
        let (mut holds, now_ms) = stock.all_holds(sale_id, epoch).await?;
        for hold in holds.values_mut() {
            hold.before = Some(hold.state);
        }
        let books = stock.read(sale_id, &[], epoch).await?.skus;
        let buyers = stock.all_buyers(sale_id, epoch).await?;
        let strays = stock.stray_deadlines(sale_id, epoch).await?;
        let units = UnitTotals { books, record: record.units(sale_id).await?, buyers };
        let orders = record.all_orders(sale_id).await?;
        Ok((units, Holds { epoch, now_ms, holds, strays, orders }))
    }

    /// The sums over the holds, after a second reading of all holds.
    async fn units_again(
        self,
        units: &UnitTotals,
        before: HashMap<Uuid, reconcile::SeenHold>,
        first: &[Difference],
    ) -> Result<Vec<Difference>, Refusal> {
        if !first.iter().any(|difference| difference.kind == Kind::BooksDoNotAddUp) {
            return Ok(Vec::new());
        }
        let (mut holds, _) = self.inventory.stock.all_holds(self.sale_id, self.epoch).await?;
        for (id, hold) in &mut holds {
            hold.before = before.get(id).map(|before| before.state);
        }
        Ok(reconcile::of_units(units, &holds))
    }

    /// Compares the books with the record once more; returns the differences and what is oversold.
    async fn record_again(self, first: &[Difference]) -> Result<(Vec<Difference>, i64), Refusal> {
        let Self { inventory: Inventory { stock, record, .. }, sale_id, epoch } = self;
        let books = stock.read(sale_id, &[], epoch).await?.skus;
        let record = record.units(sale_id).await?;
        let units = UnitTotals { books, record, buyers: HashMap::new() };
        let mut found = reconcile::of_record(&units);
        found.retain(|difference| first.contains(difference));
        let oversold = found.iter().any(|difference| difference.kind == Kind::Oversold);
        Ok((found, if oversold { reconcile::oversold(&units) } else { 0 }))
    }

    async fn holds_again(self, suspects: &Suspects) -> Result<Holds, Refusal> {
        let Self { inventory: Inventory { stock, record, .. }, sale_id, epoch } = self;
        if suspects.holds.is_empty() {
            return Ok(Holds { epoch, ..Holds::default() });
        }
        let (holds, now_ms) = stock.some_holds(sale_id, &suspects.holds, epoch).await?;
        let strays =
            if suspects.strays { stock.stray_deadlines(sale_id, epoch).await? } else { Vec::new() };
        let orders = record.some_orders(sale_id, &suspects.orders).await?;
        Ok(Holds { epoch, now_ms, holds, strays, orders })
    }

    /// Overdue orders whose message is not in the queue.
    async fn messages(self, seen: &Holds) -> Result<Vec<Difference>, Refusal> {
        let overdue = seen.overdue();
        if overdue.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: HashSet<Uuid> = overdue.iter().map(|(_, order_id)| *order_id).collect();
        let Inventory { record, queue, .. } = self.inventory;
        let floor = record.claims_floor(flashsale_queue::ORDERS).await?;
        let found = queue.find(self.sale_id, floor, &wanted).await;
        // What was claimed while the queue was read is in the record by now.
        let ids: Vec<Uuid> = wanted.iter().copied().collect();
        let claimed = record.some_orders(self.sale_id, &ids).await?;
        let claimed: HashSet<Uuid> = claimed.values().map(|order| order.order_id).collect();
        Ok(reconcile::of_messages(seen, &overdue, |order_id| {
            if found.orders.contains(&order_id) || claimed.contains(&order_id) {
                Some(true)
            } else {
                found.whole.then_some(false)
            }
        }))
    }

    async fn repair(self, found: &[Difference]) -> Result<(), Refusal> {
        let Self { inventory, sale_id, epoch } = self;
        let mut settlements: BTreeMap<Uuid, Settlement> = BTreeMap::new();
        let mut mend = Vec::new();
        let mut sweep = false;
        for difference in found {
            match (difference.repair, difference.hold_id) {
                (Some(Repair::Settle(outcome)), Some(id)) => {
                    let order_id = difference.order_id;
                    settlements.insert(id, Settlement { hold_id: id, outcome, order_id });
                }
                (Some(Repair::Mend), Some(id)) => mend.push(id),
                (Some(Repair::Sweep), _) => sweep = true,
                (Some(_) | None, _) => {}
            }
        }
        let settlements: Vec<Settlement> = settlements.into_values().collect();
        if !settlements.is_empty() {
            let settled = inventory.stock.settle(sale_id, &settlements, epoch).await?;
            let done = settled.iter().filter(|settled| **settled == Settled::Done).count();
            tracing::warn!(%sale_id, holds = done, "holds were ended as their orders had");
        }
        // The indexes first, since the sweep relies on them.
        if !mend.is_empty() {
            mend.sort_unstable();
            mend.dedup();
            let mended = inventory.stock.mend(sale_id, &mend, epoch).await?;
            tracing::warn!(%sale_id, holds = mended, "indexes were brought in line with holds");
        }
        if sweep {
            for _ in 0..MAX_SWEEPS {
                if inventory.sweep(sale_id, epoch, SWEEP_BATCH).await?.ended < SWEEP_BATCH {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Inventory {
    /// Compares what the stores say of a sale, and repairs what the record proves if `repair` is
    /// set.
    ///
    /// # Errors
    /// Those of the epoch lookup and of every script, and [`Refusal::StoreAway`]; some repairs may
    /// be made by then.
    pub async fn reconcile(&self, sale_id: Uuid, repair: bool) -> Result<Report, Refusal> {
        self.in_epoch(sale_id, |epoch| Comparison { inventory: self, sale_id, epoch }.run(repair))
            .await
    }
}

/// What has to be read again.
#[derive(Debug, Default)]
struct Suspects {
    holds: Vec<Uuid>,
    orders: Vec<Uuid>,
    strays: bool,
}

impl Suspects {
    fn of(first: &[Difference], overdue: &[(Uuid, Uuid)]) -> Self {
        let mut suspects = Self::default();
        for difference in first {
            // The sums over the holds are compared again as a whole.
            if difference.kind == Kind::BooksDoNotAddUp {
                continue;
            }
            suspects.holds.extend(difference.hold_id);
            suspects.orders.extend(difference.order_id);
            suspects.strays |= difference.kind == Kind::DeadlineStray;
        }
        suspects.holds.extend(overdue.iter().map(|(hold_id, _)| *hold_id));
        suspects.orders.extend(overdue.iter().map(|(_, order_id)| *order_id));
        for ids in [&mut suspects.holds, &mut suspects.orders] {
            ids.sort_unstable();
            ids.dedup();
        }
        suspects
    }
}

/// The identity of a difference over two readings.
fn key(difference: &Difference) -> (Kind, String, Option<Uuid>) {
    (difference.kind, difference.sku.clone(), difference.hold_id)
}

/// What differences of one entry have in common: kind, sku, description, and whether it was
/// repaired.
type Alike<'a> = (Kind, &'a str, &'a str, bool);

/// Groups differences into entries.
fn entries(found: &[Difference], repaired: impl Fn(&Difference) -> bool) -> Vec<Entry> {
    let mut entries: BTreeMap<Alike<'_>, (i64, Vec<Uuid>)> = BTreeMap::new();
    for difference in found {
        let key =
            (difference.kind, difference.sku.as_str(), &*difference.what, repaired(difference));
        let (units, ids) = entries.entry(key).or_default();
        *units += difference.units;
        ids.extend(difference.hold_id);
    }
    entries
        .into_iter()
        .map(|((kind, sku, what, repaired), (units, mut hold_ids))| {
            hold_ids.sort_unstable();
            hold_ids.dedup();
            hold_ids.truncate(MAX_IDS);
            Entry { kind, sku: sku.to_owned(), what: what.to_owned(), units, hold_ids, repaired }
        })
        .collect()
}
