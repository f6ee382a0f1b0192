//! Which orders of a batch are recorded, and how: a fold over the messages in the order of the stream.

use std::collections::{BTreeMap, HashMap, HashSet};

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Change, EndReason, Intake, OrderState, PlacedOrder, Unacceptable};

/// What the record says about everything that a batch touches, read under locks.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// Orders that are there already.
    pub known: HashMap<Uuid, Known>,
    /// Sales that exist.
    pub sales: HashMap<Uuid, SaleFacts>,
    /// Units that may still be claimed, by (sale, sku). What is missing here has none.
    pub left: HashMap<(Uuid, String), i64>,
    /// Orders that are parked.
    pub parked: HashSet<Uuid>,
}

/// An order of an older epoch behind the marker of a rebuild: the rebuilt stock does not count its
/// units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Straggler {
    /// The sequence number of its message.
    pub seq: u64,
    /// The order.
    pub order_id: Uuid,
    /// Its sale.
    pub sale_id: Uuid,
}

/// An order that is in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Where it stands.
    pub state: OrderState,
    /// Whether the buyer asked to cancel it before.
    pub cancel_requested: bool,
}

/// A sale that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaleFacts {
    /// The epoch of the latest rebuild of its stock that the claims have come past; `None` if it was never rebuilt.
    pub fence: Option<i64>,
    /// The epoch of its stock in the record, where the batch has a marker of the sale; `None` also
    /// without stock.
    pub epoch: Option<i64>,
}

/// An order that enters the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Birth {
    /// The order.
    pub order: PlacedOrder,
    /// Every state it takes at once with its cause, the last one being where it stands.
    pub path: Vec<(OrderState, &'static str)>,
    /// Why it is over already.
    pub end_reason: Option<EndReason>,
    /// When the buyer asked to cancel it.
    pub cancel_requested_at: Option<OffsetDateTime>,
    /// It is in the record already, as a dead letter, and takes that row.
    pub revives: bool,
}

impl Birth {
    /// Where it stands.
    pub fn state(&self) -> OrderState {
        // A path is never empty.
        self.path.last().map_or(OrderState::Claimed, |(state, _)| *state)
    }

    fn claimed(order: PlacedOrder) -> Self {
        let mut path = vec![(OrderState::Claimed, "claimed")];
        // The payment provider takes no empty payments, and nobody owes one.
        if order.total_minor == 0
            && let Ok(state) = OrderState::Claimed.after(&Change::NothingToPay)
        {
            path.push((state, "nothing_to_pay"));
        }
        Self { order, path, end_reason: None, cancel_requested_at: None, revives: false }
    }

    /// What waits for a person; `None` if nobody could say whose it is.
    fn dead_letter(order: &PlacedOrder, cause: &'static str) -> Option<Self> {
        let path = vec![(OrderState::DeadLetter, cause)];
        let order = order.salvage()?;
        Some(Self { order, path, end_reason: None, cancel_requested_at: None, revives: false })
    }

    pub(super) fn cancelled(order: PlacedOrder, reason: EndReason) -> Self {
        Self {
            order,
            path: vec![(OrderState::Cancelled, reason.as_str())],
            end_reason: Some(reason),
            cancel_requested_at: None,
            revives: false,
        }
    }

    /// Whether it is a dead letter.
    fn waits(&self) -> bool {
        self.state() == OrderState::DeadLetter
    }

    /// It comes again as it should be.
    fn revive(&mut self, birth: Self) {
        self.path.extend(birth.path);
        *self = Self { path: std::mem::take(&mut self.path), revives: self.revives, ..birth };
    }

    /// Its buyer asks to cancel it.
    fn cancel(&mut self, requested_at: OffsetDateTime) {
        let waits = self.waits();
        if waits {
            // Nobody charges it, so that there is nothing to wait for.
            self.path.push((OrderState::Cancelled, EndReason::Buyer.as_str()));
            self.end_reason = Some(EndReason::Buyer);
        }
        if waits || self.state().is_open() {
            self.cancel_requested_at.get_or_insert(requested_at);
        }
    }
}

