//! The mail relay.

use std::time::Duration;

use flashsale_failpoint::Outside;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor, transport::smtp::PoolConfig,
};
use tracing::{Instrument as _, field::Empty};

use crate::steps;

/// A relay that mails are sent through. It connects when it is first used.
#[derive(Debug)]
pub struct Relay {
    transport: Outside<AsyncSmtpTransport<Tokio1Executor>>,
    timeout: Duration,
}

/// Why a mail was not accepted: a short code. The relay's own words may contain the address, so
/// they are not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotSent {
    /// The relay will refuse this mail again.
    Refused(&'static str),
    /// Another attempt may succeed. The relay may have accepted the mail all the same.
    Retry(&'static str),
}

impl Relay {
    /// The relay at `url`, with at most `connections` at once. Sending one mail, connecting
    /// included, may take `timeout`.
    ///
    /// # Errors
    /// When the URL cannot be parsed.
    pub fn new(
        url: &str,
        connections: u32,
        timeout: Duration,
    ) -> Result<Self, lettre::transport::smtp::Error> {
        let pool = PoolConfig::new().max_size(connections);
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)?
            .timeout(Some(timeout))
            .pool_config(pool)
            .build();
        Ok(Self { transport: Outside::new(transport), timeout })
    }

    /// Whether `url` can be parsed.
    pub(crate) fn accepts(url: &str) -> bool {
        AsyncSmtpTransport::<Tokio1Executor>::from_url(url).is_ok()
    }

    /// Sends a mail; done when the relay has accepted it.
    ///
    /// # Errors
    /// [`NotSent`].
    pub(crate) async fn send(&self, mail: Message) -> Result<(), NotSent> {
        let span = tracing::info_span!(
            "send_mail",
            otel.name = "send mail",
            otel.kind = "client",
            otel.status_code = Empty,
        );
        let sending = self.transport.step(steps::MAIL_SEND, |transport| transport.send(mail));
        let sending = tokio::time::timeout(self.timeout, sending);
        let sent = sending.instrument(span.clone()).await;
        if !matches!(sent, Ok(Ok(_))) {
            span.record("otel.status_code", "ERROR");
        }
        match sent {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() => Err(NotSent::Refused("SMTP_REFUSED")),
            Ok(Err(error)) if error.is_transient() => Err(NotSent::Retry("SMTP_LATER")),
            Ok(Err(error)) if error.is_timeout() => Err(NotSent::Retry("SMTP_TIMEOUT")),
            Ok(Err(_)) => Err(NotSent::Retry("SMTP_UNAVAILABLE")),
            Err(_) => Err(NotSent::Retry("SMTP_TIMEOUT")),
        }
    }
}
