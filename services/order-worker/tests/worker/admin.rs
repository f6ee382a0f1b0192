//! The API of operators: dead letters are listed, retried and dropped.

use std::sync::Arc;

use async_nats::jetstream;
use flashsale_errors::{Failure, Reason};
use flashsale_order_worker::{
    Config, DEFAULTS, build,
    store::{claims::claim, received::receive},
};
use flashsale_proto::{
    NamedChannel, inventory as inv,
    order::{
        DeadLetter, DropDeadLetterRequest, ListDeadLettersRequest, ListTransitionsRequest,
        Resolution, RetryDeadLetterRequest, order_admin_service_client::OrderAdminServiceClient,
    },
};
use flashsale_queue::{ORDERS, OrderMessage, ensure_orders_stream};
use flashsale_service::{Drain, config::load_from};
use flashsale_testbed::{TestNats, TestServer, eventually};
use tonic::Code;
use uuid::Uuid;

use crate::{
    claimer::{nats_config, own_config},
    dead_letters::{CANCELLED, broken, waiting},
    peers::{Peers, peer_config},
    shop::{REVIEW, Shop, done, place},
};

/// The worker as it is hosted, and its API.
struct Worker {
    _nats: TestNats,
    _peers: TestServer,
    _worker: TestServer,
    admin: OrderAdminServiceClient<NamedChannel>,
}

async fn worker(shop: &Shop, peers: &Peers) -> Worker {
    let nats = flashsale_testbed::nats().await;
    let server = peers.serve().await;
    let mut config: Config = load_from(
        "order-worker",
        DEFAULTS,
        None::<&std::path::Path>,
        flashsale_testbed::identity(),
    )
    .unwrap();
    config.postgres = shop.pg.config_of("order-worker");
    config.nats = own_config(&nats);
    config.peers.inventory = peer_config(&server.grpc_url);
    config.peers.payment = peer_config(&server.grpc_url);
    let client = flashsale_queue::connect(&nats_config(&nats), "test").await.unwrap();
    ensure_orders_stream(&jetstream::new(client), &nats_config(&nats)).await.unwrap();
    let drain = Drain::new();
    let worker = flashsale_testbed::serve(build(config, drain.clone()).await.unwrap(), drain).await;
    let admin = OrderAdminServiceClient::new(worker.channel().await);
    Worker { _nats: nats, _peers: server, _worker: worker, admin }
}

impl Worker {
    async fn retry(&self, id: i64) -> Result<DeadLetter, Failure> {
        let asked =
            RetryDeadLetterRequest { request_id: Uuid::new_v4().to_string(), dead_letter_id: id };
        let answer = self.admin.clone().retry_dead_letter(asked).await;
        answer
            .map(|answer| answer.into_inner().dead_letter.unwrap())
            .map_err(|status| Failure::from_status(&status).unwrap())
    }

