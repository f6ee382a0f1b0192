//! Giving money back: what may be asked for, and what the provider's word makes of a refund.

pub use flashsale_record::RefundState;
use uuid::Uuid;

use super::payment::Payment;

/// The most tries of one refund at the provider. After the last one it has failed, and a person has
/// to find another way, or ask for it once more, which gives it as many again.
pub const MOST_TRIES: i32 = 3;

/// A refund that is recorded.
#[derive(Debug, Clone)]
pub struct Refund {
    pub refund_id: Uuid,
    pub order_id: Uuid,
    /// The intent whose money goes back.
    pub intent_id: String,
    pub state: RefundState,
    /// In minor units.
    pub amount_minor: i64,
    /// Whether it is all that is left of the intent's money.
    pub is_rest: bool,
    /// The number of the try at the provider, from 1.
    pub r#try: i32,
    /// How many tries have failed since it was asked for.
    pub failed: i32,
    /// The provider's refund of that try, once it is known.
    pub provider_ref: Option<String>,
}

impl Refund {
    /// Whether it takes of the captured money.
    fn counts(&self) -> bool {
        match self.state {
            RefundState::Due | RefundState::Pending | RefundState::Done => true,
            RefundState::Failed => false,
        }
    }
}

/// The id of the refund that a request asks for.
pub fn refund_id(order: Uuid, request: Uuid) -> Uuid {
    Uuid::new_v5(&order, format!("refund {request}").as_bytes())
}

/// The id of the refund of all that is left of an intent's money.
pub fn rest_id(order: Uuid, intent: &str) -> Uuid {
    Uuid::new_v5(&order, format!("rest {intent}").as_bytes())
}

/// The id of a refund that was made by hand at the provider.
pub fn adopted_id(order: Uuid, provider_ref: &str) -> Uuid {
    Uuid::new_v5(&order, format!("adopted {provider_ref}").as_bytes())
}

/// What a request for a refund does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundRuling {
    /// It is recorded as due.
    IsDue {
        /// Its id.
        refund_id: Uuid,
        /// In minor units.
        amount_minor: i64,
        /// Whether it is all that is left.
        is_rest: bool,
    },
    /// It had failed, and is due once more.
    IsDueAgain(Uuid),
    /// It was asked for before.
    Known,
    /// Its request asked for another amount before.
    Reused,
    /// The money is back already, or on its way.
    Done,
    /// There is no captured money.
    NothingCaptured,
    /// There is less left than was asked for: this much, in minor units.
    Exceeds(i64),
}

/// Decides about a request for a refund of the payment's own money: of an amount in minor units, or
/// of all that is left. `refunds` are those of the order, read under the lock of its payment.
pub fn refund(
    payment: &Payment,
    refunds: &[Refund],
    request: Uuid,
    amount_minor: Option<i64>,
) -> RefundRuling {
    let intent = match &payment.intent_id {
        Some(intent) if payment.captured_minor > 0 => intent.as_str(),
        Some(_) | None => return RefundRuling::NothingCaptured,
    };
    let left = left(payment.captured_minor, intent, refunds);
    let refund_id = refund_id(payment.order_id, request);
    let before = refunds.iter().find(|refund| refund.refund_id == refund_id);
    let Some(amount_minor) = amount_minor else {
        if before.is_some() {
            return RefundRuling::Reused;
        }
        let rest = refunds.iter().find(|refund| refund.intent_id == intent && refund.is_rest);
        return match rest {
            _ if left == 0 => match rest {
                Some(rest) if rest.counts() => RefundRuling::Known,
                Some(_) | None => RefundRuling::Done,
            },
            Some(rest) if rest.state == RefundState::Failed => {
                RefundRuling::IsDueAgain(rest.refund_id)
            }
            // A part has failed since the rest went back: what is left is one more part.
            Some(_) => RefundRuling::IsDue { refund_id, amount_minor: left, is_rest: false },
            None => RefundRuling::IsDue {
                refund_id: rest_id(payment.order_id, intent),
                amount_minor: left,
                is_rest: true,
            },
        };
    };
    match before {
        Some(known) if known.amount_minor == amount_minor => RefundRuling::Known,
        Some(_) => RefundRuling::Reused,
        None if amount_minor > left => RefundRuling::Exceeds(left),
        None => RefundRuling::IsDue { refund_id, amount_minor, is_rest: false },
    }
}

/// How much of an intent's captured money no refund takes, in minor units.
pub fn left(captured_minor: i64, intent: &str, refunds: &[Refund]) -> i64 {
    let of_intent = refunds.iter().filter(|refund| refund.intent_id == intent && refund.counts());
    (captured_minor - of_intent.map(|refund| refund.amount_minor).sum::<i64>()).max(0)
}

/// What the provider says of one of its refunds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundReport {
    /// The money is on its way back; nothing is left to do.
    Done,
    /// It works on it.
    Pending,
    /// It could not give the money back.
    Failed,
}

/// A refund at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeRefund {
    /// The provider's id.
    pub id: String,
    /// The intent whose money it gives back, if the provider says so.
    pub intent: Option<String>,
    /// In the provider's smallest unit.
    pub amount: i64,
    /// Where it stands.
    pub report: RefundReport,
    /// The order it was made for by this service; `None` for one that was made by hand.
    pub order_id: Option<Uuid>,
    /// The refund it was made for, and the number of the try. The version before has not said so.
    pub made_for: Option<(Uuid, i32)>,
}

