//! Many concurrent buyers with random actions.

use flashsale_inventory::domain::{Outcome, Refusal, Request};
use futures::future::join_all;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

use crate::{
    books::assert_books_balance,
    world::{SaleSpec, extend, place, place_lines, release, reserve, world},
};

pub(crate) fn seed() -> u64 {
    let seed =
        std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("SEED={seed}");
    seed
}

#[tokio::test]
async fn concurrent_requests_never_oversell() {
    let mut rng = StdRng::seed_from_u64(seed());
    let world = world().await;
    let sale =
        world.sale(SaleSpec::default(), &[("a", 40, 0, 1), ("b", 25, 2, 1), ("c", 60, 0, 1)]).await;
    let requests: Vec<Request> = (0..400)
        .map(|number| {
            let buyer = format!("buyer-{}", number % 120);
            let mut skus: Vec<(&str, i64)> = Vec::new();
            for sku in ["a", "b", "c"] {
                if rng.random_bool(0.6) {
                    skus.push((sku, rng.random_range(1..=3)));
                }
            }
            let asked = if skus.is_empty() { vec![("a", 1)] } else { skus };
            if rng.random() {
                reserve(sale, &buyer, &asked)
            } else {
                place_lines(sale, &buyer, &asked)
            }
        })
        .collect();
    // Each request twice at once, as from an impatient caller.
    let answers =
        join_all(requests.iter().chain(&requests).map(|request| world.ask(request))).await;
    let (first, second) = answers.split_at(requests.len());
    let mut taken = 0;
    for (one, other) in first.iter().zip(second) {
        match (one, other) {
            (Ok(one), Ok(other)) => {
                assert_eq!(one.hold, other.hold);
                assert!(one.replayed != other.replayed, "taken twice, or never");
                taken += 1;
            }
            // A refusal binds nothing; since nothing was given back here, it stays.
            (Err(one), Err(other)) => {
                for refusal in [one, other] {
                    assert!(
                        matches!(refusal, Refusal::SoldOut { .. } | Refusal::BuyerLimit { .. }),
                        "{refusal:?}"
                    );
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(taken > 10, "{taken} were taken");
    assert_books_balance(&world, sale).await;
    // A request for one of the units left gets it, and a request after the last one does not.
    for sku in ["a", "b", "c"] {
        let [available, ..] = world.books(sale, sku).await;
        for number in 0..available {
            world.ask(&reserve(sale, &format!("late-{number}"), &[(sku, 1)])).await.unwrap();
        }
        let refusal = Refusal::SoldOut { sku: sku.to_owned(), available: 0, requested: 1 };
        assert_eq!(world.ask(&reserve(sale, "last", &[(sku, 1)])).await, Err(refusal));
    }
    assert_books_balance(&world, sale).await;
}

#[tokio::test]
async fn books_balance_after_any_sequence() {
    let mut rng = StdRng::seed_from_u64(seed());
    let world = world().await;
    let spec = SaleSpec { hold_ms: 40, ..SaleSpec::default() };
    let sale = world.sale(spec, &[("a", 30, 4, 7), ("b", 12, 0, 11)]).await;
    let mut known: Vec<(String, Uuid)> = Vec::new();
    let mut sent: Vec<Request> = Vec::new();
    for _ in 0..60 {
        let mut batch = Vec::new();
        for _ in 0..rng.random_range(1..=12) {
            let buyer = format!("buyer-{}", rng.random_range(0..8));
            let asked = [("a", rng.random_range(1..=2)), ("b", rng.random_range(1..=2))];
            let asked = &asked[rng.random_range(0..2)..];
            let pick = (!known.is_empty()).then(|| known[rng.random_range(0..known.len())].clone());
            let request = match (rng.random_range(0..8), pick) {
                (0, _) if !sent.is_empty() => sent[rng.random_range(0..sent.len())].clone(),
                (1, _) => place_lines(sale, &buyer, asked),
                (2 | 3, Some((buyer, hold_id))) => place(sale, &buyer, hold_id),
                (4, Some((buyer, hold_id))) => extend(sale, &buyer, hold_id),
                (5, Some((buyer, hold_id))) => release(sale, &buyer, hold_id),
                _ => reserve(sale, &buyer, asked),
            };
            sent.push(request.clone());
            batch.push(request);
        }
        let settles: Vec<(Uuid, Outcome)> = (0..rng.random_range(0..4))
            .filter_map(|_| {
                let outcomes =
                    [Outcome::Claimed, Outcome::Sold, Outcome::Released, Outcome::Released];
                let (_, hold_id) = known.get(rng.random_range(0..known.len().max(1)))?;
                Some((*hold_id, outcomes[rng.random_range(0..4)]))
            })
            .collect();
        let asks = join_all(batch.iter().map(|request| world.ask(request)));
        let settle = async {
            if !settles.is_empty() {
                world.inventory.settle(sale, &settles).await.unwrap();
            }
        };
        let sweep = async { world.inventory.sweep(sale, 1, 3).await.unwrap() };
        let (answers, (), _) = tokio::join!(asks, settle, sweep);
        for answer in answers {
            match answer {
                Ok(answer) => known.push((answer.hold.buyer_id.clone(), answer.hold.hold_id)),
                Err(
                    Refusal::SoldOut { .. }
                    | Refusal::BuyerLimit { .. }
                    | Refusal::HoldExpired { .. }
                    | Refusal::HoldResolved { .. },
                ) => {}
                Err(refusal) => panic!("{refusal:?}"),
            }
        }
        assert_books_balance(&world, sale).await;
    }
}
