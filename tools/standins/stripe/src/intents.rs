//! The PaymentIntent's state machine, without clock or I/O.
//!
//! docs.stripe.com/payments/paymentintents/lifecycle:
//! `requires_payment_method → requires_confirmation → (requires_action →) succeeded`, with
//! `processing` for methods that settle later, back to `requires_payment_method` after a
//! failed attempt, and `canceled` from everything that has not succeeded.
//! `requires_capture` (separate authorisation) is not imitated.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cards::{self, Decline, Later, Outcome, TestMethod};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    Processing,
    Succeeded,
    Canceled,
}

impl Status {
    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequiresPaymentMethod => "requires_payment_method",
            Self::RequiresConfirmation => "requires_confirmation",
            Self::RequiresAction => "requires_action",
            Self::Processing => "processing",
            Self::Succeeded => "succeeded",
            Self::Canceled => "canceled",
        }
    }
}

/// A payment method attached to an intent: a fresh id for each use of a test method's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Method {
    /// `pm_…`.
    pub id: String,
    #[serde(with = "cards::stored")]
    pub test: &'static TestMethod,
}

/// What went wrong in an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    Declined(Decline),
    /// The buyer did not pass 3-D Secure.
    Authentication,
}

impl Failure {
    /// The `type` of the error.
    #[must_use]
    pub fn error_type(self) -> &'static str {
        match self {
            Self::Declined(_) => "card_error",
            Self::Authentication => "invalid_request_error",
        }
    }

    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Declined(decline) => decline.code,
            Self::Authentication => "payment_intent_authentication_failure",
        }
    }

    #[must_use]
    pub fn decline_code(self) -> Option<&'static str> {
        match self {
            Self::Declined(decline) => Some(decline.decline_code),
            Self::Authentication => None,
        }
    }

    /// The sentence a buyer may be shown.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Declined(decline) => decline.message,
            Self::Authentication => {
                "We are unable to authenticate your payment method. \
                 Please choose a different payment method and try again."
            }
        }
    }
}

/// Why the last attempt failed (`last_payment_error`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentError {
    pub failure: Failure,
    /// The failed charge, if one was attempted.
    pub charge: Option<String>,
    pub method: Method,
}

/// What the buyer has to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextAction {
    /// Where the buyer is sent back to; without it, a client-side library has to handle the action.
    pub return_url: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Automatic {
    /// `allow_redirects=always` (the default), as opposed to `never`.
    pub allow_redirects: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentIntent {
    pub id: String,
    pub client_secret: String,
    /// Smallest currency unit.
    pub amount: i64,
    /// Lower-case ISO 4217.
    pub currency: String,
    pub status: Status,
    pub metadata: BTreeMap<String, String>,
    pub description: Option<String>,
    pub payment_method_types: Vec<String>,
    /// `allowed_payment_method_types`, as given.
    pub allowed_types: Vec<String>,
    pub automatic: Option<Automatic>,
    /// Whether one of its allowed methods may redirect away from the shop's page.
    pub needs_return_url: bool,
    pub method: Option<Method>,
    pub next_action: Option<NextAction>,
    pub last_error: Option<PaymentError>,
    pub latest_charge: Option<String>,
    /// What was captured, in the smallest currency unit.
    pub received: i64,
    pub cancellation_reason: Option<String>,
    /// Seconds since the epoch.
    pub created_s: i64,
    pub canceled_at_s: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeStatus {
    Succeeded,
    Pending,
    Failed,
}

/// One attempt to take the money (docs.stripe.com/api/charges/object).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    pub id: String,
    pub payment_intent: String,
    pub amount: i64,
    pub currency: String,
    pub amount_refunded: i64,
    pub status: ChargeStatus,
    pub failure: Option<Decline>,
    pub method: Method,
    pub metadata: BTreeMap<String, String>,
    pub created_s: i64,
    /// When its buyer disputes it, in milliseconds since the epoch.
    pub dispute_due_ms: Option<u64>,
    /// How its dispute stands, if there is one.
    pub dispute: Option<DisputeStatus>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    Pending,
    Succeeded,
    Failed,
}

impl RefundStatus {
    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// The status that a refund takes later, by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// Milliseconds since the epoch.
    pub due_ms: u64,
    pub status: RefundStatus,
}

/// One refund (docs.stripe.com/api/refunds/object).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    pub id: String,
    pub charge: String,
    pub payment_intent: String,
    pub amount: i64,
    pub currency: String,
    pub reason: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub created_s: i64,
    pub status: RefundStatus,
    pub settles: Option<Settlement>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeStatus {
    NeedsResponse,
    Won,
    Lost,
}

impl DisputeStatus {
    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeedsResponse => "needs_response",
            Self::Won => "won",
            Self::Lost => "lost",
        }
    }
}

