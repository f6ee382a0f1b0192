//! Watchers of states that change, by key. They are bounded in number, and each has at most one
//! state waiting to be read, the latest: a slow watcher skips those in between and delays no other.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{Stream, stream};
use tokio::sync::watch;

/// The watched keys and the latest state of each. A clone shares them.
#[derive(Debug)]
pub struct Subscriptions<K, V> {
    shared: Arc<Shared<K, V>>,
}

#[derive(Debug)]
struct Shared<K, V> {
    limit: usize,
    watched: Mutex<Watched<K, V>>,
}

#[derive(Debug)]
struct Watched<K, V> {
    keys: HashMap<K, Key<V>>,
    /// Permits given out.
    permits: usize,
    /// The number of the next key: a key that is watched again is another one.
    next: u64,
}

#[derive(Debug)]
struct Key<V> {
    number: u64,
    watchers: usize,
    /// Whether a reader has its [`Source`]: then the key stays until the reader gives it up, so
    /// that a watcher who comes back in time joins that reader and starts no second one.
    has_source: bool,
    states: watch::Sender<V>,
}

/// There are as many watchers as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are {limit} watchers already")]
pub struct TooManyWatchers {
    /// The bound.
    pub limit: usize,
}

/// Permits one watch. It counts until it, or the subscription made from it, is dropped.
#[derive(Debug)]
pub struct Permit<K, V> {
    shared: Arc<Shared<K, V>>,
}

/// A watcher of one key; dropping it ends the watch.
#[derive(Debug)]
pub struct Subscription<K: Copy + Eq + Hash, V> {
    key: K,
    number: u64,
    states: watch::Receiver<V>,
    permit: Permit<K, V>,
}

/// Where the states of one key come from, for a key that has a reader of its own. Dropping it ends
/// the watches of the key.
#[derive(Debug)]
pub struct Source<K: Copy + Eq + Hash, V> {
    key: K,
    number: u64,
    states: watch::Sender<V>,
    shared: Arc<Shared<K, V>>,
}

impl<K, V> Clone for Subscriptions<K, V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K, V> Shared<K, V> {
    fn lock(&self) -> MutexGuard<'_, Watched<K, V>> {
        // No code that holds the lock can panic with a change half made.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash, V> Subscriptions<K, V> {
    /// At most `limit` watchers at a time.
    pub fn new(limit: usize) -> Self {
        let watched = Watched { keys: HashMap::new(), permits: 0, next: 0 };
        Self { shared: Arc::new(Shared { limit, watched: Mutex::new(watched) }) }
    }

    /// Permits one more watch.
    ///
    /// # Errors
    /// At the bound.
    pub fn permit(&self) -> Result<Permit<K, V>, TooManyWatchers> {
        let limit = self.shared.limit;
        let mut watched = self.shared.lock();
        if watched.permits >= limit {
            return Err(TooManyWatchers { limit });
        }
        watched.permits += 1;
        Ok(Permit { shared: Arc::clone(&self.shared) })
    }

    /// Permits one more watch without regard to the bound, for a caller that has a bound of its
    /// own. It counts like any other.
    pub fn permit_beyond(&self) -> Permit<K, V> {
        self.shared.lock().permits += 1;
        Permit { shared: Arc::clone(&self.shared) }
    }

    /// Changes the state of `key` if it is watched, and wakes its watchers if `change` returns
    /// true.
    pub fn update(&self, key: K, change: impl FnOnce(&mut V) -> bool) {
        if let Some(key) = self.shared.lock().keys.get(&key) {
            key.states.send_if_modified(change);
        }
    }

    /// The watched keys, with what `read` takes from the state of each.
    pub fn watched<T>(&self, read: impl Fn(&V) -> T) -> Vec<(K, T)> {
        let watched = self.shared.lock();
        watched.keys.iter().map(|(key, entry)| (*key, read(&entry.states.borrow()))).collect()
    }
}

