//! Several holds placed in one call: each as if it were alone.

use flashsale_admission::Signer;
use flashsale_errors::{Failure, Reason};
use flashsale_proto::inventory::{
    HoldPlaced, HoldRefused, HoldToPlace, PlaceHoldRequest, PlaceHoldResponse, PlaceHoldsRequest,
    hold_placed::Outcome,
};
use flashsale_testbed::{assert_failure, eventually};
use tonic::Status;
use uuid::Uuid;

use crate::{
    service::{Served, admission, id, served, wire_lines},
    world::{DETAILS, SaleSpec},
};

fn place(sale: Uuid, buyer_id: &str, lines: &[(&str, i64)]) -> PlaceHoldRequest {
    PlaceHoldRequest {
        request_id: id(),
        sale_id: sale.to_string(),
        buyer_id: buyer_id.to_owned(),
        lines: wire_lines(lines),
        order_details: DETAILS.to_owned(),
        ..PlaceHoldRequest::default()
    }
}

fn together(requests: Vec<PlaceHoldRequest>) -> PlaceHoldsRequest {
    let hold = |request| HoldToPlace { request: Some(request), ..HoldToPlace::default() };
    PlaceHoldsRequest { holds: requests.into_iter().map(hold).collect() }
}

fn failure(refused: &HoldRefused) -> Failure {
    let HoldRefused { code, message, details } = refused.clone();
    let status = Status::with_details(code.into(), message, details.into());
    Failure::from_status(&status).unwrap()
}

/// The outcome of each, in the order of the requests.
async fn outcomes(
    served: &mut Served,
    asked: PlaceHoldsRequest,
) -> Vec<Result<PlaceHoldResponse, Failure>> {
    let mut open: Vec<_> = asked.holds.iter().map(|_| None).collect();
    let mut stream = served.stock.place_holds(asked).await.unwrap().into_inner();
    while let Some(some) = stream.message().await.unwrap() {
        for HoldPlaced { index, outcome } in some.answers {
            let outcome = match outcome.unwrap() {
                Outcome::Placed(placed) => Ok(placed),
                Outcome::Refused(refused) => Err(failure(&refused)),
            };
            assert!(open[index as usize].replace(outcome).is_none(), "{index} is answered twice");
        }
    }
    open.into_iter().map(|outcome| outcome.expect("each is answered")).collect()
}

#[tokio::test]
async fn each_hold_is_placed_on_its_own() {
    let mut served = served().await;
    let sale = served.world.sale(SaleSpec::default(), &[("tee", 10, 3, 1_999)]).await;
    let other = served.world.sale(SaleSpec::default(), &[("cap", 1, 0, 990)]).await;
    let ada = place(sale, "ada", &[("tee", 2)]);
    let cap = place(other, "ada", &[("cap", 1)]);
    let placed = outcomes(&mut served, together(vec![ada.clone(), cap.clone(), ada.clone()])).await;
    let [Ok(first), Ok(second), Ok(again)] = placed.as_slice() else { panic!("{placed:?}") };
    // Twice in one call, one of them is the replay.
    assert_eq!((first.replayed as u8) + (again.replayed as u8), 1);
    assert_eq!(first.placed, again.placed);
    assert_eq!(served.world.books(sale, "tee").await, [8, 0, 2, 0]);
    assert_eq!(served.world.books(other, "cap").await, [0, 0, 1, 0]);
    let alone = served.stock.place_hold(cap).await.unwrap().into_inner();
    assert_eq!((alone.replayed, &alone.placed), (true, &second.placed));

    let before = served.world.dump().await;
    let wrong = vec![
        place(other, "bob", &[("cap", 1)]),
        place(sale, "ada", &[("tee", 2)]),
        place(sale, "cem", &[("hat", 1)]),
        place(Uuid::new_v4(), "cem", &[("tee", 1)]),
        place(sale, "", &[("tee", 1)]),
        PlaceHoldRequest { request_id: "1".to_owned(), ..place(sale, "dee", &[("tee", 1)]) },
        PlaceHoldRequest { hold_id: id(), lines: Vec::new(), ..place(sale, "eve", &[]) },
        PlaceHoldRequest { lines: wire_lines(&[("tee", 1)]), ..ada.clone() },
        PlaceHoldRequest::default(),
    ];
    let refused = outcomes(&mut served, together(wrong.clone())).await;
    let mut reasons = Vec::new();
    for (request, together) in wrong.into_iter().zip(refused) {
        let together = together.unwrap_err();
        let alone = served.stock.place_hold(request).await.unwrap_err();
        let alone = Failure::from_status(&alone).unwrap();
        assert_eq!(together.to_string(), alone.to_string());
        assert_eq!(together.metadata(), alone.metadata());
        assert_eq!(together.violations(), alone.violations());
        reasons.push(together.reason());
    }
    assert_eq!(
        reasons,
        [
            Reason::SoldOut,
            Reason::BuyerLimit,
            Reason::SkuNotFound,
            Reason::SaleNotFound,
            Reason::ArgumentInvalid,
            Reason::RequestIdInvalid,
            Reason::HoldNotFound,
            Reason::RequestIdReused,
            Reason::RequestIdInvalid,
        ]
    );
    assert_eq!(served.world.dump().await, before);
}

