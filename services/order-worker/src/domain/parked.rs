//! The decision about parked orders. An order can be claimed if the current stock has taken its
//! units, or if a stock that is still to be computed will count the claim.

use std::collections::HashMap;

use uuid::Uuid;

use super::{Books, EndReason, NewOrder, OrderState, PlacedOrder};

/// The progress of a sale's rebuilds, read under the lock of the row that hands its epochs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The epoch that the record handed out last.
    pub epoch: i64,
    /// The epoch of the latest marker that the claims have passed.
    pub passed: Option<i64>,
}

impl Standing {
    /// Whether the claims have yet to pass the marker of the latest epoch. The stock of that epoch
    /// is computed from what is claimed before the marker is passed, so it counts a claim made now,
    /// whatever an older stock says about the units.
    pub fn marker_ahead(self) -> bool {
        self.passed.is_none_or(|passed| passed < self.epoch)
    }
}

/// Inventory's answer about the units of one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retaken {
    /// The stock of this epoch has taken them again, or still had them.
    Taken(i64),
    /// The stock of this epoch has too few units left.
    Refused(i64),
    /// No stock of the sale will ever take them: inventory rejects the request itself.
    Impossible,
}

/// Answers by order. An order that inventory said nothing about is missing.
pub type Answers = HashMap<Uuid, Retaken>;

/// The decision about one parked order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Claim it, if the allotment covers it.
    Claim,
    /// End it: its units are gone.
    Refuse,
    /// It cannot be decided yet.
    Wait,
}

/// The rule for one order.
///
/// An answer counts only for its own epoch: units that an older stock took are lost with that
/// stock, and units that an older one lacked the current one may have.
pub fn verdict(standing: Standing, answer: Option<Retaken>) -> Verdict {
    if standing.marker_ahead() {
        return Verdict::Claim;
    }
    match answer {
        Some(Retaken::Taken(epoch)) if epoch == standing.epoch => Verdict::Claim,
        Some(Retaken::Refused(epoch)) if epoch == standing.epoch => Verdict::Refuse,
        Some(Retaken::Impossible) => Verdict::Refuse,
        Some(Retaken::Taken(_) | Retaken::Refused(_)) | None => Verdict::Wait,
    }
}

/// The decision about several parked orders of one sale.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParkedDecision {
    /// Those that enter the record.
    pub new_orders: Vec<NewOrder>,
    /// Those that already have a row or are no longer parked: they stop waiting, and units that
    /// were taken for them go back.
    pub yielded: Vec<Uuid>,
    /// Those that stay parked.
    pub waiting: Vec<Uuid>,
}

