//! Writes to buyers.

use std::{collections::HashMap, time::Duration};

use flashsale_failpoint::Step as _;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use sqlx::PgPool;
use tracing::{Instrument as _, field::Empty};
use uuid::Uuid;

use super::{Carrier, Outcome, STORE_UNAVAILABLE, each, span_of};
use crate::{
    app::mail::{Letter, LetterLine, MailError, Topic, Writer},
    domain::Kind,
    store::outbox::Leased,
};

/// Sends mails over SMTP; confirmed when the relay has accepted them.
#[derive(Debug)]
pub struct Mail {
    /// The record.
    pub pool: PgPool,
    /// Makes the mails.
    pub writer: Writer,
    /// The relay.
    pub transport: AsyncSmtpTransport<Tokio1Executor>,
    /// How long one mail may take, connecting included.
    pub timeout: Duration,
    /// Mails at once.
    pub connections: usize,
}

impl Carrier for Mail {
    const KIND: Kind = Kind::Mail;

    async fn carry_out(&self, rows: &[Leased]) -> Vec<Outcome> {
        let mut letters = match self.letters(rows).await {
            Ok(letters) => letters,
            Err(error) => {
                tracing::warn!(%error, "orders cannot be read");
                return vec![Outcome::Again(STORE_UNAVAILABLE); rows.len()];
            }
        };
        let mails = rows
            .iter()
            .map(|row| {
                let letter = letters.remove(&(row.order_id, row.about.clone()));
                self.send(row, letter).instrument(span_of(Kind::Mail, row))
            })
            .collect();
        each(mails, self.connections).await
    }
}

impl Mail {
    async fn send(&self, row: &Leased, letter: Option<Letter>) -> Outcome {
        let Some(letter) = letter else { return Outcome::Again("ORDER_MISSING") };
        let mail = match self.writer.write(&letter) {
            Ok(mail) => mail,
            Err(MailError::Address(_)) => return Outcome::Refused("ADDRESS_INVALID"),
            Err(error @ (MailError::Template(_) | MailError::Build(_))) => {
                tracing::error!(order_id = %row.order_id, %error, "a mail cannot be written");
                return Outcome::Again("MAIL_UNWRITABLE");
            }
        };
        let span = tracing::info_span!(
            "send_mail",
            otel.name = "send mail",
            otel.kind = "client",
            otel.status_code = Empty,
        );
        let sending =
            tokio::time::timeout(self.timeout, self.transport.send(mail).step("mail/send"));
        let sent = sending.instrument(span.clone()).await;
        if !matches!(sent, Ok(Ok(_))) {
            span.record("otel.status_code", "ERROR");
        }
        match sent {
            Ok(Ok(_)) => Outcome::Done,
            // The relay's own words may hold the address: they are not kept.
            Ok(Err(error)) if error.is_permanent() => Outcome::Refused("SMTP_REFUSED"),
            Ok(Err(error)) if error.is_transient() => Outcome::Again("SMTP_LATER"),
            Ok(Err(error)) if error.is_timeout() => Outcome::Again("SMTP_TIMEOUT"),
            Ok(Err(_)) => Outcome::Again("SMTP_UNAVAILABLE"),
            Err(_) => Outcome::Again("SMTP_TIMEOUT"),
        }
    }

    async fn letters(
        &self,
        rows: &[Leased],
    ) -> Result<HashMap<(Uuid, String), Letter>, sqlx::Error> {
        let ids: Vec<Uuid> = rows.iter().map(|row| row.order_id).collect();
        let orders = sqlx::query_file!("sql/orders_for_mail.sql", &ids)
            .fetch_all(&self.pool)
            .step("sql/orders_for_mail")
            .await?;
        let orders: HashMap<Uuid, _> =
            orders.into_iter().map(|order| (order.order_id, order)).collect();
        let mut lines: HashMap<Uuid, Vec<LetterLine>> = HashMap::new();
        for line in sqlx::query_file!("sql/lines_for_mail.sql", &ids)
            .fetch_all(&self.pool)
            .step("sql/lines_for_mail")
            .await?
        {
            lines.entry(line.order_id).or_default().push(LetterLine {
                title: line.title,
                sku: line.sku,
                quantity: line.quantity,
                unit_price_minor: line.unit_price_minor,
            });
        }
        // An order can be owed two mails at once: a confirmation and a refund.
        Ok(rows
            .iter()
            .filter_map(|row| {
                let order = orders.get(&row.order_id)?;
                let letter = Letter {
                    order_id: row.order_id,
                    topic: Topic::parse(&row.about)?,
                    email: order.email.clone(),
                    name: order.contact_name.clone(),
                    sale_name: order.sale_name.clone(),
                    currency: order.currency.clone(),
                    total_minor: order.total_minor,
                    lines: lines.get(&row.order_id).cloned().unwrap_or_default(),
                    end_reason: order.end_reason.clone(),
                    placed_at: order.placed_at,
                    locale: order.locale.clone(),
                };
                Some(((row.order_id, row.about.clone()), letter))
            })
            .collect())
    }
}
