//! How batches are decided, case by case and over random batches.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::*;
use crate::domain::{
    Known, OrderDetails, Price, SaleFacts,
    fixtures::{SALE, order, prices},
};

const SKUS: [&str; 3] = ["A", "B", "C"];

fn facts(fence: Option<i64>, epoch: Option<i64>) -> SaleFacts {
    SaleFacts { fence, epoch, prices: prices() }
}

fn books(units: i64) -> Books {
    Books {
        known: HashMap::new(),
        sales: HashMap::from([(SALE, facts(Some(2), Some(5)))]),
        left: SKUS.iter().map(|sku| ((SALE, (*sku).to_owned()), units)).collect(),
        parked: HashSet::new(),
    }
}

fn cancel(order: PlacedOrder) -> Message {
    let target = CancelTarget::Placed(Box::new(order));
    Message::Cancel { target, requested_at: OffsetDateTime::UNIX_EPOCH }
}

#[test]
fn a_recorded_order_is_cancelled_by_its_id_alone() {
    let cancel = |id| Message::Cancel {
        target: CancelTarget::Recorded { order_id: Uuid::from_u128(id), sale_id: SALE },
        requested_at: OffsetDateTime::UNIX_EPOCH,
    };
    let messages = vec![(1, Message::Place(order(1, &[("A", 1)]))), (2, cancel(1)), (3, cancel(2))];
    let decision = decide(messages, books(5));
    // The first has a row by then. The second would need one, and its message lacks the data for
    // it.
    assert_eq!(decision.new_orders.len(), 1);
    assert!(decision.new_orders[0].cancel_requested_at.is_some());
    assert_eq!(decision.dead.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [3]);
}

#[test]
fn claims_stay_within_what_is_left() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..2_000 {
        let units = random.random_range(0..20);
        let mut books = books(units);
        let mut messages = Vec::new();
        for seq in 1..=random.random_range(1..60) {
            // Few ids, so that orders come twice, and are cancelled before and after they are
            // placed.
            let id = random.random_range(1..30_u128);
            let lines: Vec<(&str, i64)> = SKUS
                .into_iter()
                .take(1 + usize::try_from(id % 3).unwrap())
                .map(|sku| (sku, 1 + i64::try_from(id % 4).unwrap()))
                .collect();
            let order = order(id, &lines);
            messages.push((
                seq,
                if random.random_bool(0.2) { cancel(order) } else { Message::Place(order) },
            ));
        }
        let recorded = Uuid::from_u128(random.random_range(1..30));
        let state = OrderState::ALL[random.random_range(0..OrderState::ALL.len())];
        books.known.insert(recorded, Known { state, cancel_requested: random.random() });

        let asked: HashSet<Uuid> =
            messages.iter().filter_map(|(_, message)| message.order_id()).collect();
        let decision = decide(messages, books);

        assert!(decision.dead.is_empty());
        let born: HashSet<Uuid> =
            decision.new_orders.iter().map(|new_order| new_order.order.order_id).collect();
        assert_eq!(born.len(), decision.new_orders.len(), "an order was inserted twice");
        assert!(
            !born.contains(&recorded) || state == OrderState::DeadLetter,
            "a recorded order was inserted again"
        );
        let mut decided = born;
        decided.extend(asked.contains(&recorded).then_some(recorded));
        assert_eq!(decided, asked, "an order was left undecided");
        for sku in SKUS {
            let claimed: i64 = decision
                .new_orders
                .iter()
                .filter(|new_order| new_order.state().holds_units())
                .flat_map(|new_order| &new_order.order.lines)
                .filter(|line| line.sku == sku)
                .map(|line| line.quantity)
                .sum();
            assert!(claimed <= units, "{claimed} of {units} units of {sku} were claimed");
        }
        for new_order in &decision.new_orders {
            assert_eq!(new_order.end_reason.is_some(), !new_order.state().holds_units());
        }
    }
}

fn dead_letter(order: &PlacedOrder) -> Books {
    let known = Known { state: OrderState::DeadLetter, cancel_requested: false };
    Books { known: HashMap::from([(order.order_id, known)]), ..books(5) }
}

