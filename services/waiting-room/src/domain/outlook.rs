//! The outlook of a ticket: what its holder is told.

use std::time::Duration;

use super::{Phase, RoomState, RoomView, Stock};

/// What the store has recorded of a ticket besides its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It is the buyer's place.
    Current,
    /// It was given back.
    Left,
    /// The buyer took a later place.
    Replaced,
    /// Its admission was used for a hold or an order.
    Used,
}

/// Where a number is, relative to the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// This many places behind the head, 1 for the next.
    Behind(i64),
    /// The head has passed it.
    Passed {
        /// When its admission runs out, in milliseconds since 1970 by the store's clock.
        expires_at_ms: i64,
    },
}

/// The progress of a waiting ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Tickets in front, including those of buyers who have left.
    pub ahead: i64,
    /// The wait at the present rate, from the opening on where that is still to come; `None` while
    /// it cannot be estimated: the head stands still, for want of an answer as well.
    pub wait: Option<Duration>,
}

/// What the holder is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// The head will move from the opening of the room's window on.
    NotStarted(Progress),
    /// The head is moving towards this place.
    Waiting(Progress),
    /// The place is admitted.
    Admitted {
        /// When the admission runs out.
        expires_at_ms: i64,
    },
    /// The admission has run out.
    Lapsed,
    /// Everything is taken; some of it may come back.
    SoldOutForNow(Progress),
    /// Everything is sold.
    SoldOut,
    /// The room is paused.
    Paused(Progress),
    /// The room is closed.
    Closed,
    /// The place was given back.
    Left,
    /// The admission of the place was used for a hold or an order.
    Used,
}

impl Outlook {
    /// Whether no later outlook is worth waiting for.
    pub const fn is_last(self) -> bool {
        match self {
            Self::NotStarted(_) | Self::Waiting(_) | Self::SoldOutForNow(_) | Self::Paused(_) => {
                false
            }
            Self::Admitted { .. }
            | Self::Lapsed
            | Self::SoldOut
            | Self::Closed
            | Self::Left
            | Self::Used => true,
        }
    }
}

/// Decides the outlook of a ticket.
///
/// A valid admission is told in every state of the room: it was given. Where joining again cannot
/// help, *closed* and *sold out* take precedence over *lapsed*.
pub fn outlook(place: Place, mark: Mark, room: &RoomView, stock: Stock) -> Outlook {
    match mark {
        Mark::Left => return Outlook::Left,
        Mark::Used => return Outlook::Used,
        Mark::Current | Mark::Replaced => {}
    }
    let over = match stock {
        _ if room.is_closed() => Some(Outlook::Closed),
        Stock::Gone => Some(Outlook::SoldOut),
        Stock::Unknown | Stock::Available | Stock::TakenForNow => None,
    };
    match (place, mark) {
        (Place::Passed { expires_at_ms }, _) if expires_at_ms <= room.now_ms => {
            over.unwrap_or(Outlook::Lapsed)
        }
        (_, Mark::Used) => Outlook::Used,
        // The buyer holds a later place, and so has left this one.
        (_, Mark::Replaced | Mark::Left) => Outlook::Left,
        (Place::Passed { expires_at_ms }, Mark::Current) => Outlook::Admitted { expires_at_ms },
        (Place::Behind(places), Mark::Current) => {
            over.unwrap_or_else(|| still_waiting(places, room, stock))
        }
    }
}

fn still_waiting(places: i64, room: &RoomView, stock: Stock) -> Outlook {
    let progress = |wait| Progress { ahead: (places - 1).max(0), wait };
    match (room.state, room.phase(), stock) {
        (RoomState::Paused | RoomState::Closed, _, _) => Outlook::Paused(progress(None)),
        // Before the opening nothing moves, whatever the stock is.
        (RoomState::Open, Phase::Before, _) => {
            Outlook::NotStarted(progress(expected_wait(places, room.rate)))
        }
        (RoomState::Open, Phase::During | Phase::After, Stock::TakenForNow | Stock::Gone) => {
            Outlook::SoldOutForNow(progress(None))
        }
        (RoomState::Open, Phase::During | Phase::After, Stock::Unknown | Stock::Available) => {
            let moves = room.hold.is_none();
            Outlook::Waiting(progress(if moves { expected_wait(places, room.rate) } else { None }))
        }
    }
}

