//! Events pushed to the shop's endpoint (docs.stripe.com/webhooks).
//!
//! Imitated from that page: the signature (`Stripe-Signature: t=…,v1=…`, HMAC-SHA256 over
//! `<t>.<payload>`, one `v1` per active secret while a secret is being rolled), a fresh timestamp
//! and signature for each attempt, retries with growing pauses until a 2xx, and no promise of
//! order or of single delivery: duplicates and reordering can be switched on.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;

/// The maximum of deliveries waiting or under way; further events are dropped and counted.
const MAX_PENDING: usize = 100_000;
/// Deliveries under way at once.
const MAX_IN_FLIGHT: usize = 32;
/// The timeout of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts per delivery. Stripe retries for days, in a sandbox three times over a few hours. Here
/// the pauses are short, so that a run of minutes sees retries too.
const MAX_ATTEMPTS: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Longest delay or reordering window that can be set, in milliseconds.
const MAX_DELAY_MS: u64 = 600_000;
/// The default window of reordering, in milliseconds.
const REORDER_WINDOW_MS: u64 = 2_000;

/// The settings that can be changed while the stand-in runs.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The probability that an event is delivered twice, 0 to 1.
    pub duplicate: f64,
    /// Whether each delivery waits a random part of `reorder_window_ms` first.
    pub reorder: bool,
    pub reorder_window_ms: u64,
    /// The delay before every delivery.
    pub delay_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { duplicate: 0.0, reorder: false, reorder_window_ms: REORDER_WINDOW_MS, delay_ms: 0 }
    }
}

impl Settings {
    /// # Errors
    /// A sentence on the setting that is out of range.
    pub fn check(&self) -> Result<(), &'static str> {
        if !(0.0..=1.0).contains(&self.duplicate) {
            return Err("duplicate must be between 0 and 1");
        }
        if self.delay_ms > MAX_DELAY_MS || self.reorder_window_ms > MAX_DELAY_MS {
            return Err("delay_ms and reorder_window_ms must be at most 600000");
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Counts {
    delivered: AtomicU64,
    attempts_failed: AtomicU64,
    given_up: AtomicU64,
    dropped: AtomicU64,
}

/// The counts, for the state page.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Delivered {
    pub pending: usize,
    pub delivered: u64,
    pub attempts_failed: u64,
    pub given_up: u64,
    pub dropped: u64,
}

struct Inner {
    url: Uri,
    secrets: Vec<String>,
    client: Client<HttpConnector, Full<Bytes>>,
    settings: Mutex<Settings>,
    pending: Arc<Semaphore>,
    in_flight: Semaphore,
    counts: Counts,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Called when no more attempts are made to deliver an event.
pub type Done = Arc<dyn Fn() + Send + Sync>;

/// The sender. Cheap to clone; without an endpoint it does nothing.
#[derive(Clone)]
pub struct Webhooks {
    inner: Option<Arc<Inner>>,
}

impl std::fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = self.inner.as_ref().map(|inner| &inner.url);
        f.debug_struct("Webhooks").field("url", &url).finish_non_exhaustive()
    }
}

/// The value of `Stripe-Signature` (docs.stripe.com/webhooks#verify-manually).
#[must_use]
pub fn signature(secrets: &[String], timestamp_s: u64, payload: &[u8]) -> String {
    let mut header = format!("t={timestamp_s}");
    for secret in secrets {
        // A key of any length is a valid HMAC key, so the else branch is unreachable.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { continue };
        mac.update(timestamp_s.to_string().as_bytes());
        mac.update(b".");
        mac.update(payload);
        header.push_str(",v1=");
        for byte in mac.finalize().into_bytes() {
            let _ = write!(header, "{byte:02x}");
        }
    }
    header
}

impl Webhooks {
    /// A sender to this endpoint (plain HTTP), signing with each of the secrets.
    #[must_use]
    pub fn new(url: Option<Uri>, secrets: Vec<String>) -> Self {
        let inner = url.map(|url| {
            Arc::new(Inner {
                url,
                secrets,
                client: Client::builder(TokioExecutor::new()).build_http(),
                settings: Mutex::new(Settings::default()),
                pending: Arc::new(Semaphore::new(MAX_PENDING)),
                in_flight: Semaphore::new(MAX_IN_FLIGHT),
                counts: Counts::default(),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            })
        });
        Self { inner }
    }

