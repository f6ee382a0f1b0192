//! Buyers who come before the start and ask all the time: those who order and pay, and others who
//! only take units, at each instance of inventory, every few milliseconds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use flashsale_errors::{Failure, Reason};
use flashsale_proto::{
    NamedChannel,
    inventory::{Line, inventory_service_client::InventoryServiceClient},
};
use flashsale_testbed::{buyer::Buyer, platform::Service};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{others::Others, shop::timely};
use crate::{
    crowd::{Crowd, Manners, Story},
    figures::Figures,
    platform::{PLENTY, Sale},
    task::Task,
};

/// How many milliseconds pass between two calls at an instance.
const BETWEEN_MS: std::ops::Range<u64> = 1..6;

/// Manners of those who order: a few, without a rest.
pub(super) fn eager(at_once: u64) -> Manners {
    Manners { at_once, pause: Duration::from_millis(5), ..Manners::default() }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Buyers {
    pub(super) crowd: Crowd,
    stop: CancellationToken,
    knocking: JoinSet<()>,
    /// What happened at each instance of inventory.
    doors: [Arc<Door>; 2],
}

/// What those saw who only take units, at one instance.
#[derive(Debug, Default)]
struct Door {
    /// How often they had some.
    taken: AtomicU64,
    /// How often the sale was not open.
    closed: AtomicU64,
    /// How often something was wrong with the service.
    wrong: AtomicU64,
}

impl Buyers {
    /// Has them come to a sale without a room.
    pub(super) fn come(task: &mut Task, others: &Others, sale: &Sale) -> anyhow::Result<Self> {
        let seed: u64 = task.random.random();
        let platform = &task.platform;
        let crowd = Crowd::come(platform, sale, seed, eager(4))?;
        let (stop, doors) = (CancellationToken::new(), <[Arc<Door>; 2]>::default());
        let mut knocking = JoinSet::new();
        let inventories: [&Service; 2] = others.inventories(platform);
        for (number, (inventory, door)) in (0_u64..).zip(inventories.into_iter().zip(&doors)) {
            let knocker = Knocker {
                client: InventoryServiceClient::new(inventory.channel()?),
                sale: *sale,
                name: format!("knock-{seed:x}-{number}"),
                door: Arc::clone(door),
                stop: stop.clone(),
            };
            knocking.spawn(knocker.knock(StdRng::seed_from_u64(seed ^ number)));
        }
        Ok(Self { crowd, stop, knocking, doors })
    }

    /// How often units were taken at each instance of inventory so far.
    pub(super) fn taken(&self) -> [u64; 2] {
        self.doors.each_ref().map(|door| door.taken.load(Ordering::Relaxed))
    }

    /// Has them end what they are at.
    pub(super) async fn leave(mut self, figures: &mut Figures) -> Story {
        self.stop.cancel();
        while self.knocking.join_next().await.is_some() {}
        let sum = |count: fn(&Door) -> &AtomicU64| -> u64 {
            self.doors.iter().map(|door| count(door).load(Ordering::Relaxed)).sum()
        };
        figures.count("refused_while_closed", sum(|door| &door.closed));
        let wrong = sum(|door| &door.wrong);
        figures.expect(wrong == 0, || format!("inventory failed {wrong} times"));
        figures.count("orders_accepted", self.crowd.accepted() as u64);
        self.crowd.leave().await
    }
}

/// Takes units at one instance of inventory and gives them back.
struct Knocker {
    client: InventoryServiceClient<NamedChannel>,
    sale: Sale,
    name: String,
    door: Arc<Door>,
    stop: CancellationToken,
}

impl Knocker {
    async fn knock(mut self, mut random: StdRng) {
        let mut number = 0_u64;
        while !self.stop.is_cancelled() {
            number += 1;
            let buyer =
                Buyer::new(self.sale.id, format!("{}-{number}", self.name), self.name.clone());
            let lines = vec![Line { sku: PLENTY.to_owned(), quantity: 1 }];
            let reserve = buyer.reserve(Uuid::new_v4(), lines, String::new());
            match self.client.reserve(timely(reserve)).await {
                Ok(answer) => {
                    self.door.taken.fetch_add(1, Ordering::Relaxed);
                    let hold_id = answer.into_inner().hold.unwrap_or_default().hold_id;
                    let release = buyer.release(Uuid::new_v4(), &hold_id);
                    // One that is not given back runs out.
                    self.client.release_hold(timely(release)).await.ok();
                }
                Err(status) => {
                    let reason = Failure::from_status(&status).map(|failure| failure.reason());
                    if reason == Some(Reason::SaleNotOpen) {
                        self.door.closed.fetch_add(1, Ordering::Relaxed);
                    } else if reason == Some(Reason::Internal) {
                        self.door.wrong.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            sleep(Duration::from_millis(random.random_range(BETWEEN_MS))).await;
        }
    }
}
