//! Ends a payment that can never be captured and that no step of a worker brings to its end: the
//! provider does not know its intent, or has cancelled it.
//!
//! Money first. The payment is leased, so that no worker sends anything for it meanwhile and none
//! that did so before can still have a request under way; the provider is asked; and the payment
//! ends by a compare-and-set on that lease. That the provider does not know an intent is believed
//! only from the account that has our payments: the key of another one knows none of our intents.
//! Where the key may not say whose it is, the account has to know the payments beside this one.

use std::{fmt, time::Duration};

use super::{
    account::{AccountCheck, Standing},
    settlement::Settler,
};
use crate::{
    domain::{IntentStatus, Payment, State},
    peers::stripe::Stripe,
    store::{Gone, NewAbandonment, Store},
};

/// Ends payments on request.
#[derive(Debug, Clone)]
pub struct Abandoning {
    pub store: Store,
    pub stripe: Stripe,
    /// Whose the secret key is.
    pub account: AccountCheck,
    /// Announces the end.
    pub settler: Settler,
    /// How long a payment is leased for: longer than any call to the provider takes.
    pub lease: Duration,
}

/// The outcome of a request to end a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Abandoned {
    /// It has ended, now or by the same request before.
    Ended,
    /// The request id has ended another payment, or for another reason; nothing was changed.
    Reused,
    /// It may not be ended; nothing was changed.
    Refused(Obstacle),
}

/// Why a payment may not be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// It has ended.
    HasEnded(State),
    /// It has no intent, so that there is nothing to ask the provider about.
    NoIntent,
    /// An instance works on it.
    Leased,
    /// The provider has its intent, and may still capture it or has done so.
    Alive(IntentStatus),
    /// The provider could not be asked, or gave no clear answer, of this kind.
    Unanswered(&'static str),
    /// The provider does not know the intent of another payment either: the secret key may be that
    /// of another account.
    OtherAccount,
    /// No other payment shows that the secret key is that of the account in which the intent was
    /// made.
    Unproven,
}

impl Obstacle {
    /// The name that callers get.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::HasEnded(_) => "has_ended",
            Self::NoIntent => "no_intent",
            Self::Leased => "leased",
            Self::Alive(_) => "intent_alive",
            Self::Unanswered(_) => "unanswered",
            Self::OtherAccount => "other_account",
            Self::Unproven => "account_unproven",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HasEnded(state) => write!(f, "it is {state}"),
            Self::NoIntent => f.write_str(
                "it has no intent at the provider: cancel the order, which ends it without one",
            ),
            Self::Leased => {
                f.write_str("an instance works on it at this moment: try again in a minute")
            }
            Self::Alive(IntentStatus::Succeeded) => f.write_str(
                "the provider has captured its intent: have it retried, and it is settled",
            ),
            Self::Alive(_) => f.write_str(
                "the provider has its intent and may still capture it: cancel the order, and it is \
                 cancelled there first",
            ),
            Self::Unanswered(kind) => {
                write!(f, "the provider could not be asked about its intent ({kind})")
            }
            Self::OtherAccount => f.write_str(
                "the provider knows the intent of no other payment of that time either: the secret \
                 key may be that of another account",
            ),
            Self::Unproven => f.write_str(
                "no captured payment shows that the secret key is that of the account in which its \
                 intent was made",
            ),
        }
    }
}

impl Abandoning {
    /// Ends the payment of the order that `asked` names, if it can never be captured.
    ///
    /// # Errors
    /// When Postgres does not answer. The payment may be leased then, for a while.
    pub async fn abandon(
        &self,
        payment: &Payment,
        asked: &NewAbandonment,
    ) -> sqlx::Result<Abandoned> {
        if let Some(earlier) = self.store.abandonment(asked.request_id).await? {
            let same = (earlier.order_id, &earlier.reason) == (asked.order_id, &asked.reason);
            return Ok(if same { Abandoned::Ended } else { Abandoned::Reused });
        }
        let Some(held) = self.store.lease_payment(asked.order_id, self.lease).await? else {
            return self.why_not(payment).await.map(Abandoned::Refused);
        };
        let intent = held.intent_id.clone().unwrap_or_default();
        let seen = match self.look(&held, &intent).await? {
            Ok(seen) => seen,
            Err(obstacle) => {
                self.store.release_payment(&held).await?;
                return Ok(Abandoned::Refused(obstacle));
            }
        };
        match self.store.abandon(&held, asked, seen).await? {
            Some(state) => {
                tracing::warn!(
                    order = %asked.order_id, intent, seen = seen.as_str(), %state,
                    "operators ended a payment"
                );
                self.settler.changed(asked.order_id, state).await;
                Ok(Abandoned::Ended)
            }
            // An event has ended it meanwhile, or the look took longer than the lease.
            None => {
                self.store.release_payment(&held).await?;
                self.why_not(payment).await.map(Abandoned::Refused)
            }
        }
    }

    /// Why a payment cannot be leased.
    async fn why_not(&self, payment: &Payment) -> sqlx::Result<Obstacle> {
        let current = self.store.payment(payment.order_id).await?;
        Ok(match current {
            Some(current) if !current.state.is_open() => Obstacle::HasEnded(current.state),
            Some(current) if current.intent_id.is_none() => Obstacle::NoIntent,
            Some(_) | None => Obstacle::Leased,
        })
    }

    /// Asks the provider about the intent of a payment that is leased.
    async fn look(&self, held: &Payment, intent: &str) -> sqlx::Result<Result<Gone, Obstacle>> {
        match self.account.standing() {
            Standing::Another => return Ok(Err(Obstacle::OtherAccount)),
            Standing::Unchecked => return Ok(Err(Obstacle::Unanswered("account"))),
            Standing::Unbound | Standing::Ours | Standing::Unproven => {}
        }
        match self.stripe.retrieve(intent).await {
            Ok(seen) if seen.status == IntentStatus::Canceled => Ok(Ok(Gone::Canceled)),
            Ok(seen) => Ok(Err(Obstacle::Alive(seen.status))),
            Err(error) if error.is_missing() => {
                Ok(self.is_our_account(held).await?.map(|()| Gone::Missing))
            }
            Err(error) => Ok(Err(Obstacle::Unanswered(error.kind()))),
        }
    }

    /// Whether the account is the one that has our payments.
    async fn is_our_account(&self, held: &Payment) -> sqlx::Result<Result<(), Obstacle>> {
        match self.account.standing() {
            Standing::Ours => {
                let bound = self.store.account().await?.and_then(|account| account.bound_at);
                if bound.is_some_and(|bound_at| held.created_at >= bound_at) {
                    return Ok(Ok(()));
                }
                // One of before that may be another account's.
            }
            Standing::Unchecked | Standing::Unbound | Standing::Unproven | Standing::Another => {}
        }
        let witnesses = self.store.witnesses(held.created_at).await?;
        if witnesses.is_empty() {
            return Ok(Err(Obstacle::Unproven));
        }
        for witness in witnesses {
            match self.stripe.retrieve(&witness).await {
                Ok(_) => {}
                Err(error) if error.is_missing() => return Ok(Err(Obstacle::OtherAccount)),
                Err(error) => return Ok(Err(Obstacle::Unanswered(error.kind()))),
            }
        }
        Ok(Ok(()))
    }
}
