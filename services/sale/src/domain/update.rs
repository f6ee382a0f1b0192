//! What of a sale may be changed when.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use time::OffsetDateTime;

use super::{
    Change, ChangeKind, Item, ItemDraft, Kind, NotChanged, PriceChange, Problems, RoomDraft, Sale,
    SaleState, Settings, SettingsDraft, items, prices::MAX_WAITING, settings,
};

/// The end of a sale that may be sold from, and whatever else its buyers rely on, does not come as
/// a surprise.
const SHORTEST_NOTICE: Duration = Duration::from_secs(60);
/// Prices are in the store of the stock before they take effect, unless telling it takes longer.
const PRICE_NOTICE: Duration = Duration::from_secs(2);

/// Something of a sale that an update can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Name,
    Currency,
    StartsAt,
    EndsAt,
    Hold,
    PaymentPatience,
    ExpectedPeak,
    /// The whole waiting room, or that there is none.
    Room,
    RoomRate,
    RoomAdmission,
    RoomPreQueue,
    Items,
}

impl Field {
    /// Every field there is.
    pub const ALL: [Self; 12] = [
        Self::Name,
        Self::Currency,
        Self::StartsAt,
        Self::EndsAt,
        Self::Hold,
        Self::PaymentPatience,
        Self::ExpectedPeak,
        Self::Room,
        Self::RoomRate,
        Self::RoomAdmission,
        Self::RoomPreQueue,
        Self::Items,
    ];

    /// How an `update_mask` names it.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Currency => "currency",
            Self::StartsAt => "starts_at",
            Self::EndsAt => "ends_at",
            Self::Hold => "hold_ttl",
            Self::PaymentPatience => "payment_patience",
            Self::ExpectedPeak => "expected_peak_per_second",
            Self::Room => "room",
            Self::RoomRate => "room.admissions_per_second",
            Self::RoomAdmission => "room.admission_ttl",
            Self::RoomPreQueue => "room.pre_queue",
            Self::Items => "items",
        }
    }

    /// Whether inventory or the waiting room knows it. What items cost is told by itself.
    const fn is_known_to_others(self) -> bool {
        match self {
            Self::Name | Self::ExpectedPeak | Self::PaymentPatience | Self::Items => false,
            Self::Currency
            | Self::StartsAt
            | Self::EndsAt
            | Self::Hold
            | Self::Room
            | Self::RoomRate
            | Self::RoomAdmission
            | Self::RoomPreQueue => true,
        }
    }

    /// Why it stays as it is in `state`, in which the sale may be sold from, and what to do
    /// instead; `None` if it may change.
    const fn is_fixed(self, state: SaleState) -> Option<&'static str> {
        match self {
            Self::Name
            | Self::EndsAt
            | Self::Hold
            | Self::ExpectedPeak
            | Self::RoomRate
            | Self::Items => None,
            Self::Currency => Some("orders are in it; create another sale"),
            Self::StartsAt if matches!(state, SaleState::Prepared) => None,
            Self::StartsAt => Some("it has begun; EndSale ends it"),
            Self::PaymentPatience => Some("orders wait by it; create another sale"),
            Self::Room | Self::RoomAdmission | Self::RoomPreQueue => {
                Some("buyers stand in the line; room.admissions_per_second may change")
            }
        }
    }
}

/// A change of a sale as it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// What changes.
    pub fields: Vec<Field>,
    /// The values of those fields.
    pub settings: SettingsDraft,
    /// The items, if they change.
    pub items: Vec<ItemDraft>,
    /// Whether it may offer what another sale offers at the same time, if that changes.
    pub allow_shared_skus: Option<bool>,
    /// The version that the caller has seen, if it matters.
    pub version: Option<i64>,
    /// From when on the items cost what they say; none changes limits at once.
    pub effective_at: Option<OffsetDateTime>,
}

