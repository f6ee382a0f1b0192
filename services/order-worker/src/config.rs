//! The worker's configuration; `config.default.toml` explains every value.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use flashsale_connect::{is_loopback, plaintext, read_url};
use flashsale_pg::PgConfig;
use flashsale_queue::NatsConfig;
use flashsale_service::{AccessConfig, CommonConfig, PeerConfig, Problem, ServerConfig, Validate};
use flashsale_telemetry::TelemetryConfig;
use lettre::message::Mailbox;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::{
    app::mail::{Templates, TemplatesError, Writer},
    domain::Backoff,
    peers::smtp::Relay,
    tasks::{
        claimer::ClaimPace,
        outbox::{self, DispatchPace, HeldOff},
        parked::ParkedPace,
        settlement::SettlementPace,
    },
};

/// All of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Health and metrics.
    pub server: ServerConfig,
    /// Who is served.
    pub access: AccessConfig,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
    /// The record.
    pub postgres: PgConfig,
    pub nats: NatsConfig,
    /// Other services.
    pub peers: Peers,
    pub mail: MailConfig,
    pub worker: WorkerConfig,
}

/// The `[peers.*]` sections.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// Where holds are closed.
    pub inventory: PeerConfig,
    /// Where orders are charged.
    pub payment: PeerConfig,
}

/// The `[mail]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    /// The relay: `smtp://`, `smtp://…?tls=required` or `smtps://`, with `user:password@` if it
    /// requires them.
    pub smtp_url: SecretString,
    /// Whether the relay may be on another machine without TLS.
    pub allow_plaintext: bool,
    /// The sender.
    pub from: String,
    /// The right-hand side of message ids.
    pub message_id_domain: String,
    /// How long sending one mail may take.
    pub timeout_ms: u64,
    /// Mails at once.
    pub connections: u32,
    /// The shop's own language, for buyers whose language has no templates.
    pub language: String,
    /// A folder with the shop's own templates; empty for the built-in ones.
    pub templates_dir: String,
    /// The page where buyers go on with their payment; empty for none.
    pub action_url: String,
}

/// The longest deadline of a dead letter: thirty days.
const MAX_REVIEW_MINUTES: u64 = 43_200;

/// The longest pause between two calls about a closed sale.
const CLOSED_CEILING: Duration = Duration::from_secs(5);
/// Sales whose parked orders are worked off at once.
const PARKED_SALES: usize = 8;
/// Parked orders of one sale in one call to inventory and one transaction.
const PARKED_BATCH: usize = 100;

/// The `[worker]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// The most messages of one claim.
    pub claim_batch: usize,
    /// How long a claim waits to fill once its first message is there.
    pub claim_gather_ms: u64,
    /// How long `ORDERS` may be silent before the claimer checks that it is still the same stream.
    pub claim_idle_ms: u64,
    /// Claimed messages are purged when there are this many.
    pub purge_messages: u64,
    /// They are also purged after this time.
    pub purge_interval_ms: u64,
    /// No message is purged before it has been claimed for this long.
    pub purge_after_ms: u64,
    /// How long a dead letter waits for an operator's decision.
    pub review_minutes: u64,
    /// The most orders of one settlement.
    pub settle_batch: usize,
    /// How often open orders are compared with their payments.
    pub settle_poll_ms: u64,
    /// How often ended orders are compared with their payments.
    pub settle_late_poll_ms: u64,
    /// Payments recorded by one call, at most 200.
    pub charge_batch: usize,
    /// Holds closed by one call, at most 500.
    pub close_hold_batch: usize,
    /// Rows of the other kinds in one batch.
    pub carry_batch: usize,
    /// Batches of one kind at once.
    pub carry_concurrency: usize,
    /// How often the outbox is polled.
    pub outbox_poll_ms: u64,
    /// How long a row is leased.
    pub lease_ms: u64,
    /// The pause after a first failure.
    pub retry_ms: u64,
    /// The longest pause.
    pub retry_ceiling_ms: u64,
}

impl MailConfig {
    /// The relay. It connects when it is first used.
    ///
    /// # Errors
    /// When the URL cannot be parsed.
    pub fn relay(&self) -> Result<Relay, lettre::transport::smtp::Error> {
        let timeout = Duration::from_millis(self.timeout_ms);
        Relay::new(self.smtp_url.expose_secret(), self.connections, timeout)
    }

