//! Fakes: an inventory that knows only what is left, and a checkout that knows only whether it
//! accepts orders.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use flashsale_proto::{
    checkout::{GetIntakeRequest, GetIntakeResponse},
    inventory::{GetStockRequest, GetStockResponse, SkuStock},
};
use flashsale_testbed::fakes::{
    checkout::checkout_admin_service_server::CheckoutAdminService,
    inventory::inventory_service_server::InventoryService,
};
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

/// Answers GetStock with the last count set, and fails without one.
#[derive(Clone, Default)]
pub(crate) struct Inventory {
    stock: Arc<Mutex<Option<SkuStock>>>,
}

impl Inventory {
    /// Sets how many of ten units are available, held, placed and sold.
    pub(crate) fn set(&self, available: i64, held: i64, placed: i64, sold: i64) {
        let stock = SkuStock {
            sku: "TEE-M".to_owned(),
            allotted: available + held + placed + sold,
            available,
            held,
            placed,
            sold,
            ..SkuStock::default()
        };
        *self.stock.lock().unwrap() = Some(stock);
    }

    /// Fails all further calls.
    pub(crate) fn fail(&self) {
        *self.stock.lock().unwrap() = None;
    }
}

/// Accepts orders unless set otherwise.
#[derive(Clone, Default)]
pub(crate) struct Checkout {
    refuses: Arc<AtomicBool>,
    fails: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
}

impl Checkout {
    pub(crate) fn set(&self, accepting: bool) {
        self.refuses.store(!accepting, Ordering::SeqCst);
        self.fails.store(false, Ordering::SeqCst);
    }

    /// Fails all further calls until it is set.
    pub(crate) fn fail(&self) {
        self.fails.store(true, Ordering::SeqCst);
    }

    /// The number of calls.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

#[tonic::async_trait]
impl CheckoutAdminService for Checkout {
    async fn get_intake(&self, _: Request<GetIntakeRequest>) -> Answer<GetIntakeResponse> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err(Status::unavailable("no intake"));
        }
        let accepting = !self.refuses.load(Ordering::SeqCst);
        Ok(Response::new(GetIntakeResponse { accepting, ..GetIntakeResponse::default() }))
    }
}

#[tonic::async_trait]
impl InventoryService for Inventory {
    async fn get_stock(&self, _: Request<GetStockRequest>) -> Answer<GetStockResponse> {
        let stock = self.stock.lock().unwrap().clone();
        match stock {
            Some(stock) => Ok(Response::new(GetStockResponse {
                stock: vec![stock],
                epoch: 1,
                ..GetStockResponse::default()
            })),
            None => Err(Status::unavailable("no stock")),
        }
    }
}
