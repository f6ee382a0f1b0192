//! Beats at Redis: writes that show which servers an instance's connections lead to.

use std::{collections::HashMap, sync::Arc, time::Duration};

use flashsale_redis::Store;
use futures::StreamExt as _;
use tokio::time::timeout;
use uuid::Uuid;

use super::{keys::beat_key, scripts::Scripts};

/// How many slots of a Cluster are written at concurrently.
const AT_ONCE: usize = 16;

/// Where keys are: a slot of a Cluster, or `None` for the one server outside a Cluster.
pub type Slot = Option<u16>;

/// Access to the servers.
#[derive(Debug)]
pub struct Beats {
    store: Store,
    scripts: Arc<Scripts>,
    /// Whether keys are spread over the masters of a Cluster.
    clustered: bool,
}

impl Beats {
    pub fn new(store: Store, scripts: Arc<Scripts>) -> Self {
        Self { clustered: store.slot_of(&beat_key(None)).is_some(), store, scripts }
    }

    /// The slot of a sale's keys.
    pub fn slot(&self, sale_id: Uuid) -> Slot {
        if self.clustered { self.store.slot_of(&beat_key(Some(sale_id))) } else { None }
    }

    /// The record's name of a server: in a Cluster it is recorded slot by slot.
    pub fn name(slot: Slot, server: &str) -> String {
        match slot {
            Some(slot) => format!("{server}#{slot}"),
            None => server.to_owned(),
        }
    }

    /// Whether the Sentinels, if there are any, name the server that connections lead to; false if
    /// they do not say so `within` this time.
    pub async fn is_named(&self, within: Duration) -> bool {
        timeout(within, self.store.is_named(within)).await.unwrap_or(false)
    }

    /// Writes at the slots of these sales, or at the one server, and returns the record's names of
    /// those that answered `within` this time.
    pub async fn write(&self, sales: &[Uuid], within: Duration) -> HashMap<Slot, String> {
        let mut keys: HashMap<Slot, String> = HashMap::new();
        if self.clustered {
            for sale_id in sales {
                keys.entry(self.slot(*sale_id)).or_insert_with(|| beat_key(Some(*sale_id)));
            }
        } else {
            keys.insert(None, beat_key(None));
        }
        futures::stream::iter(keys)
            .map(|(slot, key)| async move {
                let no_args = |_: &_| vec!["0".into(), "0".into()];
                let written = self.store.eval_with(&self.scripts.beat, vec![key], no_args);
                match timeout(within, written).await {
                    Ok(Ok(answered)) => {
                        Some((slot, Self::name(slot, &answered.server.to_string())))
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "no beat at Redis");
                        None
                    }
                    Err(_) => None,
                }
            })
            .buffer_unordered(AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await
    }
}