#[tokio::test]
async fn invalid_batches_are_refused() {
    let mut served = served().await;
    let sale = served.world.sale(SaleSpec::default(), &[("tee", 100, 0, 1_999)]).await;
    let before = served.world.dump().await;
    let many = |count| together((0..count).map(|_| place(sale, "ada", &[("tee", 1)])).collect());
    for count in [0, 65] {
        let refused = served.stock.place_holds(many(count)).await.unwrap_err();
        let failure = assert_failure(&refused, Reason::ArgumentInvalid);
        assert_eq!(failure.violations()[0].field, "holds");
    }
    let timed = |seconds, nanos| {
        let mut asked = many(1);
        asked.holds[0].timeout = Some(prost_types::Duration { seconds, nanos });
        asked
    };
    for (asked, reason) in
        [(timed(-1, 0), Reason::ArgumentInvalid), (timed(0, 0), Reason::DeadlineExceeded)]
    {
        let refused = outcomes(&mut served, asked).await.remove(0).unwrap_err();
        assert_eq!(refused.reason(), reason);
    }
    assert_eq!(served.world.dump().await, before);
    let placed = outcomes(&mut served, many(64)).await;
    assert!(placed.iter().all(Result::is_ok), "{placed:?}");
    assert_eq!(served.world.books(sale, "tee").await, [36, 0, 64, 0]);
}

#[tokio::test]
async fn waiting_hold_does_not_block_others() {
    let mut served = served().await;
    let spec = SaleSpec { room: true, ..SaleSpec::default() };
    let sale = served.world.sale(spec, &[("tee", 1_000, 0, 1_999)]).await;
    let place_with = |buyer: &str, admission: String| PlaceHoldRequest {
        admission,
        ..place(sale, buyer, &[("tee", 1)])
    };
    // The keys are known from here on.
    let known = place_with("ada", served.admission(sale, "ada", 1, 60_000));
    served.stock.place_hold(known).await.unwrap();
    let door = served.shut_room().await;
    let newer = Signer::generate().unwrap();
    let served = &served;
    // An unknown key is fetched again only some time after the last fetch; until then no request
    // waits.
    let (mut stream, first) = eventually("a stranger's key is asked for", async || {
        let number = rand::random_range(2..1_000_000);
        let buyer = format!("bob-{number}");
        let mut asked = together(vec![
            place_with("mal", admission(&newer, sale, "mal", number, 60_000)),
            place_with(&buyer, served.admission(sale, &buyer, number, 60_000)),
        ]);
        for hold in &mut asked.holds {
            hold.timeout = Some(prost_types::Duration { seconds: 10, nanos: 0 });
        }
        let mut stream = served.stock.clone().place_holds(asked).await.unwrap().into_inner();
        let first = stream.message().await.unwrap().unwrap();
        let all = first.answers.iter().any(|answer| answer.index == 0);
        (!all).then_some((stream, first))
    })
    .await;
    let [HoldPlaced { index: 1, outcome: Some(Outcome::Placed(_)) }] = first.answers.as_slice()
    else {
        panic!("{first:?}")
    };
    drop(door);
    let second = stream.message().await.unwrap().unwrap();
    let [HoldPlaced { index: 0, outcome: Some(Outcome::Refused(refused)) }] =
        second.answers.as_slice()
    else {
        panic!("{second:?}")
    };
    assert_eq!(failure(refused).reason(), Reason::AdmissionInvalid);
    assert!(stream.message().await.unwrap().is_none());
}
