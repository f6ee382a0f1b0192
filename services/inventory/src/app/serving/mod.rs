//! Whether this instance may serve: it confirms the server it speaks to, and looks into the queue in case it can confirm nothing.
//!
//! The rules are in [`crate::domain`] (`serving`), the argument in `docs/decisions/2026-11-29-one-redis-counts.md`.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use flashsale_failpoint::Step as _;
use flashsale_redis::Store;
use flashsale_service::{Drain, boottime::BootInstant};
use flashsale_telemetry::Snapshot;
use futures::StreamExt as _;
use opentelemetry::KeyValue;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};
use uuid::Uuid;

use crate::{
    app::{Inventory, Standing},
    domain::{
        BEAT_EVERY, COVER, LOOK_COVER, LOOK_EVERY, Recorded, Refusal, SILENT_AFTER, Sight,
        may_raise,
    },
    store::{Look, Queue, SaleEpoch, Scripts, Servers, Unchanged, beat_key},
};

/// How long a beat's write at Redis may take, and each of its statements.
const STEP_WITHIN: Duration = Duration::from_millis(900);
/// How long a look into the queue may take.
const LOOK_WITHIN: Duration = Duration::from_millis(800);
/// Beats in a row are not closer together than this, however many ask for one.
const AT_MOST_EVERY: Duration = Duration::from_millis(10);
/// Slots of a Cluster that are written at at once.
const AT_ONCE: usize = 16;
/// Sales that are asked about and are not among the unfinished ones; their slots are confirmed as well.
const MAX_WANTED: usize = 1_000;
/// Later epochs that are remembered from the queue.
const MAX_LATER: usize = 100_000;
/// How often old rows are removed.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);

/// Where keys are: a slot of a Cluster, or the one server.
pub type Place = Option<u16>;

/// A server at a place, and when the beat began that met it there.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its name, with the slot behind it in a Cluster.
    pub server: Arc<str>,
    /// When the beat began.
    pub at: BootInstant,
}

/// The servers that this instance has confirmed.
#[derive(Debug, Clone, Default)]
pub struct Confirmed(HashMap<Place, Seen>);

impl Confirmed {
    /// The one at a place.
    pub fn of(&self, place: Place) -> Option<&Seen> {
        self.0.get(&place)
    }
}

/// What a beat brought.
#[derive(Debug)]
pub struct Beaten {
    /// When it began.
    begun: BootInstant,
    /// When the reading of the epochs began.
    pub read_at: BootInstant,
    /// What was confirmed before that.
    pub confirmed: Confirmed,
    /// The epochs of all unfinished sales.
    pub sales: Vec<SaleEpoch>,
}

/// Why an instance turns callers away although it may have a Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TurnedAway {
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
    const ALL: [Self; 4] = [Self::OtherServer, Self::Retired, Self::NotNamed, Self::Unconfirmed];

    fn as_str(self) -> &'static str {
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
struct Looks {
    last: Option<Look>,
    /// When the first look began of those between which nothing can have been missed.
    unbroken_since: Option<BootInstant>,
    /// The latest epoch that the queue announces, by sale, and when that was seen.
    later: HashMap<Uuid, (i64, BootInstant)>,
}

#[derive(Debug, Default)]
struct State {
    reached: HashMap<Place, Seen>,
    confirmed: Confirmed,
    /// Servers on record, each as it was last read and since when it reads so.
    rows: HashMap<String, (Recorded, BootInstant)>,
    /// When they were.
    rows_read: Option<BootInstant>,
    sales: HashMap<Uuid, SaleEpoch>,
    wanted: HashSet<Uuid>,
    last: Option<Arc<Beaten>>,
    looks: Looks,
    /// Whether the Sentinels, if there are any, name the server that was reached last.
    named: bool,
    /// Whether a server that was reached last is retired.
    retired: bool,
    turned_away: Option<TurnedAway>,
}

/// What this instance knows of the server it speaks to.
#[derive(Debug)]
pub struct Serving {
    /// Whether keys are spread over the masters of a Cluster.
    clustered: bool,
    store: Store,
    servers: Servers,
    queue: Queue,
    scripts: Arc<Scripts>,
    state: RwLock<State>,
    /// When the last beat began; one at a time.
    beating: tokio::sync::Mutex<Option<BootInstant>>,
    forgot: RwLock<Option<BootInstant>>,
    ready: watch::Sender<bool>,
    shown: Snapshot<Option<TurnedAway>>,
}

