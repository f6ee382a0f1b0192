//! Whether this instance may serve: it confirms the server it speaks to, and looks into the queue
//! in case it cannot confirm anything.
//!
//! The rules are in [`crate::domain`] (`serving`), the argument in
//! `docs/decisions/2026-11-29-one-redis-counts.md`.

mod beat;
mod look;
mod state;
mod turned_away;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use flashsale_service::boottime::BootInstant;
use flashsale_telemetry::Snapshot;
use opentelemetry::KeyValue;
use tokio::sync::watch;
use uuid::Uuid;

pub use self::state::{Beaten, Confirmed, Seen, Standing};
use self::state::{State, TurnedAway};
use crate::{
    domain::{COVER, Evidence, Recorded, may_raise},
    store::{Beats, Queue, Servers, Slot, Unchanged},
};

/// The most sales outside the unfinished ones that callers have asked for; their slots are
/// confirmed as well.
const MAX_WANTED: usize = 1_000;

/// What this instance knows of the server it speaks to.
#[derive(Debug)]
pub struct Serving {
    beats: Beats,
    servers: Servers,
    queue: Queue,
    state: RwLock<State>,
    /// When the last beat began. Held during a beat, so that there is one at a time.
    beating: tokio::sync::Mutex<Option<BootInstant>>,
    forgot: RwLock<Option<BootInstant>>,
    ready: watch::Sender<bool>,
    shown: Snapshot<Option<TurnedAway>>,
}

impl Serving {
    /// Knows nothing yet.
    pub fn new(beats: Beats, servers: Servers, queue: Queue) -> Self {
        let shown = Snapshot::default();
        shown.gauge(
            "flashsale_inventory_turned_away",
            "{instance}",
            "1 while this instance turns callers away because its Redis is not known to count, by cause.",
            |turned: &Option<TurnedAway>, gauge| {
                for cause in TurnedAway::ALL {
                    let now = if *turned == Some(cause) { 1.0 } else { 0.0 };
                    gauge.observe(now, &[KeyValue::new("cause", cause.as_str())]);
                }
            },
        );
        shown.set(Some(None));
        Self {
            beats,
            servers,
            queue,
            state: RwLock::new(State { named: true, ..State::default() }),
            beating: tokio::sync::Mutex::default(),
            forgot: RwLock::default(),
            ready: watch::Sender::new(true),
            shown,
        }
    }

    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Whether callers should be sent here: false while another server is known to count, or
    /// nothing can be confirmed.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// The slot of a sale's keys.
    pub fn slot(&self, sale_id: Uuid) -> Slot {
        self.beats.slot(sale_id)
    }

    /// Whether `standing` may be served now.
    pub fn covers(&self, sale_id: Uuid, standing: &Standing) -> bool {
        let slot = self.slot(sale_id);
        let now = BootInstant::now();
        let since = |at: BootInstant| now.saturating_duration_since(at);
        let state = self.read();
        let reached = state.reached.get(&slot).filter(|seen| seen.server == standing.server);
        let unbroken = state.looks.unbroken_since.is_some_and(|from| from <= standing.confirmed);
        let looked = state.looks.last.as_ref().filter(|_| unbroken);
        Evidence {
            confirmed: since(standing.confirmed),
            reached: reached.map(|seen| since(seen.at)),
            looked: looked.map(|look| since(look.begun)),
            // A beat that began after the later epoch was seen and has read the epochs has settled
            // it: a raise is on record before it is in the queue, and an epoch that was never
            // handed out stops mattering. (The time of the reading does not count: it may come from
            // a Postgres that was replaced since.)
            superseded: state.looks.later.get(&sale_id).is_some_and(|(later, seen)| {
                *later > standing.epoch && *seen >= standing.confirmed
            }),
        }
        .covers()
    }

    /// The confirmed server at a sale's slot, as the record names it.
    pub fn own(&self, sale_id: Uuid) -> Option<Arc<str>> {
        let slot = self.slot(sale_id);
        let state = self.read();
        let seen = state.confirmed.of(slot).filter(|seen| seen.at.elapsed() < COVER)?;
        Some(Arc::clone(&seen.server))
    }

    /// The record's name of the server that a script of a sale has run on.
    pub fn named(&self, sale_id: Uuid, server: &str) -> String {
        Beats::name(self.slot(sale_id), server)
    }

    /// Has the sale's slot confirmed by the next beats, if it is in a Cluster.
    pub fn want(&self, sale_id: Uuid) {
        if self.slot(sale_id).is_none() {
            return;
        }
        let mut state = self.write();
        if !state.sales.contains_key(&sale_id) && state.wanted.len() < MAX_WANTED {
            state.wanted.insert(sale_id);
        }
    }

    /// For how long the row of a server has been unchanged.
    pub fn unchanged(&self, server: &str) -> Unchanged {
        let state = self.read();
        let (row, since) = state.rows.get(server)?;
        Some((row.beats, since.elapsed()))
    }

    /// Whether this instance may take the place of the server that a sale's epoch stands on, as far
    /// as it knows.
    pub fn may_take(&self, sale_id: Uuid, recorded: &str) -> bool {
        let Some(own) = self.own(sale_id) else { return false };
        let row = self.read().rows.get(recorded).map(|(row, _)| *row);
        let row = row.unwrap_or(Recorded { beats: 0, retired: false });
        recorded.is_empty() || may_raise(*own == *recorded, row, self.unchanged(recorded))
    }

    /// Whether callers are turned away at present.
    pub fn is_turned_away(&self) -> bool {
        self.read().turned_away.is_some()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // No panic can leave guarded data half-changed.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