impl<K: Copy + Eq + Hash, V> Permit<K, V> {
    /// Watches `key` from now on. Its state is `first` unless it is watched already.
    pub fn subscribe(self, key: K, first: impl FnOnce() -> V) -> Subscription<K, V> {
        self.add(key, false, first).0
    }

    /// Watches `key`; the first watcher of a key also receives its [`Source`] and starts a reader
    /// with it.
    pub fn subscribe_with_source(
        self,
        key: K,
        first: impl FnOnce() -> V,
    ) -> (Subscription<K, V>, Option<Source<K, V>>) {
        let shared = Arc::clone(&self.shared);
        let (subscription, states) = self.add(key, true, first);
        let number = subscription.number;
        (subscription, states.map(|states| Source { key, number, states, shared }))
    }

    fn add(
        self,
        key: K,
        has_source: bool,
        first: impl FnOnce() -> V,
    ) -> (Subscription<K, V>, Option<watch::Sender<V>>) {
        let mut watched = self.shared.lock();
        let next = watched.next;
        let (entry, is_first) = match watched.keys.entry(key) {
            Entry::Occupied(entry) => (entry.into_mut(), false),
            Entry::Vacant(entry) => {
                let states = watch::Sender::new(first());
                (entry.insert(Key { number: next, watchers: 0, has_source, states }), true)
            }
        };
        entry.watchers += 1;
        let (number, states) = (entry.number, entry.states.subscribe());
        let sender = is_first.then(|| entry.states.clone());
        if is_first {
            watched.next += 1;
        }
        drop(watched);
        (Subscription { key, number, states, permit: self }, sender)
    }
}

impl<K, V> Drop for Permit<K, V> {
    fn drop(&mut self) {
        self.shared.lock().permits -= 1;
    }
}

impl<K: Copy + Eq + Hash, V> Subscription<K, V> {
    /// Resolves once the state has changed since the last look: true, or false when the source of
    /// the key has ended and its last state was seen.
    pub async fn changed(&mut self) -> bool {
        self.states.changed().await.is_ok()
    }

    /// Has the present state count as a change.
    pub fn mark_changed(&mut self) {
        self.states.mark_changed();
    }

    /// The state, which counts as seen from now on.
    pub fn latest(&mut self) -> V
    where
        V: Clone,
    {
        self.states.borrow_and_update().clone()
    }

    /// The state now, and whenever it has changed, until the source of the key ends.
    pub fn into_stream(mut self) -> impl Stream<Item = V> + Send + use<K, V>
    where
        K: Send,
        V: Clone + Send + Sync,
    {
        self.mark_changed();
        stream::unfold(self, |mut this| async move {
            this.changed().await.then(|| (this.latest(), this))
        })
    }
}

impl<K: Copy + Eq + Hash, V> Drop for Subscription<K, V> {
    fn drop(&mut self) {
        let mut watched = self.permit.shared.lock();
        if let Entry::Occupied(mut entry) = watched.keys.entry(self.key)
            && entry.get().number == self.number
        {
            entry.get_mut().watchers -= 1;
            if entry.get().watchers == 0 && !entry.get().has_source {
                entry.remove();
            }
        }
    }
}

impl<K: Copy + Eq + Hash, V> Source<K, V> {
    /// Ends the key if no watcher is left, and says whether it did. No watcher joins after that:
    /// the next one is the first of its own.
    pub fn end_if_unwatched(&self) -> bool {
        let mut watched = self.shared.lock();
        match watched.keys.entry(self.key) {
            Entry::Occupied(entry) if entry.get().number == self.number => {
                let unwatched = entry.get().watchers == 0;
                if unwatched {
                    entry.remove();
                }
                unwatched
            }
            Entry::Occupied(_) | Entry::Vacant(_) => true,
        }
    }

    /// Resolves once no watcher is left; one may join again until [`Self::end_if_unwatched`].
    pub async fn unwatched(&self) {
        self.states.closed().await;
    }

