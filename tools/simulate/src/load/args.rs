//! What a load is asked to be, and whether that can be.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use flashsale_cli::client::is_loopback;
use tonic::transport::Uri;

use super::{
    schedule::{MAX_RATE, Schedule},
    threshold::Threshold,
};
use crate::{StackArgs, crowd::Mix, proof::Stores, stack};

/// What is kept to unless something else is asked for the same figure.
const DEFAULT_THRESHOLDS: [&str; 5] = [
    "place_order.p99<100ms",
    "rejects.untyped==0",
    "rejects.without_retry_info==0",
    "accepted.unfinished==0",
    "dropped<1%",
];
/// The same where an audit is made.
const AUDITED_THRESHOLDS: [&str; 1] = ["accepted.lost==0"];
/// The same where the services' memory can be seen.
const WATCHED_THRESHOLDS: [&str; 1] = ["services.rss_growth<32MB"];

/// Who comes, how often, and what has to hold meanwhile.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoadArgs {
    /// Buyers per second that this machine sustains; what the schedule and the waiting room are
    /// made from.
    #[arg(long, default_value_t = 100.0, allow_negative_numbers = true)]
    peak: f64,
    /// The plateau of the schedule, as a multiple of the peak.
    #[arg(long, default_value_t = 3.0, allow_negative_numbers = true)]
    factor: f64,
    /// When buyers come, instead of what peak and factor make of it: phases of kind:duration:rate
    /// with commas between, for example ramp:10s:0-100,spike:5s:600,plateau:20s:300
    #[arg(long)]
    schedule: Option<Schedule>,
    /// What they have in mind, in percent: buy, retry, decline, abandon, cancel, greedy, bot.
    #[arg(long, default_value = "buy=67,retry=10,decline=8,abandon=7,cancel=5,bot=3")]
    pub(super) mix: Mix,
    /// What has to hold, for example 'place_order.p99<100ms', 'accepted.lost==0', 'dropped<1%'; may
    /// be repeated. It replaces the default for the same figure (docs/load.md lists figures and
    /// defaults).
    #[arg(long = "threshold", value_name = "THRESHOLD")]
    thresholds: Vec<Threshold>,
    /// Connections the buyers share.
    #[arg(long, default_value_t = 64)]
    pub(super) connections: usize,
    /// Visits that may be under way at once. Buyers beyond it are dropped and counted, never
    /// delayed.
    #[arg(long, default_value_t = 20_000)]
    pub(super) max_in_flight: usize,
    /// Arrivals and wishes are drawn from this; printed, so that a load can be repeated.
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// A shop's product export, of Shopify, WooCommerce or BigCommerce, or a list in our own CSV or
    /// JSON; a small sample of our own without it.
    #[arg(long)]
    export: Option<PathBuf>,
    /// Units of each item.
    #[arg(long, default_value_t = 400, allow_negative_numbers = true)]
    quantity: i64,
    /// ISO 4217 code of the export's prices.
    #[arg(long, default_value = "EUR")]
    currency: String,
    /// Buyers the waiting room admits per second; the peak without it.
    #[arg(long, allow_negative_numbers = true)]
    admissions: Option<f64>,
    /// How long units stay held, in seconds.
    #[arg(long, default_value_t = 10)]
    hold_seconds: u64,
    /// Requests per second that the stand-in for Stripe takes at each endpoint (Stripe takes 25 by
    /// default).
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) provider_rate: u32,
    /// With --addr: an open sale to load, instead of one that is made for it. It is not ended
    /// afterwards.
    #[arg(long, value_name = "ID")]
    pub(super) sale: Option<String>,
    /// With --addr: load what is not on this machine. Only what you may load.
    #[arg(long)]
    allow_remote: bool,
    #[command(flatten)]
    stores: StoreArgs,
}

/// Where the stores of a platform are that is not started here; without them there is no audit.
#[derive(Debug, Clone, Args)]
#[group(id = "stores", multiple = true)]
struct StoreArgs {
    /// With --addr: its Redis, for the audit.
    #[arg(long, value_name = "URL", requires = "nats_url", requires = "postgres_url")]
    redis_url: Option<String>,
    /// With --addr: its NATS.
    #[arg(long, value_name = "URL", requires = "redis_url", requires = "postgres_url")]
    nats_url: Option<String>,
    /// With --addr: its Postgres.
    #[arg(long, value_name = "URL", requires = "redis_url", requires = "nats_url")]
    postgres_url: Option<String>,
    /// With --addr: the payment provider's log.
    #[arg(long, value_name = "FILE", requires = "redis_url")]
    stripe_log: Option<PathBuf>,
    /// With --addr: the mail server's log.
    #[arg(long, value_name = "FILE", requires = "redis_url")]
    mail_log: Option<PathBuf>,
}

