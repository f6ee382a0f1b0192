//! Each kind of difference, planted into data that is consistent without it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::{HoldState, Outcome, SkuBooks};

fn hold(state: HoldState, units: i64) -> SeenHold {
    SeenHold {
        buyer_id: "ada".to_owned(),
        before: Some(state),
        state,
        deadline_ms: 1_000_000,
        lines: vec![("a".to_owned(), units)],
        order_id: None,
        placed_ms: None,
        in_deadlines: state == HoldState::Held,
        pending: false,
        details: false,
    }
}

fn order(standing: OrderStanding, units: i64) -> SeenOrder {
    let (order_id, lines) = (Uuid::from_u128(100), vec![("a".to_owned(), units)]);
    SeenOrder { order_id, standing, epoch: 1, age_ms: 60_000, lines }
}

fn holds(hold: Option<SeenHold>, order: Option<SeenOrder>) -> Holds {
    let id = Uuid::from_u128(1);
    Holds {
        epoch: 1,
        now_ms: 500_000,
        holds: hold.map(|hold| (id, hold)).into_iter().collect(),
        strays: Vec::new(),
        orders: order.map(|order| (id, order)).into_iter().collect(),
    }
}

/// The totals of stores that agree with these holds and orders.
fn units_of(seen: &Holds, allotted: i64) -> UnitTotals {
    let mut columns = [0; 3];
    let mut buyers: HashMap<(String, String), i64> = HashMap::new();
    for hold in seen.holds.values() {
        let column = match hold.state {
            HoldState::Held => 0,
            HoldState::Placed => 1,
            HoldState::Sold => 2,
            HoldState::Released | HoldState::Expired => continue,
        };
        for (sku, units) in &hold.lines {
            columns[column] += units;
            *buyers.entry((sku.clone(), hold.buyer_id.clone())).or_default() += units;
        }
    }
    let [held, placed, sold] = columns;
    let available = allotted - held - placed - sold;
    let ordered = seen
        .orders
        .values()
        .filter(|order| order.standing != OrderStanding::Ended)
        .flat_map(|order| order.lines.iter().map(|(_, units)| units))
        .sum();
    let sku = "a".to_owned();
    UnitTotals {
        books: vec![SkuBooks {
            sku: sku.clone(),
            allotted,
            available,
            held,
            placed,
            sold,
            price_minor: 1,
            price_revision: 1,
            regular_minor: None,
            per_buyer_limit: 0,
        }],
        record: vec![SkuRecord { sku, allotted, claimed: ordered, ordered }],
        buyers,
    }
}

fn kinds(found: &[Difference]) -> Vec<Kind> {
    found.iter().map(|difference| difference.kind).collect()
}

#[test]
fn books_match_holds_and_buyers() {
    let seen = holds(Some(hold(HoldState::Held, 2)), None);
    let units = units_of(&seen, 10);
    assert_eq!(differences(&units, &seen), []);

    let mut short = units.clone();
    short.books[0].available -= 3;
    let found = differences(&short, &seen);
    assert_eq!(kinds(&found), [Kind::BooksDoNotAddUp]);
    assert_eq!((found[0].units, found[0].stranded), (3, 3));

    let mut column = units.clone();
    column.books[0].held += 1;
    column.books[0].available -= 1;
    let found = differences(&column, &seen);
    assert_eq!(kinds(&found), [Kind::BooksDoNotAddUp]);
    assert_eq!((found[0].units, found[0].stranded), (1, 1));

    let mut buyer = units.clone();
    buyer.buyers.clear();
    let found = differences(&buyer, &seen);
    assert_eq!(kinds(&found), [Kind::BooksDoNotAddUp]);
    assert_eq!((found[0].units, found[0].hold_id), (2, Some(Uuid::from_u128(1))));

    let mut stray = units;
    stray.buyers.insert(("a".to_owned(), "bob".to_owned()), 4);
    let found = differences(&stray, &seen);
    assert_eq!((kinds(&found), found[0].units), (vec![Kind::BooksDoNotAddUp], 4));
}

#[test]
fn moving_hold_may_be_in_any_column() {
    let seen = holds(Some(hold(HoldState::Held, 2)), None);
    let units = units_of(&seen, 10);
    let mut later = hold(HoldState::Sold, 2);
    later.before = Some(HoldState::Held);
    let moved = HashMap::from([(Uuid::from_u128(1), later.clone())]);
    assert_eq!(of_units(&units, &moved), []);
    later.before = None;
    let new = HashMap::from([(Uuid::from_u128(1), later.clone())]);
    assert_eq!(of_units(&units_of(&Holds::default(), 10), &new), []);
    later.before = Some(HoldState::Sold);
    let stays = HashMap::from([(Uuid::from_u128(1), later)]);
    assert_eq!(of_units(&units, &stays).len(), 2, "too many are held and too few sold");
}