/// One dispute, over the whole of a charge (docs.stripe.com/api/disputes/object).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    pub id: String,
    pub charge: String,
    pub payment_intent: String,
    pub amount: i64,
    pub currency: String,
    pub status: DisputeStatus,
    pub created_s: i64,
}

/// What a buyer has chosen, for one confirmation (docs.stripe.com/api/confirmation_tokens/object).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmationToken {
    pub id: String,
    #[serde(with = "cards::stored")]
    pub test: &'static TestMethod,
    pub return_url: Option<String>,
    pub setup_future_usage: Option<String>,
    /// The intent that it confirmed.
    pub payment_intent: Option<String>,
    pub created_s: i64,
    /// Seconds since the epoch.
    pub expires_s: i64,
}

/// An event that is logged for the auditor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    Created,
    Confirmed,
    RequiresAction,
    Captured,
    Declined,
    Canceled,
    Refunded,
    RefundFailed,
    Disputed,
    DisputeWon,
    DisputeLost,
}

/// A webhook event about an intent (docs.stripe.com/api/events/types).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Succeeded,
    PaymentFailed,
    RequiresAction,
    Processing,
    Canceled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The intent's state does not allow it.
    UnexpectedState,
    /// No payment method is attached or given.
    MissingPaymentMethod,
    /// Redirects are allowed, but there is no return URL.
    MissingReturnUrl,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub intent: PaymentIntent,
    pub charge: Option<Charge>,
    pub facts: Vec<Fact>,
    pub event: Option<Event>,
    /// Whether the attempt was executed and failed: the answer is 402 then.
    pub declined: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Confirmation {
    /// Replaces the attached method.
    pub method: Option<Method>,
    pub return_url: Option<String>,
    /// Whether the buyer is absent and cannot authenticate, or the caller wants a failure instead
    /// (`off_session`, `error_on_requires_action`).
    pub no_action_possible: bool,
    /// The id for the charge, if one is made.
    pub charge_id: String,
    pub now_s: i64,
    /// How much less than its amount is captured.
    pub short_by: i64,
    /// When a buyer who will dispute it does so, in milliseconds since the epoch.
    pub dispute_due_ms: u64,
}

/// New values for an intent; `None` keeps what there is.
#[derive(Debug, Clone, Default)]
pub struct Update {
    pub amount: Option<i64>,
    pub currency: Option<String>,
    pub description: Option<String>,
    pub metadata: Option<BTreeMap<String, String>>,
    pub method: Option<Method>,
}

impl PaymentIntent {
    /// Whether it can be confirmed as it stands, given a payment method.
    #[must_use]
    pub fn is_confirmable(&self) -> bool {
        match self.status {
            Status::RequiresPaymentMethod | Status::RequiresConfirmation => true,
            Status::RequiresAction | Status::Processing | Status::Succeeded | Status::Canceled => {
                false
            }
        }
    }

    /// Changes what the intent says, without confirming it
    /// (docs.stripe.com/api/payment_intents/update). Money and method can change as long as none
    /// was taken; the intent then has to be confirmed again.
    ///
    /// # Errors
    /// If its state does not allow one of the changes; nothing has changed then.
    pub fn update(&self, changes: Update) -> Result<Self, Refusal> {
        let Update { amount, currency, description, metadata, method } = changes;
        let confirms_again = amount.is_some() || currency.is_some() || method.is_some();
        match self.status {
            Status::RequiresPaymentMethod
            | Status::RequiresConfirmation
            | Status::RequiresAction => {}
            Status::Processing | Status::Succeeded if !confirms_again => {}
            Status::Processing | Status::Succeeded | Status::Canceled => {
                return Err(Refusal::UnexpectedState);
            }
        }
        let mut intent = self.clone();
        if let Some(amount) = amount {
            intent.amount = amount;
        }
        if let Some(currency) = currency {
            intent.currency = currency;
        }
        if let Some(metadata) = metadata {
            intent.metadata = metadata;
        }
        intent.description = description.or(intent.description);
        intent.method = method.or(intent.method);
        if confirms_again {
            intent.next_action = None;
            intent.status = match intent.method {
                Some(_) => Status::RequiresConfirmation,
                None => Status::RequiresPaymentMethod,
            };
        }
        Ok(intent)
    }

