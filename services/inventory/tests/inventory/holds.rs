//! Taking units, and every refusal of it.

use flashsale_inventory::domain::{
    AdmissionFault, HoldState, MAX_TOTAL_MINOR, Proof, Refusal, Request,
};
use flashsale_testbed::eventually;
use uuid::Uuid;

use crate::world::{
    SaleSpec, extend, good, lines, none, place, place_lines, release, reserve, world,
};

#[tokio::test]
async fn hold_takes_every_line() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("tee", 10, 0, 1_999), ("cap", 5, 0, 990)]).await;
    let request = reserve(sale, "ada", &[("tee", 2), ("cap", 1), ("tee", 1)]);
    let answer = world.ask(&request).await.unwrap();
    assert!(!answer.replayed);
    let hold = answer.hold;
    assert_eq!((hold.state, hold.hold_id, hold.epoch), (HoldState::Held, request.key(), 1));
    assert_eq!(hold.total_minor(), 3 * 1_999 + 990);
    assert_eq!(hold.currency, "EUR");
    assert_eq!(world.books(sale, "tee").await, [7, 3, 0, 0]);
    assert_eq!(world.books(sale, "cap").await, [4, 1, 0, 0]);
    assert_eq!(world.hold(sale, hold.hold_id).await, hold);
}

#[tokio::test]
async fn failing_line_takes_none() {
    let world = world().await;
    let sale =
        world.sale(SaleSpec::default(), &[("a", 5, 0, 1), ("b", 5, 0, 1), ("c", 1, 0, 1)]).await;
    let request = reserve(sale, "ada", &[("a", 1), ("b", 1), ("c", 2)]);
    let refusal = Refusal::SoldOut { sku: "c".to_owned(), available: 1, requested: 2 };
    world.refused(&request, &none(), refusal).await;
    let request = reserve(sale, "ada", &[("a", 1), ("zzz", 1)]);
    world.refused(&request, &none(), Refusal::SkuUnknown { sku: "zzz".to_owned() }).await;
}

#[tokio::test]
async fn refused_request_may_succeed_later() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 1, 0, 1)]).await;
    let first = world.ask(&reserve(sale, "ada", &[("a", 1)])).await.unwrap().hold;
    let late = reserve(sale, "bob", &[("a", 1)]);
    let refusal = Refusal::SoldOut { sku: "a".to_owned(), available: 0, requested: 1 };
    world.refused(&late, &none(), refusal).await;
    world.ask(&release(sale, "ada", first.hold_id)).await.unwrap();
    assert!(!world.ask(&late).await.unwrap().replayed);
}

#[tokio::test]
async fn replay_precedes_other_checks() {
    let world = world().await;
    let spec = SaleSpec { room: true, ..SaleSpec::default() };
    let sale = world.sale(spec, &[("a", 2, 2, 1)]).await;
    let proof = good("jti-ada");
    let request = reserve(sale, "ada", &[("a", 2)]);
    let hold = world.ask_with(&request, &proof).await.unwrap().hold;
    // Sold out, at the limit, its admission spent and by now expired, and the sale over.
    world.change_sale(sale, "state = 'ENDED'").await;
    let before = world.dump().await;
    for proof in [proof, none(), Proof::Fault(AdmissionFault::Expired)] {
        let answer = world.ask_with(&request, &proof).await.unwrap();
        assert!(answer.replayed);
        assert_eq!(answer.hold, hold);
    }
    assert_eq!(world.dump().await, before, "a replay wrote something");
    // And it is the hold as it is now.
    world.ask(&release(sale, "ada", hold.hold_id)).await.unwrap();
    assert_eq!(world.ask(&request).await.unwrap().hold.state, HoldState::Released);
}

#[tokio::test]
async fn reused_request_id_is_refused() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 9, 0, 1)]).await;
    let request = reserve(sale, "ada", &[("a", 1)]);
    let hold = world.ask(&request).await.unwrap().hold;
    let same_id = |other: Request| Request { request_id: request.request_id, ..other };
    for other in [
        reserve(sale, "ada", &[("a", 2)]),
        place_lines(sale, "ada", &[("a", 1)]),
        place(sale, "ada", hold.hold_id),
        extend(sale, "ada", hold.hold_id),
        release(sale, "ada", hold.hold_id),
    ] {
        world.refused(&same_id(other), &none(), Refusal::RequestReused).await;
    }
    // Another buyer's request of the same id is another request.
    assert!(!world.ask(&same_id(reserve(sale, "bob", &[("a", 1)]))).await.unwrap().replayed);
}

