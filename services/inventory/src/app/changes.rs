//! Changes that this process makes to watched stocks, so that their watchers learn at once that a
//! sku is sold out or available again, and not only at the next reading. Changes by other processes
//! show at the next reading.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use tokio::sync::Notify;
use uuid::Uuid;

use crate::domain::{
    Answer, Content, Outcome, PlacedLine, Refusal, Request, Settled, Settlement, StockView,
};

/// The watched stocks. For any other stock a call costs one look into a map.
#[derive(Debug, Default)]
pub struct Changes {
    followed: RwLock<HashMap<Uuid, Arc<Followed>>>,
}

#[derive(Debug, Default)]
pub struct Followed {
    units: Mutex<UnitsLeft>,
    news: Notify,
}

/// Units left by sku: as last read, less those taken here since. Other processes take and give back
/// units as well, so this is a reason to read the stock and never an answer.
#[derive(Debug, Default)]
struct UnitsLeft {
    left: HashMap<String, i64>,
    /// Taken since the last reading began: the reading may or may not include them.
    taken: HashMap<String, i64>,
    /// In the last reading, some sku had no units left.
    sold_out: bool,
}

impl Changes {
    /// Records a sale's changes from now on.
    pub fn follow(&self, sale_id: Uuid) -> Arc<Followed> {
        let followed = Arc::<Followed>::default();
        let mut all = self.followed.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(sale_id, Arc::clone(&followed));
        followed
    }

    /// Ends that, unless another watcher has begun to follow the sale since.
    pub fn forget(&self, sale_id: Uuid, followed: &Arc<Followed>) {
        let mut all = self.followed.write().unwrap_or_else(PoisonError::into_inner);
        if all.get(&sale_id).is_some_and(|present| Arc::ptr_eq(present, followed)) {
            all.remove(&sale_id);
        }
    }

    fn of(&self, sale_id: Uuid) -> Option<Arc<Followed>> {
        let all = self.followed.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&sale_id).cloned()
    }

    /// Records the answer to a request.
    pub fn answered(&self, request: &Request, answer: &Result<Answer, Refusal>) {
        let Some(followed) = self.of(request.sale_id) else { return };
        match (answer, &request.content) {
            (Ok(Answer { replayed: true, .. }), _) => {}
            (Ok(answer), Content::Reserve(_) | Content::PlaceLines(..)) => {
                followed.took(&answer.hold.lines);
            }
            (Ok(answer), Content::Release(_)) => followed.gave_back(&answer.hold.lines),
            (Ok(_), Content::PlaceHold(..) | Content::Extend(_)) => {}
            (Err(Refusal::SoldOut { sku, available: 0, .. }), _) => followed.found_none(sku),
            (Err(_), _) => {}
        }
    }

    /// Records that holds were settled.
    pub fn settled(&self, sale_id: Uuid, holds: &[Settlement], settled: &[Settled]) {
        let released = holds
            .iter()
            .zip(settled)
            .any(|(hold, settled)| hold.outcome == Outcome::Released && *settled == Settled::Done);
        if released {
            self.freed(sale_id);
        }
    }

    /// Records that units of unspecified skus came back, or that new ones were added.
    pub fn freed(&self, sale_id: Uuid) {
        if let Some(followed) = self.of(sale_id)
            && followed.units().sold_out
        {
            followed.news.notify_one();
        }
    }
}

impl Followed {
    /// Resolves when there is a reason to read the stock.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Marks that a reading begins.
    pub fn reading(&self) {
        self.units().taken.clear();
    }

    /// Records what was read.
    pub fn read(&self, view: &StockView) {
        let mut units = self.units();
        units.sold_out = view.skus.iter().any(|books| books.available <= 0);
        let mut left = std::mem::take(&mut units.left);
        left.clear();
        let mut news = false;
        for books in &view.skus {
            let now = books.available - units.taken.get(&books.sku).copied().unwrap_or(0);
            news |= books.available > 0 && now <= 0;
            left.insert(books.sku.clone(), now);
        }
        units.left = left;
        if news {
            self.news.notify_one();
        }
    }

