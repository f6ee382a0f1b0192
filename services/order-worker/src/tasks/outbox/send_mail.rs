//! Sends mails to buyers.

use flashsale_pg::SteppedPool;
use tracing::Instrument as _;

use super::handler::{Handler, ORDER_MISSING, Outcome, each, record_failed, span_of};
use crate::{
    app::mail::{MailError, Writer},
    domain::{
        Kind,
        mail::{Mail, Refund, Topic},
    },
    peers::smtp::{NotSent, Relay},
    store::{orders, outbox::Leased},
};

/// Sends mails through the relay; confirmed when the relay has accepted them.
#[derive(Debug)]
pub struct SendMail {
    pub pool: SteppedPool,
    /// Writes the messages.
    pub writer: Writer,
    pub relay: Relay,
    /// Mails of one batch at once.
    pub connections: usize,
}

impl Handler for SendMail {
    const KIND: Kind = Kind::Mail;

    async fn handle(&self, rows: &[Leased]) -> Vec<Outcome> {
        let mut mails = match orders::mails(&self.pool, rows).await {
            Ok(mails) => mails,
            Err(error) => return vec![record_failed(&error); rows.len()],
        };
        let sends = rows
            .iter()
            .map(|row| {
                let topic = row.about().and_then(Topic::of);
                let mail = topic.and_then(|topic| mails.remove(&(row.order_id, topic)));
                self.send(row, mail).instrument(span_of(Kind::Mail, row))
            })
            .collect();
        each(sends, self.connections).await
    }
}

impl SendMail {
    async fn send(&self, row: &Leased, mail: Option<Mail>) -> Outcome {
        let Some(mail) = mail else { return Outcome::Retry(ORDER_MISSING) };
        if mail.is_over() {
            return Outcome::Refused("TURN_OVER");
        }
        match mail.refund {
            Some(Refund::Done(_)) | None => {}
            Some(Refund::UnderWay) => return Outcome::Retry("REFUND_UNDER_WAY"),
            Some(Refund::Failed) => return Outcome::Refused("REFUND_FAILED"),
        }
        let message = match self.writer.write(&mail) {
            Ok(message) => message,
            Err(MailError::Address(_)) => return Outcome::Refused("ADDRESS_INVALID"),
            Err(error @ (MailError::Template(_) | MailError::Build(_))) => {
                tracing::error!(order_id = %row.order_id, %error, "a mail cannot be written");
                return Outcome::Retry("MAIL_UNWRITABLE");
            }
        };
        match self.relay.send(message).await {
            Ok(()) => Outcome::Done,
            Err(NotSent::Refused(code)) => Outcome::Refused(code),
            Err(NotSent::Retry(code)) => Outcome::Retry(code),
        }
    }
}
