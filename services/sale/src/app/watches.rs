//! Watching sales: each watched sale is read once per interval and process, whatever the number of
//! its watchers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use flashsale_service::Drain;
use futures::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use uuid::Uuid;

use super::error::SaleError;
use crate::{
    domain::{Sale, SaleState},
    store::{Store, StoreError},
};

/// A watched sale, shared by all of its watchers.
type Watched = watch::Sender<Arc<Sale>>;

/// The sales that are watched in this process.
#[derive(Debug)]
pub struct Watches {
    store: Store,
    max_watchers: usize,
    permits: Arc<Semaphore>,
    watched: Mutex<HashMap<Uuid, Watched>>,
}

impl Watches {
    /// No sale is watched yet; at most `max_watchers` watchers are let in at once.
    pub fn new(store: Store, max_watchers: usize) -> Self {
        let permits = Arc::new(Semaphore::new(max_watchers));
        Self { store, max_watchers, permits, watched: Mutex::default() }
    }

    /// The sale now and whenever it changes, until it has ended or the drain starts.
    ///
    /// # Errors
    /// [`SaleError::NotFound`], [`SaleError::TooManyWatchers`]; [`SaleError::Store`] when Postgres
    /// does not answer.
    pub async fn watch(
        &self,
        id: Uuid,
        drain: &Drain,
    ) -> Result<impl Stream<Item = Arc<Sale>> + Send + use<>, SaleError> {
        let permit = Arc::clone(&self.permits)
            .try_acquire_owned()
            .map_err(|_| SaleError::TooManyWatchers(self.max_watchers))?;
        let sale = self.store.get(id).await?.ok_or(SaleError::NotFound(id))?;
        let mut sales = self.subscribe(sale);
        sales.mark_changed();
        let watching = Watching { sales, drain: drain.clone(), over: false, _permit: permit };
        Ok(futures::stream::unfold(watching, Watching::next))
    }

    fn subscribe(&self, sale: Sale) -> watch::Receiver<Arc<Sale>> {
        let sale = Arc::new(sale);
        let mut watched = self.watched();
        let sender =
            watched.entry(sale.id).or_insert_with(|| watch::Sender::new(Arc::clone(&sale)));
        let receiver = sender.subscribe();
        publish(sender, sale);
        receiver
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<Uuid, Watched>> {
        // No code that could panic runs under the lock.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads which watched sales have changed, and shows those to their watchers. Forgets the sales
    /// that are no longer watched.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let known: HashMap<Uuid, (i64, i64)> = {
            let mut watched = self.watched();
            watched.retain(|_, sender| sender.receiver_count() > 0);
            watched.iter().map(|(id, sender)| (*id, age(&sender.borrow()))).collect()
        };
        if known.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = known.keys().copied().collect();
        for (id, age) in self.store.versions(&ids).await? {
            if known.get(&id) == Some(&age) {
                continue;
            }
            let Some(sale) = self.store.get(id).await? else { continue };
            if let Some(sender) = self.watched().get(&id) {
                publish(sender, Arc::new(sale));
            }
        }
        Ok(())
    }
}

/// Orders the readings of a sale: a newer one has a greater age.
fn age(sale: &Sale) -> (i64, i64) {
    (sale.version, sale.propagated_version)
}

/// Shows `sale` to its watchers, unless they have seen this reading or a newer one.
fn publish(sender: &Watched, sale: Arc<Sale>) {
    sender.send_if_modified(|current| {
        let newer = age(&sale) > age(current);
        if newer {
            *current = sale;
        }
        newer
    });
}

/// One watcher.
#[derive(Debug)]
struct Watching {
    sales: watch::Receiver<Arc<Sale>>,
    drain: Drain,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

impl Watching {
    async fn next(mut self) -> Option<(Arc<Sale>, Self)> {
        if self.over {
            return None;
        }
        tokio::select! {
            // The last state, if there is one, is delivered before the drain ends the stream.
            biased;
            changed = self.sales.changed() => changed.ok()?,
            () = self.drain.started() => return None,
        }
        let sale = Arc::clone(&self.sales.borrow_and_update());
        self.over = sale.state == SaleState::Ended;
        Some((sale, self))
    }
}