/// What a batch does to the record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Orders that enter it, in the order of the stream.
    pub births: Vec<Birth>,
    /// Known open orders the buyer asks to cancel, with when.
    pub cancel_requests: Vec<(Uuid, OffsetDateTime)>,
    /// Dead letters whose buyers cancel them, which ends them.
    pub cancelled: Vec<Uuid>,
    /// Messages that cannot go in: sequence number and why. Their orders are among `births` all the same, as dead letters, where they say enough.
    pub dead: Vec<(u64, Unacceptable)>,
    /// Rebuilds that the claims have come past: sale and epoch, each sale's latest.
    pub fences: BTreeMap<Uuid, i64>,
    /// Stragglers that are to be parked, in the order of the stream.
    pub parked: Vec<Straggler>,
    /// Orders that were parked before this batch and are decided by it.
    pub unparked: Vec<Uuid>,
}

/// Decides over `messages` (sequence number and content, in the order of the stream).
///
/// An order that is there already is left alone: the message came again, or a cancellation was
/// faster. Only what is there as a dead letter is claimed after all when it comes again as it
/// should be. Nothing is claimed beyond what `books.left` leaves. A straggler is parked, which
/// keeps no message behind it waiting; it leaves the parked orders when its buyer cancels it, or
/// places it again in an epoch whose stock has its units. What is decided about a message depends
/// on those before it alone.
pub fn decide(messages: Vec<(u64, Intake)>, books: Books) -> Decision {
    let mut deciding = Deciding { books, ..Deciding::default() };
    for (seq, message) in messages {
        match message {
            Intake::Fence { sale_id, epoch } => deciding.fence(seq, sale_id, epoch),
            Intake::Closing { .. } => {}
            Intake::Place(order) => deciding.place(seq, order),
            Intake::Unrecordable { order, cause } => deciding.put_aside(&order, cause),
            Intake::Cancel { order, requested_at } => deciding.cancel(seq, order, requested_at),
        }
    }
    deciding.decision
}

/// A decision half-way through its messages.
#[derive(Default)]
struct Deciding {
    books: Books,
    decision: Decision,
    /// Orders of this batch, by their place among the births.
    born: HashMap<Uuid, usize>,
    /// Recorded orders whose cancellation this batch asks for.
    requested: HashSet<Uuid>,
}

impl Deciding {
    fn fence(&mut self, seq: u64, sale_id: Uuid, epoch: i64) {
        match self.books.sales.get_mut(&sale_id) {
            // The record hands an epoch out before anybody publishes its marker. One that it does
            // not know would turn every order of the sale into a straggler, of a stock that there
            // will never be.
            Some(sale) if epoch > 0 && sale.epoch.is_some_and(|recorded| epoch <= recorded) => {
                sale.fence = sale.fence.max(Some(epoch));
                self.decision.fences.extend(sale.fence.map(|fence| (sale_id, fence)));
            }
            Some(_) => self.decision.dead.push((seq, Unacceptable::Epoch)),
            None => self.decision.dead.push((seq, Unacceptable::SaleUnknown)),
        }
    }

    fn place(&mut self, seq: u64, order: PlacedOrder) {
        let id = order.order_id;
        let known = self.books.known.get(&id);
        let revives = known.is_some_and(|known| known.state == OrderState::DeadLetter);
        // Put aside in this very batch: what comes behind it as it should be is not to be passed over.
        let aside = self.born.get(&id).copied().filter(|at| self.decision.births[*at].waits());
        let born = self.born.contains_key(&id) && aside.is_none();
        let settled = known.is_some() && !revives || self.requested.contains(&id);
        if settled || born {
            return;
        }
        // Only what becomes a row has to be whole.
        if let Err(problem) = order.check() {
            self.decision.dead.push((seq, problem));
            self.put_aside(&order, problem.as_str());
            return;
        }
        let Some(sale) = self.books.sales.get(&order.sale_id) else {
            self.decision.dead.push((seq, Unacceptable::SaleUnknown));
            return;
        };
        if sale.fence.is_some_and(|fence| order.epoch < fence) {
            if !self.is_parked(id) {
                let straggler = Straggler { seq, order_id: id, sale_id: order.sale_id };
                self.decision.parked.push(straggler);
            }
            return;
        }
        // Of a parked order too: whoever placed it again has its units in a stock that the claims
        // of its epoch count.
        self.unpark(id);
        let birth = claim(order, &mut self.books.left);
        match aside {
            Some(at) => self.decision.births[at].revive(birth),
            None => self.bear(Birth { revives, ..birth }),
        }
    }