    #[must_use]
    pub fn settings(&self) -> Settings {
        self.inner.as_ref().map_or_else(Settings::default, |inner| *clock::lock(&inner.settings))
    }

    /// Replaces the settings, for events sent from now on.
    pub fn set(&self, settings: Settings) {
        if let Some(inner) = &self.inner {
            *clock::lock(&inner.settings) = settings;
        }
    }

    #[must_use]
    pub fn counts(&self) -> Option<Delivered> {
        let inner = self.inner.as_ref()?;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(Delivered {
            pending: MAX_PENDING - inner.pending.available_permits(),
            delivered: read(&inner.counts.delivered),
            attempts_failed: read(&inner.counts.attempts_failed),
            given_up: read(&inner.counts.given_up),
            dropped: read(&inner.counts.dropped),
        })
    }

    /// Whether there is an endpoint to send events to.
    #[must_use]
    pub fn has_endpoint(&self) -> bool {
        self.inner.is_some()
    }

    /// Sends an event, in the background. `done` is called once it is accepted, given up or
    /// dropped, and for a duplicate again; not if the stand-in ends before.
    pub fn send(&self, payload: Bytes, done: Done) {
        let Some(inner) = &self.inner else { return };
        let settings = *clock::lock(&inner.settings);
        inner.deliver(payload.clone(), settings, Arc::clone(&done));
        if settings.duplicate > 0.0 && rand::rng().random::<f64>() < settings.duplicate {
            inner.deliver(payload, settings, done);
        }
    }

    /// Aborts deliveries that are still under way after `grace`.
    pub async fn stop(&self, grace: Duration) {
        let Some(inner) = &self.inner else { return };
        inner.tasks.close();
        if tokio::time::timeout(grace, inner.tasks.wait()).await.is_err() {
            inner.stop.cancel();
            inner.tasks.wait().await;
        }
    }
}

impl Inner {
    fn deliver(self: &Arc<Self>, payload: Bytes, settings: Settings, done: Done) {
        let Ok(permit) = Arc::clone(&self.pending).try_acquire_owned() else {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            tracing::error!("a webhook event was dropped: too many are waiting");
            done();
            return;
        };
        let mut wait_ms = settings.delay_ms;
        if settings.reorder {
            wait_ms += rand::rng().random_range(0..=settings.reorder_window_ms);
        }
        let inner = Arc::clone(self);
        self.tasks.spawn(async move {
            let stop = inner.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                () = inner.run(payload, Duration::from_millis(wait_ms)) => done(),
            }
            drop(permit);
        });
    }

    async fn run(&self, payload: Bytes, wait: Duration) {
        tokio::time::sleep(wait).await;
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=MAX_ATTEMPTS {
            if self.attempt(payload.clone()).await {
                self.counts.delivered.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.counts.attempts_failed.fetch_add(1, Ordering::Relaxed);
            if attempt < MAX_ATTEMPTS {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        self.counts.given_up.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(attempts = MAX_ATTEMPTS, "a webhook event was given up");
    }

    /// Whether the endpoint answered 2xx. The body is read so that the connection can be reused.
    async fn attempt(&self, payload: Bytes) -> bool {
        let Ok(_turn) = self.in_flight.acquire().await else { return false };
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header("content-type", "application/json; charset=utf-8")
            .header("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
            .header("stripe-signature", signature(&self.secrets, clock::now_ms() / 1000, &payload))
            .body(Full::new(payload));
        let Ok(request) = request else { return false };
        let exchange = async {
            let answer = self.client.request(request).await.ok()?;
            let taken = answer.status().is_success();
            let body = http_body_util::Limited::new(answer.into_body(), 1 << 20);
            body.collect().await.ok()?;
            Some(taken)
        };
        matches!(tokio::time::timeout(ATTEMPT_TIMEOUT, exchange).await, Ok(Some(true)))
    }
}