#[test]
fn a_broken_order_claims_nothing() {
    let broken = PlacedOrder {
        total_minor: -7,
        currency: "no".to_owned(),
        details: OrderDetails { email: "a\0b".to_owned(), ..order(1, &[("A", 1)]).details },
        ..order(1, &[("A", 1)])
    };
    let without_buyer = PlacedOrder { buyer_id: String::new(), ..order(2, &[("A", 1)]) };
    let lost = PlacedOrder { sale_id: Uuid::from_u128(9), ..broken.clone() };
    let unrecordable = |order| Message::Unrecordable { order, cause: "unreadable" };
    let messages = vec![
        (1, Message::Place(broken.clone())),
        (2, Message::Place(without_buyer)),
        (3, unrecordable(order(3, &[("A", 1)]))),
        (4, unrecordable(PlacedOrder { order_id: Uuid::from_u128(4), ..lost })),
    ];
    let decision = decide(messages, books(5));
    let waiting: Vec<_> = decision
        .new_orders
        .iter()
        .map(|new_order| (new_order.order.order_id.as_u128(), new_order.state()))
        .collect();
    assert_eq!(waiting, [(1, OrderState::DeadLetter), (3, OrderState::DeadLetter)]);
    let kept = &decision.new_orders[0].order;
    assert_eq!(
        (kept.total_minor, kept.currency.as_str(), kept.details.email.as_str()),
        (0, "XXX", "")
    );
    assert!(decision.new_orders.iter().all(|new_order| new_order.order.lines.is_empty()));
    let dead: Vec<_> = decision.dead.iter().map(|(seq, _)| *seq).collect();
    // Unreadable messages became dead letters before.
    assert_eq!(dead, [1, 2]);
}

#[test]
fn a_dead_letter_is_claimed_when_repaired() {
    let order = order(1, &[("A", 2)]);
    let broken = PlacedOrder { total_minor: 1, ..order.clone() };
    let again = vec![(1, Message::Place(broken.clone())), (2, Message::Place(order.clone()))];
    let decision = decide(again, dead_letter(&order));
    assert_eq!(decision.dead.len(), 1);
    assert_eq!(decision.new_orders.len(), 1);
    assert!(decision.new_orders[0].reinstates);
    assert_eq!(decision.new_orders[0].state(), OrderState::Claimed);
    // Never beyond what is left.
    let too_many =
        PlacedOrder { lines: old(1, &[("A", 6)]).lines, total_minor: 600, ..order.clone() };
    let decision = decide(vec![(1, Message::Place(too_many))], dead_letter(&order));
    assert_eq!(decision.new_orders[0].end_reason, Some(EndReason::AllotmentExhausted));
}