impl Serving {
    /// Nothing is known yet.
    pub fn new(store: Store, servers: Servers, queue: Queue, scripts: Arc<Scripts>) -> Self {
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
            clustered: store.slot_of(&beat_key(None)).is_some(),
            store,
            servers,
            queue,
            scripts,
            state: RwLock::new(State { named: true, ..State::default() }),
            beating: tokio::sync::Mutex::default(),
            forgot: RwLock::default(),
            ready: watch::Sender::new(true),
            shown,
        }
    }

    /// The rows of the servers.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Whether callers are to be sent here: false while another server is known to count, or nothing can be confirmed.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Where a sale's keys are.
    pub fn place(&self, sale_id: Uuid) -> Place {
        if self.clustered { self.store.slot_of(&beat_key(Some(sale_id))) } else { None }
    }

    /// Whether `standing` may be served now.
    pub fn covers(&self, sale_id: Uuid, standing: &Standing) -> bool {
        let place = self.place(sale_id);
        let now = BootInstant::now();
        let since = |at: BootInstant| now.saturating_duration_since(at);
        let state = self.read();
        let reached = state.reached.get(&place).filter(|seen| seen.server == standing.server);
        let unbroken = state.looks.unbroken_since.is_some_and(|from| from <= standing.confirmed);
        let looked = state.looks.last.as_ref().filter(|_| unbroken);
        Sight {
            confirmed: since(standing.confirmed),
            reached: reached.map(|seen| since(seen.at)),
            looked: looked.map(|look| since(look.begun)),
            // What a beat has read that began after it was seen has answered it: a raise is on record
            // before it is in the queue, and an epoch that was never handed out stops mattering.
            // (Not what was read after it: that may come from a Postgres that was replaced since.)
            superseded: state.looks.later.get(&sale_id).is_some_and(|(later, seen)| {
                *later > standing.epoch && *seen >= standing.confirmed
            }),
        }
        .covers()
    }

    /// The confirmed server at a sale's place, as the record names it.
    pub fn own(&self, sale_id: Uuid) -> Option<Arc<str>> {
        let place = self.place(sale_id);
        let state = self.read();
        let seen = state.confirmed.of(place).filter(|seen| seen.at.elapsed() < COVER)?;
        Some(Arc::clone(&seen.server))
    }

    /// The record's name of the server that a script has run on for a sale.
    pub fn named(&self, sale_id: Uuid, server: &str) -> String {
        match self.place(sale_id) {
            Some(slot) => format!("{server}#{slot}"),
            None => server.to_owned(),
        }
    }

    /// Has the sale's slot confirmed by the next beats, if it is in a Cluster.
    pub fn want(&self, sale_id: Uuid) {
        if self.place(sale_id).is_none() {
            return;
        }
        let mut state = self.write();
        if !state.sales.contains_key(&sale_id) && state.wanted.len() < MAX_WANTED {
            state.wanted.insert(sale_id);
        }
    }

    /// For how long the row of a server has stood still.
    pub fn unchanged(&self, server: &str) -> Unchanged {
        let state = self.read();
        let (row, since) = state.rows.get(server)?;
        Some((row.beats, since.elapsed()))
    }

    /// Whether this instance may take the place of the server that a sale's epoch stands on, as far as it knows.
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

    /// The servers that this instance speaks to now, and the others that unfinished sales stand on.
    pub async fn sides(&self) -> (Vec<String>, Vec<String>) {
        let reached = self.reach().await;
        let own: HashSet<String> = reached.values().cloned().collect();
        let state = self.read();
        // A place that did not answer says nothing about the server recorded for it.
        let others: HashSet<String> = state
            .sales
            .values()
            .filter(|sale| reached.contains_key(&self.place(sale.sale_id)))
            .filter(|sale| !sale.server.is_empty() && !own.contains(&sale.server))
            .map(|sale| sale.server.clone())
            .collect();
        let sorted = |servers: HashSet<String>| {
            let mut servers: Vec<String> = servers.into_iter().collect();
            servers.sort_unstable();
            servers
        };
        (sorted(own), sorted(others))
    }

    /// Writes at Redis, confirms the server in Postgres, and then reads the epochs: in this order, each as a statement of its own.
    ///
    /// # Errors
    /// When a store does not answer; what was known stays.
    pub async fn beat(&self) -> Result<Arc<Beaten>, Refusal> {
        let asked = BootInstant::now();
        let mut last = self.beating.lock().await;
        // A beat that began after this call asked is as good as one of its own.
        if let Some(last) = *last
            && last >= asked
        {
            let done = self.read().last.clone().filter(|done| done.begun == last);
            return done.ok_or_else(|| Refusal::StoreAway {
                store: "postgres",
                cause: "the beat that was waited for has failed".to_owned(),
            });
        }
        if let Some(last) = *last {
            let since = last.elapsed();
            if since < AT_MOST_EVERY {
                tokio::time::sleep(AT_MOST_EVERY - since).await;
            }
        }
        let begun = BootInstant::now();
        *last = Some(begun);
        let result = self.beat_from(begun).await;
        if let Err(refusal) = &result {
            tracing::debug!(?refusal, "this instance's Redis is not confirmed");
            self.judge(true);
        }
        result
    }

    async fn beat_from(&self, begun: BootInstant) -> Result<Arc<Beaten>, Refusal> {
        let reached = self.reach().await;
        let named = reached.is_empty()
            || timeout(STEP_WITHIN, self.store.is_named(STEP_WITHIN)).await.unwrap_or(false);
        let reached: HashMap<Place, Seen> = reached
            .into_iter()
            .filter(|_| named)
            .map(|(place, server)| (place, Seen { server: server.into(), at: begun }))
            .collect();
        {
            let mut state = self.write();
            state.named = named;
            if !named {
                state.reached.clear();
            }
            state.reached.extend(reached.clone());
        }
        let mut names: Vec<String> = reached.values().map(|seen| seen.server.to_string()).collect();
        names.sort_unstable();
        names.dedup();
        // All on one connection: a Postgres that was replaced can still be read, but confirms nothing.
        let mut postgres = within(self.servers.connection()).await?;
        let counting: HashSet<String> = if names.is_empty() {
            HashSet::new()
        } else {
            within(postgres.confirm(&names)).await?.into_iter().collect()
        };
        let read_at = BootInstant::now();
        let sales = within(postgres.epochs()).await?;
        let rows = within(postgres.read(&names)).await?;
        drop(postgres);
        let read = BootInstant::now();
        let retired = names.iter().any(|name| !counting.contains(name));
        let beaten = {
            let mut state = self.write();
            for (place, seen) in reached {
                if counting.contains(&*seen.server) {
                    state.confirmed.0.insert(place, seen);
                } else {
                    // Postgres says that it does not count, which the queue must not make up for.
                    state.reached.remove(&place);
                    state.confirmed.0.remove(&place);
                }
            }
            // A row counts as unchanged only over an unbroken series of reads: during an outage of Postgres
            // no server could be confirmed.
            let watched = state.rows_read.is_some_and(|at| at.elapsed() < COVER);
            state.rows_read = Some(read);
            let before = if watched { std::mem::take(&mut state.rows) } else { HashMap::new() };
            state.rows = rows
                .into_iter()
                .map(|(server, row)| {
                    let since = before
                        .get(&server)
                        .filter(|(was, _)| was.beats == row.beats)
                        .map_or(read, |(_, since)| *since);
                    (server, (row, since))
                })
                .collect();
            state.sales = sales.iter().map(|sale| (sale.sale_id, sale.clone())).collect();
            state.retired = retired;
            let confirmed = state.confirmed.clone();
            let beaten = Arc::new(Beaten { begun, read_at, confirmed, sales });
            state.last = Some(Arc::clone(&beaten));
            beaten
        };
        self.judge(false);
        self.forget_old().await;
        Ok(beaten)
    }

    /// Writes at each place that matters; what does not answer is missing.
    async fn reach(&self) -> HashMap<Place, String> {
        let mut keys: HashMap<Place, String> = HashMap::new();
        {
            let mut state = self.write();
            // Callers that still need one ask again.
            let wanted = std::mem::take(&mut state.wanted);
            for sale_id in state.sales.keys().chain(&wanted) {
                keys.entry(self.place(*sale_id)).or_insert_with(|| beat_key(Some(*sale_id)));
            }
        }
        if !self.clustered {
            keys = HashMap::from([(None, beat_key(None))]);
        }
        futures::stream::iter(keys)
            .map(|(place, key)| async move {
                let no_args = |_: &_| vec!["0".into(), "0".into()];
                let script = &self.scripts.beat;
                let asked = self.store.eval_with(script, vec![key], no_args).step(script.name());
                match timeout(STEP_WITHIN, asked).await {
                    Ok(Ok(answered)) => {
                        let server = answered.server.to_string();
                        Some((
                            place,
                            match place {
                                Some(slot) => format!("{server}#{slot}"),
                                None => server,
                            },
                        ))
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "no beat at Redis");
                        None
                    }
                    Err(_) => None,
                }
            })
            .buffer_unordered(AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await
    }

    /// Looks into the queue for epochs that Postgres, if it is silent, cannot tell of.
    pub async fn look(&self) {
        let before = self.read().looks.last.clone();
        let looked = timeout(LOOK_WITHIN, self.queue.look(before.as_ref())).await;
        let Ok(Some((look, epochs))) = looked else { return };
        let mut state = self.write();
        let looks = &mut state.looks;
        let unbroken = before.is_some_and(|before| look.continues(&before));
        if !unbroken || looks.unbroken_since.is_none() {
            looks.unbroken_since = Some(look.begun);
        }
        for (sale_id, epoch) in epochs {
            if looks.later.len() >= MAX_LATER && !looks.later.contains_key(&sale_id) {
                // What is forgotten is not known: no cover from before this goes on by looks.
                looks.later.clear();
                looks.unbroken_since = Some(look.begun);
            }
            let seen = BootInstant::now();
            let later = looks.later.entry(sale_id).or_insert((epoch, seen));
            *later = (later.0.max(epoch), seen);
        }
        looks.last = Some(look);
    }

    /// Decides whether callers are to be sent here, and says so when that changes.
    fn judge(&self, silent: bool) {
        let (turned_away, was) = {
            let mut state = self.write();
            let was = state.turned_away;
            state.turned_away = self.cause(&state, silent);
            (state.turned_away, was)
        };
        self.shown.set(Some(turned_away));
        if turned_away == was {
            return;
        }
        match turned_away {
            Some(cause) => tracing::error!(
                cause = cause.as_str(),
                "this instance takes no units and turns callers away: its Redis is not the one that counts"
            ),
            None => tracing::warn!("this instance's Redis counts: callers are served again"),
        }
        self.ready.send_replace(turned_away.is_none());
    }

    fn cause(&self, state: &State, silent: bool) -> Option<TurnedAway> {
        if !state.named {
            return Some(TurnedAway::NotNamed);
        }
        if state.retired {
            return Some(TurnedAway::Retired);
        }
        if silent {
            let fresh = |at: BootInstant, within: Duration| at.elapsed() < within;
            let confirmed = state.confirmed.0.values().any(|seen| fresh(seen.at, COVER));
            let looked =
                state.looks.last.as_ref().is_some_and(|look| fresh(look.begun, LOOK_COVER));
            let reached = state.reached.values().any(|seen| fresh(seen.at, COVER));
            // With no Redis at all, callers gain nothing from another instance.
            return (reached && !confirmed && !looked).then_some(TurnedAway::Unconfirmed);
        }
        let stands_elsewhere = |sale: &SaleEpoch| {
            let own = state.reached.get(&self.place(sale.sale_id));
            let other = own.is_some_and(|own| *own.server != *sale.server);
            let row = state.rows.get(&sale.server);
            let alive = row.is_some_and(|(row, since)| {
                row.beats > 0 && !row.retired && since.elapsed() <= SILENT_AFTER
            });
            other && alive
        };
        let stands_here = |sale: &SaleEpoch| {
            let own = state.reached.get(&self.place(sale.sale_id));
            own.is_some_and(|own| *own.server == *sale.server)
        };
        // Where each of two servers has sales, both are needed.
        let mut sales = state.sales.values();
        let away = sales.clone().any(stands_elsewhere) && !sales.any(stands_here);
        away.then_some(TurnedAway::OtherServer)
    }

    async fn forget_old(&self) {
        let due = {
            let forgot = self.forgot.read().unwrap_or_else(PoisonError::into_inner);
            forgot.is_none_or(|at| at.elapsed() > FORGET_EVERY)
        };
        if due {
            *self.forgot.write().unwrap_or_else(PoisonError::into_inner) = Some(BootInstant::now());
            if let Err(refusal) = within(self.servers.forget_old()).await {
                tracing::debug!(?refusal, "old rows of Redis servers are not removed yet");
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // Nothing that is guarded here can be left half-changed by a panic.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn within<T>(statement: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    timeout(STEP_WITHIN, statement).await.unwrap_or_else(|_| {
        Err(Refusal::StoreAway { store: "postgres", cause: "no answer to a beat".to_owned() })
    })
}

/// Confirms this instance's server each second until the drain starts. A failed beat is made up for by the next.
///
/// # Errors
/// None; the signature is a background task's.
pub async fn beat(inventory: Arc<Inventory>, drain: Drain) -> anyhow::Result<()> {
    periodically(BEAT_EVERY, &drain, || {
        let inventory = Arc::clone(&inventory);
        async move {
            if let Err(refusal) = inventory.beat().await {
                tracing::debug!(?refusal, "no beat");
            }
        }
    })
    .await;
    Ok(())
}

/// Looks into the queue twice a second until the drain starts.
///
/// # Errors
/// None; the signature is a background task's.
pub async fn look(inventory: Arc<Inventory>, drain: Drain) -> anyhow::Result<()> {
    periodically(LOOK_EVERY, &drain, || {
        let inventory = Arc::clone(&inventory);
        async move { inventory.look().await }
    })
    .await;
    Ok(())
}

async fn periodically<Fut>(every: Duration, drain: &Drain, work: impl Fn() -> Fut)
where
    Fut: Future<Output = ()>,
{
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let turns = async {
        loop {
            ticks.tick().await;
            work().await;
        }
    };
    tokio::select! {
        () = drain.started() => {}
        () = turns => {}
    }
}
