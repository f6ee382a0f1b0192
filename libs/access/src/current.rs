//! The caller of the request that is being served, known everywhere below its handler without being
//! passed along.

use std::{future::Future, sync::Arc};

use uuid::Uuid;

use crate::{Caller, Sales};

tokio::task_local! {
    static CALLER: Arc<Caller>;
}

/// The caller of the request being served; `None` outside a request, and where anyone may call.
pub fn current() -> Option<Arc<Caller>> {
    CALLER.try_with(Arc::clone).ok()
}

/// The name of the caller of the request being served, for histories of who asked for what.
pub fn name() -> String {
    current().map_or_else(|| "unknown".to_owned(), |caller| caller.name.clone())
}

/// Whether the caller of the request being served reaches the sale of a record that was read for
/// it. None does outside a request.
pub fn reaches(sale_id: Uuid) -> bool {
    CALLER.try_with(|caller| caller.reaches(sale_id)).unwrap_or(false)
}

/// Whether the caller of the request being served speaks for the buyer of a record or token that
/// was read for it. None does outside a request.
pub fn speaks_for(buyer_id: &str) -> bool {
    CALLER.try_with(|caller| caller.speaks_for(buyer_id)).unwrap_or(false)
}

/// Whether the caller of the request being served reaches what belongs to no sale, or to one that
/// cannot be read: who reaches all of them does.
pub fn reaches_all() -> bool {
    CALLER.try_with(|caller| caller.sales == Sales::All).unwrap_or(false)
}

/// Runs `work` for a caller that [`current`] tells.
pub async fn within<F: Future>(caller: Arc<Caller>, work: F) -> F::Output {
    CALLER.scope(caller, work).await
}
