//! Where a page of ListOrders begins.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// The last order of the page before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageKey {
    placed_at_us: i64,
    /// The order.
    pub order_id: Uuid,
}

impl PageKey {
    /// Behind this order; the record keeps microseconds.
    pub fn behind(placed_at: OffsetDateTime, order_id: Uuid) -> Self {
        let us = placed_at.unix_timestamp_nanos().div_euclid(1_000);
        Self { placed_at_us: i64::try_from(us).unwrap_or(i64::MAX), order_id }
    }

    /// When that order was placed; `None` for a time beyond the years that the wire knows.
    pub fn placed_at(&self) -> Option<OffsetDateTime> {
        let nanos = i128::from(self.placed_at_us) * 1_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .ok()
            .filter(|at| (1..=9999).contains(&at.year()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_key_keeps_the_time_and_knows_no_year_beyond_the_wire() {
        let at = OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_123_456_000).unwrap();
        assert_eq!(PageKey::behind(at, Uuid::nil()).placed_at(), Some(at));
        let far = PageKey { placed_at_us: i64::MAX, order_id: Uuid::nil() };
        assert_eq!(far.placed_at(), None);
    }
}
