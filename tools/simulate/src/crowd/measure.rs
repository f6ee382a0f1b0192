//! What calls took and how they were refused, as the buyers saw it.
//!
//! Each call has two latencies: from when it was due to be sent (what a buyer lives through, also
//! when the caller itself could not keep up), and from when it was sent (what the service took). A
//! call is due when its buyer was to come, when the answer before it had come, or when the pause
//! that a refusal asked for was over.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use flashsale_errors::{Failure, Retry};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tonic::Status;

/// The calls of a buyer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Join,
    WatchPosition,
    BeginCheckout,
    PlaceOrder,
    CancelOrder,
    WatchOrder,
}

impl Call {
    /// Those with one answer, whose latency is measured.
    pub(crate) const UNARY: [Self; 4] =
        [Self::Join, Self::BeginCheckout, Self::PlaceOrder, Self::CancelOrder];

    /// The name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::WatchPosition => "watch_position",
            Self::BeginCheckout => "begin_checkout",
            Self::PlaceOrder => "place_order",
            Self::CancelOrder => "cancel_order",
            Self::WatchOrder => "watch_order",
        }
    }
}

/// The quantiles that reports tell, besides the maximum.
pub(crate) const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.50), ("p90", 0.90), ("p95", 0.95), ("p99", 0.99), ("p99_9", 0.999)];

/// One kind of latency; microseconds inside.
#[derive(Debug)]
pub(crate) struct Latency(Mutex<Histogram<u64>>);

impl Latency {
    /// Nothing measured yet; up to an hour, to `digits` digits.
    pub(crate) fn new(digits: u8) -> anyhow::Result<Self> {
        Ok(Self(Mutex::new(Histogram::new_with_bounds(1, 3_600_000_000, digits)?)))
    }

    /// Adds one.
    pub(crate) fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros);
    }

    /// Count, percentiles and maximum in milliseconds.
    pub(crate) fn value(&self) -> Value {
        value(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Both together.
    pub(crate) fn value_with(&self, other: &Self) -> Value {
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Cannot fail: both have the same bounds.
        sum.add(&*other.0.lock().unwrap_or_else(PoisonError::into_inner)).ok();
        value(&sum)
    }

    /// What [`Latency::value`] says, from a new start.
    fn take(&self) -> Value {
        let mut histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = value(&histogram);
        histogram.reset();
        taken
    }
}

fn value(histogram: &Histogram<u64>) -> Value {
    let mut value = json!({ "count": histogram.len() });
    // No call, no latency: zero would be a good one.
    let ms = |micros: u64| (!histogram.is_empty()).then_some(micros as f64 / 1_000.0);
    for (name, quantile) in QUANTILES {
        value[name] = json!(ms(histogram.value_at_quantile(quantile)));
    }
    value["max"] = json!(ms(histogram.max()));
    value
}

/// The latencies of one call.
#[derive(Debug)]
pub(crate) struct CallLatency {
    /// Of calls that did what they were asked, from when they were due.
    pub(crate) response: Latency,
    /// The same from when they were sent.
    pub(crate) service: Latency,
    /// Of calls that were refused, from when they were due.
    pub(crate) refused_response: Latency,
    /// The same from when they were sent.
    pub(crate) refused_service: Latency,
    /// From when a call was first due until it was done, however often it had to be sent.
    pub(crate) with_retries: Latency,
    /// As `response`, since the timeline last looked.
    recent: Latency,
}

impl CallLatency {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            response: Latency::new(3)?,
            service: Latency::new(3)?,
            refused_response: Latency::new(3)?,
            refused_service: Latency::new(3)?,
            with_retries: Latency::new(3)?,
            recent: Latency::new(2)?,
        })
    }
}

/// How calls were refused.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rejects {
    /// By call and reason; a reason that is none of ours is `UNTYPED <code>`.
    pub(crate) by: BTreeMap<(Call, String), u64>,
    /// Refusals without a reason of ours.
    pub(crate) untyped: u64,
    /// Refusals that invite a retry and do not say when.
    pub(crate) without_retry_info: u64,
    /// The first few of both, in words.
    pub(crate) samples: Vec<String>,
}

impl Rejects {
    /// By reason alone.
    pub(crate) fn by_reason(&self) -> BTreeMap<&str, u64> {
        let mut sums = BTreeMap::new();
        for ((_, reason), count) in &self.by {
            *sums.entry(reason.as_str()).or_default() += count;
        }
        sums
    }

    /// All of them.
    pub(crate) fn total(&self) -> u64 {
        self.by.values().sum()
    }
}

/// Samples that are kept.
const SAMPLES: usize = 10;