    /// Confirms the intent (docs.stripe.com/api/payment_intents/confirm).
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub fn confirm(&self, how: Confirmation) -> Result<Step, Refusal> {
        if !self.is_confirmable() {
            return Err(Refusal::UnexpectedState);
        }
        let method = how.method.or_else(|| self.method.clone());
        let method = method.ok_or(Refusal::MissingPaymentMethod)?;
        // docs.stripe.com/api/payment_intents/create, automatic_payment_methods.allow_redirects:
        // "To confirm this PaymentIntent, you may be required to provide a return_url".
        if self.needs_return_url && how.return_url.is_none() {
            return Err(Refusal::MissingReturnUrl);
        }
        let (outcome, later) = (method.test.outcome, method.test.later);
        let mut intent = self.clone();
        intent.last_error = None;
        intent.method = Some(method.clone());
        match outcome {
            Outcome::Succeeds => {
                let mut step = intent.capture(how.charge_id, method, how.now_s, true, how.short_by);
                if let Some(charge) = &mut step.charge {
                    charge.dispute_due_ms = (later == Later::Dispute).then_some(how.dispute_due_ms);
                }
                Ok(step)
            }
            Outcome::Declines(decline) => {
                Ok(intent.decline(decline, how.charge_id, method, how.now_s, true))
            }
            Outcome::RequiresAction { .. } if how.no_action_possible => {
                let decline = cards::AUTHENTICATION_REQUIRED;
                Ok(intent.decline(decline, how.charge_id, method, how.now_s, true))
            }
            Outcome::RequiresAction { .. } => {
                intent.status = Status::RequiresAction;
                intent.next_action = Some(NextAction { return_url: how.return_url });
                Ok(Step {
                    intent,
                    charge: None,
                    facts: vec![Fact::Confirmed, Fact::RequiresAction],
                    event: Some(Event::RequiresAction),
                    declined: false,
                })
            }
            Outcome::StaysProcessing => {
                intent.status = Status::Processing;
                let charge = intent.charge(how.charge_id, ChargeStatus::Pending, method, how.now_s);
                Ok(Step {
                    charge: Some(charge),
                    intent,
                    facts: vec![Fact::Confirmed],
                    event: Some(Event::Processing),
                    declined: false,
                })
            }
        }
    }

    /// Ends the buyer's authentication (docs.stripe.com/payments/3d-secure/authentication-flow):
    /// passed, the card is charged; failed, the intent asks for another method with
    /// `payment_intent_authentication_failure`.
    ///
    /// # Errors
    /// If the intent is not waiting for the buyer.
    pub fn authenticate(
        &self,
        passed: bool,
        charge_id: String,
        now_s: i64,
    ) -> Result<Step, Refusal> {
        let method = match (self.status, &self.method) {
            (Status::RequiresAction, Some(method)) => method.clone(),
            (
                Status::RequiresPaymentMethod
                | Status::RequiresConfirmation
                | Status::RequiresAction
                | Status::Processing
                | Status::Succeeded
                | Status::Canceled,
                _,
            ) => return Err(Refusal::UnexpectedState),
        };
        let mut intent = self.clone();
        intent.next_action = None;
        if !passed {
            intent.back_to_payment_method(PaymentError {
                failure: Failure::Authentication,
                charge: None,
                method,
            });
            return Ok(Step {
                intent,
                charge: None,
                facts: vec![Fact::Declined],
                event: Some(Event::PaymentFailed),
                declined: true,
            });
        }
        match method.test.outcome {
            Outcome::RequiresAction { declines_after: Some(decline) }
            | Outcome::Declines(decline) => {
                Ok(intent.decline(decline, charge_id, method, now_s, false))
            }
            Outcome::RequiresAction { declines_after: None }
            | Outcome::Succeeds
            | Outcome::StaysProcessing => Ok(intent.capture(charge_id, method, now_s, false, 0)),
        }
    }

    /// Cancels the intent (docs.stripe.com/api/payment_intents/cancel: from `requires_*` and "in
    /// rare cases" from `processing`). No charge follows, ever.
    ///
    /// # Errors
    /// If it has succeeded or is cancelled already.
    pub fn cancel(&self, reason: Option<String>, now_s: i64) -> Result<Step, Refusal> {
        match self.status {
            Status::RequiresPaymentMethod
            | Status::RequiresConfirmation
            | Status::RequiresAction
            | Status::Processing => {}
            Status::Succeeded | Status::Canceled => return Err(Refusal::UnexpectedState),
        }
        let mut intent = self.clone();
        intent.status = Status::Canceled;
        intent.next_action = None;
        intent.canceled_at_s = Some(now_s);
        intent.cancellation_reason = reason;
        Ok(Step {
            intent,
            charge: None,
            facts: vec![Fact::Canceled],
            event: Some(Event::Canceled),
            declined: false,
        })
    }

