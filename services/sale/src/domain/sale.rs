//! A sale and the changes of its state.

use std::time::Duration;

use flashsale_record::SaleState;
use iso_currency::Currency;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{ItemSource, Kind, PriceChange, PriceRevision, PriceSwitch, Problems};

/// Whether inventory and the waiting room have to be told of a sale that goes from `from` (`None`:
/// it is new) to `to`. They are not told of a sale that was never prepared: a draft that ends was
/// never loaded. This is the only place that decides it.
pub const fn must_be_told(from: Option<SaleState>, to: SaleState) -> bool {
    match (from, to) {
        (Some(from), SaleState::Ended | SaleState::Cancelled) => from.may_have_sold(),
        (None, SaleState::Ended | SaleState::Cancelled) => false,
        (_, to) => to.may_have_sold(),
    }
}

/// The waiting room of a sale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Room {
    /// Buyers admitted per second.
    pub rate: f64,
    /// How long an admission may be used, in whole milliseconds.
    pub admission: Duration,
    /// How long before the start buyers may join, in whole milliseconds.
    pub pre_queue: Duration,
}

/// What the shop decides about a sale.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What the shop calls it.
    pub name: String,
    /// The currency of every price.
    pub currency: Currency,
    /// When buyers may start.
    pub starts_at: OffsetDateTime,
    /// When new holds stop.
    pub ends_at: OffsetDateTime,
    /// How long units stay held, in whole milliseconds.
    pub hold: Duration,
    /// How long a buyer may take to authenticate a payment, in whole milliseconds, unless it is
    /// left to what payment is configured with.
    pub payment_patience: Option<Duration>,
    /// The waiting room, if there is one.
    pub room: Option<Room>,
    /// How many buyers a second the shop expects at the peak, if it says so.
    pub expected_peak: Option<i64>,
}

impl Settings {
    /// How long before its start the sale is prepared: `least`, or as early as buyers may join.
    pub fn lead(&self, least: Duration) -> Duration {
        self.room.map_or(least, |room| room.pre_queue.max(least))
    }
}

/// One thing a sale offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The shop's name of the unit, unique within the sale.
    pub sku: String,
    /// What the buyer reads.
    pub title: String,
    /// The price of one unit, in minor units of the sale's currency.
    pub price_minor: i64,
    /// What one unit costs outside the sale, if the shop has said so.
    pub regular_minor: Option<i64>,
    /// Units the sale may sell.
    pub quantity: i64,
    /// Units one buyer may hold and buy together; 0 means no limit.
    pub per_buyer_limit: i64,
}

/// A sale that is not recorded yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSale {
    pub id: Uuid,
    /// What the shop decided.
    pub settings: Settings,
    /// What it offers.
    pub items: Vec<Item>,
    /// Where its items stood in the export that it is made of; none if it is made of none.
    pub sources: Vec<ItemSource>,
}

/// A sale as it is recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Sale {
    pub id: Uuid,
    /// What the shop decided.
    pub settings: Settings,
    pub state: SaleState,
    /// It is to be called off, which the store of its stock has not decided yet.
    pub cancel_requested: bool,
    /// It may offer what another sale offers at the same time.
    pub allow_shared_skus: bool,
    /// What it offers, by sku, with the prices and limits of now; empty where only the sale itself
    /// was read.
    pub items: Vec<Item>,
    /// The revisions of its prices behind the first, by number; none where only the sale itself was
    /// read.
    pub revisions: Vec<PriceRevision>,
    /// Raised by every change.
    pub version: i64,
    /// The last version that needs no more telling to inventory and the waiting room.
    pub propagated_version: i64,
    /// When its report was first final.
    pub final_at: Option<OffsetDateTime>,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it last changed.
    pub updated_at: OffsetDateTime,
}

/// What happens to a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Create,
    /// The shop decides otherwise about it.
    Update,
    /// It gets its window, and will open by itself.
    Schedule,
    /// Its stock is loaded and its room configured.
    Prepare,
    /// It opens, or resumes.
    Open,
    /// It is held up.
    Pause,
    /// It is to be called off, or is.
    Cancel,
    /// It is over.
    End,
}