#[tokio::test]
async fn limit_counts_units_not_given_back() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 99, 3, 1), ("b", 99, 0, 1)]).await;
    let held = world.ask(&reserve(sale, "ada", &[("a", 1)])).await.unwrap().hold;
    world.ask(&place_lines(sale, "ada", &[("a", 1)])).await.unwrap();
    let limit =
        |has, requested| Refusal::BuyerLimit { sku: "a".to_owned(), limit: 3, has, requested };
    world.refused(&reserve(sale, "ada", &[("a", 2)]), &none(), limit(2, 2)).await;
    world.refused(&place_lines(sale, "ada", &[("b", 50), ("a", 2)]), &none(), limit(2, 2)).await;
    world.refused(&reserve(sale, "bob", &[("a", 2), ("a", 2)]), &none(), limit(0, 4)).await;
    world.ask(&release(sale, "ada", held.hold_id)).await.unwrap();
    world.ask(&reserve(sale, "ada", &[("a", 2)])).await.unwrap();
    world.refused(&reserve(sale, "ada", &[("a", 1)]), &none(), limit(3, 1)).await;
    world.ask(&reserve(sale, "ada", &[("b", 50)])).await.unwrap();
}

#[tokio::test]
async fn total_beyond_a_charge_is_refused() {
    let world = world().await;
    for (currency, most_minor) in
        [("EUR", 99_999_999), ("IDR", 999_999_999), ("ISK", 999_999), ("XXX", MAX_TOTAL_MINOR)]
    {
        let spec = SaleSpec { currency, ..SaleSpec::default() };
        let items = [("yacht", 100, 0, most_minor - 1), ("flag", 100, 0, 1)];
        let sale = world.sale(spec, &items).await;
        let too_high = || Refusal::TotalTooHigh { most_minor, currency: currency.to_owned() };
        let beyond = [("yacht", 1), ("flag", 2)];
        world.refused(&reserve(sale, "ada", &beyond), &none(), too_high()).await;
        world.refused(&place_lines(sale, "ada", &beyond), &none(), too_high()).await;
        let most = [("yacht", 1), ("flag", 1)];
        let hold = world.ask(&reserve(sale, "ada", &most)).await.unwrap().hold;
        assert_eq!(hold.total_minor(), most_minor);
        world.ask(&place_lines(sale, "bob", &most)).await.unwrap();
    }
}

#[tokio::test]
async fn closed_sale_takes_no_hold() {
    let world = world().await;
    let items = [("a", 9, 0, 1)];
    for spec in [
        SaleSpec { starts_in_ms: 60_000, ..SaleSpec::default() },
        SaleSpec { starts_in_ms: -60_000, ends_in_ms: -1_000, ..SaleSpec::default() },
        SaleSpec { state: "PAUSED", ..SaleSpec::default() },
        SaleSpec { state: "ENDED", ..SaleSpec::default() },
        SaleSpec { state: "CANCELLED", ..SaleSpec::default() },
    ] {
        let sale = world.sale(spec, &items).await;
        for request in [reserve(sale, "ada", &[("a", 1)]), place_lines(sale, "ada", &[("a", 1)])] {
            let before = world.dump().await;
            let refusal = world.ask(&request).await.unwrap_err();
            assert!(
                matches!(&refusal, Refusal::NotOpen { state, window_ms: Some(_) } if state.as_str() == spec.state),
                "{refusal:?}"
            );
            assert_eq!(world.dump().await, before);
        }
    }
}

#[tokio::test]
async fn valid_admission_is_spent_once() {
    let world = world().await;
    let spec = SaleSpec { room: true, ..SaleSpec::default() };
    let sale = world.sale(spec, &[("a", 9, 0, 1)]).await;
    for fault in [
        AdmissionFault::Required,
        AdmissionFault::Invalid,
        AdmissionFault::Foreign,
        AdmissionFault::Expired,
        AdmissionFault::Unverified,
    ] {
        let request = reserve(sale, "ada", &[("a", 1)]);
        world.refused(&request, &Proof::Fault(fault), Refusal::Admission(fault)).await;
    }
    let proof = good("jti-1");
    let hold = world.ask_with(&reserve(sale, "ada", &[("a", 1)]), &proof).await.unwrap().hold;
    assert_eq!(hold.admission_id.as_deref(), Some("jti-1"));
    let spent = Refusal::AdmissionSpent { hold_id: hold.hold_id.to_string() };
    world.refused(&reserve(sale, "ada", &[("a", 1)]), &proof, spent.clone()).await;
    world.refused(&place_lines(sale, "ada", &[("a", 1)]), &proof, spent.clone()).await;
    // Giving the units back does not give the admission back; placing the hold needs none.
    let placed = world.ask(&place(sale, "ada", hold.hold_id)).await.unwrap().hold;
    assert_eq!(placed.admission_id.as_deref(), Some("jti-1"));
}

