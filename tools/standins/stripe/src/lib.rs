//! A stand-in for Stripe's payments API, for machines without the network.
//!
//! It speaks Stripe's protocol over HTTP/1.1: PaymentIntents, confirmation tokens, charges,
//! refunds, disputes, idempotency keys, rate limits, declines and 3-D Secure by the documented test
//! payment methods, signed webhooks. Each behaviour names the page of Stripe's documentation it
//! imitates; the README lists them with their tests. Besides `/v1` there is `/_control`, where
//! faults are activated.
//!
//! It shares no code with the services that call it. State is in memory, and on disk if a file is
//! named for it; what happened to the money is in its log.

#![recursion_limit = "256"] // A charge has that many fields.

pub mod api;
pub mod cards;
pub mod clock;
pub mod currencies;
pub mod errors;
pub mod faults;
pub mod form;
pub mod idempotency;
pub mod ids;
pub mod intents;
pub mod ledger;
pub mod log;
pub mod objects;
pub mod ratelimit;
pub mod server;
pub mod state;
pub mod webhooks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::api::{App, Core};
use crate::faults::{Faults, Rule};
use crate::server::Listener;
use crate::webhooks::Webhooks;

/// How often is looked for what is due.
const TICK: Duration = Duration::from_millis(100);

/// How long requests and deliveries under way may take to finish at the end.
const GRACE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone)]
pub struct Config {
    /// Port 0 takes any free port.
    pub listen: SocketAddr,
    /// The auditor's log; appended to.
    pub log: PathBuf,
    /// Where the state is kept over a restart; without it, it ends with the process.
    pub state: Option<PathBuf>,
    /// The account's id, `acct_…`.
    pub account: String,
    /// Where events are pushed, over plain HTTP; without it there are none.
    pub webhook_url: Option<String>,
    /// The endpoint's secrets: more than one while a secret is being rolled.
    pub webhook_secrets: Vec<String>,
    /// Requests per second and endpoint.
    pub rate_per_endpoint: u32,
    /// Requests per second over all endpoints.
    pub rate_total: u32,
    /// The latency of charging a card.
    pub confirm_latency: Duration,
    /// The latency of every other call.
    pub latency: Duration,
    /// How long until what some test methods bring about later happens: a refund's end, a dispute.
    pub outcome_delay: Duration,
    /// Faults that are active from the start.
    pub faults: Vec<Rule>,
}

#[derive(Debug)]
pub struct Standin {
    listener: Listener,
    webhooks: Webhooks,
    later: AbortOnDrop,
}

impl Standin {
    /// Opens the log and the port, restores the state and starts to serve.
    ///
    /// # Errors A setting is unusable, the log cannot be opened, the state cannot be restored, or
    /// the port is taken.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let url = config.webhook_url.as_deref().map(webhook_url).transpose()?;
        if url.is_some() && config.webhook_secrets.is_empty() {
            anyhow::bail!("a webhook URL needs at least one --webhook-secret to sign with");
        }
        if config.rate_per_endpoint == 0 || config.rate_total == 0 {
            anyhow::bail!("a rate of 0 requests a second would refuse everything: use 1 or more");
        }
        if !config.account.starts_with("acct_") {
            anyhow::bail!("{} is no account's id: those begin with acct_", config.account);
        }
        let mut faults = Faults::default();
        for rule in config.faults.iter().cloned() {
            faults.add(rule).map_err(anyhow::Error::msg).context("a --fault cannot be used")?;
        }
        let log = log::Log::open(&config.log)
            .with_context(|| format!("the log {} cannot be opened", config.log.display()))?;
        let tcp = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("cannot listen on {}", config.listen))?;
        let addr = tcp.local_addr()?;
        let webhooks = Webhooks::new(url, config.webhook_secrets.clone());
        let core = Core::open(log, config.state.as_deref())
            .context("the state cannot be restored from its file")?;
        let app = App::new(&config, core, webhooks.clone(), faults, format!("http://{addr}"));
        let app = Arc::new(app);
        app.send_pending();
        let listener = Listener::start(tcp, api::router(Arc::clone(&app)))?;
        let later = AbortOnDrop(tokio::spawn(happen(app)));
        Ok(Self { listener, webhooks, later })
    }

    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listener.addr
    }

    /// Stops it: no new requests; those under way and pending events get 3 seconds to finish.
    pub async fn stop(self) {
        let Self { listener, webhooks, later } = self;
        listener.stop(GRACE).await;
        drop(later);
        webhooks.stop(GRACE).await;
    }
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Carries out what is due, for ever.
async fn happen(app: Arc<App>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        app.happen();
    }
}

fn webhook_url(url: &str) -> anyhow::Result<http::Uri> {
    let parsed: http::Uri = url.parse().with_context(|| format!("{url} is not a URL"))?;
    if parsed.scheme_str() != Some("http") || parsed.authority().is_none() {
        anyhow::bail!("{url}: the webhook URL must be plain http://host:port/path");
    }
    Ok(parsed)
}