impl Sale {
    /// Changes what the shop has decided. The sale has its items.
    ///
    /// # Errors
    /// When it is over or being called off, the caller has not seen this version, its state does
    /// not allow it, or the result breaks rules.
    pub fn update(&self, asked: &Update, now: OffsetDateTime) -> Result<Change, NotChanged> {
        if self.state.is_over() {
            return Err(self.over().into());
        }
        self.not_called_off()?;
        if let Some(seen) = asked.version
            && seen != self.version
        {
            return Err(NotChanged::Version { seen, current: self.version });
        }
        let mut problems = Problems::new();
        let running = self.state.may_sell();
        if running && self.settings.ends_at <= now {
            return Err(self.conflict("its window has passed").into());
        }
        if running {
            self.keep_what_is_fixed(asked, &mut problems);
        }
        let draft = self.changed_draft(asked, &mut problems);
        let currency = draft.currency;
        let changed = settings(&draft, now, &mut problems);
        if asked.fields.contains(&Field::EndsAt)
            && running
            && changed.as_ref().is_some_and(|new| new.ends_at < now + SHORTEST_NOTICE)
        {
            let what = "must be at least 60 seconds ahead; EndSale ends the sale at once";
            problems.add(Kind::Argument, "settings.ends_at", what);
        }
        if asked.fields.contains(&Field::StartsAt)
            && let Some(new) = &changed
            && let Some(what) = self.start_is_fixed(new.starts_at, now)
        {
            problems.add(Kind::Argument, "settings.starts_at", what);
        }
        let offered = if asked.fields.contains(&Field::Items) {
            Some(items(&asked.items, currency, &mut problems))
        } else {
            if asked.fields.contains(&Field::Currency) && currency != Some(self.settings.currency) {
                let what = "changes, and with it every price; name `items` too";
                problems.add(Kind::Argument, "settings.currency", what);
            }
            None
        };
        if let Some(what) = self.no_time_for_prices(asked) {
            problems.add(Kind::Argument, "effective_at", what);
        }
        let (offered, prices) = match (offered, &changed) {
            (Some(offered), Some(changed)) if running => {
                let times = (asked.effective_at, changed.ends_at, now);
                (None, self.change_prices(&offered, times, &mut problems))
            }
            (offered, _) => (offered, None),
        };
        match changed {
            Some(changed) if problems.is_empty() => Ok(Change {
                settings: changed,
                allow_shared_skus: asked.allow_shared_skus.unwrap_or(self.allow_shared_skus),
                items: offered.filter(|offered: &Vec<Item>| *offered != self.items),
                // What the others do not know they are not told: the room would be set to the rate
                // of the sale again, whatever an operator has set it to since. But what they have
                // not been told yet stays to be told.
                tell: running
                    && (asked.fields.iter().any(|field| field.is_known_to_others())
                        || prices.is_some()
                        || !self.is_propagated()),
                prices,
                ..self.keep(ChangeKind::Update)
            }),
            Some(_) | None => Err(NotChanged::Invalid(problems)),
        }
    }

