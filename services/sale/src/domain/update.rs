//! What of a sale may be changed when.

use std::time::Duration;

use time::OffsetDateTime;

use super::{
    Change, ChangeKind, Item, ItemDraft, Kind, NotChanged, Problems, RoomDraft, Sale, SaleState,
    Settings, SettingsDraft, items, settings,
};

/// The end of a sale that may be sold from, and whatever else its buyers rely on, does not come as
/// a surprise.
const SHORTEST_NOTICE: Duration = Duration::from_secs(60);

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

    /// Whether inventory or the waiting room knows it.
    const fn is_known_to_others(self) -> bool {
        match self {
            Self::Name | Self::ExpectedPeak | Self::PaymentPatience => false,
            Self::Currency
            | Self::StartsAt
            | Self::EndsAt
            | Self::Hold
            | Self::Room
            | Self::RoomRate
            | Self::RoomAdmission
            | Self::RoomPreQueue
            | Self::Items => true,
        }
    }

    /// Why it stays as it is once the sale is prepared, and what to do instead; `None` if it may
    /// change.
    const fn is_fixed(self) -> Option<&'static str> {
        match self {
            Self::Name | Self::EndsAt | Self::Hold | Self::ExpectedPeak | Self::RoomRate => None,
            Self::Currency => Some("orders are in it; create another sale"),
            Self::StartsAt => Some("StartSale opens it at once, CancelSale calls it off"),
            Self::PaymentPatience => Some("orders wait by it; create another sale"),
            Self::Room | Self::RoomAdmission | Self::RoomPreQueue => {
                Some("buyers stand in the line; room.admissions_per_second may change")
            }
            Self::Items => Some("buyers have seen them; AdjustStock changes quantities"),
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
            && self.state == SaleState::Scheduled
            && changed.as_ref().is_some_and(|new| new.starts_at <= now)
        {
            let what = "is in the past; StartSale opens a sale at once";
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
        match changed {
            Some(changed) if problems.is_empty() => Ok(Change {
                settings: changed,
                allow_shared_skus: asked.allow_shared_skus.unwrap_or(self.allow_shared_skus),
                items: offered.filter(|offered: &Vec<Item>| *offered != self.items),
                // What the others do not know they are not told: the room would be set to the rate
                // of the sale again, whatever an operator has set it to since.
                tell: running && asked.fields.iter().any(|field| field.is_known_to_others()),
                ..self.keep(ChangeKind::Update)
            }),
            Some(_) | None => Err(NotChanged::Invalid(problems)),
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
            if let Some(remedy) = field.is_fixed() {
                let of = if *field == Field::Items { "" } else { "settings." };
                let path = format!("{of}{}", field.path());
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
    use crate::domain::Room;

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
                quantity: 10,
                per_buyer_limit: 2,
            }],
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
                quantity: 5,
                per_buyer_limit: 1,
            }],
            allow_shared_skus: None,
            version: None,
        }
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
        for state in [SaleState::Prepared, SaleState::Open, SaleState::Paused] {
            for field in Field::ALL {
                let sale = sale(state);
                if field.is_fixed().is_none() {
                    let change = sale.update(&update(&[field]), STARTS).unwrap();
                    assert_eq!(change.tell, field.is_known_to_others(), "{field:?} {state:?}");
                    continue;
                }
                let problems = refused(&sale, &update(&[field]), STARTS);
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
