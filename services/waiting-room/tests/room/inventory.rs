//! An inventory that knows only how much is left, and a checkout that knows only whether it lets orders in.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use flashsale_proto::checkout::{
    GetIntakeRequest, GetIntakeResponse, checkout_admin_service_server::CheckoutAdminService,
};
use flashsale_proto::inventory::{
    ExtendHoldRequest, ExtendHoldResponse, GetHoldRequest, GetHoldResponse, GetStockRequest,
    GetStockResponse, PlaceHoldRequest, PlaceHoldResponse, PlaceHoldsRequest, PlaceHoldsResponse,
    ReleaseHoldRequest, ReleaseHoldResponse, ReserveRequest, ReserveResponse, SkuStock,
    WatchStockRequest, WatchStockResponse, inventory_service_server::InventoryService,
};
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

/// Answers GetStock with the count it was given, and fails without one.
#[derive(Clone, Default)]
pub(crate) struct Inventory {
    stock: Arc<Mutex<Option<SkuStock>>>,
}

impl Inventory {
    /// From now on this much of ten units is available, held, placed and sold.
    pub(crate) fn set(&self, available: i64, held: i64, placed: i64, sold: i64) {
        let stock = SkuStock {
            sku: "TEE-M".to_owned(),
            allotted: available + held + placed + sold,
            available,
            held,
            placed,
            sold,
        };
        *self.stock.lock().unwrap() = Some(stock);
    }

    /// From now on it does not answer.
    pub(crate) fn fail(&self) {
        *self.stock.lock().unwrap() = None;
    }
}

/// Lets orders in unless told otherwise.
#[derive(Clone, Default)]
pub(crate) struct Checkout {
    refuses: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
}

impl Checkout {
    pub(crate) fn set(&self, accepting: bool) {
        self.refuses.store(!accepting, Ordering::SeqCst);
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

#[tonic::async_trait]
impl CheckoutAdminService for Checkout {
    async fn get_intake(&self, _: Request<GetIntakeRequest>) -> Answer<GetIntakeResponse> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let accepting = !self.refuses.load(Ordering::SeqCst);
        Ok(Response::new(GetIntakeResponse { accepting, ..GetIntakeResponse::default() }))
    }
}

fn not_asked<T>() -> Answer<T> {
    Err(Status::unimplemented("nobody asks this"))
}

#[tonic::async_trait]
impl InventoryService for Inventory {
    async fn get_stock(&self, _: Request<GetStockRequest>) -> Answer<GetStockResponse> {
        let stock = self.stock.lock().unwrap().clone();
        match stock {
            Some(stock) => Ok(Response::new(GetStockResponse {
                stock: vec![stock],
                epoch: 1,
                read_time: None,
            })),
            None => Err(Status::unavailable("no stock")),
        }
    }

    async fn reserve(&self, _: Request<ReserveRequest>) -> Answer<ReserveResponse> {
        not_asked()
    }

    async fn place_hold(&self, _: Request<PlaceHoldRequest>) -> Answer<PlaceHoldResponse> {
        not_asked()
    }

    type PlaceHoldsStream = futures::stream::Empty<Result<PlaceHoldsResponse, Status>>;

    async fn place_holds(&self, _: Request<PlaceHoldsRequest>) -> Answer<Self::PlaceHoldsStream> {
        not_asked()
    }

    async fn get_hold(&self, _: Request<GetHoldRequest>) -> Answer<GetHoldResponse> {
        not_asked()
    }

    async fn extend_hold(&self, _: Request<ExtendHoldRequest>) -> Answer<ExtendHoldResponse> {
        not_asked()
    }

    async fn release_hold(&self, _: Request<ReleaseHoldRequest>) -> Answer<ReleaseHoldResponse> {
        not_asked()
    }

    type WatchStockStream = BoxStream<'static, Result<WatchStockResponse, Status>>;

    async fn watch_stock(&self, _: Request<WatchStockRequest>) -> Answer<Self::WatchStockStream> {
        not_asked()
    }
}
