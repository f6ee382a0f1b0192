//! The OrderAdminService: decode, call, encode.

use flashsale_errors::{Failure, Reason};
use flashsale_proto::order::{
    DeadLetter, DropDeadLetterRequest, DropDeadLetterResponse, ListDeadLettersRequest,
    ListDeadLettersResponse, ListTransitionsRequest, ListTransitionsResponse,
    Resolution as WireResolution, RetryDeadLetterRequest, RetryDeadLetterResponse, Transition,
    order_admin_service_server::OrderAdminService,
};
use flashsale_service::{page, wire};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    app::dead_letters::Review,
    store::dead_letters::{self, Letter, Resolution},
};

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 500;

/// What the record says of orders, over gRPC.
#[derive(Debug)]
pub struct OrderAdmin {
    review: Review,
}

impl OrderAdmin {
    /// Serves what `review` decides.
    pub fn new(review: Review) -> Self {
        Self { review }
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
            dead_letters::transitions(&self.review.pool, order_id, after, page::one_more(size))
                .await
                .map_err(|error| Failure::store("postgres", error))?;
        let found = found.ok_or_else(|| {
            Failure::new(Reason::OrderNotFound, "there is no such order in the record")
                .with("order_id", order_id)
        })?;
        let (found, next) = page::cut(found, size, |last| last.id);
        Ok(Response::new(ListTransitionsResponse {
            transitions: found
                .into_iter()
                .map(|step| Transition {
                    from_state: step.from.unwrap_or_default(),
                    to_state: step.to,
                    cause: step.cause,
                    time: Some(wire::timestamp(step.at)),
                })
                .collect(),
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
        let found =
            dead_letters::list(&self.review.pool, sale_id, all, after, page::one_more(size))
                .await
                .map_err(|error| Failure::store("postgres", error))?;
        let (found, next) = page::cut(found, size, |last| last.id);
        Ok(Response::new(ListDeadLettersResponse {
            dead_letters: found.into_iter().map(letter).collect(),
            next_page_token: page::token(&list, next.as_ref()),
        }))
    }

    async fn retry_dead_letter(
        &self,
        request: Request<RetryDeadLetterRequest>,
    ) -> Result<Response<RetryDeadLetterResponse>, Status> {
        let request = request.into_inner();
        let request_id = wire::request_id(&request.request_id)?;
        let found = self.review.retry(request.dead_letter_id, request_id).await?;
        Ok(Response::new(RetryDeadLetterResponse { dead_letter: Some(letter(found)) }))
    }

    async fn drop_dead_letter(
        &self,
        request: Request<DropDeadLetterRequest>,
    ) -> Result<Response<DropDeadLetterResponse>, Status> {
        let request = request.into_inner();
        // Required as on every mutating call; a letter is dropped once, whoever asks.
        wire::request_id(&request.request_id)?;
        let found = self.review.drop(request.dead_letter_id).await?;
        Ok(Response::new(DropDeadLetterResponse { dead_letter: Some(letter(found)) }))
    }
}

fn letter(letter: Letter) -> DeadLetter {
    let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let (resolution, resolved_at) = letter.resolved.unzip();
    DeadLetter {
        dead_letter_id: letter.id,
        queue_seq: letter.seq,
        reason: letter.reason,
        order_id: id(letter.order_id),
        sale_id: id(letter.sale_id),
        create_time: Some(wire::timestamp(letter.at)),
        review_deadline: Some(wire::timestamp(letter.review_by)),
        resolution: resolution.map_or(WireResolution::Unspecified, wire_resolution).into(),
        resolve_time: resolved_at.map(wire::timestamp),
    }
}

fn wire_resolution(resolution: Resolution) -> WireResolution {
    match resolution {
        Resolution::Retried => WireResolution::Retried,
        Resolution::Dropped => WireResolution::Dropped,
        Resolution::Expired => WireResolution::Expired,
        Resolution::Cancelled => WireResolution::Cancelled,
    }
}