    /// Changes the state, and wakes the watchers if `change` returns true.
    pub fn update(&self, change: impl FnOnce(&mut V) -> bool) {
        self.states.send_if_modified(change);
    }

    /// What `read` takes from the state.
    pub fn read<T>(&self, read: impl FnOnce(&V) -> T) -> T {
        read(&self.states.borrow())
    }

    /// Ends the watches of the key, whose watchers still receive `last`. No watcher joins in
    /// between.
    pub fn end(self, last: V) {
        self.remove();
        self.states.send_replace(last);
    }

    fn remove(&self) {
        let mut watched = self.shared.lock();
        if let Entry::Occupied(entry) = watched.keys.entry(self.key)
            && entry.get().number == self.number
        {
            entry.remove();
        }
    }
}

impl<K: Copy + Eq + Hash, V> Drop for Source<K, V> {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::StreamExt as _;

    use super::*;

    #[test]
    fn watchers_are_bounded() {
        let subscriptions = Subscriptions::<u8, ()>::new(1);
        let watcher = subscriptions.permit().unwrap().subscribe(1, || ());
        assert_eq!(subscriptions.permit().unwrap_err(), TooManyWatchers { limit: 1 });
        let beyond = subscriptions.permit_beyond();
        drop(watcher);
        assert!(subscriptions.permit().is_err(), "the other one counts too");
        drop(beyond);
        assert!(subscriptions.permit().is_ok());
    }

    #[test]
    fn concurrent_drops_leave_no_key() {
        let subscriptions = Subscriptions::<u8, ()>::new(4);
        for _ in 0..5_000 {
            let watchers: Vec<_> =
                (0..4).map(|_| subscriptions.permit().unwrap().subscribe(7, || ())).collect();
            let start = std::sync::Barrier::new(watchers.len());
            std::thread::scope(|scope| {
                for watcher in watchers {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        drop(watcher);
                    });
                }
            });
            let watched = subscriptions.shared.lock();
            assert!(watched.keys.is_empty() && watched.permits == 0);
        }
    }

    #[tokio::test]
    async fn slow_watcher_reads_the_latest_state() {
        let subscriptions = Subscriptions::new(2);
        let mut states = Box::pin(subscriptions.permit().unwrap().subscribe(1, || 0).into_stream());
        assert_eq!(states.next().await, Some(0));
        for state in 1..4 {
            subscriptions.update(1, |latest| {
                *latest = state;
                true
            });
        }
        assert_eq!(states.next().await, Some(3));
    }

    #[tokio::test]
    async fn key_that_has_ended_is_read_again() {
        let subscriptions = Subscriptions::new(3);
        let subscribe = || subscriptions.permit().unwrap().subscribe_with_source(1, || 0);
        let (first, source) = subscribe();
        assert!(subscribe().1.is_none(), "the key has a source");
        source.unwrap().end(9);
        let (second, source) = subscribe();
        assert!(source.is_some());
        assert_eq!(first.into_stream().collect::<Vec<_>>().await, [9]);
        drop(second);
        assert!(source.unwrap().end_if_unwatched());
    }

    #[tokio::test]
    async fn watcher_who_comes_back_joins_the_reader() {
        let subscriptions = Subscriptions::new(3);
        let subscribe = || subscriptions.permit().unwrap().subscribe_with_source(1, || 0);
        let (first, source) = subscribe();
        let source = source.unwrap();
        drop(first);
        source.unwatched().await;
        let (mut second, other) = subscribe();
        assert!(other.is_none(), "the first reader is not done");
        assert!(!source.end_if_unwatched());
        source.update(|state| {
            *state = 7;
            true
        });
        assert!(second.changed().await);
        assert_eq!(second.latest(), 7);
        drop(second);
        assert!(source.end_if_unwatched());
        assert!(subscribe().1.is_some());
    }
}
