//! The OrderAdminService: decode, call, encode.

mod encode;

use flashsale_errors::{Failure, Reason};
use flashsale_pg::SteppedPool;
use flashsale_proto::order::{
    DropDeadLetterRequest, DropDeadLetterResponse, ListDeadLettersRequest, ListDeadLettersResponse,
    ListTransitionsRequest, ListTransitionsResponse, RetryDeadLetterRequest,
    RetryDeadLetterResponse, order_admin_service_server::OrderAdminService,
};
use flashsale_service::{caller, page, wire};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::{
    dead_letters::{DeadLetters, not_found},
    history::history,
};

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 500;

/// `flashsale.order.v1.OrderAdminService`.
#[derive(Debug)]
pub struct OrderAdmin {
    pool: SteppedPool,
    dead_letters: DeadLetters,
}

impl OrderAdmin {
    /// Reads histories from `pool` and passes the rest to `dead_letters`.
    pub fn new(pool: SteppedPool, dead_letters: DeadLetters) -> Self {
        Self { pool, dead_letters }
    }

    /// Refuses a dead letter of a sale that the caller does not reach, as if there were none. One
    /// whose sale cannot be read is for those who reach every sale.
    async fn reachable(&self, id: i64) -> Result<(), Failure> {
        let (dead_letter, _) = self.dead_letters.find(id).await?;
        if dead_letter.sale_id.map_or_else(caller::reaches_all, caller::reaches) {
            Ok(())
        } else {
            Err(not_found(id))
        }
    }
}

#[tonic::async_trait]
impl OrderAdminService for OrderAdmin {
    async fn list_transitions(
        &self,
        request: Request<ListTransitionsRequest>,
    ) -> Result<Response<ListTransitionsResponse>, Status> {
        let request = request.into_inner();
        let order_id = wire::uuid("order_id", &request.order_id, Reason::ArgumentInvalid)?;
        let size = page::size(request.page_size, DEFAULT_PAGE, MAX_PAGE)?;
        let id = order_id.to_string();
        let list = ["transitions", id.as_str()];
        let after: i64 = page::key(&list, &request.page_token)?.unwrap_or(0);
        let found =
            history(&self.pool, order_id, after, page::one_more(size), caller::reaches).await?;
        let (found, next) = page::cut(found, size, |last| last.id);
        Ok(Response::new(ListTransitionsResponse {
            transitions: found.into_iter().map(encode::transition).collect(),
            next_page_token: page::token(&list, next.as_ref()),
        }))
    }

    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        let request = request.into_inner();
        let sale_id = match request.sale_id.as_str() {
            "" => None,
            sale_id => Some(wire::uuid("sale_id", sale_id, Reason::ArgumentInvalid)?),
        };
        let size = page::size(request.page_size, DEFAULT_PAGE, MAX_PAGE)?;
        let (sale, all) = (sale_id.map(|id: Uuid| id.to_string()), request.include_resolved);
        let list = [
            "dead_letters",
            sale.as_deref().unwrap_or_default(),
            if all { "all" } else { "waiting" },
        ];
        let after: Option<i64> = page::key(&list, &request.page_token)?;
        let found = self.dead_letters.list(sale_id, all, after, page::one_more(size)).await?;
        let (found, next) = page::cut(found, size, |last| last.id);
        Ok(Response::new(ListDeadLettersResponse {
            dead_letters: found.into_iter().map(encode::dead_letter).collect(),
            next_page_token: page::token(&list, next.as_ref()),
        }))
    }

    async fn retry_dead_letter(
        &self,
        request: Request<RetryDeadLetterRequest>,
    ) -> Result<Response<RetryDeadLetterResponse>, Status> {
        let request = request.into_inner();
        let request_id = wire::request_id(&request.request_id)?;
        self.reachable(request.dead_letter_id).await?;
        let found = self.dead_letters.retry(request.dead_letter_id, request_id).await?;
        Ok(Response::new(RetryDeadLetterResponse { dead_letter: Some(encode::dead_letter(found)) }))
    }

    async fn drop_dead_letter(
        &self,
        request: Request<DropDeadLetterRequest>,
    ) -> Result<Response<DropDeadLetterResponse>, Status> {
        let request = request.into_inner();
        // Required as on every mutating call, and not used: a dead letter can be dropped only once.
        wire::request_id(&request.request_id)?;
        self.reachable(request.dead_letter_id).await?;
        let found = self.dead_letters.drop(request.dead_letter_id).await?;
        Ok(Response::new(DropDeadLetterResponse { dead_letter: Some(encode::dead_letter(found)) }))
    }
}
