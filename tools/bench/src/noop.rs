//! A service that does nothing, on the server of all services: what is left of a call when the
//! handler costs nothing.

use std::process::ExitCode;

use flashsale_inventory::Config;
use flashsale_proto::{
    Money,
    inventory::{
        ExtendHoldRequest, ExtendHoldResponse, GetHoldRequest, GetHoldResponse, GetStockRequest,
        GetStockResponse, Hold, HoldState, PlaceHoldRequest, PlaceHoldResponse, PlaceHoldsRequest,
        PlaceHoldsResponse, PricedLine, ReleaseHoldRequest, ReleaseHoldResponse, ReserveRequest,
        ReserveResponse, WatchStockRequest, WatchStockResponse,
        inventory_service_server::{InventoryService, InventoryServiceServer},
    },
};
use flashsale_service::Hosted;
use tonic::{Request, Response, Status};

/// Serves until SIGTERM, with inventory's configuration.
pub(crate) fn main() -> ExitCode {
    flashsale_service::main("noop", flashsale_inventory::DEFAULTS, async |_: Config, _| {
        Ok(Hosted::new().grpc(InventoryServiceServer::new(Noop { hold: hold() })))
    })
}

/// Answers Reserve with the same hold and GetStock with nothing.
#[derive(Debug)]
struct Noop {
    hold: Hold,
}

/// As long on the wire as those that inventory answers with.
fn hold() -> Hold {
    let id = uuid::Uuid::new_v4().to_string();
    let price = Some(Money { currency_code: "EUR".to_owned(), units: 19, nanos: 900_000_000 });
    let timestamp = Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 123_000_000 });
    Hold {
        hold_id: id.clone(),
        sale_id: id.clone(),
        buyer_id: "bench-000000000000".to_owned(),
        state: HoldState::Held.into(),
        lines: vec![PricedLine {
            sku: "SKU-00".to_owned(),
            quantity: 1,
            unit_price: price.clone(),
            price_revision: 1,
        }],
        total: price,
        expire_time: timestamp,
        epoch: 1,
        admission_id: id,
        ..Hold::default()
    }
}

#[tonic::async_trait]
impl InventoryService for Noop {
    async fn reserve(
        &self,
        _: Request<ReserveRequest>,
    ) -> Result<Response<ReserveResponse>, Status> {
        Ok(Response::new(ReserveResponse { hold: Some(self.hold.clone()) }))
    }

    async fn get_stock(
        &self,
        _: Request<GetStockRequest>,
    ) -> Result<Response<GetStockResponse>, Status> {
        Ok(Response::new(GetStockResponse::default()))
    }

    async fn place_hold(
        &self,
        _: Request<PlaceHoldRequest>,
    ) -> Result<Response<PlaceHoldResponse>, Status> {
        Err(not_here())
    }

    type PlaceHoldsStream = futures::stream::Empty<Result<PlaceHoldsResponse, Status>>;

    async fn place_holds(
        &self,
        _: Request<PlaceHoldsRequest>,
    ) -> Result<Response<Self::PlaceHoldsStream>, Status> {
        Err(not_here())
    }

    async fn get_hold(
        &self,
        _: Request<GetHoldRequest>,
    ) -> Result<Response<GetHoldResponse>, Status> {
        Err(not_here())
    }

    async fn extend_hold(
        &self,
        _: Request<ExtendHoldRequest>,
    ) -> Result<Response<ExtendHoldResponse>, Status> {
        Err(not_here())
    }

    async fn release_hold(
        &self,
        _: Request<ReleaseHoldRequest>,
    ) -> Result<Response<ReleaseHoldResponse>, Status> {
        Err(not_here())
    }

    type WatchStockStream = futures::stream::Empty<Result<WatchStockResponse, Status>>;

    async fn watch_stock(
        &self,
        _: Request<WatchStockRequest>,
    ) -> Result<Response<Self::WatchStockStream>, Status> {
        Err(not_here())
    }
}

fn not_here() -> Status {
    Status::unimplemented("the no-op service answers Reserve and GetStock")
}
