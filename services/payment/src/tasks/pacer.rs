//! Leases due rows when there is capacity for them, and only then: a row waits in the store, where
//! any instance can lease it, not in the memory of one.

use std::{future::Future, time::Duration};

use flashsale_service::Drain;
use tokio::task::JoinSet;

use crate::app::Bell;

/// A loop over due rows.
#[derive(Debug)]
pub struct Pacer {
    /// For the log.
    pub name: &'static str,
    /// Rows worked on at once.
    pub capacity: usize,
    /// How often to look if the bell is not rung.
    pub poll: Duration,
    /// Rung when something may be due.
    pub bell: Bell,
    pub drain: Drain,
}

impl Pacer {
    /// Takes rows with `lease` and works on each with `work`, until the drain starts; then finishes
    /// the rows under way.
    ///
    /// # Errors
    /// Never: a store that is away is tried again.
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
                () = self.bell.rung(), if !more => {}
                // At full capacity the next look is when a row is finished.
                () = tokio::time::sleep(self.poll), if !more => {}
            }
            // Count all rows that have finished meanwhile, so that one look fills their places.
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
            // The row is due again when its lease ends.
            tracing::error!(worker = self.name, %error, "work on a row broke off");
        }
    }
}
