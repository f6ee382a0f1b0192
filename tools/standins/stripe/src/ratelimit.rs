//! Requests per second, per account and per endpoint (docs.stripe.com/rate-limits).
//!
//! Stripe treats each named API operation as a separate endpoint: the caller passes the operation's
//! name, not the path. `Stripe-Rate-Limited-Reason` names the limit that was hit.

use std::collections::HashMap;

/// Which limit refused a request; the header's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    Global,
    Endpoint,
}

impl Limited {
    /// The value of `Stripe-Rate-Limited-Reason` (docs.stripe.com/rate-limits).
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Global => "global-rate",
            Self::Endpoint => "endpoint-rate",
        }
    }
}

/// A bucket that holds one second's worth of requests and refills evenly.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    refilled_at_ms: u64,
}

/// The account's limiter. Callers pass the time, in milliseconds.
#[derive(Debug)]
pub struct RateLimiter {
    per_endpoint: f64,
    total: f64,
    all: Bucket,
    endpoints: HashMap<&'static str, Bucket>,
}

impl Bucket {
    fn full(rate: f64, now_ms: u64) -> Self {
        Self { tokens: rate, refilled_at_ms: now_ms }
    }

    fn refill(&mut self, rate: f64, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.refilled_at_ms) as f64;
        self.tokens = (self.tokens + rate * elapsed_ms / 1000.0).min(rate);
        self.refilled_at_ms = now_ms;
    }
}

impl RateLimiter {
    /// A limiter with full buckets. Rates are requests per second.
    #[must_use]
    pub fn new(per_endpoint: u32, total: u32, now_ms: u64) -> Self {
        let total = f64::from(total);
        Self {
            per_endpoint: f64::from(per_endpoint),
            total,
            all: Bucket::full(total, now_ms),
            endpoints: HashMap::new(),
        }
    }

    /// Takes one request from both buckets, or from neither if one is empty.
    ///
    /// # Errors
    /// The limit of the empty bucket.
    pub fn admit(&mut self, endpoint: &'static str, now_ms: u64) -> Result<(), Limited> {
        let rate = self.per_endpoint;
        let bucket = self.endpoints.entry(endpoint).or_insert_with(|| Bucket::full(rate, now_ms));
        bucket.refill(rate, now_ms);
        self.all.refill(self.total, now_ms);
        if self.all.tokens < 1.0 {
            return Err(Limited::Global);
        }
        if bucket.tokens < 1.0 {
            return Err(Limited::Endpoint);
        }
        self.all.tokens -= 1.0;
        bucket.tokens -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn bucket_holds_at_most_one_second() {
        let mut limiter = RateLimiter::new(5, 100, 0);
        let admitted =
            |l: &mut RateLimiter, now| (0..20).filter(|_| l.admit("a", now).is_ok()).count();
        assert_eq!(admitted(&mut limiter, 0), 5);
        assert_eq!(admitted(&mut limiter, 200), 1);
        assert_eq!(admitted(&mut limiter, 60_000), 5);
    }

    #[test]
    fn endpoint_and_account_limits_both_count() {
        let mut limiter = RateLimiter::new(3, 5, 0);
        for _ in 0..3 {
            limiter.admit("a", 0).unwrap();
        }
        assert_eq!(limiter.admit("a", 0), Err(Limited::Endpoint));
        limiter.admit("b", 0).unwrap();
        limiter.admit("b", 0).unwrap();
        assert_eq!(limiter.admit("b", 0), Err(Limited::Global));
    }
}
