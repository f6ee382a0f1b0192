//! Units added to a sale, or withdrawn from it, after its stock was loaded.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// The most units that one adjustment adds or withdraws.
pub const MAX_DELTA: i64 = 10_000_000;

/// Units to add, or to withdraw if negative: 1 to [`MAX_DELTA`] either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delta(i64);

impl Delta {
    /// `None` for nothing, and for too much.
    pub fn new(units: i64) -> Option<Self> {
        (units != 0 && (-MAX_DELTA..=MAX_DELTA).contains(&units)).then_some(Self(units))
    }

    /// Units added; negative if they are withdrawn.
    pub fn units(self) -> i64 {
        self.0
    }

    /// Whether units are taken out of sale.
    pub fn withdraws(self) -> bool {
        self.0 < 0
    }
}

/// What is asked. A request id binds all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The id the caller chose, the same for nothing else in any sale.
    pub request_id: Uuid,
    /// The sale.
    pub sale_id: Uuid,
    /// The sku.
    pub sku: String,
    /// How much.
    pub delta: Delta,
    /// Why, for people.
    pub reason: String,
}

/// Where an adjustment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdjustmentState {
    /// Written down, and not known to be in both stores.
    Started,
    /// In both stores.
    Done,
    /// A withdrawal of more than was free.
    Refused {
        /// What was free.
        available: i64,
    },
}

/// An adjustment as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// What was asked.
    pub ask: Ask,
    /// Where it stands.
    pub state: AdjustmentState,
    /// Of an addition: the epoch in which the allotment was raised. Any later one was computed from the raised allotment.
    pub raised_epoch: Option<i64>,
    /// What was allotted before and after, once that was changed.
    pub allotted: Option<(i64, i64)>,
    /// How many have set out to carry it through.
    pub attempts: i32,
    /// When it was asked for.
    pub created_at: OffsetDateTime,
    /// When it was done or refused.
    pub ended_at: Option<OffsetDateTime>,
}

/// What the stock did about an adjustment, now or when it was asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjusted {
    /// The units are in, or out.
    Applied,
    /// Fewer units were free than were to be withdrawn.
    Committed {
        /// What was free.
        available: i64,
    },
}

/// A token that this list did not return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageError;

/// Where the next page of a sale's adjustments begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken {
    /// When the last one of the page before was asked for.
    pub created_at: OffsetDateTime,
    /// Its request.
    pub request_id: Uuid,
}

#[derive(Serialize, Deserialize)]
struct Body {
    at: i128,
    id: Uuid,
    sale: Uuid,
}

impl PageToken {
    /// The token for the caller, of the list of this sale.
    pub fn encode(&self, sale_id: Uuid) -> String {
        let body =
            Body { at: self.created_at.unix_timestamp_nanos(), id: self.request_id, sale: sale_id };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&body).unwrap_or_default())
    }

    /// Reads a token back; an empty one is the first page.
    ///
    /// # Errors
    /// When it is not of this sale's list.
    pub fn decode(token: &str, sale_id: Uuid) -> Result<Option<Self>, PageError> {
        if token.is_empty() {
            return Ok(None);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| PageError)?;
        let body: Body = serde_json::from_slice(&bytes).map_err(|_| PageError)?;
        let created_at =
            OffsetDateTime::from_unix_timestamp_nanos(body.at).map_err(|_| PageError)?;
        // A time beyond the years that the wire knows is nothing that the record could be asked for.
        if body.sale != sale_id || !(1..=9999).contains(&created_at.year()) {
            return Err(PageError);
        }
        Ok(Some(Self { created_at, request_id: body.id }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_delta_is_some_units_either_way_and_not_too_many() {
        for units in [1, -1, MAX_DELTA, -MAX_DELTA] {
            assert_eq!(Delta::new(units).unwrap().units(), units);
        }
        for units in [0, MAX_DELTA + 1, -MAX_DELTA - 1, i64::MIN, i64::MAX] {
            assert_eq!(Delta::new(units), None);
        }
        assert!(Delta::new(-1).unwrap().withdraws() && !Delta::new(1).unwrap().withdraws());
    }

    #[test]
    fn a_token_leads_back_to_its_own_list_only() {
        let token = PageToken {
            created_at: OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_123_456_000)
                .unwrap(),
            request_id: Uuid::from_u128(7),
        };
        let text = token.encode(Uuid::from_u128(1));
        assert_eq!(PageToken::decode(&text, Uuid::from_u128(1)), Ok(Some(token)));
        assert_eq!(PageToken::decode("", Uuid::from_u128(1)), Ok(None));
        for wrong in [text.as_str(), "not a token", "e30"] {
            assert_eq!(PageToken::decode(wrong, Uuid::from_u128(2)), Err(PageError));
        }
    }
}