impl ChangeKind {
    /// The name in the store and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Schedule => "SCHEDULE",
            Self::Prepare => "PREPARE",
            Self::Open => "OPEN",
            Self::Pause => "PAUSE",
            Self::Cancel => "CANCEL",
            Self::End => "END",
        }
    }
}

/// A sale as it is after a change.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub kind: ChangeKind,
    pub state: SaleState,
    /// What the shop decides from now on.
    pub settings: Settings,
    /// It is to be called off, if it has not begun.
    pub cancel_requested: bool,
    /// It may offer what another sale offers at the same time.
    pub allow_shared_skus: bool,
    /// What it offers from now on, if that changes; of a sale that is not prepared.
    pub items: Option<Vec<Item>>,
    /// What its items cost later, if that changes; of a sale that is prepared.
    pub prices: Option<PriceChange>,
    /// Whether inventory and the waiting room have to be told.
    pub tell: bool,
}

/// What the store of a sale's stock has decided, by its clock and for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtStock {
    /// The sale is called off.
    pub cancelled: bool,
    /// Its window has passed.
    pub over: bool,
    /// When it switches, or has switched, to the revisions of the prices that it has.
    pub price_switches: Vec<PriceSwitch>,
}

/// The skus that a sale offers during its window, and until its last hold has run out, may be
/// offered by no other sale then, unless that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkuConflict {
    /// The first of them.
    pub sku: String,
    /// The sale that offers it; `None` where the caller must not learn its id.
    pub other: Option<Uuid>,
    /// The start of that sale.
    pub starts_at: OffsetDateTime,
    /// When the last hold of that sale has run out.
    pub until: OffsetDateTime,
}

impl SkuConflict {
    /// The other sale in words.
    pub fn whose(&self) -> String {
        let another = || "a sale of another shop".to_owned();
        self.other.map_or_else(another, |id| format!("the sale {id}"))
    }
}

/// Why a request does not change a sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotChanged {
    /// The state forbids it.
    State(StateConflict),
    /// It breaks rules.
    Invalid(Problems),
    /// The caller has not seen the present version.
    Version {
        /// The version that the caller has seen.
        seen: i64,
        /// The present one.
        current: i64,
    },
}

impl From<StateConflict> for NotChanged {
    fn from(conflict: StateConflict) -> Self {
        Self::State(conflict)
    }
}

/// The state forbids the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateConflict {
    /// The state of the sale.
    pub state: SaleState,
    /// Why it forbids the change, such as `it has ended`.
    pub why: &'static str,
}

impl Sale {
    /// Opens the sale now, or resumes a paused one. `None`: it is open.
    ///
    /// # Errors
    /// When it is over or called off, or its window passed before it was opened.
    pub fn start(
        &self,
        now: OffsetDateTime,
        allow_shared_skus: bool,
    ) -> Result<Option<Change>, StateConflict> {
        match self.state {
            SaleState::Draft | SaleState::Scheduled | SaleState::Prepared | SaleState::Paused => {
                self.not_called_off()?;
                if self.settings.ends_at <= now {
                    return Err(self.conflict("its window has passed"));
                }
                let mut change = self.go(ChangeKind::Open, SaleState::Open);
                change.settings.starts_at = change.settings.starts_at.min(now);
                change.allow_shared_skus |= allow_shared_skus;
                Ok(Some(change))
            }
            SaleState::Open => Ok(None),
            SaleState::Ended | SaleState::Cancelled => Err(self.over()),
        }
    }

