//! Rooms across both stores: a room that Redis lacks is restored from Postgres, and numbers are
//! reserved before they run out.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::sync::Mutex;
use uuid::Uuid;

use super::{
    Answers, Joined, Place, Record, RoomRow, Scripts, StoreError, Tick, scripts::TICKS_KEPT,
};
use crate::domain::{Mark, RoomState, RoomView, Window, runs_low};

/// How often a call runs its script; between two runs it restores the room or fetches numbers.
const ATTEMPTS: usize = 24;
/// How long to wait between two attempts while another instance may be granting what it has
/// reserved.
const RETRY_DELAY: Duration = Duration::from_millis(25);
/// After this many attempts the numbers that another instance has reserved count as lost.
const LOST_AFTER: usize = 20;
/// Locks that all rooms share.
const LOCKS: usize = 16;

/// All rooms. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Rooms {
    record: Record,
    scripts: Scripts,
    block: i64,
    /// At most one caller of this process at a time restores a room or fetches its numbers.
    locks: Arc<[Mutex<()>; LOCKS]>,
}

/// The record of a ticket, with its room.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TicketInRoom {
    pub(crate) mark: Mark,
    /// When its admission expires; `None` while it waits.
    pub(crate) expires_at_ms: Option<i64>,
    pub(crate) room: RoomView,
}

impl Rooms {
    /// `block` is the number of ticket numbers per reservation.
    pub(crate) fn new(record: Record, scripts: Scripts, block: i64) -> Self {
        Self { record, scripts, block, locks: Arc::new(Default::default()) }
    }

    /// The buyer's place, or the next one. A place that the buyer has `shown` is kept again if its
    /// record was lost. Fetches numbers if they have run out.
    pub(crate) async fn join(
        &self,
        sale_id: Uuid,
        buyer_id: &str,
        request_id: Uuid,
        shown: Option<Place>,
        sold_out: bool,
    ) -> Result<(Joined, RoomView), StoreError> {
        for _ in 0..ATTEMPTS {
            let join = || self.scripts.join(sale_id, buyer_id, request_id, shown, sold_out);
            let (joined, room) = self.with_room(sale_id, join).await?;
            if joined != Joined::Full {
                return Ok((joined, room));
            }
            self.fetch_numbers(sale_id).await?;
        }
        Err(StoreError::Busy)
    }

    pub(crate) async fn room(&self, sale_id: Uuid) -> Result<RoomView, StoreError> {
        self.with_room(sale_id, || self.scripts.room(sale_id)).await
    }

    pub(crate) async fn ticket(
        &self,
        sale_id: Uuid,
        buyer_id: &str,
        number: i64,
        generation: u32,
    ) -> Result<TicketInRoom, StoreError> {
        let read = || self.scripts.ticket(sale_id, buyer_id, number, generation);
        let (mark, expires_at_ms, room) = self.with_room(sale_id, read).await?;
        Ok(TicketInRoom { mark, expires_at_ms, room })
    }

    /// Gives a place back. Idempotent.
    pub(crate) async fn leave(
        &self,
        sale_id: Uuid,
        buyer_id: &str,
        number: i64,
        generation: u32,
    ) -> Result<(), StoreError> {
        let leave = || self.scripts.leave(sale_id, buyer_id, number, generation);
        self.with_room(sale_id, leave).await.map(drop)
    }

    /// Spends the accumulated budget on the plan for the head.
    pub(crate) async fn plan(
        &self,
        sale_id: Uuid,
        burst_ms: i64,
        unknown_ms: i64,
        answers: impl Fn() -> Answers,
    ) -> Result<RoomView, StoreError> {
        self.with_room(sale_id, || self.scripts.plan(sale_id, burst_ms, unknown_ms, answers()))
            .await
    }

    /// Records a planned head, then publishes it. In this order a head that was ever seen is never
    /// taken back, whatever happens to Redis. A room whose era is over is put in place again, if
    /// the server of the present era is gone. Returns by how many numbers this call has moved it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] in an era that is over; the errors of the stores.
    pub(crate) async fn publish(
        &self,
        sale_id: Uuid,
        planned: &RoomView,
    ) -> Result<(i64, RoomView), StoreError> {
        let Some(head) = self.record.raise_head(sale_id, planned).await? else {
            let this = self.clone();
            detached(async move { this.restore(sale_id).await }).await?;
            return Err(StoreError::Busy);
        };
        self.with_room(sale_id, || self.scripts.publish(sale_id, head)).await
    }

    /// Creates a room, closed, or changes its settings. `None` keeps what it watches.
    pub(crate) async fn configure(
        &self,
        sale_id: Uuid,
        rate: f64,
        admission_ms: i64,
        window: Window,
        watches_stock: Option<bool>,
    ) -> Result<RoomView, StoreError> {
        let row = self.record.configure(sale_id, rate, admission_ms, window, watches_stock).await?;
        self.apply(&row).await
    }

