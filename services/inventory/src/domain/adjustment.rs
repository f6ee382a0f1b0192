//! Units added to a sale, or withdrawn from it, after its stock was loaded.

use time::OffsetDateTime;
use uuid::Uuid;

/// The most units that one adjustment adds or withdraws.
pub const MAX_DELTA: i64 = 10_000_000;

/// Units to add, or to withdraw if negative: 1 to [`MAX_DELTA`] either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delta(i64);

impl Delta {
    /// `None` for 0, and for more than [`MAX_DELTA`].
    pub fn new(units: i64) -> Option<Self> {
        (units != 0 && (-MAX_DELTA..=MAX_DELTA).contains(&units)).then_some(Self(units))
    }

    /// Units added; negative if they are withdrawn.
    pub fn units(self) -> i64 {
        self.0
    }

    pub fn withdraws(self) -> bool {
        self.0 < 0
    }
}

/// A request to add or withdraw units. Its id binds all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjustmentRequest {
    /// The id that the caller chose, unique over all sales.
    pub request_id: Uuid,
    pub sale_id: Uuid,
    pub sku: String,
    pub delta: Delta,
    /// The operator's reason.
    pub reason: String,
}

/// The state of an adjustment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdjustmentState {
    /// In the journal, and not known to be in both stores.
    Started,
    /// In both stores.
    Done,
    /// A withdrawal of more than was free.
    Refused {
        /// Units that were free.
        available: i64,
    },
}

/// An adjustment in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    pub request: AdjustmentRequest,
    pub state: AdjustmentState,
    /// Of an addition: the epoch in which the allotment was raised. Any later one was computed from
    /// the raised allotment.
    pub raised_epoch: Option<i64>,
    /// Units allotted before and after, once that was changed.
    pub allotted: Option<(i64, i64)>,
    /// How many callers have taken it up.
    pub attempts: i32,
    pub created_at: OffsetDateTime,
    /// When it was done or refused.
    pub ended_at: Option<OffsetDateTime>,
}

/// What the stock did about an adjustment, now or at its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjusted {
    /// The units were added, or taken out.
    Applied,
    /// Fewer units were free than were to be withdrawn.
    Committed {
        /// Units that were free.
        available: i64,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn delta_is_bounded_and_not_zero() {
        for units in [1, -1, MAX_DELTA, -MAX_DELTA] {
            assert_eq!(Delta::new(units).unwrap().units(), units);
        }
        for units in [0, MAX_DELTA + 1, -MAX_DELTA - 1, i64::MIN, i64::MAX] {
            assert_eq!(Delta::new(units), None);
        }
        assert!(Delta::new(-1).unwrap().withdraws() && !Delta::new(1).unwrap().withdraws());
    }
}
