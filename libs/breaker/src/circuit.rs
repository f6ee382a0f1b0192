//! The breaker's states: what opens it, when it lets probes through, what closes it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{BreakerConfig, window::Window};

/// What a call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was answered.
    Success,
    /// It failed.
    Failure,
    /// It was not answered in time.
    Timeout,
    /// It says nothing of the service.
    Ignored,
}

/// Why the breaker opened last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Too many calls failed.
    Failures,
    /// Too many calls were slow.
    Slow,
    /// No call was answered any more.
    Timeouts,
    /// A probe failed or was slow.
    Probe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls are refused. When its time is over it stays in this state until the next call, the
    /// first probe.
    Open,
    /// Probes are under way; other calls are refused.
    HalfOpen,
}

/// A breaker as it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Snapshot {
    pub state: BreakerState,
    /// Why it opened; `None` while it is closed.
    pub cause: Option<Cause>,
    /// The share of failed calls within the window, 0 to 1.
    pub failure_rate: f64,
    /// The share of slow calls within the window, 0 to 1.
    pub slow_rate: f64,
    /// How long until it lets probes through; `None` unless it is open.
    pub next_probe: Option<Duration>,
}

/// One breaker, shared by all services of its layer.
#[derive(Debug, Clone)]
pub(crate) struct Circuit {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: &'static str,
    config: BreakerConfig,
    made_at: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    phase: Phase,
    /// Which phase this is: what a call of an earlier one came to no longer matters.
    turn: u64,
    window: Window,
    timeouts_in_a_row: u32,
    cause: Option<Cause>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen { started: u32, succeeded: u32 },
}

/// A call that was let through. Dropped without a verdict, it gives a probe's place back.
#[derive(Debug)]
pub(crate) struct Permit {
    circuit: Circuit,
    turn: u64,
    begun: Instant,
    judged: bool,
}

impl Circuit {
    pub(crate) fn new(name: &'static str, config: BreakerConfig) -> Self {
        let seconds = usize::try_from(config.window_ms.div_ceil(1_000)).unwrap_or(usize::MAX);
        let inner = Inner {
            phase: Phase::Closed,
            turn: 0,
            window: Window::new(seconds),
            timeouts_in_a_row: 0,
            cause: None,
        };
        let shared = Shared { name, config, made_at: Instant::now(), inner: Mutex::new(inner) };
        Self { shared: Arc::new(shared) }
    }

    /// Lets a call through, or refuses it.
    pub(crate) fn enter(&self) -> Option<Permit> {
        let now = Instant::now();
        let mut inner = self.lock();
        match &mut inner.phase {
            Phase::Closed => {}
            Phase::Open { until } if now < *until => return None,
            Phase::Open { .. } => {
                inner.change(self.shared.name, Phase::HalfOpen { started: 1, succeeded: 0 });
            }
            Phase::HalfOpen { started, .. } if *started < self.shared.config.probes => {
                *started += 1
            }
            Phase::HalfOpen { .. } => return None,
        }
        Some(Permit { circuit: self.clone(), turn: inner.turn, begun: now, judged: false })
    }

