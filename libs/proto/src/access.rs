//! Who may call what: the table that the build makes of the protos, and the place where a request
//! is inspected when it has been decoded, before its handler.

use std::{future::Future, sync::Arc};

pub use flashsale_access::{BuyerOf, Role, Rule, SaleOf, Scope};
use tonic::Status;

include!(concat!(env!("OUT_DIR"), "/rules.rs"));

/// What is read from the wire: a request says whom it is for, an answer does not.
pub trait Scoped {
    /// Whom the request is for; `None` for what is not a request.
    fn scope(&self) -> Option<Scope<'_>> {
        None
    }
}

/// Decides about a decoded request.
pub type Inspect = Arc<dyn Fn(Scope<'_>) -> Result<(), Status> + Send + Sync>;

tokio::task_local! {
    static INSPECT: Inspect;
}

/// Serves a call whose request is inspected when it has been decoded. A refusal answers the call in
/// place of its handler.
pub async fn inspected<F: Future>(inspect: Inspect, call: F) -> F::Output {
    INSPECT.scope(inspect, call).await
}

/// Has the request inspected by the server it came to, if one asked for that.
pub(crate) fn inspect(message: &impl Scoped) -> Result<(), Status> {
    let Some(scope) = message.scope() else { return Ok(()) };
    INSPECT.try_with(|inspect| inspect(scope)).unwrap_or(Ok(()))
}
