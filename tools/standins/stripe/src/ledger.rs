//! All created objects, in memory, with the lists that Stripe offers.

use std::collections::{BTreeSet, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::intents::{Charge, ConfirmationToken, Dispute, PaymentIntent, Refund};

/// The maximum number of objects of one kind; creating more is refused, as evicting one would
/// falsify the books.
pub const MAX_OBJECTS: usize = 1_000_000;

/// Events that are kept once they are delivered: they say what the objects say, so the oldest can
/// go (docs.stripe.com/api/events: Stripe keeps them for 30 days).
const MAX_EVENTS: usize = 20_000;

/// The properties by which objects are listed.
pub trait Shelved {
    fn id(&self) -> &str;
    /// The intent it belongs to, if it is listed by that; else empty.
    fn intent(&self) -> &str;
    /// Creation, in seconds since the epoch.
    fn created_s(&self) -> i64;
}

/// Objects of one kind in the order of their creation.
#[derive(Debug)]
pub struct Shelf<T> {
    items: VecDeque<T>,
    /// How many have been taken off the front; places are counted from the first ever.
    gone: usize,
    by_id: HashMap<String, usize>,
    by_intent: HashMap<String, Vec<usize>>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), gone: 0, by_id: HashMap::new(), by_intent: HashMap::new() }
    }
}

/// Bounds on `created`, in seconds (docs.stripe.com/api/payment_intents/list, `created`).
#[derive(Debug, Clone, Copy)]
pub struct Created {
    /// Not before.
    pub from_s: i64,
    /// Not after.
    pub to_s: i64,
}

/// A page to read (docs.stripe.com/api/pagination): newest first.
#[derive(Debug, Clone)]
pub struct Page<'a> {
    pub limit: usize,
    pub starting_after: Option<&'a str>,
    pub ending_before: Option<&'a str>,
    pub created: Created,
    pub intent: Option<&'a str>,
}

impl<T: Shelved> Shelf<T> {
    /// Whether another object fits.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.items.len() < MAX_OBJECTS
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Adds a new object, or replaces it by a new version.
    pub fn put(&mut self, item: T) {
        if let Some(&place) = self.by_id.get(item.id()) {
            self.items[place - self.gone] = item;
            return;
        }
        let place = self.gone + self.items.len();
        self.by_id.insert(item.id().to_owned(), place);
        if !item.intent().is_empty() {
            self.by_intent.entry(item.intent().to_owned()).or_default().push(place);
        }
        self.items.push_back(item);
    }

    #[must_use]
    pub fn get(&self, id: &str) -> Option<&T> {
        self.by_id.get(id).map(|&place| self.at(place))
    }

    fn at(&self, place: usize) -> &T {
        &self.items[place - self.gone]
    }

    /// Takes off the oldest object, which belongs to no intent.
    fn drop_oldest(&mut self) {
        if let Some(item) = self.items.pop_front() {
            self.by_id.remove(item.id());
            self.gone += 1;
        }
    }

    /// Every object, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.items.iter()
    }

    /// The page's objects, of those to be kept, and whether there are more after it.
    ///
    /// # Errors
    /// The cursor, if it names no object.
    pub fn page<'a>(
        &self,
        page: &Page<'a>,
        keep: impl Fn(&T) -> bool,
    ) -> Result<(Vec<&T>, bool), &'a str> {
        let place_of = |id: &'a str| self.by_id.get(id).copied().ok_or(id);
        let before = page.starting_after.map(place_of).transpose()?;
        let after = page.ending_before.map(place_of).transpose()?;
        let in_page = |place: &usize| {
            let item = self.at(*place);
            before.is_none_or(|limit| *place < limit)
                && after.is_none_or(|limit| *place > limit)
                && (page.created.from_s..=page.created.to_s).contains(&item.created_s())
                && keep(item)
        };
        let places: Box<dyn DoubleEndedIterator<Item = usize>> = match page.intent {
            Some(intent) => {
                let own = self.by_intent.get(intent).map_or(&[][..], Vec::as_slice);
                Box::new(own.iter().copied())
            }
            None => Box::new(self.gone..self.gone + self.items.len()),
        };
        // `ending_before` reads the page nearest to its cursor; both kinds answer newest first.
        let mut found: Vec<usize> = if after.is_some() {
            places.filter(in_page).take(page.limit + 1).collect()
        } else {
            places.rev().filter(in_page).take(page.limit + 1).collect()
        };
        let more = found.len() > page.limit;
        found.truncate(page.limit);
        if after.is_some() {
            found.reverse();
        }
        Ok((found.into_iter().map(|place| self.at(place)).collect(), more))
    }
}

/// An event (docs.stripe.com/api/events/object), as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEvent {
    pub id: String,
    /// `payment_intent.succeeded`, for instance.
    pub kind: String,
    pub created_s: i64,
    /// The whole of it, as JSON.
    pub payload: String,
    /// Whether the endpoint has yet to accept it.
    pub pending: bool,
}

