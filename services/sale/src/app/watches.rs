//! Watching sales: each watched sale is read once per interval and process, whatever the number of
//! its watchers.

use std::{collections::HashMap, sync::Arc};

use flashsale_service::{Drain, Subscription, Subscriptions};
use futures::Stream;
use uuid::Uuid;

use super::error::SaleError;
use crate::{
    domain::Sale,
    store::{Store, StoreError},
};

/// The sales that are watched in this process.
#[derive(Debug)]
pub struct Watches {
    store: Store,
    subscriptions: Subscriptions<Uuid, Arc<Sale>>,
}

impl Watches {
    /// No sale is watched yet; at most `max_watchers` watchers are let in at once.
    pub fn new(store: Store, max_watchers: usize) -> Self {
        Self { store, subscriptions: Subscriptions::new(max_watchers) }
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
        let permit =
            self.subscriptions.permit().map_err(|full| SaleError::TooManyWatchers(full.limit))?;
        let sale = Arc::new(self.store.get(id).await?.ok_or(SaleError::NotFound(id))?);
        let mut sales = permit.subscribe(id, || Arc::clone(&sale));
        self.publish(sale);
        sales.mark_changed();
        let watching = Watching { sales, drain: drain.clone(), over: false };
        Ok(futures::stream::unfold(watching, Watching::next))
    }

    /// Reads which watched sales have changed, and shows those to their watchers.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let known: HashMap<Uuid, (i64, i64)> =
            self.subscriptions.watched(|sale| age(sale)).into_iter().collect();
        if known.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = known.keys().copied().collect();
        for (id, age) in self.store.versions(&ids).await? {
            if known.get(&id) == Some(&age) {
                continue;
            }
            let Some(sale) = self.store.get(id).await? else { continue };
            self.publish(Arc::new(sale));
        }
        Ok(())
    }

    /// Shows `sale` to its watchers, unless they have seen this reading or a newer one.
    fn publish(&self, sale: Arc<Sale>) {
        self.subscriptions.update(sale.id, |current| {
            let newer = age(&sale) > age(current);
            if newer {
                *current = sale;
            }
            newer
        });
    }
}

/// Orders the readings of a sale: a newer one has a greater age.
fn age(sale: &Sale) -> (i64, i64) {
    (sale.version, sale.propagated_version)
}

/// One watcher.
#[derive(Debug)]
struct Watching {
    sales: Subscription<Uuid, Arc<Sale>>,
    drain: Drain,
    over: bool,
}

impl Watching {
    async fn next(mut self) -> Option<(Arc<Sale>, Self)> {
        if self.over {
            return None;
        }
        tokio::select! {
            // The last state, if there is one, is delivered before the drain ends the stream.
            biased;
            changed = self.sales.changed() => changed.then_some(())?,
            () = self.drain.started() => return None,
        }
        let sale = self.sales.latest();
        self.over = sale.state.is_over();
        Some((sale, self))
    }
}
