//! A payment against a model of the provider, with answers lost before and after their effect,
//! workers that die, events that come late and twice, and requests to cancel at any time. A failing
//! history is printed, shrunk to the shortest one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use time::OffsetDateTime;
use uuid::Uuid;

use super::*;

const AMOUNT: i64 = 1_999;
/// The token of the first card.
const FIRST: &str = "pm_1";

/// What a call to the provider comes to.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    LostBefore,
    LostAfter,
}

#[derive(Debug, Clone, Copy)]
enum Card {
    Good,
    Declined,
    Authenticates,
}

/// How often another card may be tried.
const CARDS: CardRules = CardRules { attempts: 3, window: std::time::Duration::from_secs(120) };

#[derive(Debug, Clone, Copy)]
enum Event {
    /// A worker takes the payment up and carries out this many steps, then dies or is done.
    Work(Fate, u8),
    /// Another worker, which has not noticed that its lease has run out, confirms from what it saw
    /// before.
    StaleConfirm(Fate),
    /// An event the provider once sent arrives.
    Webhook(prop::sample::Index),
    CancelWish,
    /// The buyer authenticates, or fails to.
    Buyer(bool),
    /// The buyer names another card.
    Retry(Card),
    /// The buyer's browser confirms the intent with a card, past us.
    Browser(Card),
    /// A clock runs out.
    Overdue(Overdue),
}

/// The provider: one intent, and how often it was captured.
#[derive(Debug)]
struct Provider {
    intent: Option<Intent>,
    /// The card that the intent names before any was confirmed.
    named: Option<Card>,
    captures: u32,
    /// How often a card was refused.
    refusals: u32,
    /// The keys of confirmations that were carried out.
    used: Vec<i32>,
    sent: Vec<Outcome>,
    /// The refusals that events tell of.
    told: Vec<Decline>,
}

impl Provider {
    fn reached(&mut self, status: IntentStatus) {
        let intent = self.intent.as_mut().unwrap();
        if status == IntentStatus::Succeeded {
            self.captures += 1;
            intent.received = Some(AMOUNT);
        }
        intent.status = status;
        intent.method = None;
        self.named = None;
        self.sent.extend(Outcome::of(intent));
    }

    fn create(&mut self, named: Option<Card>) {
        // The key is the order's, so that a second creation answers with the first intent.
        if self.intent.is_some() {
            return;
        }
        self.named = named;
        self.intent = Some(Intent {
            id: "pi_1".to_owned(),
            status: match named {
                Some(_) => IntentStatus::RequiresConfirmation,
                None => IntentStatus::RequiresPaymentMethod,
            },
            method: named.map(|_| FIRST.to_owned()),
            received: Some(0),
            decline: None,
            action: None,
            order_id: None,
            deployment: None,
        });
    }

    /// Whether it can be confirmed.
    fn is_open(&self) -> bool {
        self.intent.as_ref().is_some_and(|intent| {
            use IntentStatus::{RequiresConfirmation, RequiresPaymentMethod};
            matches!(intent.status, RequiresConfirmation | RequiresPaymentMethod)
        })
    }

    /// Confirms with our card of a number, once however often it is asked. Without a card it is
    /// the one that the intent names, and none if it names none.
    fn confirm(&mut self, number: i32, card: Option<Card>) {
        let card = card.or(self.named);
        if self.is_open()
            && !self.used.contains(&number)
            && let Some(card) = card
        {
            self.used.push(number);
            self.take(card);
        }
    }

    fn take(&mut self, card: Card) {
        match card {
            Card::Good => self.reached(IntentStatus::Succeeded),
            Card::Authenticates => {
                self.intent.as_mut().unwrap().decline = None;
                self.reached(IntentStatus::RequiresAction);
            }
            Card::Declined => self.refuse(),
        }
    }

    fn refuse(&mut self) {
        self.refusals += 1;
        let decline = Decline {
            code: "card_declined".to_owned(),
            reference: format!("ch_{}", self.refusals),
        };
        self.reached(IntentStatus::RequiresPaymentMethod);
        self.intent.as_mut().unwrap().decline = Some(decline.clone());
        self.told.push(decline);
    }

