//! Takes due rows up when there is room for them, and only then: a row waits in the store, where every instance can take it, not in the
//! memory of one.

use std::{future::Future, sync::Arc, time::Duration};

use flashsale_service::Drain;
use tokio::{sync::Notify, task::JoinSet};

/// Rung when something may be due, so that nobody waits for the next look.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// Rings.
    pub fn ring(&self) {
        self.0.notify_one();
    }
}

/// A loop over due rows.
#[derive(Debug)]
pub struct Pacer {
    /// For the log.
    pub name: &'static str,
    /// Rows worked on at once.
    pub capacity: usize,
    /// How often to look when nobody rings.
    pub poll: Duration,
    /// Rung when something may be due.
    pub bell: Bell,
    /// When to end.
    pub drain: Drain,
}

impl Pacer {
    /// Takes rows up with `lease` and works on each with `work`, until the drain starts; then finishes what it has begun.
    ///
    /// # Errors
    /// None: a store that is away is waited for.
    pub async fn run<T, Leased, Worked>(
        self,
        lease: impl Fn(usize) -> Leased + Send,
        work: impl Fn(T) -> Worked + Send,
    ) -> anyhow::Result<()>
    where
        T: Send,
        Leased: Future<Output = sqlx::Result<Vec<T>>> + Send,
        Worked: Future<Output = ()> + Send + 'static,
    {
        let mut running = JoinSet::new();
        while !self.drain.is_draining() {
            let room = self.capacity.saturating_sub(running.len());
            let mut more = false;
            if room > 0 {
                match lease(room).await {
                    Ok(rows) => {
                        more = rows.len() == room;
                        for row in rows {
                            running.spawn(work(row));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(worker = self.name, %error, "nothing can be taken up")
                    }
                }
            }
            tokio::select! {
                () = self.drain.started() => {}
                Some(ended) = running.join_next() => self.note(ended),
                () = self.bell.0.notified(), if !more => {}
                // With a full house the next look is when somebody leaves.
                () = tokio::time::sleep(self.poll), if !more => {}
            }
            // Whoever left in the meantime makes room at once, so that one look fills it all.
            while let Some(ended) = running.try_join_next() {
                self.note(ended);
            }
        }
        while let Some(ended) = running.join_next().await {
            self.note(ended);
        }
        Ok(())
    }

    fn note(&self, ended: Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended {
            // The row comes back when its lease is over.
            tracing::error!(worker = self.name, %error, "work on a row broke off");
        }
    }
}
