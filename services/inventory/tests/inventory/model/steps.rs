//! Random sequences of the actions of buyers, settlements, sweeps and operators, with time passing
//! in between.

use proptest::prelude::*;

/// Units, limit and price of each sku; some requests name a sku that is not among them.
pub(super) const SKUS: [(&str, i64, i64, i64); 3] =
    [("a", 12, 5, 1_999), ("b", 8, 0, 250), ("c", 5, 3, 0)];
pub(super) const UNKNOWN_SKU: &str = "zzz";
pub(super) const BUYERS: usize = 3;
/// What an order carries, in two versions.
pub(super) const DETAILS: [&str; 2] =
    [r#"{"email":"ada@example.org"}"#, r#"{"email":"bob@example.org"}"#];

/// An index into those that exist, modulo their number.
type Pick = usize;

/// A request. Skus, buyers and details by index.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    Reserve { buyer: usize, lines: Vec<(usize, i64)> },
    Place { buyer: usize, lines: Vec<(usize, i64)>, details: usize },
    PlaceHold { hold: Pick, foreign: bool, details: usize },
    Extend { hold: Pick, foreign: bool },
    Release { hold: Pick, foreign: bool },
}

/// The order that a settlement is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum OrderOf {
    Any,
    TheHold,
    AnotherHold(Pick),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Claimed,
    Sold,
    Released,
}

#[derive(Debug, Clone)]
pub(super) struct Settling {
    pub(super) hold: Pick,
    /// Among all holds, and not only those with an order.
    pub(super) of_all: bool,
    pub(super) end: End,
    pub(super) order: OrderOf,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// The admission, where one is needed.
    Ask(Ask, Option<usize>),
    /// Repeats an earlier request, with another admission.
    Again(Pick, Option<usize>),
    /// The buyer and id of an earlier request with other content.
    Reuse(Pick, Ask),
    Settle(Vec<Settling>),
    Sweep(usize),
    Adjust(usize, i64),
    /// Repeats an earlier adjustment, with this many units more.
    AdjustAgain(Pick, i64),
    /// Advances the clock by quarters of a hold's length.
    Wait(i64),
    /// A buyer extends a held hold in time, this often; the fourth time as late as possible.
    Keep(Pick, usize),
    Turn(&'static str),
}

/// Whether the sale has a room, and the steps: first some reservations for the later steps to work
/// on.
pub(super) fn sequences() -> impl Strategy<Value = (bool, Vec<Step>)> {
    let first = (reserve(), admission()).prop_map(|(ask, admission)| Step::Ask(ask, admission));
    let (first, then) =
        (prop::collection::vec(first, 1..=3), prop::collection::vec(step(), 0..=20));
    (prop::bool::weighted(0.3), first, then).prop_map(|(room, mut first, then)| {
        first.extend(then);
        (room, first)
    })
}

fn pick() -> impl Strategy<Value = Pick> + Clone {
    0..24_usize
}

fn foreign() -> impl Strategy<Value = bool> + Clone {
    prop::bool::weighted(0.1)
}

fn lines() -> impl Strategy<Value = Vec<(usize, i64)>> + Clone {
    // About one in thirty names an unknown sku.
    let sku = prop_oneof![10 => 0..1_usize, 10 => 1..2_usize, 10 => 2..3_usize, 1 => 3..4_usize];
    prop::collection::vec((sku, 1..=4_i64), 1..=3)
}

fn reserve() -> impl Strategy<Value = Ask> + Clone {
    (0..BUYERS, lines()).prop_map(|(buyer, lines)| Ask::Reserve { buyer, lines })
}

fn ask() -> impl Strategy<Value = Ask> + Clone {
    let (buyer, details) = (0..BUYERS, 0..DETAILS.len());
    prop_oneof![
        5 => reserve(),
        2 => (buyer, lines(), details.clone())
            .prop_map(|(buyer, lines, details)| Ask::Place { buyer, lines, details }),
        3 => (pick(), foreign(), details)
            .prop_map(|(hold, foreign, details)| Ask::PlaceHold { hold, foreign, details }),
        2 => (pick(), foreign()).prop_map(|(hold, foreign)| Ask::Extend { hold, foreign }),
        2 => (pick(), foreign()).prop_map(|(hold, foreign)| Ask::Release { hold, foreign }),
    ]
}

fn admission() -> impl Strategy<Value = Option<usize>> + Clone {
    prop_oneof![1 => Just(None), 9 => (0..8_usize).prop_map(Some)]
}

fn settling() -> impl Strategy<Value = Settling> {
    let end = prop_oneof![Just(End::Claimed), Just(End::Sold), Just(End::Released)];
    let order = prop_oneof![
        3 => Just(OrderOf::Any),
        3 => Just(OrderOf::TheHold),
        1 => pick().prop_map(OrderOf::AnotherHold),
    ];
    (pick(), prop::bool::weighted(0.2), end, order)
        .prop_map(|(hold, of_all, end, order)| Settling { hold, of_all, end, order })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (ask(), admission()).prop_map(|(ask, admission)| Step::Ask(ask, admission)),
        2 => (pick(), admission()).prop_map(|(of, admission)| Step::Again(of, admission)),
        1 => (pick(), ask()).prop_map(|(of, ask)| Step::Reuse(of, ask)),
        3 => prop::collection::vec(settling(), 1..=3).prop_map(Step::Settle),
        1 => (1..=3_usize).prop_map(Step::Sweep),
        1 => (0..=SKUS.len(), -6..=6_i64)
            .prop_filter("an adjustment changes something", |(_, delta)| *delta != 0)
            .prop_map(|(sku, delta)| Step::Adjust(sku, delta)),
        1 => (pick(), 0..=1_i64).prop_map(|(of, more)| Step::AdjustAgain(of, more)),
        2 => prop_oneof![3 => 1..=3_i64, 1 => 4..=6_i64].prop_map(Step::Wait),
        1 => (pick(), 1..=6_usize).prop_map(|(hold, times)| Step::Keep(hold, times)),
        1 => prop_oneof![3 => Just("OPEN"), 2 => Just("PAUSED"), 1 => Just("ENDED")].prop_map(Step::Turn),
    ]
}
