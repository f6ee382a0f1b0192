//! The crowd: who comes, when, and what they have in mind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use flashsale_proto::{
    checkout::checkout_service_client::CheckoutServiceClient, sale::Sale,
    waitingroom::waiting_room_service_client::WaitingRoomServiceClient,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use super::{buyer, history::History, latency::Latency};
use crate::stack::Stack;

/// Connections the crowd shares, as behind a shop's own front end.
const CONNECTIONS: usize = 32;

/// What a buyer has in mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Buys and pays.
    Buy,
    /// Sends the order again and again, as an impatient or flaky client does.
    Retry,
    /// Pays with a card that is declined.
    Decline,
    /// Holds units and goes away.
    Abandon,
    /// Orders and cancels.
    Cancel,
    /// Wants more than one buyer may have.
    Greedy,
}

impl Intent {
    fn draw(rng: &mut StdRng) -> Self {
        match rng.random_range(0..100) {
            0..10 => Self::Retry,
            10..18 => Self::Decline,
            18..25 => Self::Abandon,
            25..30 => Self::Cancel,
            30..33 => Self::Greedy,
            _ => Self::Buy,
        }
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// What happened to the crowd so far, as it saw it. Shown while it runs; the report takes its figures from the stores.
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
    channels: Vec<Channel>,
    pub(crate) sale: Sale,
    pub(crate) seed: u64,
    pub(crate) history: History,
    pub(crate) counters: Counters,
    pub(crate) join: Latency,
    pub(crate) reserve: Latency,
    pub(crate) place_order: Latency,
    pub(crate) accepted_to_confirmed: Latency,
    /// The first few things that kept a buyer from finishing.
    pub(crate) failures: std::sync::Mutex<Vec<String>>,
}

impl Crowd {
    /// A crowd in front of a sale.
    pub(crate) async fn new(
        stack: &Stack,
        sale: &Sale,
        history: History,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(stack.grpc_url.clone())?.tcp_nodelay(true);
        let mut channels = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            channels.push(endpoint.connect().await?);
        }
        Ok(Self {
            channels,
            sale: sale.clone(),
            seed,
            history,
            counters: Counters::default(),
            join: Latency::new()?,
            reserve: Latency::new()?,
            place_order: Latency::new()?,
            accepted_to_confirmed: Latency::new()?,
            failures: std::sync::Mutex::default(),
        })
    }

    pub(crate) fn room(&self, buyer: usize) -> WaitingRoomServiceClient<Channel> {
        WaitingRoomServiceClient::new(self.channel(buyer))
    }

    pub(crate) fn checkout(&self, buyer: usize) -> CheckoutServiceClient<Channel> {
        CheckoutServiceClient::new(self.channel(buyer))
    }

    fn channel(&self, buyer: usize) -> Channel {
        self.channels[buyer % self.channels.len()].clone()
    }

    /// What a buyer draws everything from: the same seed, the same buyer, the same wishes.
    pub(crate) fn rng(&self, buyer: usize) -> StdRng {
        StdRng::seed_from_u64(
            self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(buyer as u64),
        )
    }

    pub(crate) fn fail(&self, what: String) {
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if failures.len() < 10 {
            failures.push(what);
        }
    }
}

/// Lets everybody come, `rate` a second by a Poisson process, and waits until the last one has left.
pub(crate) async fn shop(crowd: Arc<Crowd>, buyers: usize, rate: f64) {
    let mut arrivals = StdRng::seed_from_u64(crowd.seed);
    let mut inside = JoinSet::new();
    let began = tokio::time::Instant::now();
    let mut at = 0.0_f64;
    for number in 0..buyers {
        // Gaps of a Poisson process are exponential. Buyers come when they come: nobody waits for an answer to another.
        at += -(1.0 - arrivals.random::<f64>()).ln() / rate;
        tokio::time::sleep_until(began + Duration::from_secs_f64(at)).await;
        let crowd = Arc::clone(&crowd);
        let intent = Intent::draw(&mut crowd.rng(number));
        inside.spawn(async move {
            crowd.counters.arrived.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = buyer::visit(&crowd, number, intent).await {
                crowd.fail(format!("buyer {number} ({intent:?}): {error:#}"));
            }
        });
        while inside.try_join_next().is_some() {}
    }
    while inside.join_next().await.is_some() {}
}