    /// Opens, pauses or closes a room.
    pub(crate) async fn set_state(
        &self,
        sale_id: Uuid,
        state: RoomState,
    ) -> Result<RoomView, StoreError> {
        let row = self.record.set_state(sale_id, state).await?;
        self.apply(&row).await
    }

    /// Changes a room's rate.
    pub(crate) async fn set_rate(&self, sale_id: Uuid, rate: f64) -> Result<RoomView, StoreError> {
        let row = self.record.set_rate(sale_id, rate).await?;
        self.apply(&row).await
    }

    /// Copies a row to Redis. Versions make calls in any order safe.
    pub(crate) async fn apply(&self, row: &RoomRow) -> Result<RoomView, StoreError> {
        self.with_room(row.sale_id, || self.scripts.configure(row)).await
    }

    pub(crate) async fn to_tick(&self, limit: i64) -> Result<Vec<RoomRow>, StoreError> {
        self.record.rooms_to_tick(limit).await
    }

    /// Whether a room needs more numbers before callers have to wait for them.
    pub(crate) fn runs_low(&self, room: &RoomView) -> bool {
        runs_low(room.next, room.upto, self.block)
    }

    /// Reserves and grants another block if a room runs low.
    pub(crate) async fn fetch_numbers(&self, sale_id: Uuid) -> Result<(), StoreError> {
        let this = self.clone();
        // Detached from the caller: numbers of a caller that hangs up between the two stores would
        // be lost.
        detached(async move { this.fetch(sale_id).await }).await
    }

    /// Runs a script, and restores the room where Redis does not have it.
    async fn with_room<T, F, Fut>(&self, sale_id: Uuid, script: F) -> Result<T, StoreError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Option<T>, StoreError>>,
    {
        for _ in 0..ATTEMPTS {
            if let Some(answer) = script().await? {
                return Ok(answer);
            }
            let this = self.clone();
            detached(async move { this.restore(sale_id).await }).await?;
        }
        Err(StoreError::Busy)
    }

    async fn restore(&self, sale_id: Uuid) -> Result<(), StoreError> {
        let _guard = self.lock(sale_id).lock().await;
        let mut refused = None;
        for _ in 0..ATTEMPTS {
            let row = self.record.room(sale_id).await?;
            // Read after the row: an era begun since then makes the one below fail.
            if self.scripts.room(sale_id).await?.is_some_and(|room| room.era >= row.era) {
                return Ok(());
            }
            let (from, seen) = (row.reserved_upto, Some((row.era, row.reserved_upto)));
            if refused == seen {
                tracing::warn!(%sale_id, era = row.era, "another server in use keeps the room");
                return Err(StoreError::Busy);
            }
            let server = self.scripts.server(sale_id).await?;
            if let Some(row) = self.record.begin_era(&row, self.block, &server).await? {
                // Read in the new era: none is added to an old one any more.
                let mut ticks = self.record.ticks(sale_id, TICKS_KEPT + 1).await?;
                if usize::try_from(TICKS_KEPT).is_ok_and(|kept| ticks.len() > kept)
                    && let Some(oldest) = ticks.first_mut()
                {
                    // Of what came before it the moment is not known: it was long ago.
                    *oldest = Tick { head: oldest.head, passed_ms: 0, ttl_ms: 0, paused_ms: 0 };
                }
                let upto = row.reserved_upto;
                tracing::info!(%sale_id, era = row.era, from, upto, "room put in place");
                return self.scripts.restore(&row, from, &ticks).await;
            }
            refused = seen;
            tokio::time::sleep(RETRY_DELAY).await;
        }
        Err(StoreError::Busy)
    }

    async fn fetch(&self, sale_id: Uuid) -> Result<(), StoreError> {
        let guard = self.lock(sale_id).lock().await;
        for attempt in 0..ATTEMPTS {
            let Some(room) = self.scripts.room(sale_id).await? else {
                // The restore reserves numbers itself.
                return Ok(());
            };
            if !self.runs_low(&room) {
                return Ok(());
            }
            let from = if attempt < LOST_AFTER {
                room.upto
            } else {
                // The instance that reserved the following numbers died before granting them. They
                // cannot be told from numbers that were handed out, and are skipped.
                let row = self.record.room(sale_id).await?;
                if row.era > room.era {
                    drop(guard);
                    return self.restore(sale_id).await;
                }
                row.reserved_upto
            };
            let reserved = self.record.reserve(sale_id, room.era, from, self.block).await?;
            if let Some(upto) = reserved {
                self.scripts.grant(sale_id, from, upto).await?;
                return Ok(());
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
        Err(StoreError::Busy)
    }

    fn lock(&self, sale_id: Uuid) -> &Mutex<()> {
        // Any distribution over the locks will do.
        &self.locks[usize::from(sale_id.as_bytes()[15]) % LOCKS]
    }
}

/// Runs `work` to its end, also when the caller is gone.
async fn detached(
    work: impl Future<Output = Result<(), StoreError>> + Send + 'static,
) -> Result<(), StoreError> {
    tokio::spawn(work).await.unwrap_or(Err(StoreError::Busy))
}
