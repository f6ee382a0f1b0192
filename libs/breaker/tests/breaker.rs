//! The breaker opens, refuses, probes and recovers, on tokio's paused clock.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use flashsale_breaker::{
    BreakerConfig, BreakerHandle, BreakerState, Cause, Open, Rules, Verdict, breaker,
};
use futures::future::{BoxFuture, join_all};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

/// What a test's service is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Answer,
    /// Answer after so many milliseconds.
    AnswerAfter(u64),
    Decline,
    RateLimit,
    Break,
    TimeOut,
    Hang,
    BreakPastTheBreaker,
    AnswerPastTheBreaker,
}

#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Declined,
    RateLimited,
    Broken,
    TimedOut,
    Refused,
}

impl From<Open> for Fault {
    fn from(_: Open) -> Self {
        Self::Refused
    }
}

fn config() -> BreakerConfig {
    BreakerConfig {
        window_ms: 10_000,
        min_calls: 20,
        failure_rate: 0.3,
        slow_ms: 3_000,
        slow_rate: 0.5,
        timeouts_in_a_row: 10,
        open_ms: 30_000,
        probes: 3,
    }
}

fn judge(result: &Result<(), Fault>) -> Verdict {
    match result {
        Ok(()) | Err(Fault::Declined) => Verdict::Success,
        Err(Fault::RateLimited) => Verdict::Ignored,
        Err(Fault::Broken) => Verdict::Failure,
        Err(Fault::TimedOut) => Verdict::Timeout,
        Err(Fault::Refused) => unreachable!("the service never refuses"),
    }
}

const RULES: Rules<Ask, (), Fault> = Rules {
    judge,
    bypass: |ask| matches!(ask, Ask::BreakPastTheBreaker | Ask::AnswerPastTheBreaker),
};

struct Bench {
    handle: BreakerHandle,
    reached: Arc<AtomicUsize>,
    call: Box<dyn Fn(Ask) -> BoxFuture<'static, Result<(), Fault>>>,
}