    async fn drop(&self, id: i64) -> Result<DeadLetter, Failure> {
        let asked =
            DropDeadLetterRequest { request_id: Uuid::new_v4().to_string(), dead_letter_id: id };
        let answer = self.admin.clone().drop_dead_letter(asked).await;
        answer
            .map(|answer| answer.into_inner().dead_letter.unwrap())
            .map_err(|status| Failure::from_status(&status).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_retry_and_drop_dead_letters() {
    let (shop, peers) = (Shop::open(&[("A", 10)]).await, Peers::default());
    // The message was fine, and Postgres refused it all the same.
    sqlx::query("ALTER TABLE order_lines ADD CONSTRAINT full_moon CHECK (quantity <> 3)")
        .execute(shop.pool())
        .await
        .unwrap();
    let (kept, given_up, carried) =
        (shop.order(&[("A", 3)]), shop.order(&[("A", 3)]), shop.order(&[("A", 3)]));
    shop.claim(&[place(&kept), place(&given_up), place(&carried)]).await;
    let letters = waiting(&shop).await;
    let of = |order: &OrderMessage| {
        letters.iter().find(|letter| letter.order_id == Some(order.order_id)).unwrap().id
    };
    let worker = worker(&shop, &peers).await;

    // Given up: it ends, with all that follows, and once.
    let letter = worker.drop(of(&given_up)).await.unwrap();
    assert_eq!(letter.resolution(), Resolution::Dropped);
    assert_eq!(worker.drop(of(&given_up)).await.unwrap(), letter);
    assert_eq!(
        shop.state(given_up.order_id).await.as_deref(),
        Some("CANCELLED/dead_letter_dropped")
    );
    assert_eq!(shop.owed(given_up.order_id).await, CANCELLED);
    let again = worker.retry(of(&given_up)).await.unwrap_err();
    assert_eq!(again.reason(), Reason::DeadLetterResolved);
    eventually("its hold is given back", async || (!peers.lock().settled.is_empty()).then_some(()))
        .await;

    // Queued again from its message, as no hold carries it: refused as before, under the deadline
    // of the first letter.
    worker.retry(of(&kept)).await.unwrap();
    let second = eventually("it is put aside again", async || {
        let now = waiting(&shop).await;
        now.into_iter()
            .find(|letter| letter.order_id == Some(kept.order_id) && letter.id != of(&kept))
    })
    .await;
    // Once what refused it is gone, it is claimed.
    sqlx::query("ALTER TABLE order_lines DROP CONSTRAINT full_moon")
        .execute(shop.pool())
        .await
        .unwrap();
    worker.retry(second.id).await.unwrap();
    eventually("it is claimed", async || (shop.units_claimed("A").await == 3).then_some(())).await;
    let mut admin = worker.admin.clone();
    let first = ListTransitionsRequest {
        order_id: kept.order_id.to_string(),
        page_size: 1,
        page_token: String::new(),
    };
    let page = admin.list_transitions(first).await.unwrap().into_inner();
    assert_eq!(page.transitions[0].to_state, "DEAD_LETTER");
    let next = ListTransitionsRequest {
        order_id: kept.order_id.to_string(),
        page_size: 0,
        page_token: page.next_page_token.clone(),
    };
    let rest = admin.list_transitions(next.clone()).await.unwrap().into_inner();
    assert_eq!(rest.transitions[0].to_state, "CLAIMED");
    let foreign = ListTransitionsRequest { order_id: given_up.order_id.to_string(), ..next };
    let refused = admin.list_transitions(foreign).await.unwrap_err();
    let refused = Failure::from_status(&refused).unwrap();
    assert_eq!(refused.reason(), Reason::PageTokenInvalid);

    // One whose hold carries it is the relay's to publish.
    let hold = inv::PlacedHold { order_details: "{}".to_owned(), ..inv::PlacedHold::default() };
    peers.lock().carried.insert(carried.order_id.to_string(), hold);
    worker.retry(of(&carried)).await.unwrap();
    let asked: i64 =
        sqlx::query_scalar("SELECT dead_letter_id FROM dead_letters WHERE retry_at IS NOT NULL")
            .fetch_one(shop.pool())
            .await
            .unwrap();
    assert_eq!(asked, of(&carried));
    shop.assert_books_balance().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_constraint_is_internal() {
    let (shop, peers) = (Shop::open(&[("A", 10)]).await, Peers::default());
    shop.claim(&[broken(&shop.order(&[("A", 1)]))]).await;
    sqlx::query("ALTER TABLE dead_letters ADD CONSTRAINT full_moon CHECK (resolution IS NULL)")
        .execute(shop.pool())
        .await
        .unwrap();
    let worker = worker(&shop, &peers).await;
    let letters = waiting(&shop).await;
    let refused = worker.drop(letters[0].id).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::Internal);
    assert_eq!(waiting(&shop).await, letters);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undecided_order_ends_at_its_deadline() {
    let (shop, peers) = (Shop::open(&[("A", 10)]).await, Peers::default());
    let order = shop.order(&[("A", 1)]);
    shop.claim(&[broken(&order)]).await;
    sqlx::query("UPDATE dead_letters SET review_by = now()").execute(shop.pool()).await.unwrap();
    let _worker = worker(&shop, &peers).await;
    eventually("it ends", async || {
        (shop.state(order.order_id).await? == "CANCELLED/dead_letter_expired").then_some(())
    })
    .await;
    assert!(waiting(&shop).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_with_its_field() {
    let (shop, peers) = (Shop::open(&[("A", 10)]).await, Peers::default());
    let order = shop.order(&[("A", 1)]);
    let from = shop.position().await;
    let messages = vec![
        receive(1, broken(&order).encode()),
        receive(2, vec![0xff; 10]),
        receive(3, vec![0xfe; 10]),
    ];
    done(claim(shop.record(), ORDERS, from, &messages, REVIEW).await.unwrap());
    let before = waiting(&shop).await;
    let worker = Arc::new(worker(&shop, &peers).await);
    let id = before.iter().find(|letter| letter.order_id.is_some()).unwrap().id;
    let unreadable = before.iter().find(|letter| letter.order_id.is_none()).unwrap().id;
    let request_id = || Uuid::new_v4().to_string();
    let mut admin = worker.admin.clone();
    let list = ListDeadLettersRequest::default();
    let token = admin
        .list_dead_letters(ListDeadLettersRequest { page_size: 1, ..list.clone() })
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    assert!(!token.is_empty());
    let history = ListTransitionsRequest {
        order_id: order.order_id.to_string(),
        page_size: 0,
        page_token: String::new(),
    };

    let table = vec![
        (
            "no request id",
            admin
                .retry_dead_letter(RetryDeadLetterRequest {
                    request_id: String::new(),
                    dead_letter_id: id,
                })
                .await
                .map(drop),
            (Code::InvalidArgument, Reason::RequestIdInvalid, "request_id"),
        ),
        (
            "no request id to drop",
            admin
                .drop_dead_letter(DropDeadLetterRequest {
                    request_id: "7".to_owned(),
                    dead_letter_id: id,
                })
                .await
                .map(drop),
            (Code::InvalidArgument, Reason::RequestIdInvalid, "request_id"),
        ),
        (
            "no such letter",
            admin
                .retry_dead_letter(RetryDeadLetterRequest {
                    request_id: request_id(),
                    dead_letter_id: 0,
                })
                .await
                .map(drop),
            (Code::NotFound, Reason::DeadLetterNotFound, ""),
        ),
        (
            "no such letter to drop",
            admin
                .drop_dead_letter(DropDeadLetterRequest {
                    request_id: request_id(),
                    dead_letter_id: -1,
                })
                .await
                .map(drop),
            (Code::NotFound, Reason::DeadLetterNotFound, ""),
        ),
        (
            "a letter that names nothing",
            admin
                .retry_dead_letter(RetryDeadLetterRequest {
                    request_id: request_id(),
                    dead_letter_id: unreadable,
                })
                .await
                .map(drop),
            (Code::FailedPrecondition, Reason::DeadLetterNotRetryable, ""),
        ),
        (
            "a sale that is no id",
            admin
                .list_dead_letters(ListDeadLettersRequest {
                    sale_id: "x".to_owned(),
                    ..list.clone()
                })
                .await
                .map(drop),
            (Code::InvalidArgument, Reason::ArgumentInvalid, "sale_id"),
        ),
        (
            "a page of less than nothing",
            admin
                .list_dead_letters(ListDeadLettersRequest { page_size: -1, ..list.clone() })
                .await
                .map(drop),
            (Code::InvalidArgument, Reason::ArgumentInvalid, "page_size"),
        ),
        (
            "a token of another list",
            admin
                .list_dead_letters(ListDeadLettersRequest {
                    page_token: token.clone(),
                    include_resolved: true,
                    ..list
                })
                .await
                .map(drop),
            (Code::InvalidArgument, Reason::PageTokenInvalid, "page_token"),
        ),
        (
            "a token of letters for a history",
            admin
                .list_transitions(ListTransitionsRequest { page_token: token, ..history.clone() })
                .await
                .map(drop),
            (Code::InvalidArgument, Reason::PageTokenInvalid, "page_token"),
        ),
        (
            "an order that is no id",
            admin
                .list_transitions(ListTransitionsRequest {
                    order_id: String::new(),
                    ..history.clone()
                })
                .await
                .map(drop),
            (Code::InvalidArgument, Reason::ArgumentInvalid, "order_id"),
        ),
        (
            "an order that was never placed",
            admin
                .list_transitions(ListTransitionsRequest { order_id: request_id(), ..history })
                .await
                .map(drop),
            (Code::NotFound, Reason::OrderNotFound, ""),
        ),
    ];
    for (what, answer, (code, reason, field)) in table {
        let status = answer.expect_err(what);
        let failure = Failure::from_status(&status).unwrap();
        let fields: Vec<_> = failure.violations().iter().map(|v| v.field.as_str()).collect();
        assert_eq!((status.code(), failure.reason()), (code, reason), "{what}");
        assert_eq!(fields.join(""), field, "{what}");
    }
    assert_eq!(waiting(&shop).await, before);
    assert_eq!(shop.state(order.order_id).await.as_deref(), Some("DEAD_LETTER"));
}
