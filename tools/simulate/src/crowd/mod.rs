//! The crowd: simulated buyers, what they have in mind, and what they saw.

mod bot;
mod buyer;
mod history;
mod measure;
mod mix;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use flashsale_access::Key;
use flashsale_proto::{
    NamedChannel, checkout::checkout_service_client::CheckoutServiceClient, sale::Sale,
    waitingroom::waiting_room_service_client::WaitingRoomServiceClient,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::task::JoinSet;
use tonic::transport::Endpoint;

pub(crate) use self::{
    buyer::{turned_away, visit},
    history::History,
    measure::{Call, CallLatency, Latency, Measures, QUANTILES, Rejects},
    mix::{Intent, Mix},
};

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// What happened to the crowd so far, as it saw it. Shown while it runs; the report takes
        /// its figures from the stores.
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $($(#[$doc])* pub(crate) $name: AtomicU64,)+ }
        impl Counters {
            /// All of them by name.
            pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Ordering::Relaxed)),)+]
            }
        }
    };
}

counters! {
    /// Buyers who have come.
    arrived,
    /// Buyers in the room.
    waiting,
    /// Admissions handed out.
    admitted,
    /// Holds taken by BeginCheckout.
    held,
    /// Orders accepted.
    accepted,
    /// Orders answered with ACCEPTANCE_PENDING.
    pending,
    /// Orders sent again that were answered with the same order.
    replayed,
    /// Orders seen confirmed.
    confirmed,
    /// Orders seen declined.
    declined,
    /// Orders seen cancelled.
    cancelled,
    /// Holds left behind.
    abandoned,
    /// Buyers refused because of their limit.
    limited,
    /// Buyers told that everything is sold.
    sold_out,
    /// Calls made again after a failure that invites it.
    retried_calls,
    /// Buyers whom something kept from finishing.
    failed,
}

/// The crowd.
#[derive(Debug)]
pub(crate) struct Crowd {
    channels: Vec<NamedChannel>,
    /// What buyer ids begin with.
    name: String,
    pub(crate) sale: Sale,
    pub(crate) seed: u64,
    pub(crate) history: History,
    pub(crate) counters: Counters,
    pub(crate) measures: Measures,
    /// The first few things that kept a buyer from finishing.
    failures: std::sync::Mutex<Vec<String>>,
}

impl Crowd {
    /// A crowd in front of a sale, on so many connections of a shop that calls with `key`. What its
    /// buyers see is written into the file `history`.
    pub(crate) async fn new(
        endpoint: Endpoint,
        key: Option<&Key>,
        connections: usize,
        name: &str,
        sale: &Sale,
        history: &Path,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let endpoint = endpoint.tcp_nodelay(true).connect_timeout(CONNECT_WITHIN);
        let mut channels = Vec::with_capacity(connections);
        for _ in 0..connections {
            let channel = endpoint.connect().await?;
            channels.push(NamedChannel::with(channel, key));
        }
        Ok(Self {
            channels,
            name: name.to_owned(),
            sale: sale.clone(),
            seed,
            history: History::create(history)?,
            counters: Counters::default(),
            measures: Measures::new()?,
            failures: std::sync::Mutex::default(),
        })
    }

    fn room(&self, buyer: usize) -> WaitingRoomServiceClient<NamedChannel> {
        WaitingRoomServiceClient::new(self.channel(buyer))
    }

    fn checkout(&self, buyer: usize) -> CheckoutServiceClient<NamedChannel> {
        CheckoutServiceClient::new(self.channel(buyer))
    }

    fn channel(&self, buyer: usize) -> NamedChannel {
        self.channels[buyer % self.channels.len()].clone()
    }

    /// Whether there is a line to wait in.
    fn has_room(&self) -> bool {
        self.sale.settings.as_ref().is_some_and(|settings| settings.room.is_some())
    }

    /// What a buyer draws everything from: the same seed, the same buyer, the same wishes.
    pub(crate) fn rng(&self, buyer: usize) -> StdRng {
        StdRng::seed_from_u64(
            self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(buyer as u64),
        )
    }

    /// Notes what kept a buyer from finishing.
    pub(crate) fn fail(&self, what: String) {
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if failures.len() < 10 {
            failures.push(what);
        }
    }

    /// The first few things that kept a buyer from finishing.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// Lets everybody come, `rate` a second by a Poisson process, and waits until the last one has
/// left.
pub(crate) async fn shop(crowd: Arc<Crowd>, mix: Mix, buyers: usize, rate: f64) {
    let mut arrivals = StdRng::seed_from_u64(crowd.seed);
    let mut inside = JoinSet::new();
    let began = Instant::now();
    let mut at = 0.0_f64;
    for number in 0..buyers {
        // Gaps of a Poisson process are exponential. Buyers come when they come: no buyer waits for
        // an answer to another.
        at += -(1.0 - arrivals.random::<f64>()).ln() / rate;
        let due = began + Duration::from_secs_f64(at);
        tokio::time::sleep_until(due.into()).await;
        let crowd = Arc::clone(&crowd);
        let intent = mix.draw(&mut crowd.rng(number));
        inside.spawn(async move {
            if let Err(error) = visit(&crowd, number, intent, due).await {
                crowd.fail(format!("buyer {number} ({intent:?}): {error:#}"));
            }
        });
        while inside.try_join_next().is_some() {}
    }
    while inside.join_next().await.is_some() {}
}