#[tokio::test]
async fn admission_of_a_left_or_replaced_place_takes_nothing() {
    let world = world().await;
    let spec = SaleSpec { room: true, ..SaleSpec::default() };
    let sale = world.sale(spec, &[("a", 99, 0, 1)]).await;
    let mut admissions = 0;
    for (number, generation, record, withdrawn) in [
        (7, 1, "7|1|LEFT", true),
        (7, 1, "8|2|WAITING", true),
        (7, 1, "8|2|LEFT", true),
        (7, 1, "8|1|WAITING", true),
        // Generations began again, before there were eras.
        (5, 3, "8|0|WAITING", true),
        // A place of a later era goes before any of an earlier one, whatever their numbers are.
        (9_000, 3, "8|65536|WAITING", true),
        (7, 1, "7|1|WAITING", false),
        // The record is of an earlier place: that of this one was lost.
        (8, 65_536, "9000|3|LEFT", false),
        (8, 2, "7|1|LEFT", false),
        (8, 1, "7|1|LEFT", false),
    ] {
        let key = format!("fs:{{{sale}}}:room:buyers");
        let script = format!("return redis.call('HSET', KEYS[1], 'ada', '{record}')");
        world.lua(&script, vec![key]).await;
        admissions += 1;
        let proof = Proof::Good { id: format!("jti-{admissions}"), number, generation };
        for request in [reserve(sale, "ada", &[("a", 1)]), place_lines(sale, "ada", &[("a", 1)])] {
            if withdrawn {
                world.refused(&request, &proof, Refusal::AdmissionWithdrawn).await;
            } else {
                let answer = world.ask_with(&request, &proof).await.unwrap();
                assert!(!answer.replayed, "{number}, {generation}: {record}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn admission_of_an_era_that_is_over_needs_its_record() {
    let world = world().await;
    let spec = SaleSpec { room: true, ..SaleSpec::default() };
    let sale = world.sale(spec, &[("a", 9, 0, 1)]).await;
    let key = |name: &str| vec![format!("fs:{{{sale}}}:{name}")];
    world.lua("return redis.call('HSET', KEYS[1], 'era', '1')", key("room")).await;
    // Of the present era, the record may be missing.
    let present = Proof::Good { id: "present".to_owned(), number: 2_000, generation: 65_536 };
    world.ask_with(&reserve(sale, "ada", &[("a", 1)]), &present).await.unwrap();
    let old = Proof::Good { id: "old".to_owned(), number: 7, generation: 1 };
    let request = reserve(sale, "bert", &[("a", 1)]);
    world.refused(&request, &old, Refusal::AdmissionWithdrawn).await;
    // The ticket has brought it back.
    world
        .lua("return redis.call('HSET', KEYS[1], 'bert', '7|1|WAITING')", key("room:buyers"))
        .await;
    world.ask_with(&request, &old).await.unwrap();
}

#[tokio::test]
async fn replay_is_answered_after_its_place_was_left() {
    let world = world().await;
    let spec = SaleSpec { room: true, ..SaleSpec::default() };
    let sale = world.sale(spec, &[("a", 9, 0, 1)]).await;
    // Also the record of another buyer changes nothing.
    let key = format!("fs:{{{sale}}}:room:buyers");
    let script = "return redis.call('HSET', KEYS[1], 'bert', '2|0|LEFT')";
    world.lua(script, vec![key.clone()]).await;
    let request = reserve(sale, "ada", &[("a", 1)]);
    let hold = world.ask_with(&request, &good("jti-1")).await.unwrap().hold;
    world.lua("return redis.call('HSET', KEYS[1], 'ada', '1|0|LEFT')", vec![key]).await;
    let again = world.ask_with(&request, &good("jti-1")).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.hold.hold_id, hold.hold_id);
    let spent = Refusal::AdmissionSpent { hold_id: hold.hold_id.to_string() };
    world.refused(&reserve(sale, "ada", &[("a", 1)]), &good("jti-1"), spent).await;
}

#[tokio::test]
async fn sale_without_room_spends_no_admission() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 9, 0, 1)]).await;
    let proof = good("jti-1");
    for _ in 0..2 {
        let hold = world.ask_with(&reserve(sale, "ada", &[("a", 1)]), &proof).await.unwrap().hold;
        assert_eq!(hold.admission_id, None);
    }
    assert!(world.hash(sale, 8).await.is_empty());
}