    fn charge(
        &mut self,
        id: String,
        status: ChargeStatus,
        method: Method,
        created_s: i64,
    ) -> Charge {
        self.latest_charge = Some(id.clone());
        Charge {
            id,
            payment_intent: self.id.clone(),
            amount: self.amount,
            currency: self.currency.clone(),
            amount_refunded: 0,
            status,
            failure: None,
            method,
            metadata: self.metadata.clone(),
            created_s,
            dispute_due_ms: None,
            dispute: None,
        }
    }

    fn capture(
        mut self,
        charge_id: String,
        method: Method,
        now_s: i64,
        confirmed_now: bool,
        short_by: i64,
    ) -> Step {
        self.status = Status::Succeeded;
        let mut charge = self.charge(charge_id, ChargeStatus::Succeeded, method, now_s);
        charge.amount -= short_by;
        self.received = charge.amount;
        let mut facts = vec![Fact::Captured];
        if confirmed_now {
            facts.insert(0, Fact::Confirmed);
        }
        let event = Some(Event::Succeeded);
        Step { intent: self, charge: Some(charge), facts, event, declined: false }
    }

    /// A failed attempt leaves a failed charge behind and the intent asking for another method
    /// (docs.stripe.com/payments/paymentintents/lifecycle).
    fn decline(
        mut self,
        decline: Decline,
        charge_id: String,
        method: Method,
        now_s: i64,
        confirmed_now: bool,
    ) -> Step {
        let status = ChargeStatus::Failed;
        let mut charge = self.charge(charge_id.clone(), status, method.clone(), now_s);
        charge.failure = Some(decline);
        self.back_to_payment_method(PaymentError {
            failure: Failure::Declined(decline),
            charge: Some(charge_id),
            method,
        });
        let mut facts = vec![Fact::Declined];
        if confirmed_now {
            facts.insert(0, Fact::Confirmed);
        }
        let event = Some(Event::PaymentFailed);
        Step { intent: self, charge: Some(charge), facts, event, declined: true }
    }

    fn back_to_payment_method(&mut self, error: PaymentError) {
        self.status = Status::RequiresPaymentMethod;
        self.method = None;
        self.next_action = None;
        self.last_error = Some(error);
    }
}

/// Why a refund is refused (docs.stripe.com/api/refunds/create: "raises an error when called on
/// an already-refunded charge, or when trying to refund more money than is left on a charge").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundRefusal {
    /// No money was taken.
    NotCharged,
    /// All of it has been refunded.
    AlreadyRefunded,
    /// More than is left, which is this much.
    MoreThanLeft { left: i64 },
    /// Its buyer has disputed it, and has the money back or may get it.
    Disputed,
}

