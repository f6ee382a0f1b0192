//! Whether the secret key is that of the account which has this deployment's payments.
//!
//! A valid key of another account knows none of our intents, lists none and creates new ones: every
//! order that is under way would be looked for, not found, and charged there once more. So each
//! instance asks whose its key is before it takes anything up, and compares that with the record,
//! which has noted the account of the first payment.

use std::time::Duration;

use flashsale_service::Drain;
use flashsale_telemetry::meter;
use opentelemetry::KeyValue;
use tokio::sync::watch;

use super::Bell;
use crate::{
    peers::stripe::{ProviderError, Stripe},
    store::{ProviderAccount, Store},
};

/// Between two questions while there is no answer: this long at first, doubling up to the other.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));
/// After so many questions in a row that were sent and not answered, payments go on unproven.
const UNANSWERED: u32 = 10;
/// How often a key is asked about that may not read its account: it may have been given the right.
const UNPROVEN_AGAIN: Duration = Duration::from_secs(10 * 60);

/// What the account of the key is to this deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not known yet: nothing is taken up.
    Unchecked,
    /// There has been no payment yet: it will have the first one.
    Unbound,
    /// It has our payments.
    Ours,
    /// The key may not read its account: a restricted one needs the right to do so. Payments go on,
    /// but that the provider does not know an intent then ends nothing by itself.
    Unproven,
    /// Another one has our payments, or they are of the other mode: nothing goes on with this key.
    Another,
}

impl Standing {
    const ALL: [Self; 5] =
        [Self::Unchecked, Self::Unbound, Self::Ours, Self::Unproven, Self::Another];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Unbound => "unbound",
            Self::Ours => "ours",
            Self::Unproven => "unproven",
            Self::Another => "another",
        }
    }

    /// Whether anything may be asked of the provider.
    pub const fn may_go_on(self) -> bool {
        match self {
            Self::Unbound | Self::Ours | Self::Unproven => true,
            Self::Unchecked | Self::Another => false,
        }
    }
}

/// Finds out whose the key is. A clone shares what was found.
#[derive(Debug, Clone)]
pub struct AccountCheck {
    store: Store,
    stripe: Stripe,
    is_live: bool,
    found: watch::Sender<(Standing, Option<String>)>,
    ready: watch::Sender<bool>,
}

/// Why it cannot be said yet.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Store(#[from] sqlx::Error),
}

impl Unanswered {
    /// Whether the provider was asked and did not answer, rather than not asked.
    fn was_sent(&self) -> bool {
        match self {
            Self::Provider(error) => matches!(error, ProviderError::Unknown { .. }),
            Self::Store(_) => false,
        }
    }
}

impl AccountCheck {
    /// Asks through `stripe`; `is_live` is what the key says of itself.
    pub fn new(store: Store, stripe: Stripe, is_live: bool) -> Self {
        let (found, seen) = watch::channel((Standing::Unchecked, None));
        meter()
            .u64_observable_gauge("flashsale_payment_provider_account")
            .with_unit("{account}")
            .with_description(
                "1 for what the key's account is to this deployment, 0 for the others.",
            )
            .with_callback(move |gauge| {
                let now = seen.borrow().0;
                for standing in Standing::ALL {
                    let label = KeyValue::new("standing", standing.as_str());
                    gauge.observe(u64::from(now == standing), &[label]);
                }
            })
            .build();
        Self { store, stripe, is_live, found, ready: watch::Sender::new(true) }
    }

    /// What was found so far.
    pub fn standing(&self) -> Standing {
        self.found.borrow().0
    }

    /// False once the key is known to be another account's, so that a roll-out with it stops.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// How much of `room` for work may be used.
    pub fn room(&self, room: usize) -> usize {
        if self.standing().may_go_on() { room } else { 0 }
    }

