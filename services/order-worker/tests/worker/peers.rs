//! Inventory and payment as recorders: they note what they are asked and answer as told.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use flashsale_errors::{Failure, Reason};
use flashsale_proto::{inventory as inv, payment as pay};
use flashsale_service::{Drain, Hosted, PeerConfig, peer};
use flashsale_testbed::{
    TestServer,
    fakes::{
        inventory::{
            inventory_admin_service_server::{InventoryAdminService, InventoryAdminServiceServer},
            inventory_service_server::{InventoryService, InventoryServiceServer},
        },
        payment::payment_service_server::{PaymentService, PaymentServiceServer},
    },
};
use tonic::{Request, Response, Status};

/// What both peers know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peers(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Failures to answer with first.
    pub(crate) failures: VecDeque<Reason>,
    /// An order the payment service never takes.
    pub(crate) refused_order: Option<String>,
    /// What settling answers, if not DONE.
    pub(crate) settle_result: Option<inv::SettleResult>,
    /// Batches of CreatePayments, as order ids.
    pub(crate) created: Vec<Vec<String>>,
    /// Orders that have a payment.
    pub(crate) recorded: BTreeSet<String>,
    /// Orders of CancelPayment.
    pub(crate) cancelled: Vec<String>,
    /// Orders of Refund.
    pub(crate) refunded: Vec<String>,
    /// The request ids of Refund, also of calls that failed.
    pub(crate) refund_requests: BTreeSet<String>,
    /// The results of RetakeHolds, by hold; TAKEN for holds that are missing here.
    pub(crate) retake_results: HashMap<String, inv::RetakeResult>,
    /// The epoch that RetakeHolds answers for; if `None`, the least one that was asked for.
    pub(crate) retake_epoch: Option<i64>,
    /// What RetakeHolds fails with, as long as it is set.
    pub(crate) retake_failure: Option<Reason>,
    /// Sales about whose holds every question fails, and with what.
    pub(crate) closed: HashMap<String, Reason>,
    /// Calls of RetakeHolds, also those that failed.
    pub(crate) retaken: Vec<inv::RetakeHoldsRequest>,
    /// Orders that a hold carries.
    pub(crate) carried: HashMap<String, inv::PlacedHold>,
    /// Sales whose settlements were refused because they are closed, call by call.
    pub(crate) refused_settlements: Vec<String>,
    /// Settlements as (sale, hold, outcome), call by call.
    pub(crate) settled: Vec<Vec<(String, String, inv::HoldOutcome)>>,
}

impl Peers {
    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap()
    }

    /// Serves both from one port.
    pub(crate) async fn serve(&self) -> TestServer {
        let hosted = Hosted::new()
            .grpc(InventoryServiceServer::new(self.clone()))
            .grpc(PaymentServiceServer::new(self.clone()))
            .grpc(InventoryAdminServiceServer::new(self.clone()));
        flashsale_testbed::serve(hosted, Drain::new()).await
    }

    fn fail(&self) -> Result<(), Status> {
        match self.lock().failures.pop_front() {
            Some(reason) => Err(Failure::new(reason, "as told").into()),
            None => Ok(()),
        }
    }
}

pub(crate) fn peer_config(url: &str) -> PeerConfig {
    PeerConfig { timeout_ms: 3_000, ..flashsale_testbed::peer_config(url) }
}

pub(crate) fn channel(name: &'static str, server: &TestServer) -> peer::PeerChannel {
    peer::connect("order-worker", name, &peer_config(&server.grpc_url)).unwrap()
}

fn payment(order_id: &str, state: pay::PaymentState) -> pay::Payment {
    pay::Payment { order_id: order_id.to_owned(), state: state.into(), ..pay::Payment::default() }
}