    /// What writes the mails.
    ///
    /// # Errors
    /// When the templates or the sender's address cannot be used.
    pub fn writer(&self) -> anyhow::Result<Writer> {
        Ok(Writer {
            templates: self.templates().context("mail.templates_dir")?,
            from: self.from.parse().context("mail.from")?,
            message_id_domain: self.message_id_domain.clone(),
        })
    }

    fn templates(&self) -> Result<Templates, TemplatesError> {
        let folder = Path::new(&self.templates_dir);
        let folder = Some(folder).filter(|_| !self.templates_dir.is_empty());
        let action_url = Some(self.action_url.clone()).filter(|url| !url.is_empty());
        Templates::new(&self.language, folder, action_url)
    }
}

impl WorkerConfig {
    /// How the claimer reads.
    pub fn claim_pace(&self) -> ClaimPace {
        ClaimPace {
            batch: self.claim_batch,
            fill: Duration::from_millis(self.claim_gather_ms),
            idle: Duration::from_millis(self.claim_idle_ms),
            purge_messages: self.purge_messages,
            purge_interval: Duration::from_millis(self.purge_interval_ms),
            purge_after: Duration::from_millis(self.purge_after_ms),
            review: Duration::from_secs(self.review_minutes.saturating_mul(60)),
        }
    }

    /// How parked orders are worked off.
    pub fn parked_pace(&self) -> ParkedPace {
        ParkedPace {
            sales: PARKED_SALES,
            batch: PARKED_BATCH,
            lease: Duration::from_millis(self.lease_ms),
            poll: Duration::from_millis(self.outbox_poll_ms),
            backoff: Backoff {
                first: Duration::from_millis(self.retry_ms),
                ceiling: self.closed_ceiling(),
            },
        }
    }

    /// The pauses for the holds of closed sales.
    pub fn held_off(&self) -> HeldOff {
        HeldOff::new(Duration::from_millis(self.retry_ms), self.closed_ceiling())
    }

    /// The longest pause of a closed sale, which is open again within seconds as a rule.
    fn closed_ceiling(&self) -> Duration {
        Duration::from_millis(self.retry_ceiling_ms).min(CLOSED_CEILING)
    }

    /// How often orders are compared with their payments.
    pub fn settle_pace(&self) -> SettlementPace {
        SettlementPace {
            batch: self.settle_batch,
            poll: Duration::from_millis(self.settle_poll_ms),
            late_poll: Duration::from_millis(self.settle_late_poll_ms),
        }
    }

    /// How a kind of the outbox is worked off in batches of `batch` rows.
    pub fn dispatch_pace(&self, batch: usize) -> DispatchPace {
        DispatchPace {
            batch,
            concurrency: self.carry_concurrency,
            lease: Duration::from_millis(self.lease_ms),
            poll: Duration::from_millis(self.outbox_poll_ms),
            backoff: Backoff {
                first: Duration::from_millis(self.retry_ms),
                ceiling: Duration::from_millis(self.retry_ceiling_ms),
            },
        }
    }
}

impl CommonConfig for Config {
    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn access(&self) -> &AccessConfig {
        &self.access
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }
}

impl Validate for Config {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.server.problems();
        problems.extend(self.access.problems(&self.server));
        problems.extend(self.telemetry.problems().into_iter().map(Problem::from));
        problems.extend(self.postgres.problems().into_iter().map(Problem::from));
        problems.extend(self.nats.problems().into_iter().map(Problem::from));
        problems.extend(self.peers.inventory.problems("inventory"));
        problems.extend(self.peers.payment.problems("payment"));
        problems.extend(self.mail.problems());
        problems.extend(self.worker.problems());
        // A row that is still being carried out when its lease ends is carried out twice: harmless,
        // except that the buyer gets two mails.
        let slowest_ms = self.peers.payment.timeout_ms.max(self.mail.timeout_ms);
        let at_once = outbox::CALLS.min(self.mail.connections.max(1) as usize);
        let rounds = self.worker.carry_batch.div_ceil(at_once) as u64;
        let longest_ms = rounds.saturating_mul(slowest_ms).max(self.peers.inventory.timeout_ms);
        if self.worker.lease_ms <= longest_ms {
            problems.push(Problem::new(
                "worker.lease_ms",
                format!(
                    "must be above the {longest_ms} that a batch may take: worker.carry_batch rows, {at_once} at once, timeout_ms each"
                ),
            ));
        }
        problems
    }
}

