//! A proxy between checkout and inventory that never answers the listing of placed holds of some
//! sales.

use flashsale_proto::NamedChannel;
use std::{
    convert::Infallible,
    future,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use flashsale_service::{Drain, Hosted};
use flashsale_testbed::{TestServer, serve};
use http_body_util::{BodyExt as _, Full};
use tonic::{
    body::Body,
    codegen::{
        BoxFuture, Service,
        http::{Request, Response},
    },
    server::NamedService,
};
use uuid::Uuid;

/// The target, set once inventory runs.
pub(crate) type Target = Arc<OnceLock<(NamedChannel, Vec<Uuid>)>>;

#[derive(Clone)]
struct Forward<const ADMIN: bool>(Target);

impl NamedService for Forward<false> {
    const NAME: &'static str = "flashsale.inventory.v1.InventoryService";
}

impl NamedService for Forward<true> {
    const NAME: &'static str = "flashsale.inventory.v1.InventoryAdminService";
}

impl<const ADMIN: bool> Service<Request<Body>> for Forward<ADMIN> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let target = Arc::clone(&self.0);
        Box::pin(async move {
            let Some((channel, hangs)) = target.get() else { return future::pending().await };
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let listing = parts.uri.path().ends_with("/ListPlacedHolds");
            let about = |sale: &Uuid| {
                let sale = sale.to_string();
                body.windows(sale.len()).any(|part| part == sale.as_bytes())
            };
            if listing && hangs.iter().any(about) {
                return future::pending().await;
            }
            let mut channel = channel.clone();
            future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
            let request = Request::from_parts(parts, Body::new(Full::new(body)));
            Ok(channel.call(request).await.unwrap())
        })
    }
}

/// Forwards calls once `target` is set.
pub(crate) async fn forward(target: &Target) -> TestServer {
    let hosted = Hosted::new()
        .grpc(Forward::<false>(Arc::clone(target)))
        .grpc(Forward::<true>(Arc::clone(target)));
    serve(hosted, Drain::new()).await
}
