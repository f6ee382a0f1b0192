//! Holds: asking for them, changing, reading and ending them. Each call is one script, in the epoch that is known.

use uuid::Uuid;

use super::Inventory;
use crate::domain::{
    Answer, Hold, HoldId, Listed, Proof, Refusal, Request, Retaken, Settled, Settlement, StockView,
    Straggler, Swept,
};

impl Inventory {
    /// Asks for a hold, or changes one.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn request(&self, request: &Request, proof: &Proof) -> Result<Answer, Refusal> {
        let sale_id = request.sale_id;
        let answer =
            self.in_epoch(sale_id, |epoch| self.stock.request(request, proof, epoch)).await;
        self.changes.answered(request, &answer);
        answer
    }

    /// Reads a hold; of `buyer_id` only, if one is given.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn hold(
        &self,
        sale_id: Uuid,
        id: HoldId,
        buyer_id: Option<&str>,
    ) -> Result<Hold, Refusal> {
        self.in_epoch(sale_id, |epoch| self.stock.hold(sale_id, id, buyer_id, epoch)).await
    }

    /// Reads the books of `skus`, or of all if there are none.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub async fn read(&self, sale_id: Uuid, skus: &[String]) -> Result<StockView, Refusal> {
        self.in_epoch(sale_id, |epoch| self.stock.read(sale_id, skus, epoch)).await
    }

    /// Settles holds, each on its own.
    ///
    /// # Errors
    /// Why they were not all settled; asking again is safe.
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

    /// Takes the units of orders anew that are of an epoch before `min_epoch`, in the current one, each order on its own. Returns that
    /// epoch with the results.
    ///
    /// # Errors
    /// [`Refusal::Fenced`] while the sale's stock is of an earlier epoch; why they were not all dealt with. Asking again is safe.
    pub async fn retake(
        &self,
        sale_id: Uuid,
        min_epoch: i64,
        orders: &[Straggler],
    ) -> Result<(i64, Vec<Retaken>), Refusal> {
        self.in_epoch(sale_id, move |epoch| async move {
            if epoch < min_epoch {
                return Err(Refusal::Fenced);
            }
            let retaken = self.stock.retake(sale_id, orders, epoch).await?;
            self.still_in(sale_id, epoch).await?;
            Ok((epoch, retaken))
        })
        .await
    }

    /// Lists at most `limit` placed holds whose order the record is not known to have, oldest first.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub async fn list_placed(
        &self,
        sale_id: Uuid,
        before_ms: i64,
        limit: usize,
    ) -> Result<Listed, Refusal> {
        self.in_epoch(sale_id, |epoch| self.stock.list_placed(sale_id, before_ms, limit, epoch))
            .await
    }

    /// Copies the sale's rules beside its stock; returns the version that stands there now.
    ///
    /// # Errors
    /// Why they were not copied.
    pub async fn sync(&self, sale_id: Uuid) -> Result<i64, Refusal> {
        let rules = self.counted(self.record.rules(sale_id).await)?;
        self.in_epoch(sale_id, |epoch| self.stock.sync(sale_id, &rules, epoch)).await
    }

    /// Ends at most `limit` holds of a stock whose deadline has passed.
    ///
    /// # Errors
    /// Why it was not done.
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