#[tonic::async_trait]
impl PaymentService for Peers {
    async fn create_payments(
        &self,
        request: Request<pay::CreatePaymentsRequest>,
    ) -> Result<Response<pay::CreatePaymentsResponse>, Status> {
        let orders = request.into_inner().orders;
        let mut known = self.lock();
        known.created.push(orders.iter().map(|order| order.order_id.clone()).collect());
        drop(known);
        self.fail()?;
        let refused = self.lock().refused_order.clone();
        if orders.iter().any(|order| Some(&order.order_id) == refused.as_ref()) {
            return Err(Failure::new(Reason::OrderNotPayable, "as told").into());
        }
        let mut known = self.lock();
        known.recorded.extend(orders.iter().map(|order| order.order_id.clone()));
        let payments =
            orders.iter().map(|order| payment(&order.order_id, pay::PaymentState::Due)).collect();
        Ok(Response::new(pay::CreatePaymentsResponse { payments }))
    }

    async fn cancel_payment(
        &self,
        request: Request<pay::CancelPaymentRequest>,
    ) -> Result<Response<pay::CancelPaymentResponse>, Status> {
        self.fail()?;
        let order_id = request.into_inner().order_id;
        self.lock().cancelled.push(order_id.clone());
        let payment = Some(payment(&order_id, pay::PaymentState::Cancelled));
        Ok(Response::new(pay::CancelPaymentResponse { payment }))
    }

    async fn refund(
        &self,
        request: Request<pay::RefundRequest>,
    ) -> Result<Response<pay::RefundResponse>, Status> {
        let pay::RefundRequest { request_id, order_id, .. } = request.into_inner();
        self.lock().refund_requests.insert(request_id);
        self.fail()?;
        self.lock().refunded.push(order_id.clone());
        let payment = Some(payment(&order_id, pay::PaymentState::Succeeded));
        Ok(Response::new(pay::RefundResponse { payment }))
    }
}

#[tonic::async_trait]
impl InventoryAdminService for Peers {
    async fn settle_holds(
        &self,
        request: Request<inv::SettleHoldsRequest>,
    ) -> Result<Response<inv::SettleHoldsResponse>, Status> {
        self.fail()?;
        let request = request.into_inner();
        let mut known = self.lock();
        if let Some(reason) = known.closed.get(&request.sale_id).copied() {
            known.refused_settlements.push(request.sale_id);
            return Err(Failure::new(reason, "as told").into());
        }
        let result = known.settle_result.unwrap_or(inv::SettleResult::Done);
        let call: Vec<_> = request
            .settlements
            .iter()
            .map(|hold| (request.sale_id.clone(), hold.hold_id.clone(), hold.outcome()))
            .collect();
        let results = vec![result.into(); call.len()];
        known.settled.push(call);
        Ok(Response::new(inv::SettleHoldsResponse { results }))
    }

    async fn retake_holds(
        &self,
        request: Request<inv::RetakeHoldsRequest>,
    ) -> Result<Response<inv::RetakeHoldsResponse>, Status> {
        let request = request.into_inner();
        let mut known = self.lock();
        let results = request.holds.iter().map(|hold| {
            let result = known.retake_results.get(&hold.hold_id);
            result.copied().unwrap_or(inv::RetakeResult::Taken).into()
        });
        let results = results.collect();
        let epoch = known.retake_epoch.unwrap_or(request.min_epoch);
        let closed = known.closed.get(&request.sale_id).copied();
        known.retaken.push(request);
        match known.retake_failure.or(closed) {
            Some(reason) => Err(Failure::new(reason, "as told").into()),
            None => Ok(Response::new(inv::RetakeHoldsResponse { results, epoch })),
        }
    }
}

#[tonic::async_trait]
impl InventoryService for Peers {
    async fn get_hold(
        &self,
        request: Request<inv::GetHoldRequest>,
    ) -> Result<Response<inv::GetHoldResponse>, Status> {
        self.fail()?;
        let placed = self.lock().carried.get(&request.into_inner().order_id).cloned();
        match placed {
            Some(placed) => Ok(Response::new(inv::GetHoldResponse {
                hold: placed.hold.clone(),
                placed: Some(placed),
            })),
            None => Err(Failure::new(Reason::HoldNotFound, "no such hold").into()),
        }
    }
}
