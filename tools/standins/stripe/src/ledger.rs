//! All created objects, in memory, with the lists that Stripe offers.

use std::collections::HashMap;

use crate::intents::{Charge, PaymentIntent, Refund};

/// The maximum number of objects of one kind; creating more is refused, as evicting one would
/// falsify the books.
pub const MAX_OBJECTS: usize = 1_000_000;

/// The properties by which objects are listed.
pub trait Shelved {
    fn id(&self) -> &str;
    fn intent(&self) -> &str;
    /// Creation, in seconds since the epoch.
    fn created_s(&self) -> i64;
}

/// Objects of one kind in the order of their creation.
#[derive(Debug)]
pub struct Shelf<T> {
    items: Vec<T>,
    by_id: HashMap<String, usize>,
    by_intent: HashMap<String, Vec<usize>>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { items: Vec::new(), by_id: HashMap::new(), by_intent: HashMap::new() }
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
            self.items[place] = item;
            return;
        }
        let place = self.items.len();
        self.by_id.insert(item.id().to_owned(), place);
        self.by_intent.entry(item.intent().to_owned()).or_default().push(place);
        self.items.push(item);
    }

    #[must_use]
    pub fn get(&self, id: &str) -> Option<&T> {
        self.by_id.get(id).map(|&place| &self.items[place])
    }

    /// Every object, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.items.iter()
    }

    /// The page's objects, and whether there are more after it.
    ///
    /// # Errors
    /// The cursor, if it names no object.
    pub fn page<'a>(&self, page: &Page<'a>) -> Result<(Vec<&T>, bool), &'a str> {
        let place_of = |id: &'a str| self.by_id.get(id).copied().ok_or(id);
        let before = page.starting_after.map(place_of).transpose()?;
        let after = page.ending_before.map(place_of).transpose()?;
        let in_page = |place: &usize| {
            let item = &self.items[*place];
            before.is_none_or(|limit| *place < limit)
                && after.is_none_or(|limit| *place > limit)
                && (page.created.from_s..=page.created.to_s).contains(&item.created_s())
        };
        let places: Box<dyn DoubleEndedIterator<Item = usize>> = match page.intent {
            Some(intent) => {
                let own = self.by_intent.get(intent).map_or(&[][..], Vec::as_slice);
                Box::new(own.iter().copied())
            }
            None => Box::new(0..self.items.len()),
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
        Ok((found.into_iter().map(|place| &self.items[place]).collect(), more))
    }
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub intents: Shelf<PaymentIntent>,
    pub charges: Shelf<Charge>,
    pub refunds: Shelf<Refund>,
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
