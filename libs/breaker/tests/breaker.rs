//! The breaker opens, refuses, tries again and recovers. It reads the system's clock, so these
//! tests use short real times and wait on its state with a bound.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use flashsale_breaker::{BreakerConfig, BreakerHandle, BreakerState, Open, breaker};
use futures::future::BoxFuture;
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

/// What a test's service is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Answer,
    Decline,
    RateLimit,
    Break,
    BreakPastTheBreaker,
    AnswerPastTheBreaker,
}

#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Declined,
    RateLimited,
    Broken,
    Refused,
}

impl From<Open> for Fault {
    fn from(_: Open) -> Self {
        Self::Refused
    }
}

fn config() -> BreakerConfig {
    BreakerConfig { window_ms: 60_000, min_calls: 4, failure_rate: 0.5, open_ms: 60_000 }
}

struct Bench {
    handle: BreakerHandle,
    reached: Arc<AtomicUsize>,
    call: Box<dyn Fn(Ask) -> BoxFuture<'static, Result<(), Fault>>>,
}

impl Bench {
    fn new(config: &BreakerConfig) -> Self {
        let (layer, handle) = breaker(
            "test",
            config,
            |result: &Result<(), Fault>| matches!(result, Err(Fault::Broken)),
            |ask: &Ask| matches!(ask, Ask::BreakPastTheBreaker | Ask::AnswerPastTheBreaker),
        )
        .unwrap();
        let reached = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&reached);
        let service = layer.layer(service_fn(move |ask: Ask| {
            counter.fetch_add(1, Ordering::SeqCst);
            async move {
                match ask {
                    Ask::Answer | Ask::AnswerPastTheBreaker => Ok(()),
                    Ask::Decline => Err(Fault::Declined),
                    Ask::RateLimit => Err(Fault::RateLimited),
                    Ask::Break | Ask::BreakPastTheBreaker => Err(Fault::Broken),
                }
            }
        }));
        let call = Box::new(move |ask| boxed(service.clone(), ask));
        Self { handle, reached, call }
    }

    async fn ask(&self, ask: Ask) -> Result<(), Fault> {
        (self.call)(ask).await
    }

    async fn ask_times(&self, times: usize, ask: Ask) {
        for _ in 0..times {
            let _ = self.ask(ask).await;
        }
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    /// Sends calls until the breaker lets one through.
    async fn ask_until_let_through(&self, ask: Ask) -> Result<(), Fault> {
        let give_up = Instant::now() + Duration::from_secs(10);
        loop {
            let result = self.ask(ask).await;
            if result != Err(Fault::Refused) {
                return result;
            }
            assert!(Instant::now() < give_up, "the breaker never tried again");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn boxed<S>(service: S, ask: Ask) -> BoxFuture<'static, Result<(), Fault>>
where
    S: Service<Ask, Response = (), Error = Fault> + Send + 'static,
    S::Future: Send,
{
    Box::pin(service.oneshot(ask))
}

#[tokio::test]
async fn opens_at_the_failure_rate() {
    let bench = Bench::new(&config());
    bench.ask_times(3, Ask::Break).await;
    assert_eq!(bench.handle.state(), BreakerState::Closed, "opened below min_calls");
    bench.ask_times(1, Ask::Break).await;
    assert_eq!(bench.handle.state(), BreakerState::Open);
    assert_eq!(bench.ask(Ask::Answer).await, Err(Fault::Refused));
    assert_eq!(bench.reached(), 4);
}

#[tokio::test]
async fn refusals_do_not_open_it() {
    let bench = Bench::new(&config());
    bench.ask_times(50, Ask::Decline).await;
    bench.ask_times(50, Ask::RateLimit).await;
    assert_eq!(bench.handle.state(), BreakerState::Closed);
}

#[tokio::test]
async fn healthy_history_does_not_delay_opening() {
    let bench = Bench::new(&BreakerConfig { window_ms: 50, ..config() });
    bench.ask_times(5_000, Ask::Answer).await;
    let give_up = Instant::now() + Duration::from_secs(10);
    let mut failures = 0;
    while bench.handle.state() == BreakerState::Closed {
        assert!(Instant::now() < give_up, "{failures} failures did not open it");
        let _ = bench.ask(Ask::Break).await;
        failures += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(failures < 1_000, "it took {failures} failures: the window does not slide");
}

#[tokio::test]
async fn trial_decides_whether_it_closes() {
    let bench = Bench::new(&BreakerConfig { open_ms: 20, ..config() });
    bench.ask_times(4, Ask::Break).await;
    assert_eq!(bench.handle.state(), BreakerState::Open);
    assert_eq!(bench.ask_until_let_through(Ask::Break).await, Err(Fault::Broken));
    assert_eq!(bench.handle.state(), BreakerState::Open);
    assert_eq!(bench.ask_until_let_through(Ask::Decline).await, Err(Fault::Declined));
    assert_eq!(bench.handle.state(), BreakerState::Closed);
}

#[tokio::test]
async fn abandoned_trial_does_not_block() {
    let (layer, handle) = breaker(
        "test",
        &BreakerConfig { open_ms: 5, ..config() },
        |result: &Result<(), Fault>| result.is_err(),
        |_: &Ask| false,
    )
    .unwrap();
    let service = layer.layer(service_fn(|ask: Ask| async move {
        match ask {
            Ask::Break => Err(Fault::Broken),
            Ask::Answer => Ok(()),
            Ask::Decline
            | Ask::RateLimit
            | Ask::BreakPastTheBreaker
            | Ask::AnswerPastTheBreaker => std::future::pending().await,
        }
    }));
    for _ in 0..4 {
        let _ = service.clone().oneshot(Ask::Break).await;
    }
    let give_up = Instant::now() + Duration::from_secs(10);
    while handle.state() != BreakerState::HalfOpen {
        assert!(Instant::now() < give_up, "never tried again");
        let trial = service.clone().oneshot(Ask::Decline);
        let _ = tokio::time::timeout(Duration::from_millis(5), trial).await;
    }
    assert_eq!(service.clone().oneshot(Ask::Answer).await, Ok(()));
    assert_eq!(handle.state(), BreakerState::Closed);
}

#[tokio::test]
async fn bypassed_request_is_not_counted() {
    let bench = Bench::new(&config());
    bench.ask_times(20, Ask::BreakPastTheBreaker).await;
    assert_eq!(bench.handle.state(), BreakerState::Closed);
    bench.ask_times(4, Ask::Break).await;
    assert_eq!(bench.handle.state(), BreakerState::Open);
    assert_eq!(bench.ask(Ask::AnswerPastTheBreaker).await, Ok(()));
    assert_eq!(bench.handle.state(), BreakerState::Open);
}

#[test]
fn out_of_range_setting_is_named() {
    let cases = [
        ("window_ms", BreakerConfig { window_ms: 0, ..config() }),
        ("min_calls", BreakerConfig { min_calls: 0, ..config() }),
        ("failure_rate", BreakerConfig { failure_rate: 0.0, ..config() }),
        ("failure_rate", BreakerConfig { failure_rate: f64::NAN, ..config() }),
        ("failure_rate", BreakerConfig { failure_rate: 1.5, ..config() }),
        ("open_ms", BreakerConfig { open_ms: 0, ..config() }),
    ];
    for (key, config) in cases {
        let built = breaker("test", &config, |_: &Result<(), Fault>| false, |_: &Ask| false);
        assert!(built.unwrap_err().to_string().contains(key), "{key}");
    }
}
