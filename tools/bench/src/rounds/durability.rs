//! What an order costs that outlives a server: the same publish and the same PlaceOrder on one NATS
//! server as it comes, on one that syncs each message to disk, and on three that keep each message.

use anyhow::ensure;
use flashsale_proto::checkout::checkout_service_client::CheckoutServiceClient;
use flashsale_testbed::{
    Appendonly, NatsCluster, NatsOptions, NatsServer, RedisOptions, RedisServer,
    platform::{Service, create_database, migrated},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Bench, FIRST_CALLS};
use crate::{
    calls::{PlaceOrder, Publish, SKUS},
    ceilings,
    cpu::Watched,
    drive::{Measured, drive},
    platform::pid,
    report::{median, rounded},
    sales::{self, Spec},
    say,
};

const DATABASE: &str = "bench_durability";
/// How often relays look for orders that are not claimed, in ms: not here, where none is.
const NO_RELAY_MS: u64 = 86_400_000;

/// One of the queues that are compared.
struct Queue {
    name: &'static str,
    servers: Servers,
    checkout: Service,
    place: Vec<PlaceOrder>,
    publish: Publish,
    /// What was measured in each round: publishing alone, and PlaceOrder.
    rounds: Vec<(Measured, Measured)>,
    /// Calls that fit into the time, as last seen.
    fitting: (u64, u64),
}

enum Servers {
    One(Box<NatsServer>),
    Three(NatsCluster),
}

impl Servers {
    fn url(&self) -> String {
        match self {
            Servers::One(server) => server.url(),
            Servers::Three(cluster) => cluster.url(),
        }
    }

    fn pids(&self) -> Vec<u32> {
        match self {
            Servers::One(server) => vec![server.pid()],
            Servers::Three(cluster) => cluster.servers().iter().map(NatsServer::pid).collect(),
        }
    }
}