    /// Gives a sale that is not prepared its window; it will open by itself.
    ///
    /// # Errors
    /// When it is prepared or has begun, when it is over, or the window breaks rules.
    pub fn schedule(
        &self,
        window: (Option<OffsetDateTime>, Option<OffsetDateTime>),
        now: OffsetDateTime,
        allow_shared_skus: bool,
    ) -> Result<Change, NotChanged> {
        match self.state {
            SaleState::Draft | SaleState::Scheduled => {}
            SaleState::Prepared => {
                let why =
                    "its stock is loaded; UpdateSale moves its start, CancelSale calls it off";
                return Err(self.conflict(why).into());
            }
            SaleState::Open | SaleState::Paused => {
                return Err(self.conflict("it has begun; UpdateSale changes its end").into());
            }
            SaleState::Ended | SaleState::Cancelled => return Err(self.over().into()),
        }
        let starts_at = window.0.unwrap_or(self.settings.starts_at);
        let ends_at = window.1.unwrap_or(self.settings.ends_at);
        let mut problems = Problems::new();
        if starts_at <= now {
            let what = "is in the past; StartSale opens a sale at once";
            problems.add(Kind::Argument, "starts_at", what);
        }
        if ends_at <= starts_at {
            problems.add(Kind::Argument, "ends_at", "must be later than starts_at");
        }
        if !problems.is_empty() {
            return Err(NotChanged::Invalid(problems));
        }
        let mut change = self.go(ChangeKind::Schedule, SaleState::Scheduled);
        (change.settings.starts_at, change.settings.ends_at) = (starts_at, ends_at);
        change.allow_shared_skus = allow_shared_skus;
        Ok(change)
    }

    /// Holds up the sale. `None`: it is paused.
    ///
    /// # Errors
    /// When it has not begun, or is over.
    pub fn pause(&self, now: OffsetDateTime) -> Result<Option<Change>, StateConflict> {
        match self.state {
            SaleState::Open => Ok(Some(self.go(ChangeKind::Pause, SaleState::Paused))),
            // It has begun by the clock, and the record follows.
            SaleState::Prepared if self.settings.starts_at <= now => {
                self.not_called_off()?;
                Ok(Some(self.go(ChangeKind::Pause, SaleState::Paused)))
            }
            SaleState::Paused => Ok(None),
            SaleState::Draft | SaleState::Scheduled | SaleState::Prepared => {
                Err(self.conflict("it has not begun; CancelSale calls it off"))
            }
            SaleState::Ended | SaleState::Cancelled => Err(self.over()),
        }
    }

    /// Calls the sale off. One that is prepared may begin at any moment: whether it has is decided
    /// where its stock is ([`Sale::decided`]). `None`: that has been asked for.
    ///
    /// # Errors
    /// When it has begun, or is over.
    pub fn cancel(&self) -> Result<Option<Change>, StateConflict> {
        match self.state {
            SaleState::Draft | SaleState::Scheduled => {
                Ok(Some(self.go(ChangeKind::Cancel, SaleState::Cancelled)))
            }
            SaleState::Prepared if self.cancel_requested => Ok(None),
            SaleState::Prepared => Ok(Some(Change {
                cancel_requested: true,
                tell: true,
                ..self.keep(ChangeKind::Cancel)
            })),
            SaleState::Cancelled => Ok(None),
            SaleState::Open | SaleState::Paused => Err(self.begun()),
            SaleState::Ended => Err(self.over()),
        }
    }

    /// What becomes of the sale by what the store of its stock has decided. `None`: nothing but
    /// what the record says.
    pub fn decided(&self, at_stock: &AtStock) -> Option<Change> {
        if self.state == SaleState::Prepared && self.cancel_requested {
            return Some(if at_stock.cancelled {
                self.go(ChangeKind::Cancel, SaleState::Cancelled)
            } else {
                self.go(ChangeKind::Open, SaleState::Open)
            });
        }
        // It got a later end, and that came too late.
        (self.state.may_sell() && at_stock.over).then(|| self.go(ChangeKind::End, SaleState::Ended))
    }

    /// Ends the sale for good. `None`: it has ended.
    ///
    /// # Errors
    /// When it was called off.
    pub fn end(&self) -> Result<Option<Change>, StateConflict> {
        match self.state {
            SaleState::Draft
            | SaleState::Scheduled
            | SaleState::Prepared
            | SaleState::Open
            | SaleState::Paused => Ok(Some(self.go(ChangeKind::End, SaleState::Ended))),
            SaleState::Ended => Ok(None),
            SaleState::Cancelled => Err(self.over()),
        }
    }