    /// What cannot be recorded as it is has a row all the same, so that it is not lost and its buyer can be told. Whatever is there already wins.
    fn put_aside(&mut self, order: &PlacedOrder, cause: &'static str) {
        let id = order.order_id;
        let there =
            self.books.known.contains_key(&id) || self.born.contains_key(&id) || self.is_parked(id);
        if !there && self.books.sales.contains_key(&order.sale_id) {
            Birth::dead_letter(order, cause).into_iter().for_each(|birth| self.bear(birth));
        }
    }

    fn cancel(&mut self, seq: u64, order: PlacedOrder, requested_at: OffsetDateTime) {
        let id = order.order_id;
        if let Some(at) = self.born.get(&id).copied() {
            self.decision.births[at].cancel(requested_at);
            self.unpark(id);
        } else if let Some(known) = self.books.known.get(&id) {
            // A cancellation of a recorded order needs its id alone.
            if known.state == OrderState::DeadLetter && self.requested.insert(id) {
                self.decision.cancelled.push(id);
                self.unpark(id);
            } else if known.state.is_open() && !known.cancel_requested && self.requested.insert(id)
            {
                self.decision.cancel_requests.push((id, requested_at));
            }
        } else if let Err(problem) = order.check() {
            self.decision.dead.push((seq, problem));
        } else if self.books.sales.contains_key(&order.sale_id) {
            self.unpark(id);
            let birth = Birth::cancelled(order, EndReason::Buyer);
            self.bear(Birth { cancel_requested_at: Some(requested_at), ..birth });
        } else {
            self.decision.dead.push((seq, Unacceptable::SaleUnknown));
        }
    }

    fn is_parked(&self, id: Uuid) -> bool {
        self.books.parked.contains(&id)
            || self.decision.parked.iter().any(|straggler| straggler.order_id == id)
    }

    /// An order that is decided waits no longer.
    fn unpark(&mut self, id: Uuid) {
        self.decision.parked.retain(|straggler| straggler.order_id != id);
        if self.books.parked.remove(&id) {
            self.decision.unparked.push(id);
        }
    }

    fn bear(&mut self, birth: Birth) {
        self.born.insert(birth.order.order_id, self.decision.births.len());
        self.decision.births.push(birth);
    }
}