    fn cancel(&mut self) {
        let status = &self.intent.as_ref().unwrap().status;
        if !matches!(status, IntentStatus::Succeeded | IntentStatus::Canceled) {
            self.reached(IntentStatus::Canceled);
        }
    }
}

/// What the store keeps, changed only as `sql/` would.
#[derive(Debug)]
struct World {
    payment: Payment,
    /// The cards of our attempts, by number.
    cards: std::collections::HashMap<i32, Card>,
    /// The refusals that are recorded.
    recorded: Vec<String>,
    refund_due: bool,
    provider: Provider,
    overdue: Overdue,
    /// Whether the first card is named where the intent is created.
    names_first: bool,
    /// A confirmation that was decided on and committed, and whose sending may still happen: its
    /// number, and the card if it names one.
    stale: Option<(i32, Option<Card>)>,
    changes: Vec<(State, State)>,
}

impl World {
    fn new(card: Card) -> Self {
        let payment_method = FIRST.to_owned();
        let payment = Payment { amount_minor: AMOUNT, payment_method, ..Payment::due() };
        let provider = Provider {
            intent: None,
            named: None,
            captures: 0,
            refusals: 0,
            used: Vec::new(),
            sent: Vec::new(),
            told: Vec::new(),
        };
        Self {
            payment,
            cards: [(1, card)].into(),
            recorded: Vec::new(),
            refund_due: false,
            provider,
            overdue: Overdue::No,
            names_first: false,
            stale: None,
            changes: Vec::new(),
        }
    }

    fn become_(&mut self, to: State) {
        if self.payment.state != to {
            self.changes.push((self.payment.state, to));
            self.payment.state = to;
        }
    }

    fn settle(&mut self, outcome: Outcome) {
        let standing = Standing {
            state: self.payment.state,
            declined: self.payment.is_declined_for_good(),
            captured: self.payment.captured_minor > 0,
            expected: AMOUNT,
        };
        match settle(standing, outcome) {
            Ruling::Becomes(to) => {
                if to == State::Succeeded {
                    assert_eq!(self.payment.captured_minor, 0);
                    self.payment.captured_minor = AMOUNT;
                }
                self.become_(to);
            }
            Ruling::CapturedLate => {
                assert_eq!(self.payment.captured_minor, 0);
                self.payment.captured_minor = AMOUNT;
                self.refund_due = true;
                self.become_(State::Succeeded);
            }
            Ruling::Known => {}
            Ruling::CapturedAnother => panic!("the provider captures what it is asked for"),
            Ruling::Impossible(why) => panic!("{why}"),
        }
    }

    /// Records a refusal that the intent or an event shows.
    fn record_decline(&mut self, decline: &Decline) {
        let payment = &mut self.payment;
        if self.recorded.contains(&decline.reference) || !payment.state.is_open() {
            return;
        }
        payment.decline_ref = Some(decline.reference.clone());
        if !payment.is_declined() && payment.card_sent < payment.card_attempt {
            // That card cannot have been refused: it is another one's.
            return;
        }
        let number = payment.card_attempt + i32::from(payment.is_declined());
        payment.card_attempt = number;
        payment.card_declined = number;
        payment.decline_code = Some(decline.code.clone());
        payment.decline_final |= number >= CARDS.last();
        self.recorded.push(decline.reference.clone());
    }

    /// What the clocks say of the payment as it is: that of the cards runs only while one is asked
    /// for.
    fn overdue(&self) -> Overdue {
        let asked = self.payment.awaits_card();
        if self.overdue == Overdue::Card && !asked { Overdue::No } else { self.overdue }
    }

    /// Calls the provider; false when no answer came.
    fn call(&mut self, fate: Fate, call: impl FnOnce(&mut Provider)) -> bool {
        match fate {
            Fate::LostBefore => false,
            Fate::LostAfter => {
                call(&mut self.provider);
                false
            }
            Fate::Answered => {
                call(&mut self.provider);
                true
            }
        }
    }