impl LoadArgs {
    /// Refuses what cannot be before anything is started.
    pub(super) fn check(&self, addr: Option<&str>) -> anyhow::Result<()> {
        ensure!(
            self.peak > 0.0 && self.peak <= MAX_RATE,
            "--peak must be above 0 and at most {MAX_RATE} buyers per second"
        );
        ensure!(
            self.factor >= 1.0 && self.factor <= 100.0,
            "--factor must be 1 to 100, a multiple of the peak"
        );
        ensure!((1..=1_024).contains(&self.connections), "--connections must be 1 to 1024");
        ensure!(
            (1..=200_000).contains(&self.max_in_flight),
            "--max-in-flight must be 1 to 200000 visits"
        );
        match addr {
            Some(addr) => self.check_target(addr),
            None => {
                ensure!(
                    self.sale.is_none() && !self.allow_remote && self.stores().is_none(),
                    "--sale, --allow-remote and the stores' addresses go with --addr; without it a platform is started here"
                );
                ensure!(
                    stack::test_mode_key()?.is_none(),
                    "load is not taken to Stripe, whose rules forbid it; unset STRIPE_SECRET_KEY to pay through the stand-in"
                );
                Ok(())
            }
        }
    }

    fn check_target(&self, addr: &str) -> anyhow::Result<()> {
        let uri: Uri = addr.parse().with_context(|| format!("--addr {addr} is not an address"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        if !is_loopback(host) && !self.allow_remote {
            bail!(
                "{host} is not this machine (127.0.0.1, ::1, localhost); add --allow-remote if you may load it, nothing was sent"
            );
        }
        Ok(())
    }

    /// When buyers come.
    pub(super) fn schedule(&self) -> anyhow::Result<Schedule> {
        match &self.schedule {
            Some(schedule) => Ok(schedule.clone()),
            None => Schedule::of_a_sale(self.peak, self.factor).map_err(|problem| {
                anyhow::anyhow!("--peak {} --factor {}: {problem}", self.peak, self.factor)
            }),
        }
    }

    /// Peak and factor, where the schedule was made from them.
    pub(super) fn peak_and_factor(&self) -> Option<(f64, f64)> {
        self.schedule.is_none().then_some((self.peak, self.factor))
    }

    /// What has to hold.
    pub(super) fn thresholds(
        &self,
        audited: bool,
        watched: bool,
    ) -> anyhow::Result<Vec<Threshold>> {
        let mut all = Vec::new();
        let audited = AUDITED_THRESHOLDS.iter().filter(|_| audited);
        let watched = WATCHED_THRESHOLDS.iter().filter(|_| watched);
        for text in DEFAULT_THRESHOLDS.iter().chain(audited).chain(watched) {
            let default: Threshold = text.parse().map_err(anyhow::Error::msg)?;
            if !self.thresholds.iter().any(|given| given.same_figure(&default)) {
                all.push(default);
            }
        }
        all.extend(self.thresholds.iter().cloned());
        Ok(all)
    }

    /// What is sold.
    pub(super) fn stack(&self) -> StackArgs {
        StackArgs {
            export: self.export.clone(),
            quantity: Some(self.quantity),
            currency: self.currency.clone(),
            admissions: self.admissions.unwrap_or(self.peak),
            per_buyer_limit: 2,
            hold_seconds: self.hold_seconds,
            card_retry_ms: None,
        }
    }

    /// The stores of a platform that is not started here.
    pub(super) fn stores(&self) -> Option<Stores> {
        let StoreArgs { redis_url, nats_url, postgres_url, stripe_log, mail_log } =
            self.stores.clone();
        Some(Stores {
            redis: redis_url?,
            nats: nats_url?,
            postgres: postgres_url?,
            provider_log: stripe_log,
            mail_log,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn args(line: &str) -> LoadArgs {
        Command::try_parse_from(std::iter::once("load").chain(line.split_whitespace()))
            .unwrap()
            .load
    }

    #[test]
    fn only_this_machine_is_loaded_unless_it_is_said_that_another_may_be() {
        for here in
            ["http://127.0.0.1:50051", "http://localhost:1", "http://[::1]:1", "http://127.9.9.9:1"]
        {
            args("").check(Some(here)).unwrap();
        }
        for there in ["http://192.0.2.1:1", "http://shop.example:1", "http://127.0.0.1.example:1"] {
            let error = args("").check(Some(there)).unwrap_err();
            assert!(error.to_string().contains("--allow-remote"), "{there}: {error}");
            args("--allow-remote").check(Some(there)).unwrap();
        }
    }

    #[test]
    fn a_threshold_replaces_the_default_for_the_same_figure_and_leaves_the_others() {
        let texts = |line: &str| -> Vec<String> {
            args(line).thresholds(true, true).unwrap().iter().map(ToString::to_string).collect()
        };
        let (defaults, given) = (texts(""), texts("--threshold place_order.p99<1s"));
        assert_eq!(defaults.len(), given.len());
        assert!(!given.contains(&"place_order.p99<100ms".to_owned()), "{given:?}");
        assert!(given.contains(&"place_order.p99<1s".to_owned()), "{given:?}");
        assert!(given.contains(&"accepted.lost==0".to_owned()), "{given:?}");
    }

    #[test]
    fn the_stores_are_given_whole_or_not_at_all() {
        let line = ["load", "--redis-url", "redis://127.0.0.1:1"];
        let error = Command::try_parse_from(line).unwrap_err().to_string();
        assert!(error.contains("--nats-url"), "{error}");
    }
}