    /// What the clock of the record makes of the sale. `lead` is how long before its start, or
    /// before buyers may join, it is prepared at least.
    pub fn due(&self, now: OffsetDateTime, lead: Duration) -> Option<Change> {
        let Settings { starts_at, ends_at, .. } = &self.settings;
        let lead = self.settings.lead(lead);
        match self.state {
            SaleState::Draft | SaleState::Ended | SaleState::Cancelled => None,
            SaleState::Scheduled | SaleState::Prepared | SaleState::Open | SaleState::Paused
                if *ends_at <= now =>
            {
                Some(self.go(ChangeKind::End, SaleState::Ended))
            }
            SaleState::Scheduled if *starts_at <= now + lead => {
                Some(self.go(ChangeKind::Prepare, SaleState::Prepared))
            }
            // The stock has opened by itself, if it was there: the record follows.
            SaleState::Prepared if *starts_at <= now && !self.cancel_requested => Some(Change {
                tell: !self.is_propagated(),
                ..self.go(ChangeKind::Open, SaleState::Open)
            }),
            SaleState::Scheduled | SaleState::Prepared | SaleState::Open | SaleState::Paused => {
                None
            }
        }
    }

    /// Whether its window has to be held against those of other sales after `change`.
    pub fn enters(&self, change: &Change) -> bool {
        let (old, new) = (&self.settings, &change.settings);
        let planned = match change.state {
            SaleState::Scheduled | SaleState::Prepared | SaleState::Open | SaleState::Paused => {
                true
            }
            SaleState::Draft | SaleState::Ended | SaleState::Cancelled => false,
        };
        let grows =
            new.starts_at < old.starts_at || new.ends_at > old.ends_at || new.hold > old.hold;
        let others = self.allow_shared_skus && !change.allow_shared_skus;
        planned
            && !change.allow_shared_skus
            && (self.state == SaleState::Draft || grows || others || change.items.is_some())
    }

    pub(super) fn keep(&self, kind: ChangeKind) -> Change {
        Change {
            kind,
            state: self.state,
            settings: self.settings.clone(),
            cancel_requested: self.cancel_requested,
            allow_shared_skus: self.allow_shared_skus,
            items: None,
            prices: None,
            tell: false,
        }
    }

    fn go(&self, kind: ChangeKind, to: SaleState) -> Change {
        let tell = must_be_told(Some(self.state), to);
        Change { state: to, cancel_requested: false, tell, ..self.keep(kind) }
    }

    pub(super) fn conflict(&self, why: &'static str) -> StateConflict {
        StateConflict { state: self.state, why }
    }

    /// The conflict of what only a sale allows that is not over.
    pub(super) fn over(&self) -> StateConflict {
        self.conflict(match self.state {
            SaleState::Cancelled => "it was called off",
            SaleState::Draft
            | SaleState::Scheduled
            | SaleState::Prepared
            | SaleState::Open
            | SaleState::Paused
            | SaleState::Ended => "it has ended",
        })
    }

    /// The conflict of what only a sale allows that has not begun.
    pub fn begun(&self) -> StateConflict {
        self.conflict("it has begun; EndSale ends it")
    }

    pub(super) fn not_called_off(&self) -> Result<(), StateConflict> {
        if self.cancel_requested { Err(self.conflict("it is being called off")) } else { Ok(()) }
    }