#[tokio::test]
async fn extension_is_bounded() {
    let world = world().await;
    let spec = SaleSpec { hold_ms: 400, ..SaleSpec::default() };
    let sale = world.sale(spec, &[("a", 9, 0, 1)]).await;
    let hold = world.ask(&reserve(sale, "ada", &[("a", 1)])).await.unwrap().hold;
    let taken_ms = hold.deadline_ms - 400;
    let deadline_ms = std::cell::Cell::new(hold.deadline_ms);
    // Extended repeatedly while it is held: it never exceeds three lengths, and then it expires.
    let refusal = eventually("the hold expires", async || {
        match world.ask(&extend(sale, "ada", hold.hold_id)).await {
            Ok(answer) => {
                assert!(answer.hold.deadline_ms >= deadline_ms.get());
                assert!(answer.hold.deadline_ms <= taken_ms + 3 * 400);
                deadline_ms.set(answer.hold.deadline_ms);
                None
            }
            Err(Refusal::HoldAtMaximum { deadline_ms: latest }) => {
                assert_eq!(latest, taken_ms + 3 * 400);
                None
            }
            Err(refusal) => Some(refusal),
        }
    })
    .await;
    assert_eq!(refusal, Refusal::HoldExpired { deadline_ms: taken_ms + 3 * 400 });
    // It is not swept yet, and still it reads as expired and cannot be placed.
    assert_eq!(world.hold(sale, hold.hold_id).await.state, HoldState::Expired);
    assert_eq!(world.books(sale, "a").await, [8, 1, 0, 0]);
    let expired = Refusal::HoldExpired { deadline_ms: taken_ms + 3 * 400 };
    world.refused(&place(sale, "ada", hold.hold_id), &none(), expired).await;
    // Releasing it is permitted, and does not change its state.
    let answer = world.ask(&release(sale, "ada", hold.hold_id)).await.unwrap();
    assert_eq!(answer.hold.state, HoldState::Expired);
    assert_eq!(world.books(sale, "a").await, [9, 0, 0, 0]);
}

#[tokio::test]
async fn second_release_returns_nothing() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 5, 2, 1)]).await;
    let hold = world.ask(&reserve(sale, "ada", &[("a", 2)])).await.unwrap().hold;
    let request = release(sale, "ada", hold.hold_id);
    assert_eq!(world.ask(&request).await.unwrap().hold.state, HoldState::Released);
    assert!(world.ask(&request).await.unwrap().replayed);
    let again = world.ask(&release(sale, "ada", hold.hold_id)).await.unwrap();
    assert_eq!(again.hold.state, HoldState::Released);
    assert_eq!(world.books(sale, "a").await, [5, 0, 0, 0]);
}

#[tokio::test]
async fn hold_of_another_buyer_is_unknown() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 5, 0, 1)]).await;
    let hold = world.ask(&reserve(sale, "ada", &[("a", 2)])).await.unwrap().hold;
    for id in [hold.hold_id, Uuid::new_v4()] {
        for request in [place(sale, "eve", id), extend(sale, "eve", id), release(sale, "eve", id)] {
            world.refused(&request, &none(), Refusal::HoldUnknown).await;
        }
    }
}

#[tokio::test]
async fn late_request_does_nothing() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 5, 0, 1)]).await;
    let hold = world.ask(&reserve(sale, "ada", &[("a", 1)])).await.unwrap().hold;
    let before = world.dump().await;
    let within = async |ms: u64| {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_millis(ms);
        let request = reserve(sale, "bob", &[("a", 1)]);
        flashsale_service::deadline::within(deadline, world.ask(&request)).await.unwrap_err()
    };
    assert_eq!(within(0).await, Refusal::TooLate);
    // The store hangs until the callers have given up, and then runs what waits for it: later after
    // the last of them than two clocks may differ.
    world.redis.server.pause();
    for _ in 0..4 {
        assert_eq!(within(50).await, Refusal::Unanswered);
    }
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    world.redis.server.resume();
    // Each connection answers in order: answers to these imply answers to those before.
    for _ in 0..8 {
        world.hold(sale, hold.hold_id).await;
    }
    assert_eq!(world.dump().await, before);

    // In every script.
    let scripts = flashsale_inventory::store::Scripts::new();
    let asked = &lines(&[("a", 1)]);
    for late_by_ms in [1_i64, 60_000] {
        for script in [
            &scripts.reserve,
            &scripts.place,
            &scripts.extend,
            &scripts.release,
            &scripts.settle,
            &scripts.sweep,
        ] {
            let deadline_ms = hold.deadline_ms - 600_000 - late_by_ms;
            let mut args: Vec<fred::types::Value> = vec![1_i64.into(), deadline_ms.into()];
            args.extend(
                ["reserve", "key", "hash", "hold", "bob", "ok", "", "", "", "9"].map(Into::into),
            );
            args.extend(
                asked.iter().flat_map(|line| [line.sku.as_str().into(), line.quantity.into()]),
            );
            let keys = flashsale_inventory::store::keys(sale);
            let reply: Vec<fred::types::Value> =
                world.store.eval(script, keys, args).await.unwrap().convert().unwrap();
            assert_eq!(reply[0].as_string().as_deref(), Some("TOO_LATE"), "{}", script.name());
        }
    }
    assert_eq!(world.dump().await, before);
}
