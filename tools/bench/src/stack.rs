//! Calls to Stripe in a process of their own, with payment's settings and telemetry: through its
//! stack, and by the HTTP client that is at the bottom of it.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use flashsale_payment::{
    Config, DEFAULTS,
    config::PaymentConfig,
    metrics::Metrics,
    peers::stripe::{self, Endpoint, Stripe},
    store::{ALL_CALLS, Allowed, Store},
};
use flashsale_service::config::load;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    Settings,
    cpu::of_this_thread,
    payments::{Http, client, exchange},
    say,
};

/// Calls of one kind in a row. What one leaves to be done falls on the next one of its kind, but
/// for the last.
const IN_A_ROW: u32 = 50;

/// Calls for as long as one measurement takes, and prints a line of JSON.
pub(crate) fn main(settings: &Settings) -> ExitCode {
    match run(settings.seconds) {
        Ok(figures) => {
            writeln!(io::stdout(), "{figures}").ok();
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("calls to Stripe: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(seconds: f64) -> anyhow::Result<Value> {
    // A failure means that there is one already, as in the services.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config: Config = load("payment", DEFAULTS)?;
    // One thread, so that its processor time is that of the calls, of their connections and of
    // nothing else.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Spans and counters cost what they cost in the service.
        let _telemetry = flashsale_telemetry::init("payment", &config.telemetry)?;
        let pool = flashsale_pg::connect(&config.postgres, "payment").context("postgres.url")?;
        let ways = Ways::new(&config.payment, Store::new(pool)).await?;
        // The first calls connect, and prepare the statements.
        ways.once().await?;
        let mut used = Used::default();
        let began = Instant::now();
        loop {
            used.add(&ways.once().await?);
            if began.elapsed().as_secs_f64() >= seconds {
                break;
            }
        }
        Ok(used.report())
    })
}

/// Processor time of as many calls of each kind.
#[derive(Debug, Default)]
struct Used {
    calls: u32,
    bare: Duration,
    turn: Duration,
    stack: Duration,
}

impl Used {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.bare += other.bare;
        self.turn += other.turn;
        self.stack += other.stack;
    }

    fn report(&self) -> Value {
        let us = |used: Duration| used.as_secs_f64() * 1_000_000.0 / f64::from(self.calls);
        json!({
            "calls": self.calls,
            "bare_us": us(self.bare),
            "turn_us": us(self.turn),
            "stack_us": us(self.stack),
        })
    }
}

/// One intent, and the ways to ask for it.
struct Ways {
    http: Http,
    uri: Uri,
    authorization: HeaderValue,
    version: HeaderValue,
    stripe: Stripe,
    store: Store,
    allowed: Allowed,
    intent: String,
}

impl Ways {
    /// Creates the intent.
    async fn new(settings: &PaymentConfig, store: Store) -> anyhow::Result<Self> {
        let (stack, gate) = stripe::stack(settings, &store)?;
        let stripe = Stripe::new(stack, settings.common(), Metrics::new());
        let endpoint = Endpoint::RetrieveIntent.as_str();
        let allowed = Allowed {
            all_per_s: gate.pace.configured(ALL_CALLS),
            endpoint_per_s: gate.pace.configured(endpoint),
            burst_s: gate.pace.burst_s(),
            longest_wait: gate.pace.longest_wait(),
        };
        store.open_budgets(endpoint, allowed).await?;

        let base = format!("{}/v1/payment_intents", settings.stripe_base_url);
        // The stand-in takes any key of a sandbox.
        let authorization = HeaderValue::from_static("Bearer sk_test_bench");
        let version = HeaderValue::try_from(settings.version())?;
        let http = client();
        let form = format!(
            "amount=1990&currency=eur&allowed_payment_method_types[0]=card&metadata[order_id]={}\
             &metadata[sale_id]={}",
            Uuid::new_v4(),
            Uuid::new_v4()
        );
        let create = Request::builder()
            .method(Method::POST)
            .uri(base.as_str())
            .header(header::AUTHORIZATION, &authorization)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("stripe-version", &version)
            .body(Full::new(Bytes::from(form)))?;
        let created: Value = serde_json::from_slice(&exchange(&http, create).await?)?;
        let intent = created.get("id").and_then(Value::as_str).context("an intent has no id")?;
        Ok(Self {
            http,
            uri: format!("{base}/{intent}").parse()?,
            authorization,
            version,
            stripe,
            store,
            allowed,
            intent: intent.to_owned(),
        })
    }

    /// As many calls of each kind, one after the other.
    async fn once(&self) -> anyhow::Result<Used> {
        let began = of_this_thread()?;
        for _ in 0..IN_A_ROW {
            self.bare().await?;
        }
        let bare = of_this_thread()?;
        for _ in 0..IN_A_ROW {
            self.turn().await?;
        }
        let turn = of_this_thread()?;
        for _ in 0..IN_A_ROW {
            let seen = self.stripe.retrieve(&self.intent).await?;
            ensure!(seen.id == self.intent, "another intent was answered: {}", seen.id);
        }
        let stack = of_this_thread()?;
        Ok(Used {
            calls: IN_A_ROW,
            bare: bare.saturating_sub(began),
            turn: turn.saturating_sub(bare),
            stack: stack.saturating_sub(turn),
        })
    }

    /// The call by the HTTP client, whose answer is read and not looked into.
    async fn bare(&self) -> anyhow::Result<()> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(self.uri.clone())
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::USER_AGENT, "flashsale-bench")
            .header("stripe-version", &self.version)
            .body(Full::default())?;
        let answer = exchange(&self.http, request).await?;
        ensure!(!answer.is_empty(), "the answer is empty");
        Ok(())
    }

    /// What the stack does at the budgets: takes a turn in Postgres, and waits for it.
    async fn turn(&self) -> anyhow::Result<()> {
        let taken = self.store.take_turn(Endpoint::RetrieveIntent.as_str(), self.allowed).await?;
        tokio::time::sleep(taken.context("there is no turn")?).await;
        Ok(())
    }
}