/// Everything that is measured.
#[derive(Debug)]
pub(crate) struct Measures {
    calls: [(Call, CallLatency); 4],
    rejects: Mutex<Rejects>,
    /// From an order's acceptance until its buyer saw it confirmed.
    pub(crate) accepted_to_confirmed: Latency,
}

impl Measures {
    /// Nothing measured yet.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let [join, begin, place, cancel] = Call::UNARY;
        Ok(Self {
            calls: [
                (join, CallLatency::new()?),
                (begin, CallLatency::new()?),
                (place, CallLatency::new()?),
                (cancel, CallLatency::new()?),
            ],
            rejects: Mutex::default(),
            accepted_to_confirmed: Latency::new(3)?,
        })
    }

    /// The latencies of a call, if it has one answer.
    pub(crate) fn of(&self, call: Call) -> Option<&CallLatency> {
        self.calls.iter().find_map(|(of, latency)| (*of == call).then_some(latency))
    }

    /// Notes a call that was due and sent at these times and has just been answered.
    pub(crate) fn answered(
        &self,
        call: Call,
        due: Instant,
        sent: Instant,
        refusal: Option<&Status>,
    ) {
        let (response, service) = (due.elapsed(), sent.elapsed());
        if let Some(latency) = self.of(call) {
            if refusal.is_none() {
                latency.response.record(response);
                latency.recent.record(response);
                latency.service.record(service);
            } else {
                latency.refused_response.record(response);
                latency.refused_service.record(service);
            }
        }
        if let Some(status) = refusal {
            self.refused(call, status);
        }
    }

    /// Notes that a call is done that was first due at this time.
    pub(crate) fn done(&self, call: Call, first_due: Instant) {
        if let Some(latency) = self.of(call) {
            latency.with_retries.record(first_due.elapsed());
        }
    }

    /// Notes a refusal.
    pub(crate) fn refused(&self, call: Call, status: &Status) {
        let mut rejects = self.rejects.lock().unwrap_or_else(PoisonError::into_inner);
        let (reason, fault) = match Failure::from_status(status) {
            Some(failure) => {
                let retryable = failure.reason().retry() != Retry::Never;
                let fault = retryable && failure.delay().is_none();
                rejects.without_retry_info += u64::from(fault);
                (failure.reason().as_str().to_owned(), fault)
            }
            None => {
                rejects.untyped += 1;
                (format!("UNTYPED {:?}", status.code()), true)
            }
        };
        if fault && rejects.samples.len() < SAMPLES {
            let sample = format!("{}: {:?}: {}", call.name(), status.code(), status.message());
            rejects.samples.push(sample);
        }
        *rejects.by.entry((call, reason)).or_default() += 1;
    }

    /// The refusals so far.
    pub(crate) fn rejects(&self) -> Rejects {
        self.rejects.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The latencies of calls that succeeded since this was last asked, by the call's name.
    pub(crate) fn recent(&self) -> Value {
        let mut value = json!({});
        for (call, latency) in &self.calls {
            value[call.name()] = latency.recent.take();
        }
        value
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use flashsale_errors::Reason;
    use tonic::Code;
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    #[test]
    fn a_call_that_was_sent_late_has_waited_since_it_was_due() {
        let measures = Measures::new().unwrap();
        let due = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        measures.answered(Call::Join, due, Instant::now(), None);
        let join = measures.of(Call::Join).unwrap();
        assert!(join.response.value()["p50"].as_f64().unwrap() >= 2_000.0);
        assert!(join.service.value()["p50"].as_f64().unwrap() < 1_000.0);
    }

    #[test]
    fn refusals_are_told_apart_by_whether_they_are_typed_and_say_when_to_retry() {
        let measures = Measures::new().unwrap();
        measures.refused(Call::Join, &Failure::new(Reason::Overloaded, "x").into());
        measures.refused(Call::Join, &Failure::new(Reason::SoldOut, "x").into());
        measures.refused(Call::PlaceOrder, &Status::unavailable("connection refused"));
        let mut bare = ErrorDetails::new();
        bare.set_error_info("OVERLOADED", flashsale_errors::DOMAIN, []);
        let bare = Status::with_error_details(Code::ResourceExhausted, "x", bare);
        measures.refused(Call::PlaceOrder, &bare);
        let rejects = measures.rejects();
        assert_eq!((rejects.total(), rejects.untyped, rejects.without_retry_info), (4, 1, 1));
        assert_eq!(rejects.by_reason()["OVERLOADED"], 2);
        assert_eq!(rejects.by_reason()["UNTYPED Unavailable"], 1);
        assert_eq!(rejects.samples.len(), 2);
    }

    #[test]
    fn what_was_never_measured_has_no_latency_rather_than_a_good_one() {
        assert!(Latency::new(3).unwrap().value()["p99"].is_null());
    }
}