/// What comes about by itself at some time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// A refund takes the status that it settles to.
    Refund(String),
    /// The buyer of a charge disputes it.
    Dispute(String),
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub intents: Shelf<PaymentIntent>,
    pub charges: Shelf<Charge>,
    pub refunds: Shelf<Refund>,
    pub disputes: Shelf<Dispute>,
    pub tokens: Shelf<ConfirmationToken>,
    pub events: Shelf<StoredEvent>,
    due: BTreeSet<(u64, Due)>,
}

impl Ledger {
    /// Whether another object of each kind fits.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.intents.has_room()
            && self.charges.has_room()
            && self.refunds.has_room()
            && self.disputes.has_room()
            && self.tokens.has_room()
    }

    /// Adds a charge, or replaces it by a new version.
    pub fn put_charge(&mut self, charge: Charge) {
        let due = |charge: &Charge| Some((charge.dispute_due_ms?, Due::Dispute(charge.id.clone())));
        if let Some(old) = self.charges.get(&charge.id).and_then(due) {
            self.due.remove(&old);
        }
        self.due.extend(due(&charge));
        self.charges.put(charge);
    }

    /// Adds a refund, or replaces it by a new version.
    pub fn put_refund(&mut self, refund: Refund) {
        let due = |refund: &Refund| Some((refund.settles?.due_ms, Due::Refund(refund.id.clone())));
        if let Some(old) = self.refunds.get(&refund.id).and_then(due) {
            self.due.remove(&old);
        }
        self.due.extend(due(&refund));
        self.refunds.put(refund);
    }

    /// Adds an event, or replaces it by a new version. The oldest that are delivered make room.
    pub fn put_event(&mut self, event: StoredEvent) {
        self.events.put(event);
        let delivered = |events: &Shelf<StoredEvent>| {
            events.len() > MAX_EVENTS && events.iter().next().is_some_and(|event| !event.pending)
        };
        while delivered(&self.events) {
            self.events.drop_oldest();
        }
    }

    /// The first that is due by now, in milliseconds since the epoch.
    #[must_use]
    pub fn due(&self, now_ms: u64) -> Option<Due> {
        self.due.first().filter(|(due_ms, _)| *due_ms <= now_ms).map(|(_, due)| due.clone())
    }
}

impl Shelved for PaymentIntent {
    fn id(&self) -> &str {
        &self.id
    }
    fn intent(&self) -> &str {
        &self.id
    }
    fn created_s(&self) -> i64 {
        self.created_s
    }
}

impl Shelved for Charge {
    fn id(&self) -> &str {
        &self.id
    }
    fn intent(&self) -> &str {
        &self.payment_intent
    }
    fn created_s(&self) -> i64 {
        self.created_s
    }
}

impl Shelved for Refund {
    fn id(&self) -> &str {
        &self.id
    }
    fn intent(&self) -> &str {
        &self.payment_intent
    }
    fn created_s(&self) -> i64 {
        self.created_s
    }
}

impl Shelved for Dispute {
    fn id(&self) -> &str {
        &self.id
    }
    fn intent(&self) -> &str {
        &self.payment_intent
    }
    fn created_s(&self) -> i64 {
        self.created_s
    }
}

impl Shelved for ConfirmationToken {
    fn id(&self) -> &str {
        &self.id
    }
    fn intent(&self) -> &str {
        ""
    }
    fn created_s(&self) -> i64 {
        self.created_s
    }
}

impl Shelved for StoredEvent {
    fn id(&self) -> &str {
        &self.id
    }
    fn intent(&self) -> &str {
        ""
    }
    fn created_s(&self) -> i64 {
        self.created_s
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn event(n: usize, pending: bool) -> StoredEvent {
        StoredEvent {
            id: format!("evt_{n}"),
            kind: "charge.succeeded".into(),
            created_s: 1,
            payload: String::new(),
            pending,
        }
    }

    #[test]
    fn only_delivered_events_make_room() {
        let mut ledger = Ledger::default();
        ledger.put_event(event(0, true));
        for n in 1..=MAX_EVENTS + 5 {
            ledger.put_event(event(n, false));
        }
        assert_eq!(ledger.events.len(), MAX_EVENTS + 6, "the oldest is pending");
        ledger.put_event(event(0, false));
        assert_eq!(ledger.events.len(), MAX_EVENTS);
        assert!(ledger.events.get("evt_5").is_none());
        assert_eq!(ledger.events.get("evt_6").unwrap().id, "evt_6");
        let created = Created { from_s: 0, to_s: 9 };
        let page = Page {
            limit: 2,
            starting_after: Some("evt_8"),
            ending_before: None,
            created,
            intent: None,
        };
        let (found, more) = ledger.events.page(&page, |_| true).unwrap();
        let ids: Vec<&str> = found.iter().map(|event| event.id.as_str()).collect();
        assert_eq!((ids, more), (vec!["evt_7", "evt_6"], false));
    }
}