    fn work(&mut self, fate: Fate, steps: u8) {
        if !self.payment.state.is_open() {
            return;
        }
        self.payment.attempts += 1;
        let mut seen: Option<Intent> = None;
        for _ in 0..steps {
            if !self.payment.state.is_open() {
                return;
            }
            let step = next_step(&self.payment, seen.as_ref(), self.overdue());
            match step {
                Step::Create => {
                    self.payment.first_attempt_at = Some(OffsetDateTime::UNIX_EPOCH);
                    let named = self.names_first.then(|| self.cards[&1]);
                    if !self.call(fate, |provider| provider.create(named)) {
                        return;
                    }
                    self.payment.intent_id = Some("pi_1".to_owned());
                    seen = self.provider.intent.clone();
                }
                Step::EndUnbegun => {
                    assert!(self.payment.intent_id.is_none());
                    let declined = self.payment.is_declined_for_good();
                    self.become_(if declined { State::Failed } else { State::Cancelled });
                }
                Step::Retrieve => {
                    if !self.call(fate, |_| {}) {
                        return;
                    }
                    seen = self.provider.intent.clone();
                }
                Step::Confirm => {
                    assert!(!self.payment.cancel_requested);
                    assert!(!self.payment.is_declined());
                    self.become_(State::Processing);
                    self.payment.action = None;
                    let number = self.payment.card_attempt;
                    self.payment.card_sent = number;
                    let is_named = seen.as_ref().is_some_and(|it| it.names_card_of(&self.payment));
                    assert!(!is_named || number == 1, "card {number} was never named");
                    let card = (!is_named).then(|| self.cards[&number]);
                    self.stale = Some((number, card));
                    if !self.call(fate, |provider| provider.confirm(number, card)) {
                        return;
                    }
                    seen = self.provider.intent.clone();
                }
                Step::RecordDecline(decline) => {
                    self.record_decline(&decline);
                    // An event of an older refusal may have come last.
                    self.payment.decline_ref = Some(decline.reference);
                }
                Step::CloseCards => self.payment.decline_final = true,
                Step::GiveUp(reason) => self.payment.end_reason = Some(reason),
                Step::CancelIntent => {
                    if !self.call(fate, Provider::cancel) {
                        return;
                    }
                    seen = self.provider.intent.clone();
                }
                Step::Settle(outcome) => self.settle(outcome),
                Step::AwaitBuyer(action) => {
                    self.become_(State::RequiresAction);
                    self.payment.action = Some(action);
                    return;
                }
                Step::Wait => return,
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Work(fate, steps) => self.work(fate, steps),
            Event::StaleConfirm(fate) => {
                if let Some((number, card)) = self.stale {
                    self.call(fate, |provider| provider.confirm(number, card));
                }
            }
            Event::Webhook(which) => {
                if !self.provider.sent.is_empty() {
                    let outcome = *which.get(&self.provider.sent);
                    self.settle(outcome);
                } else if !self.provider.told.is_empty() && self.payment.intent_id.is_some() {
                    let decline = which.get(&self.provider.told).clone();
                    self.record_decline(&decline);
                }
            }
            Event::CancelWish => match cancel(&self.payment) {
                CancelRuling::EndsNow => self.become_(State::Cancelled),
                CancelRuling::AsksProvider => self.payment.cancel_requested = true,
                CancelRuling::HasEnded => {}
            },
            Event::Buyer(passes) => {
                let waits = self.provider.intent.as_ref().map(|intent| &intent.status);
                if waits == Some(&IntentStatus::RequiresAction) {
                    match passes {
                        true => self.provider.reached(IntentStatus::Succeeded),
                        false => self.provider.refuse(),
                    }
                }
            }
            Event::Retry(card) => {
                if let RetryRuling::Try(number) = retry(&self.payment, None, "pm_2", true) {
                    self.cards.insert(number, card);
                    self.payment.payment_method = format!("pm_{number}");
                    self.payment.card_attempt = number;
                    self.payment.action = None;
                    self.become_(State::Processing);
                }
            }
            Event::Browser(card) => {
                // It has the client secret from the record.
                let told = self.payment.intent_id.is_some();
                if told && self.provider.is_open() {
                    self.provider.take(card);
                }
            }
            Event::Overdue(overdue) => self.overdue = overdue,
        }
        assert!(self.provider.captures <= 1, "captured {} times", self.provider.captures);
    }
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![Just(Fate::Answered), Just(Fate::LostBefore), Just(Fate::LostAfter)]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (fates(), 0..6u8).prop_map(|(fate, steps)| Event::Work(fate, steps)),
        1 => fates().prop_map(Event::StaleConfirm),
        2 => any::<prop::sample::Index>().prop_map(Event::Webhook),
        1 => Just(Event::CancelWish),
        1 => any::<bool>().prop_map(Event::Buyer),
        2 => cards().prop_map(Event::Retry),
        1 => cards().prop_map(Event::Browser),
        1 => Just(Event::Overdue(Overdue::Card)),
        1 => Just(Event::Overdue(Overdue::Buyer)),
        1 => Just(Event::Overdue(Overdue::Provider)),
    ]
}