/// How long the head takes for this many places, rounded up to tenths of a second; `None` beyond a
/// day, over which no rate is constant.
fn expected_wait(places: i64, rate: f64) -> Option<Duration> {
    const LONGEST_S: f64 = 86_400.0;
    #[allow(clippy::cast_precision_loss)]
    let tenths = (places as f64 * 10.0 / rate).ceil();
    (0.0..=LONGEST_S * 10.0).contains(&tenths).then(|| Duration::from_secs_f64(tenths / 10.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Hold, Window};

    const NOW_MS: i64 = 1_795_000_000_000;

    fn room(state: RoomState, rate: f64) -> RoomView {
        RoomView {
            state,
            rate,
            watches_stock: true,
            hold: None,
            stock: Stock::Available,
            admission_ms: 60_000,
            window: Window::default(),
            era: 0,
            paused_ms: 0,
            next: 1_000,
            upto: 10_000,
            planned: 100,
            head: 100,
            version: 1,
            now_ms: NOW_MS,
        }
    }

    fn outlook_at(place: Place, mark: Mark, state: RoomState, stock: Stock) -> Outlook {
        outlook(place, mark, &room(state, 2.0), stock)
    }

    const GOOD: Place = Place::Passed { expires_at_ms: NOW_MS + 1 };
    const OVER: Place = Place::Passed { expires_at_ms: NOW_MS };

    #[test]
    fn waiting_tickets_get_progress() {
        let seen = outlook_at(Place::Behind(21), Mark::Current, RoomState::Open, Stock::Available);
        let wait = Some(Duration::from_millis(10_500));
        assert_eq!(seen, Outlook::Waiting(Progress { ahead: 20, wait }));
        let next = outlook_at(Place::Behind(1), Mark::Current, RoomState::Open, Stock::Unknown);
        let wait = Some(Duration::from_millis(500));
        assert_eq!(next, Outlook::Waiting(Progress { ahead: 0, wait }));
    }

    #[test]
    fn no_wait_while_head_stands() {
        let progress = Progress { ahead: 4, wait: None };
        let at = |state, stock| outlook_at(Place::Behind(5), Mark::Current, state, stock);
        assert_eq!(at(RoomState::Paused, Stock::Available), Outlook::Paused(progress));
        assert_eq!(at(RoomState::Paused, Stock::TakenForNow), Outlook::Paused(progress));
        assert_eq!(at(RoomState::Open, Stock::TakenForNow), Outlook::SoldOutForNow(progress));
        assert_eq!(at(RoomState::Open, Stock::Gone), Outlook::SoldOut);
        assert_eq!(at(RoomState::Paused, Stock::Gone), Outlook::SoldOut);
        assert_eq!(at(RoomState::Closed, Stock::Available), Outlook::Closed);
    }

    #[test]
    fn no_wait_while_answers_are_awaited() {
        let progress = Progress { ahead: 4, wait: None };
        for hold in [Hold::Refused, Hold::InventorySilent, Hold::CheckoutSilent] {
            let held = RoomView { hold: Some(hold), ..room(RoomState::Open, 2.0) };
            for (stock, told) in [
                (Stock::Unknown, Outlook::Waiting(progress)),
                (Stock::Available, Outlook::Waiting(progress)),
                (Stock::TakenForNow, Outlook::SoldOutForNow(progress)),
            ] {
                let seen = outlook(Place::Behind(5), Mark::Current, &held, stock);
                assert_eq!(seen, told, "{hold:?}, {stock:?}");
            }
        }
    }

    #[test]
    fn admissions_outlive_room_changes() {
        for state in [RoomState::Open, RoomState::Paused, RoomState::Closed] {
            for stock in [Stock::Unknown, Stock::Available, Stock::TakenForNow, Stock::Gone] {
                let seen = outlook_at(GOOD, Mark::Current, state, stock);
                assert_eq!(seen, Outlook::Admitted { expires_at_ms: NOW_MS + 1 });
            }
        }
        assert_eq!(
            outlook_at(OVER, Mark::Current, RoomState::Open, Stock::Available),
            Outlook::Lapsed
        );
        assert_eq!(
            outlook_at(OVER, Mark::Current, RoomState::Closed, Stock::Available),
            Outlook::Closed
        );
        assert_eq!(outlook_at(OVER, Mark::Current, RoomState::Open, Stock::Gone), Outlook::SoldOut);
    }

    #[test]
    fn given_up_places_are_never_admitted() {
        for state in [RoomState::Open, RoomState::Paused, RoomState::Closed] {
            for stock in [Stock::Unknown, Stock::Available, Stock::TakenForNow, Stock::Gone] {
                for place in [Place::Behind(1), GOOD, OVER] {
                    assert_eq!(outlook_at(place, Mark::Left, state, stock), Outlook::Left);
                    assert_eq!(outlook_at(place, Mark::Used, state, stock), Outlook::Used);
                    let replaced = outlook_at(place, Mark::Replaced, state, stock);
                    assert!(!matches!(replaced, Outlook::Admitted { .. } | Outlook::Waiting(_)));
                    assert!(replaced.is_last());
                }
            }
        }
    }

    /// The outlook in a room that admits from `from` to `until`, in ms from now.
    fn outlook_in(
        (from, until): (Option<i64>, Option<i64>),
        place: Place,
        state: RoomState,
        stock: Stock,
    ) -> Outlook {
        let at = |bound: Option<i64>| bound.map(|ms| NOW_MS + ms);
        let window =
            Window { joins_from_ms: None, admits_from_ms: at(from), admits_until_ms: at(until) };
        outlook(place, Mark::Current, &RoomView { window, ..room(state, 2.0) }, stock)
    }

    #[test]
    fn waits_are_counted_from_the_opening() {
        let place = Place::Behind(21);
        let progress = Progress { ahead: 20, wait: Some(Duration::from_millis(10_500)) };
        for stock in [Stock::Unknown, Stock::Available, Stock::TakenForNow] {
            for from in [1, 3_600_000] {
                let seen = outlook_in((Some(from), None), place, RoomState::Open, stock);
                assert_eq!(seen, Outlook::NotStarted(progress), "{stock:?}, in {from} ms");
            }
        }
        for from in [Some(0), Some(-1), None] {
            let seen = outlook_in((from, Some(1)), place, RoomState::Open, Stock::Available);
            assert_eq!(seen, Outlook::Waiting(progress), "{from:?}");
        }
    }

    #[test]
    fn other_reasons_not_to_move_are_told_before_the_opening() {
        let early = |state, stock| outlook_in((Some(1), None), Place::Behind(5), state, stock);
        let progress = Progress { ahead: 4, wait: None };
        assert_eq!(early(RoomState::Paused, Stock::Available), Outlook::Paused(progress));
        assert_eq!(early(RoomState::Closed, Stock::Available), Outlook::Closed);
        assert_eq!(early(RoomState::Open, Stock::Gone), Outlook::SoldOut);
    }

    #[test]
    fn window_that_is_over_counts_as_closed() {
        for state in [RoomState::Open, RoomState::Paused, RoomState::Closed] {
            for stock in [Stock::Unknown, Stock::Available, Stock::TakenForNow, Stock::Gone] {
                for until in [0, -1] {
                    let seen = |place| outlook_in((Some(-9), Some(until)), place, state, stock);
                    assert_eq!(seen(Place::Behind(1)), Outlook::Closed);
                    assert_eq!(seen(OVER), Outlook::Closed);
                    assert_eq!(seen(GOOD), Outlook::Admitted { expires_at_ms: NOW_MS + 1 });
                }
            }
        }
    }

    proptest! {
        #[test]
        fn only_tickets_behind_an_opening_ahead_have_not_started(
            places in 1_i64..1_000_000,
            from in prop::option::of(-10_i64..10),
            length in prop::option::of(1_i64..10),
        ) {
            let until = length.map(|length| from.unwrap_or(-5) + length);
            let is_over = until.is_some_and(|until| until <= 0);
            let is_early = !is_over && from.is_some_and(|from| from > 0);
            for stock in [Stock::Unknown, Stock::Available, Stock::TakenForNow] {
                let place = Place::Behind(places);
                let seen = outlook_in((from, until), place, RoomState::Open, stock);
                prop_assert_eq!(matches!(seen, Outlook::NotStarted(_)), is_early, "{:?}", seen);
                prop_assert_eq!(seen.is_last(), is_over, "{:?}", seen);
            }
        }

        #[test]
        fn nearer_tickets_never_wait_longer(
            a in 1_i64..10_000_000,
            b in 1_i64..10_000_000,
            rate in 0.1_f64..100_000.0,
        ) {
            let (near, far) = (a.min(b), a.max(b));
            if let (Some(near), Some(far)) = (expected_wait(near, rate), expected_wait(far, rate)) {
                prop_assert!(near <= far);
            }
            if expected_wait(near, rate).is_none() {
                prop_assert!(expected_wait(far, rate).is_none());
            }
        }

        #[test]
        fn only_waiting_outlooks_are_not_last(
            places in 1_i64..1_000_000,
            passed: bool,
            expiry in -10_i64..10,
        ) {
            let place = if passed {
                Place::Passed { expires_at_ms: NOW_MS + expiry }
            } else {
                Place::Behind(places)
            };
            for state in [RoomState::Open, RoomState::Paused, RoomState::Closed] {
                for stock in [Stock::Unknown, Stock::Available, Stock::TakenForNow, Stock::Gone] {
                    let waits = !passed && state != RoomState::Closed && stock != Stock::Gone;
                    let seen = outlook_at(place, Mark::Current, state, stock);
                    prop_assert_eq!(seen.is_last(), !waits, "{:?}", seen);
                }
            }
        }
    }
}