/// Decides about parked `orders` of one sale, each listed once, with `books` read under locks.
pub fn decide_parked(
    orders: Vec<PlacedOrder>,
    mut books: Books,
    standing: Standing,
    answers: &Answers,
) -> ParkedDecision {
    let mut decision = ParkedDecision::default();
    for order in orders {
        let id = order.order_id;
        let known = books.known.get(&id).map(|known| known.state);
        let reinstates = known == Some(OrderState::DeadLetter);
        if (known.is_some() && !reinstates) || !books.parked.contains(&id) {
            decision.yielded.push(id);
            continue;
        }
        let new_order = match verdict(standing, answers.get(&id).copied()) {
            Verdict::Claim => NewOrder::claim(order, &mut books.left),
            Verdict::Refuse => NewOrder::cancelled(order, EndReason::StockRebuilt),
            Verdict::Wait => {
                decision.waiting.push(id);
                continue;
            }
        };
        decision.new_orders.push(NewOrder { reinstates, ..new_order });
    }
    decision
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::collections::HashSet;

    use super::*;
    use crate::domain::{
        Known,
        fixtures::{SALE, order},
    };

    /// The marker of epoch 3 is passed, and no later epoch was handed out.
    const PASSED: Standing = Standing { epoch: 3, passed: Some(3) };
    /// Epoch 4 was handed out since.
    const AHEAD: Standing = Standing { epoch: 4, passed: Some(3) };

    fn books(units: i64, parked: impl IntoIterator<Item = u128>) -> Books {
        Books {
            left: HashMap::from([((SALE, "A".to_owned()), units)]),
            parked: parked.into_iter().map(Uuid::from_u128).collect::<HashSet<_>>(),
            ..Books::default()
        }
    }

    fn answers(answers: &[(u128, Retaken)]) -> Answers {
        answers.iter().map(|(id, answer)| (Uuid::from_u128(*id), *answer)).collect()
    }

    #[test]
    fn an_answer_counts_in_its_own_epoch_only() {
        use Retaken::{Impossible, Refused, Taken};
        let cases = [
            (Some(Taken(3)), Verdict::Claim),
            (Some(Refused(3)), Verdict::Refuse),
            (Some(Impossible), Verdict::Refuse),
            (Some(Taken(2)), Verdict::Wait),
            (Some(Taken(4)), Verdict::Wait),
            (Some(Refused(2)), Verdict::Wait),
            (Some(Refused(4)), Verdict::Wait),
            (None, Verdict::Wait),
        ];
        for (answer, expected) in cases {
            assert_eq!(verdict(PASSED, answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_marker_ahead_outweighs_every_answer() {
        let answers = [
            None,
            Some(Retaken::Taken(3)),
            Some(Retaken::Refused(3)),
            Some(Retaken::Refused(4)),
            Some(Retaken::Impossible),
        ];
        for standing in [AHEAD, Standing { epoch: 1, passed: None }] {
            for answer in answers {
                assert_eq!(verdict(standing, answer), Verdict::Claim, "{answer:?}");
            }
        }
    }

    #[test]
    fn the_allotment_bounds_parked_claims() {
        let orders = vec![order(1, &[("A", 3)]), order(2, &[("A", 3)]), order(3, &[("A", 2)])];
        let taken = answers(&[1, 2, 3].map(|id| (id, Retaken::Taken(3))));
        for (standing, answers) in [(PASSED, &taken), (AHEAD, &Answers::new())] {
            let decision = decide_parked(orders.clone(), books(5, 1..=3), standing, answers);
            let states: Vec<_> = decision.new_orders.iter().map(NewOrder::state).collect();
            assert_eq!(states, [OrderState::Claimed, OrderState::Cancelled, OrderState::Claimed]);
            assert_eq!(decision.new_orders[1].end_reason, Some(EndReason::AllotmentExhausted));
        }
    }

    #[test]
    fn each_order_goes_by_its_own_answer() {
        let orders = vec![
            order(1, &[("A", 1)]),
            order(2, &[("A", 1)]),
            order(3, &[("A", 1)]),
            order(4, &[("A", 1)]),
        ];
        let answers =
            answers(&[(1, Retaken::Taken(3)), (2, Retaken::Refused(3)), (3, Retaken::Taken(2))]);
        let decision = decide_parked(orders, books(5, 1..=4), PASSED, &answers);
        let ends: Vec<_> = decision
            .new_orders
            .iter()
            .map(|new_order| (new_order.state(), new_order.end_reason))
            .collect();
        let rebuilt = (OrderState::Cancelled, Some(EndReason::StockRebuilt));
        assert_eq!(ends, [(OrderState::Claimed, None), rebuilt]);
        assert_eq!(decision.waiting, [3, 4].map(Uuid::from_u128));
        assert!(decision.yielded.is_empty());
    }

    #[test]
    fn an_existing_row_takes_precedence() {
        let rows = OrderState::ALL.into_iter().filter(|state| *state != OrderState::DeadLetter);
        for state in rows {
            let mut books = books(5, [1]);
            books.known.insert(Uuid::from_u128(1), Known { state, cancel_requested: false });
            for standing in [PASSED, AHEAD] {
                let taken = answers(&[(1, Retaken::Taken(3))]);
                let decision =
                    decide_parked(vec![order(1, &[("A", 1)])], books.clone(), standing, &taken);
                assert_eq!(decision.yielded, [Uuid::from_u128(1)]);
                assert!(decision.new_orders.is_empty() && decision.waiting.is_empty());
            }
        }
    }

    #[test]
    fn an_order_no_longer_parked_is_left_alone() {
        let decision =
            decide_parked(vec![order(1, &[("A", 1)])], books(5, []), AHEAD, &Answers::new());
        assert_eq!(decision.yielded, [Uuid::from_u128(1)]);
        assert!(decision.new_orders.is_empty());
    }

    #[test]
    fn a_dead_letter_is_reinstated() {
        let mut books = books(5, [1]);
        let known = Known { state: OrderState::DeadLetter, cancel_requested: false };
        books.known.insert(Uuid::from_u128(1), known);
        let decision = decide_parked(vec![order(1, &[("A", 1)])], books, AHEAD, &Answers::new());
        assert!(decision.new_orders[0].reinstates);
        assert_eq!(decision.new_orders[0].state(), OrderState::Claimed);
    }
}
