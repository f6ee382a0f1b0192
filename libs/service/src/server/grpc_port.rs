//! The gRPC port. When callers are better off elsewhere, the connections that stand are told to go
//! away and new ones are still accepted.

use std::{convert::Infallible, future::pending, panic, sync::Arc};

use futures::{FutureExt as _, future::select_all};
use http::{Request, Response};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, transport::Server};
use tower::Service;

use super::connections::Connections;
use crate::Drain;

/// Serves `service` until the drain has started and every call has ended. Each time one of `ready`
/// turns false the connections that stand are sent GOAWAY and end with their calls; those that come
/// later are served as before.
///
/// # Errors
/// When the transport fails.
pub(super) async fn serve<S>(
    server: Server,
    service: S,
    connections: Arc<Connections>,
    mut ready: Vec<watch::Receiver<bool>>,
    drain: Drain,
) -> Result<(), tonic::transport::Error>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    // The transport sends GOAWAY only when a server ends, so that each turn is a server of its own
    // on the same port.
    let mut turns = JoinSet::new();
    let mut number = 0_u64;
    loop {
        number += 1;
        let over = CancellationToken::new();
        let ended = {
            let (over, drain) = (over.clone(), drain.clone());
            async move {
                tokio::select! {
                    () = over.cancelled() => {}
                    () = drain.started() => {}
                }
            }
        };
        let turn = server.clone().serve_with_incoming_shutdown(
            service.clone(),
            connections.stream(),
            ended,
        );
        turns.spawn(async move { (number, turn.await) });
        loop {
            tokio::select! {
                // The drain first: it also ends the newest turn, and older ones may have calls.
                biased;
                () = drain.started() => {
                    drop(connections);
                    while let Some(turn) = turns.join_next().await {
                        outcome(turn).1?;
                    }
                    return Ok(());
                }
                Some(turn) = turns.join_next() => {
                    let (which, result) = outcome(turn);
                    result?;
                    // A guard: a turn that accepts connections has no end of its own.
                    if which == number {
                        return Ok(());
                    }
                }
                () = one_turns_false(&mut ready) => {
                    tracing::info!("callers are told to go away");
                    over.cancel();
                    break;
                }
            }
        }
    }
}

type Outcome = (u64, Result<(), tonic::transport::Error>);

fn outcome(turn: Result<Outcome, tokio::task::JoinError>) -> Outcome {
    match turn {
        Ok(outcome) => outcome,
        // A turn is never cancelled.
        Err(error) => panic::resume_unwind(error.into_panic()),
    }
}

/// Resolves when one that was true is false.
async fn one_turns_false(ready: &mut [watch::Receiver<bool>]) {
    if ready.is_empty() {
        return pending().await;
    }
    select_all(ready.iter_mut().map(|ready| turns_false(ready).boxed())).await;
}

async fn turns_false(ready: &mut watch::Receiver<bool>) {
    loop {
        if ready.changed().await.is_err() {
            return pending().await;
        }
        if !*ready.borrow_and_update() {
            return;
        }
    }
}