#[test]
fn oversell_shows_in_either_store() {
    let seen = holds(Some(hold(HoldState::Held, 6)), None);
    let mut units = units_of(&seen, 10);
    units.record[0].allotted = 12;
    assert_eq!(kinds(&differences(&units, &seen)), [Kind::AllotmentDiffers]);

    let units = units_of(&seen, 4);
    let found = differences(&units, &seen);
    assert_eq!(kinds(&found), [Kind::Oversold]);
    assert_eq!((found[0].units, oversold(&units)), (2, 2));

    let mut units = units_of(&seen, 10);
    (units.record[0].claimed, units.record[0].ordered) = (13, 12);
    let found = differences(&units, &seen);
    assert_eq!(kinds(&found), [Kind::Oversold, Kind::Oversold, Kind::BooksDoNotAddUp]);
    assert_eq!(oversold(&units), 3);

    let mut units = units_of(&seen, 10);
    units.record[0].sku = "b".to_owned();
    let found = differences(&units, &seen);
    assert_eq!(kinds(&found), [Kind::AllotmentDiffers, Kind::AllotmentDiffers]);
}

#[test]
fn order_standing_restricts_hold_state() {
    use HoldState::{Expired, Held, Placed, Released, Sold};
    let contradicts = |state| {
        let found = of_holds(&holds(Some(hold(state, 2)), Some(order(OrderStanding::Live, 2))));
        kinds(&found)
    };
    assert_eq!(contradicts(Placed), []);
    for state in [Held, Sold, Released, Expired] {
        assert_eq!(contradicts(state), [Kind::HoldContradictsOrder], "{state:?}");
    }
    for (standing, state, outcome) in [
        (OrderStanding::Sold, Sold, Outcome::Sold),
        (OrderStanding::Ended, Released, Outcome::Released),
    ] {
        assert_eq!(of_holds(&holds(Some(hold(state, 2)), Some(order(standing, 2)))), []);
        let found = of_holds(&holds(Some(hold(Placed, 2)), Some(order(standing, 2))));
        assert_eq!(kinds(&found), [Kind::HoldBehindOrder]);
        assert_eq!(found[0].repair, Some(Repair::Settle(outcome)));
        let fresh = SeenOrder { age_ms: 100, ..order(standing, 2) };
        assert_eq!(of_holds(&holds(Some(hold(Placed, 2)), Some(fresh))), []);
    }
    for (standing, state) in [(OrderStanding::Ended, Sold), (OrderStanding::Sold, Released)] {
        let found = of_holds(&holds(Some(hold(state, 2)), Some(order(standing, 2))));
        assert_eq!(kinds(&found), [Kind::HoldContradictsOrder]);
        assert_eq!(found[0].repair, None);
    }
}

#[test]
fn open_order_of_epoch_needs_hold() {
    let found = |order: SeenOrder| kinds(&of_holds(&holds(None, Some(order))));
    assert_eq!(found(order(OrderStanding::Live, 2)), [Kind::OrderWithoutHold]);
    assert_eq!(found(order(OrderStanding::Sold, 2)), [Kind::HoldContradictsOrder]);
    assert_eq!(found(order(OrderStanding::Ended, 2)), []);
    assert_eq!(found(SeenOrder { epoch: 0, ..order(OrderStanding::Live, 2) }), []);
}

#[test]
fn placed_hold_without_order_is_stranded() {
    let mut placed = hold(HoldState::Placed, 2);
    let found = of_holds(&holds(Some(placed.clone()), None));
    assert_eq!(kinds(&found), [Kind::PlacedWithoutOrder]);
    assert_eq!((found[0].stranded, found[0].repair), (2, None));
    placed.details = true;
    let found = of_holds(&holds(Some(placed.clone()), None));
    assert_eq!(found[0].repair, Some(Repair::Mend));
    placed.pending = true;
    assert_eq!(of_holds(&holds(Some(placed), None)), []);
}

#[test]
fn overdue_order_is_searched_in_queue() {
    let mut placed = hold(HoldState::Placed, 2);
    (placed.pending, placed.placed_ms) = (true, Some(500_000 - MESSAGE_GRACE_MS));
    placed.order_id = Some(Uuid::from_u128(100));
    assert_eq!(holds(Some(placed.clone()), None).overdue(), []);
    placed.placed_ms = Some(500_000 - MESSAGE_GRACE_MS - 1);
    let seen = holds(Some(placed.clone()), None);
    let overdue = seen.overdue();
    assert_eq!(overdue, [(Uuid::from_u128(1), Uuid::from_u128(100))]);
    let found = |in_queue| kinds(&of_messages(&seen, &overdue, |_| in_queue));
    assert_eq!(found(Some(true)), []);
    assert_eq!(found(Some(false)), [Kind::MessageVanished]);
    assert_eq!(found(None), [Kind::MessageUnknown]);
    let recorded = holds(Some(placed), Some(order(OrderStanding::Live, 2)));
    assert_eq!(recorded.overdue(), []);
}