    /// How many of `wanted` calls would be let through now.
    pub(crate) fn admits(&self, wanted: usize) -> usize {
        let probes = |left: u32| wanted.min(usize::try_from(left).unwrap_or(usize::MAX));
        match self.lock().phase {
            Phase::Closed => wanted,
            Phase::Open { until } if Instant::now() < until => 0,
            Phase::Open { .. } => probes(self.shared.config.probes),
            Phase::HalfOpen { started, .. } => {
                probes(self.shared.config.probes.saturating_sub(started))
            }
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let now = Instant::now();
        let second = self.second(now);
        let mut inner = self.lock();
        let sums = inner.window.sums(second);
        let rate = |part: u32| f64::from(part) / f64::from(sums.calls.max(1));
        let (state, next_probe) = match inner.phase {
            Phase::Closed => (BreakerState::Closed, None),
            Phase::Open { until } => {
                (BreakerState::Open, Some(until.saturating_duration_since(now)))
            }
            Phase::HalfOpen { .. } => (BreakerState::HalfOpen, None),
        };
        Snapshot {
            state,
            cause: inner.cause,
            failure_rate: rate(sums.failed),
            slow_rate: rate(sums.slow),
            next_probe,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every holder leaves it whole.
        self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.shared.made_at).as_secs()
    }

    fn judge(&self, turn: u64, begun: Instant, verdict: Verdict) {
        let now = Instant::now();
        let second = self.second(now);
        let config = &self.shared.config;
        let mut inner = self.lock();
        if inner.turn != turn {
            return;
        }
        let slow = now.saturating_duration_since(begun) >= Duration::from_millis(config.slow_ms);
        let failed = match verdict {
            Verdict::Success => false,
            Verdict::Failure | Verdict::Timeout => true,
            Verdict::Ignored => {
                inner.give_back();
                return;
            }
        };
        match inner.phase {
            Phase::Closed => {
                inner.window.count(second, failed, slow);
                inner.timeouts_in_a_row =
                    if verdict == Verdict::Timeout { inner.timeouts_in_a_row + 1 } else { 0 };
                if let Some(cause) = inner.overload(config, second) {
                    self.open(&mut inner, now, cause);
                }
            }
            Phase::HalfOpen { .. } if failed || slow => self.open(&mut inner, now, Cause::Probe),
            Phase::HalfOpen { started, succeeded } if succeeded + 1 < config.probes => {
                inner.phase = Phase::HalfOpen { started, succeeded: succeeded + 1 };
            }
            Phase::HalfOpen { .. } => {
                inner.window = Window::new(inner.window.seconds());
                inner.timeouts_in_a_row = 0;
                inner.cause = None;
                inner.change(self.shared.name, Phase::Closed);
            }
            // Its calls are of an earlier phase.
            Phase::Open { .. } => {}
        }
    }

    fn open(&self, inner: &mut Inner, now: Instant, cause: Cause) {
        // Spread, so that instances that opened together do not probe together.
        let spread = 0.8 + 0.4 * rand::random::<f64>();
        let until = now + Duration::from_millis(self.shared.config.open_ms).mul_f64(spread);
        inner.cause = Some(cause);
        inner.change(self.shared.name, Phase::Open { until });
    }
}

impl Inner {
    fn change(&mut self, name: &'static str, to: Phase) {
        tracing::warn!(
            breaker = name,
            from = self.phase.name(),
            to = to.name(),
            cause = ?self.cause,
            "the breaker changed its state"
        );
        self.phase = to;
        self.turn += 1;
    }

    /// What there is too much of, if anything.
    fn overload(&mut self, config: &BreakerConfig, second: u64) -> Option<Cause> {
        if self.timeouts_in_a_row >= config.timeouts_in_a_row {
            return Some(Cause::Timeouts);
        }
        let sums = self.window.sums(second);
        if sums.calls < config.min_calls {
            return None;
        }
        let reached = |part: u32, rate: f64| f64::from(part) >= rate * f64::from(sums.calls);
        if reached(sums.failed, config.failure_rate) {
            Some(Cause::Failures)
        } else if reached(sums.slow, config.slow_rate) {
            Some(Cause::Slow)
        } else {
            None
        }
    }

    /// Lets another probe take the place of one that said nothing.
    fn give_back(&mut self) {
        if let Phase::HalfOpen { started, .. } = &mut self.phase {
            *started = started.saturating_sub(1);
        }
    }
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }
}

impl Permit {
    /// Says what the call came to.
    pub(crate) fn judge(mut self, verdict: Verdict) {
        self.judged = true;
        self.circuit.judge(self.turn, self.begun, verdict);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.judged {
            self.circuit.judge(self.turn, self.begun, Verdict::Ignored);
        }
    }
}
