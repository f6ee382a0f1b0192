//! Wake-ups for the tasks. A lost one costs a poll interval.

use std::{future::Future, sync::Arc};

use tokio::sync::Notify;

/// Rung when rows may be due, so that they need not wait for the next poll. A clone is the same
/// bell.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// Wakes the task that listens, now or when it listens next.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Ends when the bell has been rung.
    pub(crate) fn rung(&self) -> impl Future<Output = ()> + '_ {
        self.0.notified()
    }
}