fn cards() -> impl Strategy<Value = Card> {
    prop_oneof![Just(Card::Good), Just(Card::Declined), Just(Card::Authenticates)]
}

/// Every change the specification allows.
fn allowed(from: State, to: State) -> bool {
    use State::{Cancelled, Due, Failed, Processing, Refunded, RequiresAction, Succeeded};
    match from {
        Due => matches!(to, Processing | RequiresAction | Succeeded | Failed | Cancelled),
        Processing => matches!(to, RequiresAction | Succeeded | Failed | Cancelled),
        RequiresAction => matches!(to, Processing | Succeeded | Failed | Cancelled),
        Failed | Cancelled => to == Succeeded,
        Succeeded => to == Refunded,
        Refunded => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_history_captures_twice(
        card in cards(),
        names_first: bool,
        history in prop::collection::vec(events(), 0..40),
        last in prop_oneof![Just(Overdue::Buyer), Just(Overdue::Provider)],
    ) {
        let mut world = World { names_first, ..World::new(card) };
        for event in history {
            world.happen(event);
        }
        // From here on everything arrives: the payment comes to rest.
        world.happen(Event::Overdue(last));
        for _ in 0..3 {
            world.happen(Event::Work(Fate::Answered, 8));
        }
        prop_assert!(!world.payment.state.is_open(), "still {}", world.payment.state);
        let late = world.provider.sent.last().copied();
        if let Some(outcome) = late
            && world.payment.intent_id.is_some()
        {
            world.settle(outcome);
        }
        let named = world.payment.intent_id.is_some();
        prop_assert!(named || world.provider.intent.is_none(), "an intent the record does not name");
        let captured = world.provider.captures == 1;
        prop_assert_eq!(world.payment.captured_minor, if captured { AMOUNT } else { 0 });
        prop_assert_eq!(world.payment.state == State::Succeeded, captured);
        let refused = world.payment.state == State::Failed;
        prop_assert!(!refused || world.provider.refusals > 0, "declined without a card");
        prop_assert!(world.cards.len() <= 3, "{} of our cards were tried", world.cards.len());
        for (from, to) in world.changes {
            prop_assert!(allowed(from, to), "{from} became {to}");
        }
    }

    #[test]
    fn settling_is_idempotent(
        state in prop::sample::select(State::ALL.to_vec()),
        declined: bool,
        outcomes in prop::collection::vec(
            prop_oneof![Just(Outcome::Captured { received: AMOUNT }), Just(Outcome::Canceled)], 0..6),
    ) {
        let mut state = state;
        for outcome in outcomes {
            let captured = matches!(state, State::Succeeded | State::Refunded);
            match settle(Standing { state, declined, captured, expected: AMOUNT }, outcome) {
                Ruling::Becomes(to) => {
                    prop_assert!(state.is_open() && !to.is_open());
                    prop_assert!(allowed(state, to));
                    state = to;
                }
                Ruling::CapturedLate => {
                    prop_assert!(matches!(state, State::Failed | State::Cancelled));
                    state = State::Succeeded;
                }
                Ruling::CapturedAnother => prop_assert!(false, "it is the amount that was asked for"),
                Ruling::Known | Ruling::Impossible(_) => {}
            }
            let captured = matches!(state, State::Succeeded | State::Refunded);
            let again = settle(Standing { state, declined, captured, expected: AMOUNT }, outcome);
            prop_assert!(matches!(again, Ruling::Known | Ruling::Impossible(_)), "{again:?}");
        }
    }
}

#[test]
fn another_amount_is_given_back() {
    for state in State::ALL {
        let ruling = |captured| {
            let standing = Standing { state, declined: false, captured, expected: AMOUNT };
            settle(standing, Outcome::Captured { received: AMOUNT - 1 })
        };
        match state {
            State::Due | State::Processing | State::RequiresAction => {
                assert_eq!(ruling(false), Ruling::CapturedAnother, "{state}");
            }
            State::Failed | State::Cancelled => {
                assert_eq!(ruling(false), Ruling::CapturedAnother, "{state}");
                assert_eq!(ruling(true), Ruling::Known, "{state}");
            }
            State::Succeeded | State::Refunded => {
                assert!(matches!(ruling(true), Ruling::Impossible(_)), "{state}");
            }
        }
    }
}

#[test]
fn each_clock_ends_a_payment_in_its_own_way() {
    let mut payment = World::new(Card::Good).payment;
    // The provider was not asked yet.
    assert_eq!(next_step(&payment, None, Overdue::Buyer), Step::EndUnbegun);
    let give_up = Step::GiveUp(EndReason::ProviderUnavailable);
    assert_eq!(next_step(&payment, None, Overdue::Provider), give_up);
    payment.end_reason = Some(EndReason::ProviderUnavailable);
    assert_eq!(next_step(&payment, None, Overdue::Provider), Step::EndUnbegun);
    // A request may have created an intent: only the provider knows.
    payment.first_attempt_at = Some(OffsetDateTime::UNIX_EPOCH);
    assert_eq!(next_step(&payment, None, Overdue::Provider), Step::Create);
    payment.intent_id = Some("pi_1".to_owned());
    assert_eq!(next_step(&payment, None, Overdue::Provider), Step::Retrieve);
    // Whatever the clocks say, money that was taken was taken.
    let mut intent = Intent {
        id: "pi_1".to_owned(),
        status: IntentStatus::Succeeded,
        method: None,
        received: Some(AMOUNT),
        decline: None,
        action: None,
        order_id: None,
        deployment: None,
    };
    payment.end_reason = None;
    let settle = Step::Settle(Outcome::Captured { received: AMOUNT });
    assert_eq!(next_step(&payment, Some(&intent), Overdue::Provider), settle);
    // An answer that does not say how much is no end.
    intent.received = None;
    assert_eq!(next_step(&payment, Some(&intent), Overdue::No), Step::Retrieve);
}

/// A payment of 19.99 EUR of which everything was captured.
fn captured() -> Payment {
    let mut payment = World::new(Card::Good).payment;
    payment.intent_id = Some("pi_1".to_owned());
    payment.state = State::Succeeded;
    payment.captured_minor = AMOUNT;
    payment
}

proptest! {
    /// However refunds are asked for, carried out, failed and asked for again, no more is on its
    /// way back than was captured.
    #[test]
    fn refunds_never_exceed_what_was_captured(
        asks in prop::collection::vec(
            (0..6_u128, prop::option::of(1..AMOUNT), any::<prop::sample::Index>(), 0..3_u8), 0..30),
    ) {
        let payment = captured();
        let mut refunds: Vec<Refund> = Vec::new();
        for (request, amount, which, fate) in asks {
            match refund(&payment, &refunds, Uuid::from_u128(request), amount) {
                RefundRuling::IsDue { refund_id, amount_minor, is_rest } => {
                    prop_assert!(amount_minor > 0);
                    prop_assert!(!refunds.iter().any(|it| it.refund_id == refund_id));
                    refunds.push(Refund {
                        refund_id,
                        order_id: payment.order_id,
                        intent_id: "pi_1".to_owned(),
                        state: RefundState::Due,
                        amount_minor,
                        is_rest,
                        r#try: 1,
                        failed: 0,
                        provider_ref: None,
                    });
                }
                // What a rest that had failed is over is looked at where it is made due.
                RefundRuling::IsDueAgain(_)
                | RefundRuling::Known
                | RefundRuling::Reused
                | RefundRuling::Done
                | RefundRuling::Exceeds(_) => {}
                RefundRuling::NothingCaptured => prop_assert!(false),
            }
            if !refunds.is_empty() {
                let refund = which.get(&refunds).clone();
                let report = [RefundReport::Done, RefundReport::Pending, RefundReport::Failed];
                let state = match refund_change(&refund, "re", report[usize::from(fate)]) {
                    RefundChange::Known => refund.state,
                    RefundChange::Pending => RefundState::Pending,
                    RefundChange::Done => RefundState::Done,
                    RefundChange::Undone { to, .. } => to,
                };
                let place = refunds.iter().position(|it| it.refund_id == refund.refund_id).unwrap();
                let failed = state != refund.state && report[usize::from(fate)] == RefundReport::Failed;
                refunds[place].r#try += i32::from(failed);
                refunds[place].failed += i32::from(failed);
                refunds[place].state = state;
            }
            let taken: i64 = refunds
                .iter()
                .filter(|it| it.state != RefundState::Failed)
                .map(|it| it.amount_minor)
                .sum();
            prop_assert!(taken <= AMOUNT, "{taken} of {AMOUNT} are on their way back");
        }
    }
}

#[test]
fn only_captured_money_goes_back() {
    let request = Uuid::from_u128(1);
    let payment = captured();
    let all = |payment: &Payment| refund(payment, &[], request, None);
    assert!(matches!(
        all(&payment),
        RefundRuling::IsDue { amount_minor: AMOUNT, is_rest: true, .. }
    ));
    assert_eq!(refund(&payment, &[], request, Some(AMOUNT + 1)), RefundRuling::Exceeds(AMOUNT));
    let open = Payment { captured_minor: 0, state: State::Processing, ..payment };
    assert_eq!(all(&open), RefundRuling::NothingCaptured);
}

/// All that is left is asked for when a part, or the rest itself, has failed.
#[test]
fn what_is_left_can_be_asked_for_again() {
    let payment = captured();
    let request = Uuid::from_u128(1);
    let refund_of = |is_rest, state, amount_minor| Refund {
        refund_id: Uuid::from_u128(if is_rest { 7 } else { 8 }),
        order_id: payment.order_id,
        intent_id: "pi_1".to_owned(),
        state,
        amount_minor,
        is_rest,
        r#try: 1,
        failed: 0,
        provider_ref: None,
    };
    use RefundState::{Done, Failed};
    let all = |refunds: &[Refund]| refund(&payment, refunds, request, None);
    // Everything went back by hand after the rest had failed.
    let by_hand = [refund_of(true, Failed, AMOUNT), refund_of(false, Done, AMOUNT)];
    assert_eq!(all(&by_hand), RefundRuling::Done);
    let again = [refund_of(true, Failed, AMOUNT)];
    assert_eq!(all(&again), RefundRuling::IsDueAgain(Uuid::from_u128(7)));
    // A part failed after the rest had gone back.
    let part = [refund_of(false, Failed, 300), refund_of(true, Done, AMOUNT - 300)];
    let left = all(&part);
    assert!(
        matches!(left, RefundRuling::IsDue { amount_minor: 300, is_rest: false, .. }),
        "{left:?}"
    );
    // One request asks for one thing.
    let RefundRuling::IsDue { refund_id, .. } = refund(&payment, &[], request, Some(300)) else {
        panic!("nothing is due")
    };
    let before = [Refund { refund_id, ..refund_of(false, Done, 300) }];
    assert_eq!(all(&before), RefundRuling::Reused);
}