    /// Why the start of the sale cannot become `new`, and what to do instead.
    ///
    /// A sale that is prepared begins by the clock of its stock's store. As long as both its old
    /// start and the new one are a minute ahead, no difference between the clocks matters; if the
    /// store is not told within that minute, the sale begins at the old start and stays open.
    fn start_is_fixed(&self, new: OffsetDateTime, now: OffsetDateTime) -> Option<&'static str> {
        match self.state {
            SaleState::Scheduled if new <= now => {
                Some("is in the past; StartSale opens a sale at once")
            }
            SaleState::Prepared if self.settings.starts_at < now + SHORTEST_NOTICE => Some(
                "does not change in the last 60 seconds before it: StartSale opens the sale at \
                 once, CancelSale calls it off",
            ),
            SaleState::Prepared if new < now + SHORTEST_NOTICE => {
                Some("must be at least 60 seconds ahead; StartSale opens the sale at once")
            }
            SaleState::Draft
            | SaleState::Scheduled
            | SaleState::Prepared
            | SaleState::Open
            | SaleState::Paused
            | SaleState::Ended
            | SaleState::Cancelled => None,
        }
    }

    /// Why an update has no `effective_at`, if it has one.
    fn no_time_for_prices(&self, asked: &Update) -> Option<String> {
        asked.effective_at?;
        if !asked.fields.contains(&Field::Items) {
            return Some(
                "is for items; name `items` in update_mask too, or leave it out".to_owned(),
            );
        }
        let state = self.state.as_str();
        (!self.state.may_sell()).then(|| {
            format!(
                "is for a sale that is prepared, and it is {state}: leave it out, its items change \
                 at once"
            )
        })
    }

    /// What the items of a sale that may be sold from cost, from when on.
    fn change_prices(
        &self,
        offered: &[Item],
        times: (Option<OffsetDateTime>, OffsetDateTime, OffsetDateTime),
        problems: &mut Problems,
    ) -> Option<PriceChange> {
        let (effective_at, ends_at, now) = times;
        let before = problems.count();
        self.keep_the_offer(offered, problems);
        let mut wrong = |what: String| problems.add(Kind::Argument, "effective_at", what);
        match effective_at {
            Some(at) if at < now + PRICE_NOTICE => {
                wrong(
                    "must be at least 2 seconds ahead, for the stock to know it by then".to_owned(),
                );
            }
            Some(at) if at >= ends_at => {
                wrong(format!("must be before the end of the sale, which is {ends_at}"));
            }
            Some(_) => {}
            None => {
                let prices = self.prices_at(now);
                let changed = offered.iter().find(|item| {
                    prices.get(item.sku.as_str()).is_some_and(|price| {
                        (price.price_minor, price.regular_minor)
                            != (item.price_minor, item.regular_minor)
                    })
                });
                if let Some(item) = changed {
                    wrong(format!(
                        "is missing, and the price of {} changes: say from when on, at least 2 \
                         seconds ahead; without it only limits change",
                        item.sku
                    ));
                }
                // Changed now, it would be taken back and come again, later than its time.
                let soon = |at: OffsetDateTime| at > now && at < now + PRICE_NOTICE;
                if let Some(next) = self.waiting().find(|next| soon(next.effective_at)) {
                    wrong(format!(
                        "is missing, and prices change at {}, in less than 2 seconds: change the \
                         limits after that, or say from when on",
                        next.effective_at
                    ));
                }
            }
        }
        if problems.count() > before {
            return None;
        }
        // The stock's store counts in milliseconds.
        let at = effective_at.unwrap_or(now).truncate_to_millisecond();
        let change = self.reprice(offered, at)?;
        let stay = self.waiting().filter(|waiting| !change.replaces.contains(&waiting.revision));
        let new = change.revisions().filter(|revision| revision.effective_at > now);
        if stay.count() + new.count() > MAX_WAITING {
            let what = format!(
                "would be one change more of those that wait; {MAX_WAITING} may: name the time of \
                 one of them, which is then replaced, or wait for the next to take effect"
            );
            problems.add(Kind::Argument, "effective_at", what);
        }
        Some(change)
    }

    /// Only prices and limits of what buyers have seen change.
    fn keep_the_offer(&self, offered: &[Item], problems: &mut Problems) {
        let state = self.state.as_str();
        let present: HashMap<&str, &Item> =
            self.items.iter().map(|item| (item.sku.as_str(), item)).collect();
        let mut wrong = |field: String, what: String| problems.add(Kind::Argument, field, what);
        for (index, item) in offered.iter().enumerate() {
            let field = |name: &str| format!("items[{index}].{name}");
            let Some(present) = present.get(item.sku.as_str()) else {
                let what = format!(
                    "is {:?}, which the sale does not offer, and it is {state}: offer it in \
                     another sale",
                    item.sku
                );
                wrong(field("sku"), what);
                continue;
            };
            if item.title != present.title {
                let what = format!(
                    "does not change while the sale is {state}: buyers have seen {:?}",
                    present.title
                );
                wrong(field("title"), what);
            }
            if item.quantity != present.quantity {
                let what = format!(
                    "does not change from {} while the sale is {state}: AdjustStock adds and \
                     withdraws units",
                    present.quantity
                );
                wrong(field("quantity"), what);
            }
        }
        let named: HashSet<&str> = offered.iter().map(|item| item.sku.as_str()).collect();
        let missing: Vec<&Item> =
            self.items.iter().filter(|item| !named.contains(item.sku.as_str())).collect();
        if let Some(first) = missing.first() {
            let what = format!(
                "lacks {} items, the first is {}: none is removed while the sale is {state}; \
                 AdjustStock withdraws their units",
                missing.len(),
                first.sku
            );
            wrong("items".to_owned(), what);
        }
    }

    /// The settings of the sale with what changes in them.
    fn changed_draft(&self, asked: &Update, problems: &mut Problems) -> SettingsDraft {
        let mut draft = draft_of(&self.settings);
        let new = &asked.settings;
        for field in &asked.fields {
            match field {
                Field::Name => draft.name.clone_from(&new.name),
                Field::Currency => draft.currency = new.currency,
                Field::StartsAt => draft.starts_at = new.starts_at,
                Field::EndsAt => draft.ends_at = new.ends_at,
                Field::Hold => draft.hold = new.hold,
                Field::PaymentPatience => draft.payment_patience = new.payment_patience,
                Field::ExpectedPeak => draft.expected_peak = new.expected_peak,
                Field::Room => draft.room = new.room,
                Field::RoomRate => {
                    change_room(&mut draft, new, problems, |room, new| room.rate = new.rate);
                }
                Field::RoomAdmission => {
                    let set = |room: &mut RoomDraft, new: RoomDraft| room.admission = new.admission;
                    change_room(&mut draft, new, problems, set);
                }
                Field::RoomPreQueue => {
                    let set = |room: &mut RoomDraft, new: RoomDraft| room.pre_queue = new.pre_queue;
                    change_room(&mut draft, new, problems, set);
                }
                Field::Items => {}
            }
        }
        draft
    }

    fn keep_what_is_fixed(&self, asked: &Update, problems: &mut Problems) {
        let state = self.state.as_str();
        for field in &asked.fields {
            if let Some(remedy) = field.is_fixed(self.state) {
                let path = format!("settings.{}", field.path());
                let what = format!("does not change while the sale is {state}: {remedy}");
                problems.add(Kind::Argument, path, what);
            }
        }
    }
}