/// Every line or none.
pub(super) fn claim(order: PlacedOrder, left: &mut HashMap<(Uuid, String), i64>) -> Birth {
    let fits = order.lines.iter().all(|line| {
        left.get(&(order.sale_id, line.sku.clone())).is_some_and(|units| *units >= line.quantity)
    });
    if !fits {
        return Birth::cancelled(order, EndReason::AllotmentExhausted);
    }
    for line in &order.lines {
        if let Some(units) = left.get_mut(&(order.sale_id, line.sku.clone())) {
            *units -= line.quantity;
        }
    }
    Birth::claimed(order)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::domain::OrderLine;

    const SALE: Uuid = Uuid::from_u128(1);
    const SKUS: [&str; 3] = ["A", "B", "C"];

    fn order(id: u128, lines: &[(&str, i64)]) -> PlacedOrder {
        PlacedOrder {
            order_id: Uuid::from_u128(id),
            sale_id: SALE,
            buyer_id: format!("buyer-{id}"),
            hold_id: Uuid::from_u128(id << 64),
            epoch: 2,
            admission_id: None,
            request_id: Uuid::from_u128(id + 1),
            request_hash: "hash".to_owned(),
            lines: lines
                .iter()
                .map(|(sku, quantity)| OrderLine {
                    sku: (*sku).to_owned(),
                    quantity: *quantity,
                    unit_price_minor: 100,
                })
                .collect(),
            currency: "EUR".to_owned(),
            total_minor: lines.iter().map(|(_, quantity)| quantity * 100).sum(),
            placed_at: OffsetDateTime::UNIX_EPOCH,
            email: "buyer@example.com".to_owned(),
            contact_name: "Buyer".to_owned(),
            payment_method: "pm_card_visa".to_owned(),
            locale: String::new(),
        }
    }

    fn books(units: i64) -> Books {
        Books {
            known: HashMap::new(),
            sales: HashMap::from([(SALE, SaleFacts { fence: Some(2), epoch: Some(5) })]),
            left: SKUS.iter().map(|sku| ((SALE, (*sku).to_owned()), units)).collect(),
            parked: HashSet::new(),
        }
    }

    fn cancel(order: PlacedOrder) -> Intake {
        Intake::Cancel { order, requested_at: OffsetDateTime::UNIX_EPOCH }
    }

    #[test]
    fn a_recorded_order_is_cancelled_by_its_id_alone() {
        let bare = |id| PlacedOrder {
            email: String::new(),
            payment_method: String::new(),
            epoch: 0,
            ..order(id, &[("A", 1)])
        };
        let messages = vec![
            (1, Intake::Place(order(1, &[("A", 1)]))),
            (2, cancel(bare(1))),
            (3, cancel(bare(2))),
        ];
        let decision = decide(messages, books(5));
        // The first has a row by then; the second would have to become one, and says too little for that.
        assert_eq!(decision.births.len(), 1);
        assert!(decision.births[0].cancel_requested_at.is_some());
        assert_eq!(decision.dead.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn claims_never_exceed_what_is_left_and_every_order_is_decided_once() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..2_000 {
            let units = random.random_range(0..20);
            let mut books = books(units);
            let mut messages = Vec::new();
            for seq in 1..=random.random_range(1..60) {
                // Few ids, so that orders come twice and are cancelled before and after they are placed.
                let id = random.random_range(1..30_u128);
                let lines: Vec<(&str, i64)> = SKUS
                    .into_iter()
                    .take(1 + usize::try_from(id % 3).unwrap())
                    .map(|sku| (sku, 1 + i64::try_from(id % 4).unwrap()))
                    .collect();
                let order = order(id, &lines);
                messages.push((
                    seq,
                    if random.random_bool(0.2) { cancel(order) } else { Intake::Place(order) },
                ));
            }
            let recorded = Uuid::from_u128(random.random_range(1..30));
            let state = OrderState::ALL[random.random_range(0..OrderState::ALL.len())];
            books.known.insert(recorded, Known { state, cancel_requested: random.random() });

            let asked: HashSet<Uuid> = messages
                .iter()
                .filter_map(|(_, message)| message.order())
                .map(|order| order.order_id)
                .collect();
            let decision = decide(messages, books);

            assert!(decision.dead.is_empty());
            let born: HashSet<Uuid> =
                decision.births.iter().map(|birth| birth.order.order_id).collect();
            assert_eq!(born.len(), decision.births.len(), "an order was born twice");
            assert!(
                !born.contains(&recorded) || state == OrderState::DeadLetter,
                "a recorded order was born again"
            );
            let mut decided = born;
            decided.extend(asked.contains(&recorded).then_some(recorded));
            assert_eq!(decided, asked, "an order was left undecided");
            for sku in SKUS {
                let claimed: i64 = decision
                    .births
                    .iter()
                    .filter(|birth| birth.state().holds_units())
                    .flat_map(|birth| &birth.order.lines)
                    .filter(|line| line.sku == sku)
                    .map(|line| line.quantity)
                    .sum();
                assert!(claimed <= units, "{claimed} of {units} units of {sku} were claimed");
            }
            for birth in &decision.births {
                assert_eq!(birth.end_reason.is_some(), !birth.state().holds_units());
            }
        }
    }

    fn dead_letter(order: &PlacedOrder) -> Books {
        let known = Known { state: OrderState::DeadLetter, cancel_requested: false };
        Books { known: HashMap::from([(order.order_id, known)]), ..books(5) }
    }

    #[test]
    fn what_cannot_be_recorded_waits_in_a_row_that_claims_nothing() {
        let broken = PlacedOrder {
            total_minor: -7,
            currency: "no".to_owned(),
            email: "a\0b".to_owned(),
            ..order(1, &[("A", 1)])
        };
        let nobody = PlacedOrder { buyer_id: String::new(), ..order(2, &[("A", 1)]) };
        let lost = PlacedOrder { sale_id: Uuid::from_u128(9), ..broken.clone() };
        let unrecordable = |order| Intake::Unrecordable { order, cause: "unreadable" };
        let messages = vec![
            (1, Intake::Place(broken.clone())),
            (2, Intake::Place(nobody)),
            (3, unrecordable(order(3, &[("A", 1)]))),
            (4, unrecordable(PlacedOrder { order_id: Uuid::from_u128(4), ..lost })),
        ];
        let decision = decide(messages, books(5));
        let waiting: Vec<_> = decision
            .births
            .iter()
            .map(|birth| (birth.order.order_id.as_u128(), birth.state()))
            .collect();
        assert_eq!(waiting, [(1, OrderState::DeadLetter), (3, OrderState::DeadLetter)]);
        let kept = &decision.births[0].order;
        assert_eq!((kept.total_minor, kept.currency.as_str(), kept.email.as_str()), (0, "XXX", ""));
        assert!(decision.births.iter().all(|birth| birth.order.lines.is_empty()));
        let dead: Vec<_> = decision.dead.iter().map(|(seq, _)| *seq).collect();
        // What nobody could read was put aside before.
        assert_eq!(dead, [1, 2]);
    }

    #[test]
    fn a_dead_letter_that_comes_again_as_it_should_be_is_claimed_in_its_row() {
        let order = order(1, &[("A", 2)]);
        let broken = PlacedOrder { total_minor: 1, ..order.clone() };
        let again = vec![(1, Intake::Place(broken.clone())), (2, Intake::Place(order.clone()))];
        let decision = decide(again, dead_letter(&order));
        assert_eq!(decision.dead.len(), 1);
        assert_eq!(decision.births.len(), 1);
        assert!(decision.births[0].revives);
        assert_eq!(decision.births[0].state(), OrderState::Claimed);
        // Never beyond what is left.
        let too_many =
            PlacedOrder { lines: old(1, &[("A", 6)]).lines, total_minor: 600, ..order.clone() };
        let decision = decide(vec![(1, Intake::Place(too_many))], dead_letter(&order));
        assert_eq!(decision.births[0].end_reason, Some(EndReason::AllotmentExhausted));
    }

    #[test]
    fn a_broken_copy_does_not_hide_the_whole_one_behind_it_in_the_same_batch() {
        let order = order(1, &[("A", 2)]);
        let broken = || Intake::Place(PlacedOrder { total_minor: 1, ..order.clone() });
        let messages =
            vec![(1, broken()), (2, broken()), (3, Intake::Place(order.clone())), (4, broken())];
        let decision = decide(messages, books(5));
        let [birth] = &decision.births[..] else { panic!("{decision:?}") };
        let path: Vec<_> = birth.path.iter().map(|(state, _)| *state).collect();
        assert_eq!(path, [OrderState::DeadLetter, OrderState::Claimed]);
        assert!(!birth.revives);
        assert_eq!(birth.order.lines, order.lines);
        // The last one is about an order that is there.
        assert_eq!(decision.dead.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_dead_letter_ends_as_soon_as_its_buyer_cancels_it() {
        let order = order(1, &[("A", 1)]);
        let wishes = vec![
            (1, cancel(order.clone())),
            (2, cancel(order.clone())),
            (3, Intake::Place(order.clone())),
        ];
        let decision = decide(wishes, dead_letter(&order));
        assert_eq!((decision.cancelled, decision.births.len()), (vec![order.order_id], 0));
        // Also in the batch that put it aside.
        let broken = PlacedOrder { total_minor: 1, ..order.clone() };
        let messages = vec![(1, Intake::Place(broken)), (2, cancel(order.clone()))];
        let decision = decide(messages, books(5));
        let path: Vec<_> = decision.births[0].path.iter().map(|(state, _)| *state).collect();
        assert_eq!(path, [OrderState::DeadLetter, OrderState::Cancelled]);
        assert_eq!(decision.births[0].end_reason, Some(EndReason::Buyer));
    }

    #[test]
    fn an_order_is_claimed_whole_or_not_at_all_and_the_next_one_may_fit() {
        let decision = decide(
            vec![
                (1, Intake::Place(order(1, &[("A", 3)]))),
                (2, Intake::Place(order(2, &[("A", 3), ("B", 1)]))),
                (3, Intake::Place(order(3, &[("B", 5)]))),
            ],
            books(5),
        );
        let states: Vec<_> = decision.births.iter().map(Birth::state).collect();
        assert_eq!(states, [OrderState::Claimed, OrderState::Cancelled, OrderState::Claimed]);
        assert_eq!(decision.births[1].end_reason, Some(EndReason::AllotmentExhausted));
    }

    #[test]
    fn a_placing_yields_to_a_cancellation_that_came_first() {
        let order = order(1, &[("A", 1)]);
        let decision =
            decide(vec![(1, cancel(order.clone())), (2, Intake::Place(order))], books(5));
        assert_eq!(decision.births.len(), 1);
        assert_eq!(decision.births[0].state(), OrderState::Cancelled);
        assert_eq!(decision.births[0].end_reason, Some(EndReason::Buyer));
    }

    #[test]
    fn cancelling_a_claimed_order_asks_for_it_once_and_leaves_the_claim() {
        let order = order(1, &[("A", 1)]);
        let messages = vec![
            (1, Intake::Place(order.clone())),
            (2, cancel(order.clone())),
            (3, cancel(order.clone())),
        ];
        let decision = decide(messages.clone(), books(5));
        assert_eq!(decision.births[0].state(), OrderState::Claimed);
        assert!(decision.births[0].cancel_requested_at.is_some());

        let mut later = books(5);
        let known = Known { state: OrderState::Paying, cancel_requested: false };
        later.known.insert(order.order_id, known);
        let decision = decide(messages, later);
        assert!(decision.births.is_empty());
        assert_eq!(decision.cancel_requests.len(), 1);
    }

    #[test]
    fn an_ended_order_cannot_be_cancelled() {
        let order = order(1, &[("A", 1)]);
        let ended = |state: &OrderState| !state.is_open() && *state != OrderState::DeadLetter;
        for state in OrderState::ALL.into_iter().filter(ended) {
            let mut books = books(5);
            books.known.insert(order.order_id, Known { state, cancel_requested: false });
            assert_eq!(decide(vec![(1, cancel(order.clone()))], books), Decision::default());
        }
    }

    fn old(id: u128, lines: &[(&str, i64)]) -> PlacedOrder {
        PlacedOrder { epoch: 1, ..order(id, lines) }
    }

    fn fence(epoch: i64) -> Intake {
        Intake::Fence { sale_id: SALE, epoch }
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
            (1, Intake::Place(old(1, &[("A", 5)]))),
            (2, Intake::Place(order(2, &[("A", 5)]))),
            (3, Intake::Place(old(1, &[("A", 5)]))),
        ];
        let decision = decide(messages, books(5));
        assert_eq!(parked(&decision), [(1, 1)]);
        assert_eq!(decision.births.len(), 1);
        assert_eq!(decision.births[0].state(), OrderState::Claimed);
        assert!(decision.unparked.is_empty() && decision.dead.is_empty());
    }

    #[test]
    fn a_parked_order_that_comes_again_is_passed_over() {
        let again = vec![(7, Intake::Place(old(1, &[("A", 1)])))];
        assert_eq!(decide(again, with_parked(1)), Decision::default());
        // A copy that nobody can read puts nothing in its place.
        let broken = PlacedOrder { total_minor: 1, ..old(1, &[("A", 1)]) };
        let unreadable = Intake::Unrecordable { order: broken.clone(), cause: "unreadable" };
        let messages = vec![(8, Intake::Place(broken)), (9, unreadable)];
        let decision = decide(messages, with_parked(1));
        assert_eq!(decision.dead.len(), 1);
        assert!(decision.births.is_empty() && decision.unparked.is_empty());
    }

    #[test]
    fn a_parked_order_placed_again_in_the_new_epoch_is_claimed() {
        let again = order(1, &[("A", 1)]);
        let decision = decide(vec![(7, Intake::Place(again.clone()))], with_parked(1));
        assert_eq!(decision.births[0].state(), OrderState::Claimed);
        assert_eq!(decision.unparked, [again.order_id]);
        // Also in the batch that would have parked it.
        let messages = vec![(1, Intake::Place(old(1, &[("A", 1)]))), (2, Intake::Place(again))];
        let decision = decide(messages, books(5));
        assert_eq!(decision.births.len(), 1);
        assert!(decision.parked.is_empty() && decision.unparked.is_empty());
    }

    #[test]
    fn cancelling_a_parked_order_ends_it() {
        let straggler = old(1, &[("A", 1)]);
        let later = vec![(7, cancel(straggler.clone())), (8, Intake::Place(straggler.clone()))];
        let decision = decide(later, with_parked(1));
        assert_eq!(decision.births.len(), 1);
        assert_eq!(decision.births[0].end_reason, Some(EndReason::Buyer));
        assert_eq!(decision.unparked, [straggler.order_id]);
        let at_once = vec![(1, Intake::Place(straggler.clone())), (2, cancel(straggler))];
        let decision = decide(at_once, books(5));
        assert_eq!(decision.births[0].end_reason, Some(EndReason::Buyer));
        assert!(decision.parked.is_empty());
    }

    #[test]
    fn a_dead_letter_that_comes_again_as_a_straggler_is_parked() {
        let straggler = old(1, &[("A", 1)]);
        let again = vec![(7, Intake::Place(straggler.clone()))];
        let decision = decide(again, dead_letter(&straggler));
        assert_eq!(parked(&decision), [(7, 1)]);
        assert!(decision.births.is_empty());
        // Also behind the broken copy that made it one.
        let broken = PlacedOrder { total_minor: 1, ..straggler.clone() };
        let messages = vec![(1, Intake::Place(broken)), (2, Intake::Place(straggler.clone()))];
        let decision = decide(messages.clone(), books(5));
        assert_eq!(decision.births[0].state(), OrderState::DeadLetter);
        assert_eq!(parked(&decision), [(2, 1)]);
        // Its buyer's wish ends both.
        let mut with_wish = messages;
        with_wish.push((3, cancel(straggler.clone())));
        let decision = decide(with_wish, books(5));
        assert_eq!(decision.births[0].state(), OrderState::Cancelled);
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
            (2, Intake::Place(order(1, &[("A", 1)]))),
            (3, fence(0)),
            (4, fence(5)),
        ];
        let decision = decide(messages, books(5));
        assert_eq!(decision.dead, [(1, Unacceptable::Epoch), (3, Unacceptable::Epoch)]);
        assert_eq!(decision.births[0].state(), OrderState::Claimed);
        assert_eq!(decision.fences, BTreeMap::from([(SALE, 5)]));
        // A sale whose stock was never loaded has no epoch at all.
        let mut unloaded = books(5);
        unloaded.sales.insert(SALE, SaleFacts { fence: None, epoch: None });
        let decision = decide(vec![(1, fence(1))], unloaded);
        assert_eq!(decision.dead, [(1, Unacceptable::Epoch)]);
        assert!(decision.fences.is_empty());
    }

    #[test]
    fn what_is_recorded_or_cancelled_already_is_no_straggler() {
        let (known, cancelled) = (old(1, &[("A", 1)]), old(2, &[("A", 1)]));
        let mut books = books(5);
        let state = Known { state: OrderState::Claimed, cancel_requested: false };
        books.known.insert(known.order_id, state);
        let messages = vec![
            (1, Intake::Place(known)),
            (2, cancel(cancelled.clone())),
            (3, Intake::Place(cancelled)),
        ];
        let decision = decide(messages, books);
        assert!(decision.parked.is_empty());
        assert_eq!(decision.births.len(), 1);
        assert_eq!(decision.births[0].end_reason, Some(EndReason::Buyer));
    }

    #[test]
    fn every_order_is_claimed_cancelled_or_parked_and_batches_may_be_cut() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..2_000 {
            let mut books = books(random.random_range(0..30));
            let before = random.random_range(0..4_i64);
            let facts = SaleFacts { fence: (before > 0).then_some(before), epoch: Some(5) };
            books.sales.insert(SALE, facts);
            books.parked =
                (1..20).filter(|_| random.random_bool(0.2)).map(Uuid::from_u128).collect();
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
                        _ => Intake::Place(order),
                    },
                ));
            }

            // The rule, told message by message: which orders have a row afterwards, and which are
            // parked.
            let (mut fence, mut rows) = (before, HashSet::new());
            let mut waiting = books.parked.clone();
            for (_, message) in &messages {
                match message {
                    Intake::Fence { epoch, .. } if *epoch <= 5 => fence = fence.max(*epoch),
                    Intake::Fence { .. } | Intake::Closing { .. } | Intake::Unrecordable { .. } => {
                    }
                    Intake::Place(order) if rows.contains(&order.order_id) => {}
                    Intake::Place(order) if order.epoch < fence => {
                        waiting.insert(order.order_id);
                    }
                    Intake::Place(order) | Intake::Cancel { order, .. } => {
                        waiting.remove(&order.order_id);
                        rows.insert(order.order_id);
                    }
                }
            }
            let apply = |books: &mut Books, decision: &Decision| {
                for birth in &decision.births {
                    let cancel_requested = birth.cancel_requested_at.is_some();
                    let known = Known { state: birth.state(), cancel_requested };
                    assert!(books.known.insert(birth.order.order_id, known).is_none());
                    if birth.state().holds_units() {
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
    fn an_order_that_costs_nothing_is_confirmed_at_once() {
        let mut free = order(1, &[("A", 2)]);
        free.lines[0].unit_price_minor = 0;
        free.total_minor = 0;
        let decision = decide(vec![(1, Intake::Place(free))], books(5));
        assert_eq!(decision.births[0].state(), OrderState::Confirmed);
    }

    #[test]
    fn values_that_checkout_never_sends_are_put_aside() {
        type Spoil = fn(&mut PlacedOrder);
        let cases: Vec<(Spoil, Unacceptable)> = vec![
            (|order| order.lines.clear(), Unacceptable::Lines),
            (|order| order.lines[1].sku = "A".to_owned(), Unacceptable::SkuTwice),
            (|order| order.lines[0].quantity = 0, Unacceptable::Quantity),
            (|order| order.lines[0].quantity = i64::MAX, Unacceptable::Total),
            (|order| order.lines[0].unit_price_minor = -1, Unacceptable::Price),
            (|order| order.total_minor += 1, Unacceptable::Total),
            (|order| order.currency = "euro".to_owned(), Unacceptable::Currency),
            (|order| order.epoch = 0, Unacceptable::Epoch),
            (|order| order.email = "a@b\r\nBcc: c@d".to_owned(), Unacceptable::Text),
            (|order| order.buyer_id = "\0".to_owned(), Unacceptable::Text),
            (|order| order.payment_method = String::new(), Unacceptable::Text),
            (|order| order.sale_id = Uuid::from_u128(9), Unacceptable::SaleUnknown),
        ];
        for (spoil, problem) in cases {
            let mut spoiled = order(1, &[("A", 1), ("B", 1)]);
            spoil(&mut spoiled);
            let fine = Intake::Place(order(2, &[("A", 1)]));
            let decision = decide(vec![(7, Intake::Place(spoiled)), (8, fine)], books(5));
            assert_eq!(decision.dead, [(7, problem)]);
            let claimed = |birth: &&Birth| birth.state() == OrderState::Claimed;
            let fine = decision.births.iter().filter(claimed).count();
            assert_eq!(fine, 1, "a bad message was in the way of a good one");
        }
    }
}
