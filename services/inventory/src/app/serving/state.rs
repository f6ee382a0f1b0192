//! What an instance knows of the servers that it speaks to.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use flashsale_service::boottime::BootInstant;
use uuid::Uuid;

use crate::{
    domain::Recorded,
    store::{Look, SaleEpoch, Slot},
};

/// The server found at a slot.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its name, followed by the slot in a Cluster.
    pub server: Arc<str>,
    /// When the beat that found it began.
    pub at: BootInstant,
}

/// The servers that this instance has confirmed.
#[derive(Debug, Clone, Default)]
pub struct Confirmed(pub(super) HashMap<Slot, Seen>);

impl Confirmed {
    pub fn of(&self, slot: Slot) -> Option<&Seen> {
        self.0.get(&slot)
    }
}

/// The result of a beat.
#[derive(Debug)]
pub struct Beaten {
    pub(super) begun: BootInstant,
    /// When the reading of the epochs began.
    pub read_at: BootInstant,
    /// What was confirmed before that.
    pub confirmed: Confirmed,
    /// The epochs of all unfinished sales.
    pub sales: Vec<SaleEpoch>,
}

/// An epoch that this instance may serve, and the evidence for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub epoch: i64,
    /// The server that it stands on.
    pub server: Arc<str>,
    /// When the beat began that had confirmed this server before the epoch was read.
    pub confirmed: BootInstant,
    /// When the reading of the epoch began.
    pub read_at: BootInstant,
}

/// Why an instance turns callers away although it may have a Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TurnedAway {
    /// Sales stand on another server, which is alive.
    OtherServer,
    /// A takeover has retired the server it speaks to.
    Retired,
    /// The Sentinels name another server.
    NotNamed,
    /// Neither Postgres nor the queue says that its server still counts.
    Unconfirmed,
}

impl TurnedAway {
    pub(super) const ALL: [Self; 4] =
        [Self::OtherServer, Self::Retired, Self::NotNamed, Self::Unconfirmed];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::OtherServer => "other_server",
            Self::Retired => "retired",
            Self::NotNamed => "not_named",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// What the looks into the queue have shown.
#[derive(Debug, Default)]
pub(super) struct Looks {
    pub(super) last: Option<Look>,
    /// When the first of the looks began between which nothing can have been missed.
    pub(super) unbroken_since: Option<BootInstant>,
    /// The latest epoch that the queue announces, by sale, and when it was seen.
    pub(super) later: HashMap<Uuid, (i64, BootInstant)>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) reached: HashMap<Slot, Seen>,
    pub(super) confirmed: Confirmed,
    /// Servers on record, each as last read and since when it reads so.
    pub(super) rows: HashMap<String, (Recorded, BootInstant)>,
    /// When the rows were read.
    pub(super) rows_read: Option<BootInstant>,
    pub(super) sales: HashMap<Uuid, SaleEpoch>,
    pub(super) wanted: HashSet<Uuid>,
    pub(super) last: Option<Arc<Beaten>>,
    pub(super) looks: Looks,
    /// Whether the Sentinels, if there are any, name the server reached last.
    pub(super) named: bool,
    /// Whether a server reached last is retired.
    pub(super) retired: bool,
    pub(super) turned_away: Option<TurnedAway>,
}