#[test]
fn only_held_holds_have_deadlines() {
    let mut held = hold(HoldState::Held, 2);
    held.deadline_ms = 500_000 - SWEEP_GRACE_MS;
    let seen = holds(Some(held.clone()), None);
    assert_eq!((of_holds(&seen), seen.oldest_expired_ms()), (vec![], SWEEP_GRACE_MS));
    held.deadline_ms -= 1;
    let found = of_holds(&holds(Some(held.clone()), None));
    assert_eq!(kinds(&found), [Kind::ExpiredNotReturned]);
    assert_eq!(found[0].repair, Some(Repair::Sweep));
    held.deadline_ms = 1_000_000;
    held.in_deadlines = false;
    let found = of_holds(&holds(Some(held), None));
    assert_eq!(kinds(&found), [Kind::DeadlineMissing]);
    let stray = SeenHold { in_deadlines: true, ..hold(HoldState::Released, 2) };
    assert_eq!(kinds(&of_holds(&holds(Some(stray), None))), [Kind::DeadlineStray]);
    let unknown = Holds { strays: vec![Uuid::from_u128(9)], ..Holds::default() };
    assert_eq!(kinds(&of_holds(&unknown)), [Kind::DeadlineStray]);
    assert_eq!(Holds::default().oldest_expired_ms(), 0);
}

/// A hold of consistent data, with its order if it has one.
fn consistent() -> impl Strategy<Value = (SeenHold, Option<SeenOrder>)> {
    let standings = [OrderStanding::Live, OrderStanding::Sold, OrderStanding::Ended];
    let placing = proptest::option::of(0..3_usize);
    (placing, 0..3_usize, 1..5_i64, 0..6_u8, any::<bool>()).prop_map(
        move |(ordered, bare, units, buyer, on_its_way)| {
            let (mut hold, order) = match ordered {
                None => {
                    let state = [HoldState::Held, HoldState::Released, HoldState::Expired];
                    (hold(state[bare], units), None)
                }
                Some(_) if on_its_way => {
                    (SeenHold { pending: true, ..hold(HoldState::Placed, units) }, None)
                }
                Some(index) => {
                    let state = [HoldState::Placed, HoldState::Sold, HoldState::Released];
                    (hold(state[index], units), Some(order(standings[index], units)))
                }
            };
            hold.buyer_id = buyer.to_string();
            (hold, order)
        },
    )
}

proptest! {
    #[test]
    fn consistent_data_has_no_difference(
        world in proptest::collection::vec((consistent(), any::<bool>()), 0..60),
    ) {
        let mut seen = Holds { epoch: 1, now_ms: 500_000, ..Holds::default() };
        for (number, ((hold, order), _)) in (0..).zip(&world) {
            let id = Uuid::from_u128(number);
            seen.holds.insert(id, hold.clone());
            seen.orders.extend(order.clone().map(|order| (id, order)));
        }
        let units = units_of(&seen, 1_000);
        prop_assert_eq!(differences(&units, &seen), vec![]);
        prop_assert_eq!(oversold(&units), 0);
        // Some end while they are read.
        for (number, (_, moves)) in (0..).zip(&world) {
            if let Some(hold) = seen.holds.get_mut(&Uuid::from_u128(number)).filter(|_| *moves) {
                hold.state = HoldState::Released;
            }
        }
        prop_assert_eq!(of_units(&units, &seen.holds), vec![]);
    }

    #[test]
    fn stray_unit_is_always_found(
        world in proptest::collection::vec(consistent(), 0..60),
        column in 0..5_usize,
        by in prop_oneof![-5..0_i64, 1..5_i64],
    ) {
        let mut seen = Holds { epoch: 1, now_ms: 500_000, ..Holds::default() };
        for (number, (hold, order)) in (0..).zip(&world) {
            let id = Uuid::from_u128(number);
            seen.holds.insert(id, hold.clone());
            seen.orders.extend(order.clone().map(|order| (id, order)));
        }
        let mut units = units_of(&seen, 1_000);
        let books = &mut units.books[0];
        *[
            &mut books.allotted,
            &mut books.available,
            &mut books.held,
            &mut books.placed,
            &mut books.sold,
        ][column] += by;
        prop_assert!(!differences(&units, &seen).is_empty());
    }
}
