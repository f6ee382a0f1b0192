//! How a process is told to end, and how its tasks and streams learn of it.

use std::future::Future;

use tokio_util::sync::CancellationToken;

/// Tells everything in a process to end. A clone is a handle on the same drain.
///
/// It has two steps, because endpoints are removed beside SIGTERM, not before it. [`Drain::begin`]
/// makes the server report NOT_SERVING while it goes on serving for `drain_delay_ms`. Then the
/// drain has *started*: streams and background tasks end by themselves, no connection is accepted
/// any more.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    begun: CancellationToken,
    started: CancellationToken,
}

impl Drain {
    /// A drain that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the process to end.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Asks the process to end, without the delay.
    pub fn start(&self) {
        self.begun.cancel();
        self.started.cancel();
    }

    /// Resolves once the process has been asked to end.
    pub fn begun(&self) -> impl Future<Output = ()> + Send + 'static {
        self.begun.clone().cancelled_owned()
    }

    /// Resolves once streams and background tasks have to end.
    pub fn started(&self) -> impl Future<Output = ()> + Send + 'static {
        self.started.clone().cancelled_owned()
    }

    /// Whether streams and background tasks have to end.
    pub fn is_draining(&self) -> bool {
        self.started.is_cancelled()
    }

    /// The token that is cancelled when the drain has started.
    pub fn token(&self) -> CancellationToken {
        self.started.clone()
    }
}