impl MailConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(problem) = self.relay_problem() {
            problems.push(Problem::new("mail.smtp_url", problem));
        }
        if self.from.parse::<Mailbox>().is_err() {
            problems.push(Problem::new(
                "mail.from",
                "must be an address such as Shop <orders@example.com>",
            ));
        }
        let domain = &self.message_id_domain;
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        if domain.is_empty() || !domain.bytes().all(fine) {
            problems.push(Problem::new(
                "mail.message_id_domain",
                "must be a domain such as example.com",
            ));
        }
        if self.timeout_ms == 0 {
            problems.push(Problem::new("mail.timeout_ms", "must be above 0"));
        }
        if let Err(error) = self.templates() {
            let key = match error {
                TemplatesError::Missing(_) => "mail.language",
                TemplatesError::Folder(..) | TemplatesError::Malformed(..) => "mail.templates_dir",
            };
            problems.push(Problem::new(key, format!("cannot be used: {error}")));
        }
        if !self.action_url.is_empty() && !is_page(&self.action_url) {
            let what =
                "must be empty or a URL of the shop's that begins with https:// and has {order_id}";
            problems.push(Problem::new("mail.action_url", what));
        }
        if !(1..=64).contains(&self.connections) {
            problems.push(Problem::new("mail.connections", "must be 1 to 64"));
        }
        problems
    }
}

/// Whether a page can be told to buyers.
fn is_page(template: &str) -> bool {
    let filled = template.replace("{order_id}", "order").replace("{sale_id}", "sale");
    let Ok(url) = read_url(&filled) else { return false };
    let safe = match url.scheme() {
        "https" => url.host_str().is_some(),
        "http" => url.host_str().is_some_and(is_loopback),
        _ => false,
    };
    safe && template.contains("{order_id}") && !filled.contains(['{', '}'])
}

impl MailConfig {
    /// What is wrong with the relay's URL, with nothing of it in the text.
    fn relay_problem(&self) -> Option<String> {
        let text = self.smtp_url.expose_secret();
        let url = match read_url(text) {
            Ok(url) if Relay::accepts(text) => url,
            Ok(_) => {
                return Some(
                    "must be a URL such as smtp://relay:25 or smtps://relay:465".to_owned(),
                );
            }
            Err(problem) => return Some(problem),
        };
        let remote = !url.host_str().is_some_and(is_loopback);
        let starttls = url.query_pairs().any(|(key, value)| key == "tls" && value == "required");
        let in_the_open = !(starttls || url.scheme() == "smtps");
        (remote && in_the_open && !self.allow_plaintext)
            .then(|| plaintext("mail", "begin it with smtps://, or end it with ?tls=required"))
    }
}

impl WorkerConfig {
    fn problems(&self) -> Vec<Problem> {
        let sizes = [
            ("worker.claim_batch", self.claim_batch, 2_000),
            ("worker.settle_batch", self.settle_batch, 2_000),
            ("worker.charge_batch", self.charge_batch, 200),
            ("worker.close_hold_batch", self.close_hold_batch, 500),
            ("worker.carry_batch", self.carry_batch, 500),
            ("worker.carry_concurrency", self.carry_concurrency, 32),
        ];
        let sizes = sizes.into_iter().filter(|(_, size, most)| !(1..=*most).contains(size));
        let mut problems: Vec<Problem> =
            sizes.map(|(key, _, most)| Problem::new(key, format!("must be 1 to {most}"))).collect();
        let above_zero = [
            ("worker.claim_gather_ms", self.claim_gather_ms),
            ("worker.claim_idle_ms", self.claim_idle_ms),
            ("worker.purge_messages", self.purge_messages),
            ("worker.purge_interval_ms", self.purge_interval_ms),
            ("worker.settle_poll_ms", self.settle_poll_ms),
            ("worker.settle_late_poll_ms", self.settle_late_poll_ms),
            ("worker.outbox_poll_ms", self.outbox_poll_ms),
            ("worker.lease_ms", self.lease_ms),
            ("worker.retry_ms", self.retry_ms),
        ];
        for (key, _) in above_zero.into_iter().filter(|(_, value)| *value == 0) {
            problems.push(Problem::new(key, "must be above 0"));
        }
        if !(1..=MAX_REVIEW_MINUTES).contains(&self.review_minutes) {
            problems.push(Problem::new(
                "worker.review_minutes",
                format!("must be 1 to {MAX_REVIEW_MINUTES}"),
            ));
        }
        if self.retry_ceiling_ms < self.retry_ms {
            problems
                .push(Problem::new("worker.retry_ceiling_ms", "must be at least worker.retry_ms"));
        }
        problems
    }
}