impl MadeRefund {
    /// Whether it was made for the present try of a refund, or is the one that was adopted as it.
    pub fn is_of(&self, refund: &Refund) -> bool {
        if refund.refund_id == adopted_id(refund.order_id, &self.id) {
            return true;
        }
        if refund.provider_ref.is_some() {
            return refund.provider_ref.as_ref() == Some(&self.id);
        }
        match self.made_for {
            Some(made_for) => made_for == (refund.refund_id, refund.r#try),
            // In the version before an order had one refund.
            None => {
                self.order_id == Some(refund.order_id)
                    && refund.refund_id == refund.order_id
                    && refund.r#try == 1
            }
        }
    }

    /// Whether it was made for an earlier try of one of these.
    pub fn is_of_earlier_try(&self, refunds: &[Refund]) -> bool {
        let Some((refund_id, _)) = self.made_for else { return false };
        refunds.iter().any(|refund| refund.refund_id == refund_id)
    }
}

/// How much of a refund that waits can still go back, in minor units: what no other refund of the
/// intent takes.
pub fn fitting(captured_minor: i64, refund: &Refund, refunds: &[Refund]) -> i64 {
    let others: Vec<Refund> =
        refunds.iter().filter(|other| other.refund_id != refund.refund_id).cloned().collect();
    left(captured_minor, &refund.intent_id, &others).min(refund.amount_minor)
}

/// What that does to the refund that it was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundChange {
    /// Nothing: that is known, or is about an earlier try.
    Known,
    /// The provider works on it.
    Pending,
    /// The money is back.
    Done,
    /// It did not come back: the next try is due, or it has failed for good.
    Undone {
        /// The state from now on.
        to: RefundState,
        /// Whether the money had counted as back.
        was_done: bool,
    },
}

/// Decides what becomes of a refund.
pub fn refund_change(refund: &Refund, provider_ref: &str, report: RefundReport) -> RefundChange {
    // What a person has made at the provider is not ours to try again.
    let by_hand = refund.refund_id == adopted_id(refund.order_id, provider_ref);
    let of_this_try = refund.provider_ref.as_deref().is_none_or(|known| known == provider_ref);
    if !of_this_try {
        return RefundChange::Known;
    }
    match (report, refund.state) {
        (RefundReport::Done, RefundState::Due | RefundState::Pending) => RefundChange::Done,
        (RefundReport::Pending, RefundState::Due) => RefundChange::Pending,
        (RefundReport::Pending, RefundState::Pending)
        // It was sent before the end that is known.
        | (RefundReport::Pending | RefundReport::Done, RefundState::Done | RefundState::Failed) => {
            RefundChange::Known
        }
        (
            RefundReport::Failed,
            state @ (RefundState::Due | RefundState::Pending | RefundState::Done),
        ) => RefundChange::Undone {
            to: if refund.failed + 1 < MOST_TRIES && !by_hand {
                RefundState::Due
            } else {
                RefundState::Failed
            },
            was_done: state == RefundState::Done,
        },
        (RefundReport::Failed, RefundState::Failed) => RefundChange::Known,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn refund_of(state: RefundState, amount_minor: i64) -> Refund {
        Refund {
            refund_id: Uuid::from_u128(1),
            order_id: Uuid::nil(),
            intent_id: "pi_1".to_owned(),
            state,
            amount_minor,
            is_rest: false,
            r#try: 1,
            failed: 0,
            provider_ref: None,
        }
    }

    #[test]
    fn failed_refunds_take_nothing() {
        for state in RefundState::ALL {
            let taken = if state == RefundState::Failed { 0 } else { 300 };
            assert_eq!(left(1_000, "pi_1", &[refund_of(state, 300)]), 1_000 - taken, "{state:?}");
            assert_eq!(left(1_000, "pi_2", &[refund_of(state, 300)]), 1_000, "another intent's");
        }
    }

    #[test]
    fn a_refund_that_fails_is_tried_three_times() {
        let mut refund = refund_of(RefundState::Done, 300);
        refund.provider_ref = Some("re_1".to_owned());
        for failed in 0..MOST_TRIES {
            refund.failed = failed;
            let to = if failed == 2 { RefundState::Failed } else { RefundState::Due };
            let undone = RefundChange::Undone { to, was_done: true };
            assert_eq!(refund_change(&refund, "re_1", RefundReport::Failed), undone);
        }
        assert_eq!(refund_change(&refund, "re_0", RefundReport::Failed), RefundChange::Known);
    }

    #[test]
    fn a_word_that_comes_again_changes_nothing() {
        for report in [RefundReport::Done, RefundReport::Pending, RefundReport::Failed] {
            for state in RefundState::ALL {
                let before =
                    Refund { provider_ref: Some("re_1".to_owned()), ..refund_of(state, 300) };
                let after = match refund_change(&before, "re_1", report) {
                    RefundChange::Known => continue,
                    RefundChange::Pending => RefundState::Pending,
                    RefundChange::Done => RefundState::Done,
                    // The next try has another id at the provider, which is not known yet.
                    RefundChange::Undone { .. } => continue,
                };
                let after = Refund { state: after, ..before };
                assert_eq!(refund_change(&after, "re_1", report), RefundChange::Known);
            }
        }
    }
}
