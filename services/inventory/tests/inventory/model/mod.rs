//! The stock scripts compared with a model: after random sequences every answer and the final state
//! must be the model's.
//!
//! A failure is reduced to the shortest sequence that shows it. `SEED=<number>` repeats the
//! sequences of a seed.

mod run;
mod steps;
mod stock;
mod words;

use flashsale_testbed::ask_redis;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

use self::run::Words;
use crate::{random::seed, world::world};

const SEQUENCES: u32 = 1_000;
const WORDS: [&str; 20] = [
    "done",
    "replayed",
    "REUSED",
    "NOT_OPEN",
    "ADMISSION",
    "SPENT",
    "NO_SKU",
    "LIMIT",
    "SOLD_OUT",
    "NO_HOLD",
    "EXPIRED",
    "RESOLVED",
    "AT_MAXIMUM",
    "DONE",
    "ALREADY",
    "UNKNOWN",
    "CONFLICT",
    "swept",
    "adjusted",
    "COMMITTED",
];

#[test]
fn store_matches_model() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let seed = seed();
    let world = runtime.block_on(async {
        let world = world().await;
        // Nothing here outlives this Redis: it need not write to disk before each answer.
        let port = world.redis.server.port();
        ask_redis(port, &["CONFIG", "SET", "appendfsync", "no"]).await.unwrap();
        world
    });
    let _inside = runtime.enter();
    let config = Config {
        cases: SEQUENCES,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let words = Words::default();
    let outcome = TestRunner::new(config).run(&steps::sequences(), |(room, steps)| {
        runtime.block_on(run::run(&world, &words, room, &steps))
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, (room, steps))) => {
            let steps: String = steps.iter().map(|step| format!("  {step:?}\n")).collect();
            panic!("{why}\nafter these steps, with a room: {room}\n{steps}again with SEED={seed}");
        }
        Err(failure @ TestError::Abort(_)) => panic!("{failure}\nagain with SEED={seed}"),
    }
    // The sequences are random, but every kind of answer occurs.
    let words = words.into_inner();
    println!("{words:?}");
    for word in WORDS {
        assert!(words.contains_key(word), "never {word}: {words:?}");
    }
}