/// Changes one part of the waiting room, which has to be there.
fn change_room(
    draft: &mut SettingsDraft,
    new: &SettingsDraft,
    problems: &mut Problems,
    set: impl FnOnce(&mut RoomDraft, RoomDraft),
) {
    match (&mut draft.room, new.room) {
        (Some(room), Some(new)) => set(room, new),
        (Some(_), None) => {
            let what = "is missing, and update_mask names a part of it";
            problems.add(Kind::Argument, "settings.room", what);
        }
        (None, _) => {
            let what = "names a part of the waiting room, and the sale has none; name `room`";
            problems.add(Kind::Argument, "update_mask", what);
        }
    }
}

/// The settings as they would be asked for.
fn draft_of(settings: &Settings) -> SettingsDraft {
    SettingsDraft {
        name: settings.name.clone(),
        currency: Some(settings.currency),
        starts_at: Some(settings.starts_at),
        ends_at: Some(settings.ends_at),
        hold: Some(settings.hold),
        payment_patience: settings.payment_patience,
        expected_peak: settings.expected_peak,
        room: settings.room.map(|room| RoomDraft {
            rate: room.rate,
            admission: Some(room.admission),
            pre_queue: Some(room.pre_queue),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use iso_currency::Currency;
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;
    use crate::domain::{PriceRevision, Room};

    const STARTS: OffsetDateTime = datetime!(2026-11-27 10:00 UTC);

    fn sale(state: SaleState) -> Sale {
        Sale {
            id: Uuid::from_u128(1),
            settings: Settings {
                name: "Winter drop".to_owned(),
                currency: Currency::EUR,
                starts_at: STARTS,
                ends_at: STARTS + time::Duration::DAY,
                hold: Duration::from_secs(600),
                payment_patience: None,
                expected_peak: None,
                room: Some(Room {
                    rate: 50.0,
                    admission: Duration::from_secs(300),
                    pre_queue: Duration::ZERO,
                }),
            },
            state,
            cancel_requested: false,
            allow_shared_skus: false,
            items: vec![Item {
                sku: "TEE".to_owned(),
                title: "Tee".to_owned(),
                price_minor: 1_999,
                regular_minor: None,
                quantity: 10,
                per_buyer_limit: 2,
            }],
            revisions: Vec::new(),
            version: 3,
            propagated_version: 3,
            final_at: None,
            created_at: STARTS,
            updated_at: STARTS,
        }
    }

    fn update(fields: &[Field]) -> Update {
        Update {
            fields: fields.to_vec(),
            settings: SettingsDraft {
                name: "Autumn drop".to_owned(),
                currency: Some(Currency::EUR),
                starts_at: Some(STARTS + time::Duration::HOUR),
                ends_at: Some(STARTS + 2 * time::Duration::DAY),
                hold: Some(Duration::from_secs(60)),
                payment_patience: Some(Duration::from_secs(60)),
                expected_peak: Some(500),
                room: Some(RoomDraft { rate: 5.0, admission: None, pre_queue: None }),
            },
            items: vec![ItemDraft {
                sku: "CAP".to_owned(),
                title: "Cap".to_owned(),
                unit_price: Some((999, Currency::EUR)),
                regular_price: None,
                quantity: 5,
                per_buyer_limit: 1,
            }],
            allow_shared_skus: None,
            version: None,
            effective_at: None,
        }
    }

    /// An update of the sale's one item: to 17.99, and one for each buyer.
    fn priced(effective_at: Option<OffsetDateTime>) -> Update {
        let item = ItemDraft {
            sku: "TEE".to_owned(),
            title: "Tee".to_owned(),
            unit_price: Some((1_799, Currency::EUR)),
            regular_price: Some((2_999, Currency::EUR)),
            quantity: 10,
            per_buyer_limit: 1,
        };
        Update { items: vec![item], effective_at, ..update(&[Field::Items]) }
    }

    fn refused(sale: &Sale, asked: &Update, now: OffsetDateTime) -> Vec<(String, String)> {
        match sale.update(asked, now).unwrap_err() {
            NotChanged::Invalid(problems) => problems
                .listed()
                .iter()
                .map(|problem| (problem.field.clone(), problem.what.clone()))
                .collect(),
            other @ (NotChanged::State(_) | NotChanged::Version { .. }) => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        for field in Field::ALL {
            let before = sale(SaleState::Draft);
            let change = before.update(&update(&[field]), STARTS).unwrap();
            let (old, new) = (&before.settings, &change.settings);
            let named = |other| field == other;
            assert_eq!(new.name != old.name, named(Field::Name), "{field:?}");
            assert_eq!(new.starts_at != old.starts_at, named(Field::StartsAt), "{field:?}");
            assert_eq!(new.ends_at != old.ends_at, named(Field::EndsAt), "{field:?}");
            assert_eq!(new.hold != old.hold, named(Field::Hold), "{field:?}");
            let patience = new.payment_patience != old.payment_patience;
            assert_eq!(patience, named(Field::PaymentPatience), "{field:?}");
            let room = named(Field::Room) || named(Field::RoomRate);
            assert_eq!(new.room != old.room, room, "{field:?}");
            assert_eq!(change.items.is_some(), named(Field::Items), "{field:?}");
            assert!(!change.tell, "{field:?}");
        }
    }

    #[test]
    fn a_sale_that_may_sell_keeps_what_buyers_rely_on() {
        // A minute ahead the start of a sale may move that is prepared.
        let now = STARTS - time::Duration::MINUTE;
        for state in [SaleState::Prepared, SaleState::Open, SaleState::Paused] {
            for field in Field::ALL.into_iter().filter(|field| *field != Field::Items) {
                let sale = sale(state);
                if field.is_fixed(state).is_none() {
                    let change = sale.update(&update(&[field]), now).unwrap();
                    assert_eq!(change.tell, field.is_known_to_others(), "{field:?} {state:?}");
                    continue;
                }
                let problems = refused(&sale, &update(&[field]), now);
                let (path, what) = &problems[0];
                assert!(path.ends_with(field.path()), "{field:?} {state:?}: {path}");
                assert!(what.contains(state.as_str()) && what.contains(": "), "{what}");
            }
        }
    }

    #[test]
    fn an_end_is_announced_a_minute_ahead() {
        let soon = |at| Update {
            settings: SettingsDraft { ends_at: Some(at), ..update(&[]).settings },
            ..update(&[Field::EndsAt])
        };
        let now = STARTS + time::Duration::HOUR;
        let minute = time::Duration::MINUTE;
        assert!(sale(SaleState::Open).update(&soon(now + minute), now).is_ok());
        let early = soon(now + minute - time::Duration::MILLISECOND);
        assert_eq!(refused(&sale(SaleState::Open), &early, now)[0].0, "settings.ends_at");
    }

    /// The store has closed it, and the record is about to follow.
    #[test]
    fn what_has_passed_gets_no_later_end() {
        let ends = STARTS + time::Duration::DAY;
        let asked = update(&[Field::EndsAt]);
        let before = ends - time::Duration::MILLISECOND;
        assert!(sale(SaleState::Open).update(&asked, before).is_ok());
        let refused = sale(SaleState::Open).update(&asked, ends).unwrap_err();
        assert!(matches!(refused, NotChanged::State(_)), "{refused:?}");
    }

    /// Until then the others are not told for its sake, but what they do not know is told.
    #[test]
    fn what_is_untold_stays_to_be_told() {
        let untold = Sale { propagated_version: 2, ..sale(SaleState::Open) };
        assert!(untold.update(&update(&[Field::Name]), STARTS).unwrap().tell);
        let draft = Sale { propagated_version: 2, ..sale(SaleState::Draft) };
        assert!(!draft.update(&update(&[Field::Name]), STARTS).unwrap().tell);
    }

    #[test]
    fn the_start_of_a_prepared_sale_moves_a_minute_ahead() {
        let (ms, minute) = (time::Duration::MILLISECOND, time::Duration::MINUTE);
        let to = |at| Update {
            settings: SettingsDraft { starts_at: Some(at), ..update(&[]).settings },
            ..update(&[Field::StartsAt])
        };
        let prepared = sale(SaleState::Prepared);
        for (now, start, remedy) in [
            (STARTS - minute, STARTS + minute, None),
            (STARTS - 2 * minute, STARTS - minute, None),
            (STARTS - minute + ms, STARTS + minute, Some("CancelSale")),
            (STARTS, STARTS + minute, Some("CancelSale")),
            (STARTS - 2 * minute, STARTS - minute - ms, Some("StartSale")),
        ] {
            let Some(remedy) = remedy else {
                let change = prepared.update(&to(start), now).unwrap();
                assert_eq!((change.settings.starts_at, change.tell), (start, true));
                assert_eq!(change.state, SaleState::Prepared);
                continue;
            };
            let (field, what) = refused(&prepared, &to(start), now).remove(0);
            assert_eq!(field, "settings.starts_at");
            assert!(what.contains(remedy), "{what}");
        }
    }

    #[test]
    fn prices_change_at_a_time_and_limits_at_once() {
        let now = STARTS + time::Duration::HOUR;
        let soon = now + time::Duration::seconds(2);
        for state in [SaleState::Prepared, SaleState::Open, SaleState::Paused] {
            let change = sale(state).update(&priced(Some(soon)), now).unwrap();
            assert!(change.tell && change.items.is_none());
            let prices = change.prices.unwrap();
            assert_eq!((prices.asked.revision, prices.asked.effective_at), (2, soon));
            assert_eq!(prices.asked.rows["TEE"].price_minor, 1_799);
            // Without a time the price would come as a surprise.
            let (field, what) = refused(&sale(state), &priced(None), now).remove(0);
            assert_eq!(field, "effective_at");
            assert!(what.contains("TEE") && what.contains("2 seconds ahead"), "{what}");
        }
        let mut limit = priced(None);
        limit.items[0].unit_price = Some((1_999, Currency::EUR));
        limit.items[0].regular_price = None;
        let prices = sale(SaleState::Open).update(&limit, now).unwrap().prices.unwrap();
        assert_eq!((prices.asked.effective_at, prices.asked.rows["TEE"].per_buyer_limit), (now, 1));
        // What changes nothing is not told.
        limit.items[0].per_buyer_limit = 2;
        let change = sale(SaleState::Open).update(&limit, now).unwrap();
        assert_eq!((change.prices, change.items, change.tell), (None, None, false));
    }

    #[test]
    fn a_time_that_does_not_suit_prices_is_refused() {
        let now = STARTS + time::Duration::HOUR;
        let (ms, day) = (time::Duration::MILLISECOND, time::Duration::DAY);
        let two = now + time::Duration::seconds(2);
        let unnamed = Update { effective_at: Some(two), ..update(&[Field::Name]) };
        let early = Update { effective_at: Some(two), ..update(&[Field::Items]) };
        for (sale, asked, remedy) in [
            (sale(SaleState::Open), priced(Some(two - ms)), "2 seconds"),
            (sale(SaleState::Open), priced(Some(STARTS + day)), "before the end"),
            (sale(SaleState::Open), unnamed, "`items`"),
            (sale(SaleState::Draft), early, "leave it out"),
        ] {
            let (field, what) = refused(&sale, &asked, now).remove(0);
            assert_eq!(field, "effective_at");
            assert!(what.contains(remedy), "{what}");
        }
        // A later end counts, named in the same update.
        let mut longer = priced(Some(STARTS + day));
        longer.fields.push(Field::EndsAt);
        assert!(sale(SaleState::Open).update(&longer, now).is_ok());
    }

    #[test]
    fn what_is_on_sale_stays_on_sale() {
        let now = STARTS + time::Duration::HOUR;
        let at = Some(now + time::Duration::HOUR);
        let with = |change: &dyn Fn(&mut Vec<ItemDraft>)| {
            let mut asked = priced(at);
            change(&mut asked.items);
            refused(&sale(SaleState::Open), &asked, now).remove(0)
        };
        for ((field, what), expected, remedy) in [
            (with(&|items| items[0].quantity = 11), "items[0].quantity", "AdjustStock"),
            (with(&|items| items[0].title.push('!')), "items[0].title", "Tee"),
            (
                with(&|items| items.push(ItemDraft { sku: "CAP".to_owned(), ..items[0].clone() })),
                "items[1].sku",
                "another sale",
            ),
            (with(&|items| items[0].sku = "CAP".to_owned()), "items[0].sku", "another sale"),
        ] {
            assert_eq!(field, expected);
            assert!(what.contains(remedy), "{what}");
        }
        let both = with(&|items| items[0].sku = "CAP".to_owned());
        assert_eq!(both.0, "items[0].sku");
        let mut renamed = priced(at);
        renamed.items[0].sku = "CAP".to_owned();
        let (field, what) = refused(&sale(SaleState::Open), &renamed, now).remove(1);
        assert_eq!(field, "items");
        assert!(what.contains("TEE") && what.contains("AdjustStock"), "{what}");
    }

    #[test]
    fn ten_changes_wait_at_most() {
        let now = STARTS + time::Duration::HOUR;
        let at = |minutes| now + time::Duration::minutes(minutes);
        let mut sale = sale(SaleState::Open);
        for minute in 1..=10 {
            let mut asked = priced(Some(at(minute)));
            asked.items[0].unit_price = Some((1_000 + minute, Currency::EUR));
            let new = sale.update(&asked, now).unwrap().prices.unwrap().asked;
            sale.revisions.push(PriceRevision {
                revision: new.revision,
                effective_at: new.effective_at,
                switches_at: None,
                replaced_by: None,
                skus: 1,
                in_effect: false,
                rows: new.rows,
            });
        }
        let (field, what) = refused(&sale, &priced(Some(at(11))), now).remove(0);
        assert_eq!(field, "effective_at");
        assert!(what.contains("10 may"), "{what}");
        // One in the place of the last is none more; one that is in effect does not wait.
        assert!(sale.update(&priced(Some(at(10))), now).is_ok());
        sale.revisions[0].in_effect = true;
        assert!(sale.update(&priced(Some(at(11))), now).is_ok());
    }

    #[test]
    fn a_start_is_never_moved_into_the_past() {
        let now = STARTS - time::Duration::HOUR;
        let past = Update {
            settings: SettingsDraft { starts_at: Some(now), ..update(&[]).settings },
            ..update(&[Field::StartsAt])
        };
        assert_eq!(refused(&sale(SaleState::Scheduled), &past, now)[0].0, "settings.starts_at");
        assert!(sale(SaleState::Draft).update(&past, now).is_ok());
    }

    #[test]
    fn another_currency_needs_other_prices() {
        let dollars = SettingsDraft { currency: Some(Currency::USD), ..update(&[]).settings };
        let alone = Update { settings: dollars.clone(), ..update(&[Field::Currency]) };
        assert_eq!(refused(&sale(SaleState::Draft), &alone, STARTS)[0].0, "settings.currency");
        let both = Update { settings: dollars, ..update(&[Field::Currency, Field::Items]) };
        let problems = refused(&sale(SaleState::Draft), &both, STARTS);
        assert_eq!(problems[0].0, "items[0].unit_price.currency_code");
    }

    #[test]
    fn a_version_that_was_not_seen_is_not_changed() {
        let seen = |version| Update { version: Some(version), ..update(&[Field::Name]) };
        assert!(sale(SaleState::Open).update(&seen(3), STARTS).is_ok());
        let stale = sale(SaleState::Open).update(&seen(2), STARTS).unwrap_err();
        assert_eq!(stale, NotChanged::Version { seen: 2, current: 3 });
    }

    #[test]
    fn a_part_of_a_room_needs_a_room() {
        let roomless = |state| {
            let mut sale = sale(state);
            sale.settings.room = None;
            sale
        };
        let asked = update(&[Field::RoomRate]);
        assert_eq!(refused(&roomless(SaleState::Draft), &asked, STARTS)[0].0, "update_mask");
        assert!(roomless(SaleState::Draft).update(&update(&[Field::Room]), STARTS).is_ok());
    }

    #[test]
    fn what_is_over_stays() {
        for state in [SaleState::Ended, SaleState::Cancelled] {
            let refused = sale(state).update(&update(&[Field::Name]), STARTS).unwrap_err();
            assert!(matches!(refused, NotChanged::State(conflict) if conflict.state == state));
        }
    }
}