impl Charge {
    /// Refunds `amount`, or all that is left, and returns the refunded amount.
    ///
    /// # Errors
    /// [`RefundRefusal`]; nothing has changed then.
    pub fn refund(&mut self, amount: Option<i64>) -> Result<i64, RefundRefusal> {
        match self.status {
            ChargeStatus::Succeeded => {}
            ChargeStatus::Pending | ChargeStatus::Failed => return Err(RefundRefusal::NotCharged),
        }
        // docs.stripe.com/error-codes#charge-disputed.
        match self.dispute {
            Some(DisputeStatus::NeedsResponse | DisputeStatus::Lost) => {
                return Err(RefundRefusal::Disputed);
            }
            Some(DisputeStatus::Won) | None => {}
        }
        let left = self.amount - self.amount_refunded;
        if left == 0 {
            return Err(RefundRefusal::AlreadyRefunded);
        }
        let amount = amount.unwrap_or(left);
        if amount > left {
            return Err(RefundRefusal::MoreThanLeft { left });
        }
        self.amount_refunded += amount;
        Ok(amount)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn intent(status: Status) -> PaymentIntent {
        let waits = matches!(status, Status::RequiresConfirmation | Status::RequiresAction);
        PaymentIntent {
            id: "pi_1".into(),
            client_secret: "pi_1_secret_2".into(),
            amount: 500,
            currency: "usd".into(),
            status,
            metadata: BTreeMap::new(),
            description: None,
            payment_method_types: vec!["card".into()],
            allowed_types: Vec::new(),
            automatic: None,
            needs_return_url: false,
            method: waits.then(|| method("pm_card_visa")),
            next_action: None,
            last_error: None,
            latest_charge: None,
            received: 0,
            cancellation_reason: None,
            created_s: 1,
            canceled_at_s: None,
        }
    }

    fn method(name: &str) -> Method {
        Method { id: "pm_1".into(), test: cards::by_name(name).unwrap() }
    }

    fn with(name: &str) -> Confirmation {
        Confirmation {
            method: Some(method(name)),
            charge_id: "ch_1".into(),
            now_s: 2,
            short_by: 0,
            ..Confirmation::default()
        }
    }

    #[test]
    fn states_allow_only_their_transitions() {
        // (state, confirm allowed, authenticate allowed, cancel allowed)
        let rows = [
            (Status::RequiresPaymentMethod, true, false, true),
            (Status::RequiresConfirmation, true, false, true),
            (Status::RequiresAction, false, true, true),
            (Status::Processing, false, false, true),
            (Status::Succeeded, false, false, false),
            (Status::Canceled, false, false, false),
        ];
        for (status, confirm, authenticate, cancel) in rows {
            let intent = intent(status);
            let done = intent.confirm(with("pm_card_visa"));
            assert_eq!(done.is_ok(), confirm, "confirm from {status:?}");
            let done = intent.authenticate(true, "ch_1".into(), 2);
            assert_eq!(done.is_ok(), authenticate, "authenticate from {status:?}");
            assert_eq!(intent.cancel(None, 2).is_ok(), cancel, "cancel from {status:?}");
        }
    }

    #[test]
    fn only_succeeded_takes_money() {
        let rows = [
            ("pm_card_visa", Status::Succeeded, true),
            ("pm_card_visa_chargeDeclined", Status::RequiresPaymentMethod, false),
            ("pm_card_authenticationRequired", Status::RequiresAction, false),
            ("pm_usBankAccount_processing", Status::Processing, false),
        ];
        for (name, status, captured) in rows {
            let step = intent(Status::RequiresPaymentMethod).confirm(with(name)).unwrap();
            assert_eq!(step.intent.status, status, "{name}");
            assert_eq!(step.facts.contains(&Fact::Captured), captured, "{name}");
            assert_eq!(step.intent.received > 0, captured, "{name}");
        }
    }

    #[test]
    fn off_session_intent_requiring_action_fails() {
        let how =
            Confirmation { no_action_possible: true, ..with("pm_card_authenticationRequired") };
        let step = intent(Status::RequiresPaymentMethod).confirm(how).unwrap();
        assert!(step.declined);
        assert_eq!(step.intent.last_error.unwrap().failure.code(), "authentication_required");
    }

    #[test]
    fn money_changes_only_until_it_is_taken() {
        // (state, amount may change, metadata may change)
        let rows = [
            (Status::RequiresPaymentMethod, true, true),
            (Status::RequiresConfirmation, true, true),
            (Status::RequiresAction, true, true),
            (Status::Processing, false, true),
            (Status::Succeeded, false, true),
            (Status::Canceled, false, false),
        ];
        for (status, amount, metadata) in rows {
            let intent = intent(status);
            let more = intent.update(Update { amount: Some(600), ..Update::default() });
            assert_eq!(more.is_ok(), amount, "amount in {status:?}");
            let words = Update { metadata: Some(BTreeMap::new()), ..Update::default() };
            let after = intent.update(words).map(|after| after.status);
            assert_eq!(after.ok(), metadata.then_some(status), "metadata in {status:?}");
        }
        let waits = intent(Status::RequiresAction);
        let other = Update { method: Some(method("pm_card_visa")), ..Update::default() };
        let after = waits.update(other).unwrap();
        assert_eq!((after.status, after.next_action), (Status::RequiresConfirmation, None));
    }

    #[test]
    fn disputed_charge_is_refunded_only_once_won() {
        let step = intent(Status::RequiresPaymentMethod).confirm(with("pm_card_visa")).unwrap();
        let mut charge = step.charge.unwrap();
        for status in [DisputeStatus::NeedsResponse, DisputeStatus::Lost] {
            charge.dispute = Some(status);
            assert_eq!(charge.refund(None), Err(RefundRefusal::Disputed), "{status:?}");
        }
        charge.dispute = Some(DisputeStatus::Won);
        assert_eq!(charge.refund(None), Ok(500));
    }

    #[test]
    fn refunds_never_exceed_the_charge() {
        let step = intent(Status::RequiresPaymentMethod).confirm(with("pm_card_visa")).unwrap();
        let mut charge = step.charge.unwrap();
        assert_eq!(charge.refund(Some(501)), Err(RefundRefusal::MoreThanLeft { left: 500 }));
        assert_eq!(charge.refund(Some(200)), Ok(200));
        assert_eq!(charge.refund(None), Ok(300));
        assert_eq!(charge.refund(None), Err(RefundRefusal::AlreadyRefunded));
    }
}
