//! Following sales: however many people watch, each sale is looked at once per interval and process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
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

/// A watched sale, shared by everybody who watches it.
type Watched = watch::Sender<Arc<Sale>>;

/// The sales that are watched in this process.
#[derive(Debug)]
pub struct Watches {
    store: Store,
    interval: Duration,
    max_watchers: usize,
    permits: Arc<Semaphore>,
    watched: Mutex<HashMap<Uuid, Watched>>,
}

impl Watches {
    /// None yet. At most `max_watchers` may watch at once; what they watch is looked at every `interval`.
    pub fn new(store: Store, interval: Duration, max_watchers: usize) -> Self {
        let permits = Arc::new(Semaphore::new(max_watchers));
        Self { store, interval, max_watchers, permits, watched: Mutex::default() }
    }

    /// The sale now and whenever it changes, until it has ended or the drain starts.
    ///
    /// # Errors
    /// [`SaleError::NotFound`], or [`SaleError::TooManyWatchers`].
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
        // Nothing that could panic is done under the lock.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks after the watched sales until the drain starts.
    ///
    /// # Errors
    /// Never: what goes wrong is logged and tried again.
    pub async fn run(self: Arc<Self>, drain: Drain) -> anyhow::Result<()> {
        let rounds = async {
            loop {
                tokio::time::sleep(self.interval).await;
                if let Err(error) = self.round().await {
                    tracing::warn!(%error, "cannot look after the watched sales");
                }
            }
        };
        tokio::select! {
            () = drain.started() => Ok(()),
            () = rounds => Ok(()),
        }
    }

    async fn round(&self) -> Result<(), StoreError> {
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

/// What tells a newer reading of a sale from an older one.
fn age(sale: &Sale) -> (i64, i64) {
    (sale.version, sale.propagated_version)
}

/// Shows `sale` to everybody who watches it, unless they know it or something newer.
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