    fn took(&self, lines: &[PlacedLine]) {
        let mut units = self.units();
        for line in lines {
            *units.taken.entry(line.sku.clone()).or_default() += line.quantity;
            if let Some(left) = units.left.get_mut(&line.sku) {
                let last = *left > 0 && *left <= line.quantity;
                *left -= line.quantity;
                if last {
                    self.news.notify_one();
                }
            }
        }
    }

    fn gave_back(&self, lines: &[PlacedLine]) {
        let units = self.units();
        if lines.iter().any(|line| units.left.get(&line.sku).is_some_and(|left| *left <= 0)) {
            self.news.notify_one();
        }
    }

    fn found_none(&self, sku: &str) {
        if let Some(left) = self.units().left.get_mut(sku)
            && *left > 0
        {
            *left = 0;
            self.news.notify_one();
        }
    }

    fn units(&self) -> MutexGuard<'_, UnitsLeft> {
        self.units.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use flashsale_record::SaleState;
    use futures::FutureExt as _;

    use super::*;
    use crate::domain::{SkuBooks, Terms};

    fn view(available: i64) -> StockView {
        let books = SkuBooks {
            sku: "a".to_owned(),
            allotted: 10,
            available,
            held: 0,
            placed: 10 - available,
            sold: 0,
            price_minor: 1,
            price_revision: 1,
            regular_minor: None,
            per_buyer_limit: 0,
        };
        let (state, currency) = (SaleState::Open, "EUR".to_owned());
        let (version, starts_ms, ends_ms, begun, over) = (1, 0, 1, true, false);
        let (price_revision, next_prices_ms) = (1, None);
        let terms = Terms {
            version,
            state,
            starts_ms,
            ends_ms,
            begun,
            over,
            currency,
            price_revision,
            next_prices_ms,
        };
        StockView { skus: vec![books], terms, epoch: 1, read_ms: 0 }
    }

    fn line(quantity: i64) -> [PlacedLine; 1] {
        [PlacedLine { sku: "a".to_owned(), quantity, price_minor: 1, price_revision: 1 }]
    }

    fn has_news(followed: &Followed) -> bool {
        followed.news().now_or_never().is_some()
    }

    fn read(followed: &Followed, available: i64) {
        followed.reading();
        followed.read(&view(available));
    }

    #[test]
    fn last_and_first_units_are_news() {
        let followed = Followed::default();
        read(&followed, 3);
        followed.took(&line(2));
        assert!(!has_news(&followed));
        followed.gave_back(&line(2));
        assert!(!has_news(&followed), "one was left all the time");
        followed.took(&line(1));
        assert!(has_news(&followed));
        followed.gave_back(&line(1));
        assert!(has_news(&followed));
        read(&followed, 1);
        followed.found_none("a");
        assert!(has_news(&followed), "another process took it");
        followed.found_none("a");
        assert!(!has_news(&followed), "that is known");
    }

    #[test]
    fn units_taken_during_reading_count() {
        let followed = Followed::default();
        followed.reading();
        followed.took(&line(3));
        followed.read(&view(3));
        assert!(has_news(&followed), "the three that were read may be those");
        read(&followed, 3);
        assert!(!has_news(&followed), "they were not");
    }

    #[test]
    fn only_current_follower_is_notified() {
        let changes = Changes::default();
        let sale = Uuid::from_u128(1);
        let (first, second) = (changes.follow(sale), changes.follow(sale));
        read(&second, 0);
        changes.forget(sale, &first);
        changes.freed(sale);
        assert!(has_news(&second) && !has_news(&first));
        changes.freed(Uuid::from_u128(2));
        changes.forget(sale, &second);
        changes.freed(sale);
        assert!(!has_news(&second));
    }
}