    /// Has the account be that of the first payment, unless one is noted. Returns what it is then.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn bind(&self) -> sqlx::Result<Standing> {
        let (standing, id) = self.found.borrow().clone();
        let (Standing::Unbound, Some(id)) = (standing, id) else { return Ok(standing) };
        self.store.bind_account(&id, self.is_live).await?;
        // Another instance may have come first, with another key.
        let bound = self.store.account().await?;
        let is_ours = bound.as_ref().is_some_and(|bound| self.is(bound, &id));
        let standing = if is_ours { Standing::Ours } else { Standing::Another };
        self.note(standing, Some(id));
        Ok(standing)
    }

    /// Asks until there is an answer, and rings the bells then; until the drain starts.
    ///
    /// # Errors
    /// None; the signature is that of a background task.
    pub async fn run(self, bells: [Bell; 2], drain: Drain) -> anyhow::Result<()> {
        let (mut wait, mut unanswered) = (ASK_AGAIN.0, 0);
        loop {
            let asked = tokio::select! {
                () = drain.started() => return Ok(()),
                asked = self.ask() => asked,
            };
            match asked {
                Ok((standing, id)) => {
                    self.note(standing, id);
                    unanswered = 0;
                    wait = UNPROVEN_AGAIN;
                    if standing != Standing::Unproven {
                        bells.iter().for_each(Bell::ring);
                        drain.started().await;
                        return Ok(());
                    }
                }
                Err(error) => {
                    tracing::info!(%error, "the secret key's account is not known yet");
                    unanswered += u32::from(error.was_sent());
                    if unanswered == UNANSWERED {
                        self.note(Standing::Unproven, None);
                    }
                    wait = (wait * 2).min(ASK_AGAIN.1);
                }
            }
            bells.iter().for_each(Bell::ring);
            tokio::select! {
                () = drain.started() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn note(&self, standing: Standing, id: Option<String>) {
        let before = self.found.send_replace((standing, id)).0;
        self.ready.send_replace(standing != Standing::Another);
        if before == standing {
            return;
        }
        match standing {
            Standing::Unchecked | Standing::Unbound | Standing::Ours => {
                tracing::info!(standing = standing.as_str(), "the secret key's account");
            }
            Standing::Unproven => {
                tracing::warn!("whose the secret key is stays unproven: it does not say so");
            }
            Standing::Another => tracing::error!(
                "the secret key is not that of the account that has the payments: nothing is charged or given back"
            ),
        }
    }

    /// Whether the key is that of this account of the record.
    fn is(&self, bound: &ProviderAccount, id: &str) -> bool {
        bound.id == id && bound.is_live == self.is_live
    }

    async fn ask(&self) -> Result<(Standing, Option<String>), Unanswered> {
        let bound = self.store.account().await?;
        if bound.as_ref().is_some_and(|bound| bound.is_live != self.is_live) {
            return Ok((Standing::Another, None));
        }
        let id = match self.stripe.account().await {
            Ok(id) => id,
            // The answers to a key without that right, and of an imitation without accounts.
            Err(ProviderError::Misused { status: 403 | 404, .. }) => {
                let known = self.knows_our_payments().await?;
                let standing =
                    if known == Some(false) { Standing::Another } else { Standing::Unproven };
                return Ok((standing, None));
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(bound) = bound {
            let standing = if self.is(&bound, &id) { Standing::Ours } else { Standing::Another };
            tracing::info!(bound = bound.id, of_key = id, "accounts at the provider");
            return Ok((standing, Some(id)));
        }
        // A record of before accounts were noted, or none.
        let standing = match self.knows_our_payments().await? {
            None => Standing::Unbound,
            Some(false) => Standing::Another,
            Some(true) => {
                self.store.bind_account(&id, self.is_live).await?;
                let bound = self.store.account().await?;
                let is_ours = bound.as_ref().is_some_and(|bound| self.is(bound, &id));
                if is_ours { Standing::Ours } else { Standing::Another }
            }
        };
        Ok((standing, Some(id)))
    }

    /// Whether the account knows one of our newest intents. `None` while there is none.
    async fn knows_our_payments(&self) -> Result<Option<bool>, Unanswered> {
        let mut unclear = None;
        let mut known = None;
        for intent in self.store.newest_intents().await? {
            match self.stripe.retrieve(&intent).await {
                Ok(_) => return Ok(Some(true)),
                Err(error) if error.is_missing() => known = Some(false),
                Err(error) => unclear = Some(error),
            }
        }
        match unclear {
            Some(error) => Err(error.into()),
            None => Ok(known),
        }
    }
}