#[test]
fn a_broken_copy_hides_no_whole_one() {
    let order = order(1, &[("A", 2)]);
    let broken = || Message::Place(PlacedOrder { total_minor: 1, ..order.clone() });
    let messages =
        vec![(1, broken()), (2, broken()), (3, Message::Place(order.clone())), (4, broken())];
    let decision = decide(messages, books(5));
    let [new_order] = &decision.new_orders[..] else { panic!("{decision:?}") };
    let path: Vec<_> = new_order.path.iter().map(|(state, _)| *state).collect();
    assert_eq!(path, [OrderState::DeadLetter, OrderState::Claimed]);
    assert!(!new_order.reinstates);
    assert_eq!(new_order.order.lines, order.lines);
    // The last one is about an order that is there.
    assert_eq!(decision.dead.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn cancelling_a_dead_letter_ends_it() {
    let order = order(1, &[("A", 1)]);
    let wishes = vec![
        (1, cancel(order.clone())),
        (2, cancel(order.clone())),
        (3, Message::Place(order.clone())),
    ];
    let decision = decide(wishes, dead_letter(&order));
    assert_eq!((decision.cancelled, decision.new_orders.len()), (vec![order.order_id], 0));
    // Also in the batch that made it one.
    let broken = PlacedOrder { total_minor: 1, ..order.clone() };
    let messages = vec![(1, Message::Place(broken)), (2, cancel(order.clone()))];
    let decision = decide(messages, books(5));
    let path: Vec<_> = decision.new_orders[0].path.iter().map(|(state, _)| *state).collect();
    assert_eq!(path, [OrderState::DeadLetter, OrderState::Cancelled]);
    assert_eq!(decision.new_orders[0].end_reason, Some(EndReason::Buyer));
}

#[test]
fn an_order_is_claimed_whole_or_not_at_all() {
    let decision = decide(
        vec![
            (1, Message::Place(order(1, &[("A", 3)]))),
            (2, Message::Place(order(2, &[("A", 3), ("B", 1)]))),
            (3, Message::Place(order(3, &[("B", 5)]))),
        ],
        books(5),
    );
    let states: Vec<_> = decision.new_orders.iter().map(NewOrder::state).collect();
    assert_eq!(states, [OrderState::Claimed, OrderState::Cancelled, OrderState::Claimed]);
    assert_eq!(decision.new_orders[1].end_reason, Some(EndReason::AllotmentExhausted));
}

#[test]
fn a_cancellation_first_wins() {
    let order = order(1, &[("A", 1)]);
    let decision = decide(vec![(1, cancel(order.clone())), (2, Message::Place(order))], books(5));
    assert_eq!(decision.new_orders.len(), 1);
    assert_eq!(decision.new_orders[0].state(), OrderState::Cancelled);
    assert_eq!(decision.new_orders[0].end_reason, Some(EndReason::Buyer));
}

#[test]
fn cancelling_a_claimed_order_is_asked_once() {
    let order = order(1, &[("A", 1)]);
    let messages = vec![
        (1, Message::Place(order.clone())),
        (2, cancel(order.clone())),
        (3, cancel(order.clone())),
    ];
    let decision = decide(messages.clone(), books(5));
    assert_eq!(decision.new_orders[0].state(), OrderState::Claimed);
    assert!(decision.new_orders[0].cancel_requested_at.is_some());

    let mut later = books(5);
    let known = Known { state: OrderState::Paying, cancel_requested: false };
    later.known.insert(order.order_id, known);
    let decision = decide(messages, later);
    assert!(decision.new_orders.is_empty());
    assert_eq!(decision.cancel_requests.len(), 1);
}

#[test]
fn an_ended_order_cannot_be_cancelled() {
    let order = order(1, &[("A", 1)]);
    for state in OrderState::ALL.into_iter().filter(|state| !state.is_open()) {
        let mut books = books(5);
        books.known.insert(order.order_id, Known { state, cancel_requested: false });
        assert_eq!(decide(vec![(1, cancel(order.clone()))], books), Decision::default());
    }
}

fn old(id: u128, lines: &[(&str, i64)]) -> PlacedOrder {
    PlacedOrder { epoch: 1, ..order(id, lines) }
}

fn fence(epoch: i64) -> Message {
    Message::Fence { sale_id: SALE, epoch }
}

fn with_parked(id: u128) -> Books {
    Books { parked: HashSet::from([Uuid::from_u128(id)]), ..books(5) }
}

fn parked(decision: &Decision) -> Vec<(u64, u128)> {
    let parked = decision.parked.iter();
    parked.map(|straggler| (straggler.seq, straggler.order_id.as_u128())).collect()
}

#[test]
fn a_straggler_is_parked_and_nothing_waits_for_it() {
    let messages = vec![
        (1, Message::Place(old(1, &[("A", 5)]))),
        (2, Message::Place(order(2, &[("A", 5)]))),
        (3, Message::Place(old(1, &[("A", 5)]))),
    ];
    let decision = decide(messages, books(5));
    assert_eq!(parked(&decision), [(1, 1)]);
    assert_eq!(decision.new_orders.len(), 1);
    assert_eq!(decision.new_orders[0].state(), OrderState::Claimed);
    assert!(decision.unparked.is_empty() && decision.dead.is_empty());
}

#[test]
fn a_parked_order_again_has_no_effect() {
    let again = vec![(7, Message::Place(old(1, &[("A", 1)])))];
    assert_eq!(decide(again, with_parked(1)), Decision::default());
    // An unreadable copy does not replace it.
    let broken = PlacedOrder { total_minor: 1, ..old(1, &[("A", 1)]) };
    let unreadable = Message::Unrecordable { order: broken.clone(), cause: "unreadable" };
    let messages = vec![(8, Message::Place(broken)), (9, unreadable)];
    let decision = decide(messages, with_parked(1));
    assert_eq!(decision.dead.len(), 1);
    assert!(decision.new_orders.is_empty() && decision.unparked.is_empty());
}

#[test]
fn a_parked_order_placed_again_in_the_new_epoch_is_claimed() {
    let again = order(1, &[("A", 1)]);
    let decision = decide(vec![(7, Message::Place(again.clone()))], with_parked(1));
    assert_eq!(decision.new_orders[0].state(), OrderState::Claimed);
    assert_eq!(decision.unparked, [again.order_id]);
    // Also in the batch that would have parked it.
    let messages = vec![(1, Message::Place(old(1, &[("A", 1)]))), (2, Message::Place(again))];
    let decision = decide(messages, books(5));
    assert_eq!(decision.new_orders.len(), 1);
    assert!(decision.parked.is_empty() && decision.unparked.is_empty());
}

#[test]
fn cancelling_a_parked_order_ends_it() {
    let straggler = old(1, &[("A", 1)]);
    let later = vec![(7, cancel(straggler.clone())), (8, Message::Place(straggler.clone()))];
    let decision = decide(later, with_parked(1));
    assert_eq!(decision.new_orders.len(), 1);
    assert_eq!(decision.new_orders[0].end_reason, Some(EndReason::Buyer));
    assert_eq!(decision.unparked, [straggler.order_id]);
    let at_once = vec![(1, Message::Place(straggler.clone())), (2, cancel(straggler))];
    let decision = decide(at_once, books(5));
    assert_eq!(decision.new_orders[0].end_reason, Some(EndReason::Buyer));
    assert!(decision.parked.is_empty());
}

#[test]
fn a_dead_letter_again_as_straggler_is_parked() {
    let straggler = old(1, &[("A", 1)]);
    let again = vec![(7, Message::Place(straggler.clone()))];
    let decision = decide(again, dead_letter(&straggler));
    assert_eq!(parked(&decision), [(7, 1)]);
    assert!(decision.new_orders.is_empty());
    // Also behind the broken copy that made it one.
    let broken = PlacedOrder { total_minor: 1, ..straggler.clone() };
    let messages = vec![(1, Message::Place(broken)), (2, Message::Place(straggler.clone()))];
    let decision = decide(messages.clone(), books(5));
    assert_eq!(decision.new_orders[0].state(), OrderState::DeadLetter);
    assert_eq!(parked(&decision), [(2, 1)]);
    // Its buyer's wish ends both.
    let mut with_wish = messages;
    with_wish.push((3, cancel(straggler.clone())));
    let decision = decide(with_wish, books(5));
    assert_eq!(decision.new_orders[0].state(), OrderState::Cancelled);
    assert!(decision.parked.is_empty());
    let both = Books { parked: with_parked(1).parked, ..dead_letter(&straggler) };
    let decision = decide(vec![(8, cancel(straggler.clone()))], both);
    assert_eq!(decision.cancelled, [straggler.order_id]);
    assert_eq!(decision.unparked, [straggler.order_id]);
}

#[test]
fn a_marker_above_the_recorded_epoch_passes_nothing() {
    let absurd = 1_000_000_000_000_000;
    let messages = vec![
        (1, fence(absurd)),
        (2, Message::Place(order(1, &[("A", 1)]))),
        (3, fence(0)),
        (4, fence(5)),
    ];
    let decision = decide(messages, books(5));
    assert_eq!(decision.dead, [(1, Unacceptable::Epoch), (3, Unacceptable::Epoch)]);
    assert_eq!(decision.new_orders[0].state(), OrderState::Claimed);
    assert_eq!(decision.fences, BTreeMap::from([(SALE, 5)]));
    // A sale whose stock was never loaded has no epoch at all.
    let mut unloaded = books(5);
    unloaded.sales.insert(SALE, facts(None, None));
    let decision = decide(vec![(1, fence(1))], unloaded);
    assert_eq!(decision.dead, [(1, Unacceptable::Epoch)]);
    assert!(decision.fences.is_empty());
}

#[test]
fn a_recorded_order_is_no_straggler() {
    let (known, cancelled) = (old(1, &[("A", 1)]), old(2, &[("A", 1)]));
    let mut books = books(5);
    let state = Known { state: OrderState::Claimed, cancel_requested: false };
    books.known.insert(known.order_id, state);
    let messages = vec![
        (1, Message::Place(known)),
        (2, cancel(cancelled.clone())),
        (3, Message::Place(cancelled)),
    ];
    let decision = decide(messages, books);
    assert!(decision.parked.is_empty());
    assert_eq!(decision.new_orders.len(), 1);
    assert_eq!(decision.new_orders[0].end_reason, Some(EndReason::Buyer));
}

#[test]
fn batches_may_be_cut_anywhere() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..2_000 {
        let mut books = books(random.random_range(0..30));
        let before = random.random_range(0..4_i64);
        books.sales.insert(SALE, facts((before > 0).then_some(before), Some(5)));
        books.parked = (1..20).filter(|_| random.random_bool(0.2)).map(Uuid::from_u128).collect();
        let mut messages = Vec::new();
        for seq in 1..=random.random_range(1..40_u64) {
            let id = random.random_range(1..20_u128);
            let epoch = random.random_range(1..6);
            let order = PlacedOrder { epoch, ..order(id, &[("A", 1)]) };
            messages.push((
                seq,
                match random.random_range(0..10) {
                    0 => fence(random.random_range(1..8)),
                    1 | 2 => cancel(order),
                    _ => Message::Place(order),
                },
            ));
        }

        // The rule, told message by message: which orders have a row afterwards, and which are
        // parked.
        let (mut fence, mut rows) = (before, HashSet::new());
        let mut waiting = books.parked.clone();
        for (_, message) in &messages {
            match message {
                Message::Fence { epoch, .. } if *epoch <= 5 => fence = fence.max(*epoch),
                Message::Fence { .. } | Message::Closing { .. } | Message::Unrecordable { .. } => {}
                Message::Place(order) if rows.contains(&order.order_id) => {}
                Message::Place(order) if order.epoch < fence => {
                    waiting.insert(order.order_id);
                }
                Message::Place(_) | Message::Cancel { .. } => {
                    let id = message.order_id().unwrap();
                    waiting.remove(&id);
                    rows.insert(id);
                }
            }
        }
        let apply = |books: &mut Books, decision: &Decision| {
            for new_order in &decision.new_orders {
                let cancel_requested = new_order.cancel_requested_at.is_some();
                let known = Known { state: new_order.state(), cancel_requested };
                assert!(books.known.insert(new_order.order.order_id, known).is_none());
                if new_order.state().holds_units() {
                    *books.left.get_mut(&(SALE, "A".to_owned())).unwrap() -= 1;
                }
            }
            for id in &decision.unparked {
                assert!(books.parked.remove(id));
            }
            for straggler in &decision.parked {
                assert!(books.parked.insert(straggler.order_id));
            }
            if let Some(fence) = decision.fences.get(&SALE) {
                books.sales.get_mut(&SALE).unwrap().fence = Some(*fence);
            }
        };
        let cut = random.random_range(0..=messages.len());
        let mut whole = books.clone();
        apply(&mut whole, &decide(messages.clone(), books.clone()));
        let rest = messages.split_off(cut);
        for part in [messages, rest] {
            let decision = decide(part, books.clone());
            apply(&mut books, &decision);
        }
        for books in [&whole, &books] {
            assert_eq!(books.parked, waiting);
            assert_eq!(books.known.keys().copied().collect::<HashSet<_>>(), rows);
            assert!(books.left[&(SALE, "A".to_owned())] >= 0);
        }
        assert_eq!(whole.left, books.left);
    }
}

#[test]
fn a_free_order_is_confirmed_at_once() {
    let mut free = order(1, &[("A", 2)]);
    free.lines[0].unit_price_minor = 0;
    free.total_minor = 0;
    let mut books = books(5);
    let free_of_charge = Price { minor: 0, placed_until: None };
    let prices = &mut books.sales.get_mut(&SALE).unwrap().prices;
    prices.by_revision.insert(("A".to_owned(), 1), free_of_charge);
    let decision = decide(vec![(1, Message::Place(free))], books);
    assert_eq!(decision.new_orders[0].state(), OrderState::Confirmed);
}

/// The order as if each of its units cost `price`.
fn at_price(mut order: PlacedOrder, price: i64) -> PlacedOrder {
    for line in &mut order.lines {
        line.unit_price_minor = price;
    }
    order.total_minor = order.lines.iter().map(|line| line.quantity * price).sum();
    order
}

#[test]
fn a_foreign_price_enters_no_row() {
    let order = order(1, &[("A", 2)]);
    let cheap = at_price(order.clone(), 1);
    let decision = decide(vec![(1, Message::Place(cheap.clone()))], books(5));
    assert_eq!(decision.dead, [(1, Unacceptable::PriceForeign)]);
    let [waiting] = &decision.new_orders[..] else { panic!("{decision:?}") };
    assert_eq!(waiting.path, [(OrderState::DeadLetter, "price_foreign")]);
    assert!(waiting.order.lines.is_empty());
    assert_eq!(waiting.order.total_minor, 0);
    // Neither as a cancelled order, nor parked, nor by coming again.
    let straggler = PlacedOrder { epoch: 1, ..cheap.clone() };
    for message in [cancel(cheap.clone()), Message::Place(straggler)] {
        let decision = decide(vec![(1, message)], books(5));
        assert_eq!(decision.dead, [(1, Unacceptable::PriceForeign)]);
        assert!(decision.parked.is_empty());
        assert!(decision.new_orders.iter().all(NewOrder::is_dead_letter));
    }
    let again = decide(vec![(2, Message::Place(cheap))], dead_letter(&order));
    assert_eq!(again.dead, [(2, Unacceptable::PriceForeign)]);
    assert!(again.new_orders.is_empty());
    // At the sale's price it is claimed after all.
    let decision = decide(vec![(3, Message::Place(order.clone()))], dead_letter(&order));
    assert_eq!(decision.new_orders[0].state(), OrderState::Claimed);
}

#[test]
fn impossible_values_are_dead_letters() {
    type Spoil = fn(&mut PlacedOrder);
    let cases: Vec<(Spoil, Unacceptable)> = vec![
        (|order| order.lines.clear(), Unacceptable::Lines),
        (|order| order.lines[1].sku = "A".to_owned(), Unacceptable::SkuTwice),
        (|order| order.lines[0].quantity = 0, Unacceptable::Quantity),
        (|order| order.lines[0].quantity = i64::MAX, Unacceptable::Total),
        (|order| order.lines[0].unit_price_minor = -1, Unacceptable::Price),
        (|order| order.lines[0].price_revision = 0, Unacceptable::Price),
        (|order| order.lines[0].price_revision = i64::MIN, Unacceptable::Price),
        (|order| order.lines[0].price_revision = 2, Unacceptable::PriceForeign),
        (|order| order.total_minor += 1, Unacceptable::Total),
        (|order| order.currency = "euro".to_owned(), Unacceptable::Currency),
        (|order| order.epoch = 0, Unacceptable::Epoch),
        (|order| order.details.email = "a@b\r\nBcc: c@d".to_owned(), Unacceptable::Text),
        (|order| order.buyer_id = "\0".to_owned(), Unacceptable::Text),
        (|order| order.details.payment_method = String::new(), Unacceptable::Text),
        (|order| order.sale_id = Uuid::from_u128(9), Unacceptable::SaleUnknown),
        (|order| *order = at_price(order.clone(), 1), Unacceptable::PriceForeign),
        (|order| *order = at_price(order.clone(), 0), Unacceptable::PriceForeign),
        (|order| order.lines[1].sku = "no such".to_owned(), Unacceptable::PriceForeign),
        (|order| order.currency = "USD".to_owned(), Unacceptable::PriceForeign),
    ];
    for (spoil, problem) in cases {
        let mut spoiled = order(1, &[("A", 1), ("B", 1)]);
        spoil(&mut spoiled);
        let fine = Message::Place(order(2, &[("A", 1)]));
        let decision = decide(vec![(7, Message::Place(spoiled)), (8, fine)], books(5));
        assert_eq!(decision.dead, [(7, problem)]);
        let claimed = |new_order: &&NewOrder| new_order.state() == OrderState::Claimed;
        let fine = decision.new_orders.iter().filter(claimed).count();
        assert_eq!(fine, 1, "a bad message was in the way of a good one");
    }
}