impl Bench<'_> {
    /// All three beside each other, over stock and a record of their own: the platform's relay
    /// would publish their orders again.
    pub(super) async fn queue_durability(&mut self) -> anyhow::Result<Value> {
        say("comparing queues that lose less");
        let platform = self.platform;
        let folder = platform.folder().join("durability");
        let redis = RedisServer::start(
            platform.tools(),
            folder.join("redis"),
            RedisOptions { appendonly: Appendonly::Everysec },
        )
        .await?;
        let address = format!("127.0.0.1:{}", redis.port());
        ceilings::ask(&address, "CONFIG SET auto-aof-rewrite-percentage 0").await?;
        create_database(platform.pool(), DATABASE).await?;
        let postgres = platform.postgres_url_of(DATABASE);
        let pool = migrated(postgres.clone(), 2, "bench").await?;
        let inventory = platform
            .another("inventory", "inventory-durability", |settings| {
                settings.redis.url = Some(redis.url());
                settings.postgres.url = Some(postgres.clone());
            })
            .await?;
        let spec = Spec { skus: i32::try_from(SKUS)?, units: 10_000_000, room: true };
        let sale = sales::record(&pool, spec).await?;
        let channel = inventory.channel()?;
        sales::load(&mut sales::admin(channel), sale).await?;

        let always = NatsOptions { sync_interval: "always".to_owned(), ..NatsOptions::default() };
        let one = async |name: &str, options| {
            NatsServer::start(platform.tools(), folder.join(name), options).await.map(Box::new)
        };
        let servers = [
            ("r1", "checkout-r1", Servers::One(one("r1", NatsOptions::default()).await?)),
            ("r1_sync_always", "checkout-r1-sync", Servers::One(one("r1-sync", always).await?)),
            (
                "r3",
                "checkout-r3",
                Servers::Three(
                    NatsCluster::start(platform.tools(), &folder, &NatsOptions::default()).await?,
                ),
            ),
        ];
        let mut queues = Vec::new();
        for (name, process, servers) in servers {
            let nats = servers.url();
            let checkout = platform
                .another("checkout", process, |settings| {
                    settings.postgres.url = Some(postgres.clone());
                    settings.peers.inventory.url = Some(inventory.url());
                    settings.nats.url = Some(nats.clone());
                    settings.nats.replicas = Some(servers.pids().len() as u64);
                    settings.relay.poll_ms = Some(NO_RELAY_MS);
                })
                .await?;
            let mut place = Vec::new();
            for _ in 0..self.settings.connections {
                let channel = checkout.channel()?;
                place.push(PlaceOrder(CheckoutServiceClient::new(channel)));
            }
            let client = async_nats::connect(nats.split(',').collect::<Vec<_>>()).await?;
            let publish = ceilings::beside_orders(async_nats::jetstream::new(client)).await?;
            queues.push(Queue {
                name,
                servers,
                checkout,
                place,
                publish,
                rounds: Vec::new(),
                fitting: (FIRST_CALLS, FIRST_CALLS),
            });
        }
        // Once more than asked for: the first time finds out how many calls fit into the time.
        for _ in 0..=self.settings.rounds {
            for queue in &mut queues {
                self.durable_round(queue, sale, &inventory).await?;
            }
        }
        let figures = report(&queues);
        for queue in queues {
            queue.checkout.stop().await?;
        }
        inventory.stop().await?;
        pool.close().await;
        Ok(figures)
    }

    async fn durable_round(
        &mut self,
        queue: &mut Queue,
        sale: Uuid,
        inventory: &Service,
    ) -> anyhow::Result<()> {
        let nats = queue.servers.pids().into_iter().map(|pid| ("nats", pid));
        let others = [
            ("load_generator", std::process::id()),
            ("inventory", pid(inventory)?),
            ("checkout", pid(&queue.checkout)?),
        ];
        let watched = Watched { processes: others.into_iter().chain(nats).collect() };
        let in_flight = self.settings.in_flight;
        let messages = self.requests.messages(queue.fitting.0);
        let lane = std::slice::from_ref(&queue.publish);
        let publish = drive(lane, in_flight, messages, &watched).await?;
        let stored = ceilings::empty(&queue.publish.jetstream).await?;
        ensure!(stored == publish.calls, "{} were published, {stored} stored", publish.calls);

        let orders = self.requests.orders_in(sale, queue.fitting.1);
        let stream = queue.publish.jetstream.get_stream(flashsale_queue::ORDERS).await?;
        let before = stream.get_info().await?.state.last_sequence;
        let place = drive(&queue.place, in_flight, orders, &watched).await?;
        let info = stream.get_info().await?;
        // The door is at a bound of orders that wait.
        stream.purge().await?;
        let stored = info.state.last_sequence - before;
        ensure!(stored == place.calls, "{} were placed, {stored} stored", place.calls);
        ensure!(
            info.config.num_replicas == queue.servers.pids().len(),
            "ORDERS has {} copies",
            info.config.num_replicas
        );
        let fit = |measured: &Measured| {
            ((measured.rps * self.settings.seconds) as u64).max(u64::from(in_flight) * 20)
        };
        queue.fitting = (fit(&publish), fit(&place));
        queue.rounds.push((publish, place));
        Ok(())
    }
}

fn report(queues: &[Queue]) -> Value {
    let mut figures = json!({});
    // Without the first round, which was for finding out.
    let rounds = |queue: &Queue| queue.rounds.iter().skip(1).cloned().collect::<Vec<_>>();
    let base = queues.first().map(rounds).unwrap_or_default();
    for queue in queues {
        let (publish, place): (Vec<Measured>, Vec<Measured>) = rounds(queue).into_iter().unzip();
        let (base_publish, base_place): (Vec<Measured>, Vec<Measured>) =
            base.iter().cloned().unzip();
        figures[queue.name] = json!({
            "publish": figure(&publish, &base_publish),
            "place_order": figure(&place, &base_place),
        });
    }
    figures
}

fn figure(these: &[Measured], base: &[Measured]) -> Value {
    let of = |value: fn(&Measured) -> f64| median(these.iter().map(value));
    // Both of the same round, as all ratios.
    let ratios = these.iter().zip(base).map(|(this, base)| this.rps / base.rps);
    json!({
        "rps": of(|round| round.rps).round(),
        "p50_us": of(|round| round.p50_us),
        "p99_us": of(|round| round.p99_us),
        "ratio_to_r1": rounded(median(ratios), 3),
    })
}
