//! Holds: taking, changing, reading and ending them. Each call is one script, in the epoch that is
//! known.

use uuid::Uuid;

use super::Inventory;
use crate::domain::{
    Answer, Hold, HoldId, Listed, Proof, Refusal, Request, Retaken, Settled, Settlement, Straggler,
    Swept, Synced,
};

impl Inventory {
    /// Takes or changes a hold.
    ///
    /// # Errors
    /// Those of the epoch lookup ([`Refusal::SaleUnknown`], [`Refusal::NotOpen`],
    /// [`Refusal::Fenced`]) and of `Stock::request`.
    pub async fn request(&self, request: &Request, proof: &Proof) -> Result<Answer, Refusal> {
        let sale_id = request.sale_id;
        let answer =
            self.in_epoch(sale_id, |epoch| self.stock.request(request, proof, epoch)).await;
        self.changes.answered(request, &answer);
        answer
    }

    /// Reads a hold; only one of `buyer_id`, if given.
    ///
    /// # Errors
    /// Those of the epoch lookup and of `Stock::hold`.
    pub async fn hold(
        &self,
        sale_id: Uuid,
        id: HoldId,
        buyer_id: Option<&str>,
    ) -> Result<Hold, Refusal> {
        self.in_epoch(sale_id, |epoch| self.stock.hold(sale_id, id, buyer_id, epoch)).await
    }

    /// Settles holds, each on its own; the results are in the order of `holds`.
    ///
    /// # Errors
    /// Those of the epoch lookup and of `Stock::settle`; [`Refusal::Fenced`] if the epoch ended
    /// meanwhile. Some holds may be settled by then; a retry is safe.
    pub async fn settle(
        &self,
        sale_id: Uuid,
        holds: &[impl Into<Settlement> + Copy],
    ) -> Result<Vec<Settled>, Refusal> {
        let holds: Vec<Settlement> = holds.iter().map(|hold| (*hold).into()).collect();
        let holds = holds.as_slice();
        self.in_epoch(sale_id, move |epoch| async move {
            let settled = self.stock.settle(sale_id, holds, epoch).await?;
            self.changes.settled(sale_id, holds, &settled);
            self.still_in(sale_id, epoch).await?;
            Ok(settled)
        })
        .await
    }

    /// Takes the units of orders of an epoch before `min_epoch` again in the current one, each
    /// order on its own and at the prices of the revisions that it names. Returns the current epoch
    /// with the results, in the order of `orders`.
    ///
    /// # Errors
    /// [`Refusal::Fenced`] while the sale's stock is of an epoch before `min_epoch`, or if the
    /// epoch ended meanwhile; those of the epoch lookup and of `Stock::retake`. A retry is safe.
    pub async fn retake(
        &self,
        sale_id: Uuid,
        min_epoch: i64,
        orders: &[Straggler],
    ) -> Result<(i64, Vec<Retaken>), Refusal> {
        let priced = &self.counted(self.record.prices_of(sale_id, orders).await)?;
        self.in_epoch(sale_id, move |epoch| async move {
            if epoch < min_epoch {
                return Err(Refusal::Fenced);
            }
            let retaken = self.stock.retake(sale_id, orders, priced, epoch).await?;
            self.still_in(sale_id, epoch).await?;
            Ok((epoch, retaken))
        })
        .await
    }

    /// Lists at most `limit` placed holds whose order the record is not known to have, oldest
    /// first.
    ///
    /// # Errors
    /// Those of the epoch lookup and of `Stock::list_placed`.
    pub async fn list_placed(
        &self,
        sale_id: Uuid,
        before_ms: i64,
        limit: usize,
    ) -> Result<Listed, Refusal> {
        self.in_epoch(sale_id, |epoch| self.stock.list_placed(sale_id, before_ms, limit, epoch))
            .await
    }

    /// Copies the sale's rules beside its stock, and brings the revisions of its prices there;
    /// returns how it stands there then.
    ///
    /// # Errors
    /// Those of the epoch lookup, of `Stock::sync` and of `bring_prices`.
    pub async fn sync(&self, sale_id: Uuid) -> Result<Synced, Refusal> {
        let rules = self.counted(self.record.rules(sale_id).await)?;
        let rules = &rules;
        self.in_epoch(sale_id, move |epoch| async move {
            let synced = self.stock.sync(sale_id, rules, epoch).await?;
            Ok(Synced { switches: self.bring_prices(sale_id, epoch).await?, ..synced })
        })
        .await
    }

    /// Ends at most `limit` holds of a stock whose deadline has passed.
    ///
    /// # Errors
    /// [`Refusal::Fenced`] if `epoch` is not the current one; those of the epoch lookup and of
    /// `Stock::sweep`.
    pub async fn sweep(&self, sale_id: Uuid, epoch: i64, limit: usize) -> Result<Swept, Refusal> {
        if self.epochs.get(sale_id).await? != epoch {
            return Err(Refusal::Fenced);
        }
        let swept = self.noticed(sale_id, self.stock.sweep(sale_id, limit, epoch).await)?;
        self.counters.swept.add(swept.ended as u64, &[]);
        if swept.ended > 0 {
            self.changes.freed(sale_id);
        }
        Ok(swept)
    }
}
