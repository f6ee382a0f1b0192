//! The deadline of the request that is being served, known everywhere below its handler without
//! being passed along.

use std::{future::Future, time::Duration};

use tokio::time::Instant;

/// The header that carries what is left of a deadline to the next service.
pub(crate) const HEADER: &str = "grpc-timeout";

tokio::task_local! {
    static DEADLINE: Instant;
}

/// When the answer to the request being served must be there; `None` outside a request, or where
/// there is no deadline.
pub fn current() -> Option<Instant> {
    DEADLINE.try_with(|deadline| *deadline).ok()
}

/// What is left until [`current`]; zero once it has passed.
pub fn remaining() -> Option<Duration> {
    current().map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

/// Runs `work` under a deadline that [`current`] tells. It does not stop the work.
pub async fn within<F: Future>(deadline: Instant, work: F) -> F::Output {
    DEADLINE.scope(deadline, work).await
}