impl Bench {
    fn new(config: &BreakerConfig) -> Self {
        let (layer, handle) = breaker("test", config, RULES).unwrap();
        let reached = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&reached);
        let service = layer.layer(service_fn(move |ask: Ask| {
            counter.fetch_add(1, Ordering::SeqCst);
            async move {
                match ask {
                    Ask::Answer | Ask::AnswerPastTheBreaker => Ok(()),
                    Ask::AnswerAfter(ms) => {
                        sleep(Duration::from_millis(ms)).await;
                        Ok(())
                    }
                    Ask::Decline => Err(Fault::Declined),
                    Ask::RateLimit => Err(Fault::RateLimited),
                    Ask::Break | Ask::BreakPastTheBreaker => Err(Fault::Broken),
                    Ask::TimeOut => {
                        sleep(Duration::from_secs(5)).await;
                        Err(Fault::TimedOut)
                    }
                    Ask::Hang => std::future::pending().await,
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

    async fn ask_at_once(&self, times: usize, ask: Ask) {
        join_all((0..times).map(|_| self.ask(ask))).await;
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    fn state(&self) -> BreakerState {
        self.handle.state()
    }

    /// Opens it, and passes the time until it lets probes through.
    async fn open_and_wait(&self) {
        self.ask_times(20, Ask::Break).await;
        assert_eq!(self.state(), BreakerState::Open);
        let wait = self.handle.snapshot().next_probe.unwrap();
        assert!((24..=36).contains(&wait.as_secs()), "{wait:?}");
        advance(wait).await;
    }
}

fn boxed<S>(service: S, ask: Ask) -> BoxFuture<'static, Result<(), Fault>>
where
    S: Service<Ask, Response = (), Error = Fault> + Send + 'static,
    S::Future: Send,
{
    Box::pin(service.oneshot(ask))
}

#[tokio::test(start_paused = true)]
async fn opens_at_the_failure_rate() {
    let bench = Bench::new(&config());
    bench.ask_times(13, Ask::Answer).await;
    bench.ask_times(6, Ask::Break).await;
    assert_eq!(bench.state(), BreakerState::Closed, "opened below min_calls");
    let snapshot = bench.handle.snapshot();
    assert!((snapshot.failure_rate - 6.0 / 19.0).abs() < 1e-9 && snapshot.slow_rate == 0.0);
    bench.ask_times(1, Ask::Answer).await;
    assert_eq!(bench.state(), BreakerState::Open, "6 of 20 are the rate");
    assert_eq!(bench.handle.snapshot().cause, Some(Cause::Failures));
    assert_eq!(bench.ask(Ask::Answer).await, Err(Fault::Refused));
    assert_eq!((bench.reached(), bench.handle.admits(8)), (20, 0));
}

#[tokio::test(start_paused = true)]
async fn answers_do_not_open_it_and_limits_do_not_count() {
    let bench = Bench::new(&config());
    bench.ask_times(500, Ask::Decline).await;
    assert_eq!(bench.state(), BreakerState::Closed);
    let bench = Bench::new(&config());
    bench.ask_times(500, Ask::RateLimit).await;
    assert_eq!((bench.state(), bench.handle.snapshot().failure_rate), (BreakerState::Closed, 0.0));
    // And make a service that fails look no better.
    bench.ask_times(20, Ask::Break).await;
    assert_eq!(bench.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn healthy_history_does_not_delay_opening() {
    let bench = Bench::new(&config());
    bench.ask_times(50_000, Ask::Answer).await;
    advance(Duration::from_secs(5)).await;
    let begun = Instant::now();
    while bench.state() == BreakerState::Closed {
        assert!(begun.elapsed() < Duration::from_secs(10), "still closed");
        bench.ask_times(3, Ask::Break).await;
        advance(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn slow_answers_open_it() {
    let bench = Bench::new(&config());
    bench.ask_at_once(30, Ask::AnswerAfter(2_900)).await;
    assert_eq!(bench.state(), BreakerState::Closed);
    bench.ask_at_once(40, Ask::AnswerAfter(4_000)).await;
    assert_eq!(bench.handle.snapshot().cause, Some(Cause::Slow));
}

#[tokio::test(start_paused = true)]
async fn silence_opens_it_below_min_calls() {
    let bench = Bench::new(&config());
    bench.ask_at_once(9, Ask::TimeOut).await;
    bench.ask(Ask::Answer).await.unwrap();
    bench.ask_at_once(9, Ask::TimeOut).await;
    assert_eq!(bench.state(), BreakerState::Closed, "there was an answer in between");
    bench.ask(Ask::TimeOut).await.unwrap_err();
    assert_eq!(bench.handle.snapshot().cause, Some(Cause::Timeouts));
}

#[tokio::test(start_paused = true)]
async fn all_probes_have_to_succeed() {
    let bench = Bench::new(&config());
    bench.open_and_wait().await;
    assert_eq!(bench.handle.admits(8), 3);
    bench.ask_times(2, Ask::Decline).await;
    assert_eq!((bench.state(), bench.handle.admits(8)), (BreakerState::HalfOpen, 1));
    bench.ask(Ask::Break).await.unwrap_err();
    assert_eq!(bench.state(), BreakerState::Open);
    assert_eq!(bench.handle.snapshot().cause, Some(Cause::Probe));
    advance(bench.handle.snapshot().next_probe.unwrap()).await;
    bench.ask_times(3, Ask::Answer).await;
    let snapshot = bench.handle.snapshot();
    assert_eq!((snapshot.state, snapshot.cause), (BreakerState::Closed, None));
    // What was before is over.
    bench.ask_times(5, Ask::Break).await;
    assert_eq!(bench.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_round_has_so_many_probes_and_no_more() {
    let bench = Bench::new(&config());
    bench.open_and_wait().await;
    let before = bench.reached();
    let round = join_all((0..50).map(|_| bench.ask(Ask::AnswerAfter(100)))).await;
    assert_eq!(bench.reached() - before, 3);
    assert_eq!(round.iter().filter(|result| result.is_ok()).count(), 3);
    assert_eq!(bench.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_slow_probe_opens_it_again() {
    let bench = Bench::new(&config());
    bench.open_and_wait().await;
    bench.ask(Ask::AnswerAfter(3_000)).await.unwrap();
    assert_eq!(bench.handle.snapshot().cause, Some(Cause::Probe));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_or_limited_probe_gives_its_place_back() {
    let bench = Bench::new(&config());
    bench.open_and_wait().await;
    for _ in 0..10 {
        let probe = bench.ask(Ask::Hang);
        assert!(tokio::time::timeout(Duration::from_millis(5), probe).await.is_err());
        assert_eq!(bench.ask(Ask::RateLimit).await, Err(Fault::RateLimited));
    }
    assert_eq!(bench.state(), BreakerState::HalfOpen);
    bench.ask_times(3, Ask::Answer).await;
    assert_eq!(bench.state(), BreakerState::Closed);
}

/// A call that began before it opened says nothing of the service as it is now.
#[tokio::test(start_paused = true)]
async fn calls_of_an_earlier_state_decide_nothing() {
    let bench = Bench::new(&config());
    let late = (bench.call)(Ask::AnswerAfter(60_000));
    let late = tokio::spawn(late);
    tokio::task::yield_now().await;
    bench.open_and_wait().await;
    bench.ask(Ask::Answer).await.unwrap();
    assert_eq!(bench.state(), BreakerState::HalfOpen);
    late.await.unwrap().unwrap();
    assert_eq!((bench.state(), bench.handle.admits(8)), (BreakerState::HalfOpen, 2));
}

#[tokio::test(start_paused = true)]
async fn bypassed_request_is_not_counted() {
    let bench = Bench::new(&config());
    bench.ask_times(50, Ask::BreakPastTheBreaker).await;
    assert_eq!(bench.state(), BreakerState::Closed);
    bench.ask_times(20, Ask::Break).await;
    assert_eq!(bench.state(), BreakerState::Open);
    assert_eq!(bench.ask(Ask::AnswerPastTheBreaker).await, Ok(()));
    assert_eq!(bench.state(), BreakerState::Open);
}

#[test]
fn out_of_range_setting_is_named() {
    let cases = [
        ("window_ms", BreakerConfig { window_ms: 0, ..config() }),
        ("window_ms", BreakerConfig { window_ms: 3_600_001, ..config() }),
        ("min_calls", BreakerConfig { min_calls: 0, ..config() }),
        ("failure_rate", BreakerConfig { failure_rate: 0.0, ..config() }),
        ("failure_rate", BreakerConfig { failure_rate: f64::NAN, ..config() }),
        ("failure_rate", BreakerConfig { failure_rate: 1.5, ..config() }),
        ("slow_ms", BreakerConfig { slow_ms: 0, ..config() }),
        ("slow_rate", BreakerConfig { slow_rate: -0.1, ..config() }),
        ("timeouts_in_a_row", BreakerConfig { timeouts_in_a_row: 0, ..config() }),
        ("open_ms", BreakerConfig { open_ms: 0, ..config() }),
        ("probes", BreakerConfig { probes: 0, ..config() }),
    ];
    for (key, config) in cases {
        let built = breaker("test", &config, RULES);
        assert!(built.unwrap_err().to_string().contains(key), "{key}");
    }
}