    /// Whether inventory and the waiting room know this version, or need not.
    pub fn is_propagated(&self) -> bool {
        self.propagated_version >= self.version
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use time::macros::datetime;

    use super::*;

    const STARTS: OffsetDateTime = datetime!(2026-11-23 18:00 UTC);
    const ENDS: OffsetDateTime = datetime!(2026-11-24 18:00 UTC);

    fn sale(state: SaleState) -> Sale {
        Sale {
            id: Uuid::from_u128(1),
            settings: Settings {
                name: "Spring drop".to_owned(),
                currency: Currency::EUR,
                starts_at: STARTS,
                ends_at: ENDS,
                hold: Duration::from_secs(600),
                payment_patience: None,
                room: None,
                expected_peak: None,
            },
            state,
            cancel_requested: false,
            allow_shared_skus: false,
            items: Vec::new(),
            revisions: Vec::new(),
            version: 1,
            propagated_version: 1,
            final_at: None,
            created_at: STARTS,
            updated_at: STARTS,
        }
    }

    #[test]
    fn each_state_allows_its_changes() {
        use SaleState::{Cancelled, Draft, Ended, Open, Paused, Prepared, Scheduled};
        let to = |change: Option<Change>| change.map(|change| (change.state, change.tell));
        let later = (Some(STARTS + time::Duration::HOUR), None);
        // Of each state what start, schedule, pause before and after the start, cancel and end lead
        // to, and whether it is told. `None`: refused; `Some(None)`: nothing to do.
        for (state, start, schedule, early, late, cancel, end) in [
            (
                Draft,
                Some(Some((Open, true))),
                Some((Scheduled, false)),
                None,
                None,
                Some(Some((Cancelled, false))),
                Some(Some((Ended, false))),
            ),
            (
                Scheduled,
                Some(Some((Open, true))),
                Some((Scheduled, false)),
                None,
                None,
                Some(Some((Cancelled, false))),
                Some(Some((Ended, false))),
            ),
            (
                Prepared,
                Some(Some((Open, true))),
                None,
                None,
                Some(Some((Paused, true))),
                Some(Some((Prepared, true))),
                Some(Some((Ended, true))),
            ),
            (
                Open,
                Some(None),
                None,
                Some(Some((Paused, true))),
                Some(Some((Paused, true))),
                None,
                Some(Some((Ended, true))),
            ),
            (
                Paused,
                Some(Some((Open, true))),
                None,
                Some(None),
                Some(None),
                None,
                Some(Some((Ended, true))),
            ),
            (Ended, None, None, None, None, None, Some(None)),
            (Cancelled, None, None, None, None, Some(None), None),
        ] {
            let sale = sale(state);
            let before = STARTS - time::Duration::MILLISECOND;
            assert_eq!(sale.start(STARTS, false).ok().map(to), start, "start {state:?}");
            let scheduled = sale.schedule(later, STARTS, false).ok();
            assert_eq!(to(scheduled), schedule, "schedule {state:?}");
            assert_eq!(sale.pause(before).ok().map(to), early, "early pause {state:?}");
            assert_eq!(sale.pause(STARTS).ok().map(to), late, "pause {state:?}");
            assert_eq!(sale.cancel().ok().map(to), cancel, "cancel {state:?}");
            assert_eq!(sale.end().ok().map(to), end, "end {state:?}");
        }
    }

    #[test]
    fn a_lapsed_sale_does_not_open() {
        assert!(sale(SaleState::Draft).start(ENDS - time::Duration::MILLISECOND, false).is_ok());
        let conflict = sale(SaleState::Draft).start(ENDS, false).unwrap_err();
        assert_eq!(conflict.why, "its window has passed");
        assert_eq!(sale(SaleState::Open).start(ENDS, false), Ok(None));
    }

    #[test]
    fn starting_replaces_a_later_start_only() {
        let hour = time::Duration::HOUR;
        let early = sale(SaleState::Scheduled).start(STARTS - hour, false).unwrap().unwrap();
        assert_eq!(early.settings.starts_at, STARTS - hour);
        let late = sale(SaleState::Scheduled).start(STARTS + hour, false).unwrap().unwrap();
        assert_eq!(late.settings.starts_at, STARTS);
    }

    #[test]
    fn a_window_is_ahead_and_has_a_length() {
        let hour = time::Duration::HOUR;
        for (starts, ends, now, field) in [
            (STARTS, ENDS, STARTS, "starts_at"),
            (STARTS, STARTS, STARTS - hour, "ends_at"),
            (STARTS, STARTS - hour, STARTS - hour, "ends_at"),
        ] {
            let refused = sale(SaleState::Draft)
                .schedule((Some(starts), Some(ends)), now, false)
                .unwrap_err();
            let NotChanged::Invalid(problems) = refused else { panic!("{refused:?}") };
            assert_eq!(problems.listed()[0].field, field);
        }
    }

    #[test]
    fn the_clock_prepares_opens_and_ends() {
        let ms = time::Duration::MILLISECOND;
        let lead = Duration::from_secs(600);
        let at = |state, now| sale(state).due(now, lead).map(|change| change.state);
        let prepared = STARTS - time::Duration::minutes(10);
        assert_eq!(at(SaleState::Scheduled, prepared - ms), None);
        assert_eq!(at(SaleState::Scheduled, prepared), Some(SaleState::Prepared));
        assert_eq!(at(SaleState::Prepared, STARTS - ms), None);
        assert_eq!(at(SaleState::Prepared, STARTS), Some(SaleState::Open));
        for state in [SaleState::Scheduled, SaleState::Prepared, SaleState::Open, SaleState::Paused]
        {
            assert_ne!(at(state, ENDS - ms), Some(SaleState::Ended), "{state:?}");
            assert_eq!(at(state, ENDS), Some(SaleState::Ended), "{state:?}");
        }
        for state in [SaleState::Draft, SaleState::Ended, SaleState::Cancelled] {
            assert_eq!(at(state, ENDS), None, "{state:?}");
        }
        // A line that opens earlier is prepared earlier.
        let mut queued = sale(SaleState::Scheduled);
        let pre_queue = Duration::from_secs(3_600);
        let admission = Duration::from_secs(60);
        queued.settings.room = Some(Room { rate: 1.0, admission, pre_queue });
        assert!(queued.due(STARTS - time::Duration::HOUR, lead).is_some());
        assert_eq!(queued.due(STARTS - time::Duration::HOUR - ms, lead), None);
    }

    #[test]
    fn only_the_store_of_the_stock_calls_a_prepared_sale_off() {
        let asked = Sale { cancel_requested: true, ..sale(SaleState::Prepared) };
        // Neither the clock nor a request goes past it.
        assert_eq!(asked.due(STARTS, Duration::ZERO), None);
        assert!(asked.start(STARTS, false).is_err() && asked.pause(STARTS).is_err());
        assert_eq!(asked.cancel(), Ok(None));
        let at_stock = |cancelled, over| AtStock { cancelled, over, price_switches: Vec::new() };
        let decided = |sale: &Sale, at_stock| {
            sale.decided(&at_stock).map(|change| (change.state, change.tell))
        };
        assert_eq!(decided(&asked, at_stock(true, false)), Some((SaleState::Cancelled, true)));
        assert_eq!(decided(&asked, at_stock(false, false)), Some((SaleState::Open, true)));
        assert_eq!(decided(&sale(SaleState::Prepared), at_stock(true, false)), None);
        // A later end does not open again what is over.
        for state in [SaleState::Prepared, SaleState::Open, SaleState::Paused] {
            let over = decided(&sale(state), at_stock(false, true));
            assert_eq!(over, Some((SaleState::Ended, true)), "{state:?}");
        }
        assert_eq!(decided(&sale(SaleState::Ended), at_stock(false, true)), None);
    }

    #[test]
    fn the_record_follows_without_telling_what_is_known() {
        let known = sale(SaleState::Prepared).due(STARTS, Duration::ZERO).unwrap();
        assert!(!known.tell);
        let late = Sale { version: 2, ..sale(SaleState::Prepared) };
        assert!(late.due(STARTS, Duration::ZERO).unwrap().tell);
    }

    #[test]
    fn a_window_that_grows_is_held_against_others() {
        let draft = sale(SaleState::Draft);
        assert!(draft.enters(&draft.start(STARTS, false).unwrap().unwrap()));
        assert!(!draft.enters(&draft.start(STARTS, true).unwrap().unwrap()));
        let paused = sale(SaleState::Paused);
        assert!(!paused.enters(&paused.start(STARTS, false).unwrap().unwrap()));
        assert!(!draft.enters(&draft.end().unwrap().unwrap()));
        let open = sale(SaleState::Open);
        let mut longer = open.keep(ChangeKind::Update);
        longer.settings.ends_at += time::Duration::SECOND;
        assert!(open.enters(&longer));
        let mut shorter = open.keep(ChangeKind::Update);
        shorter.settings.ends_at -= time::Duration::SECOND;
        assert!(!open.enters(&shorter));
    }

    #[test]
    fn an_unprepared_sale_is_not_told() {
        assert!(!must_be_told(None, SaleState::Draft));
        assert!(!must_be_told(Some(SaleState::Draft), SaleState::Scheduled));
        assert!(!must_be_told(Some(SaleState::Draft), SaleState::Ended));
        assert!(!must_be_told(Some(SaleState::Scheduled), SaleState::Cancelled));
        assert!(must_be_told(Some(SaleState::Scheduled), SaleState::Prepared));
        assert!(must_be_told(Some(SaleState::Prepared), SaleState::Cancelled));
        assert!(must_be_told(Some(SaleState::Open), SaleState::Ended));
    }
}
