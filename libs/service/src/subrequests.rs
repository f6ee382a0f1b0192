//! Calls that arrive in a batch inside another one. Each is traced, measured and bounded as if it
//! had been sent alone.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use flashsale_telemetry::propagate;
use futures::FutureExt as _;
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::Instrument as _;

use crate::{
    deadline,
    stack::{Call, Instruments, expired, panicked},
};

/// What such calls are measured with.
#[derive(Debug, Clone)]
pub struct Subrequests(Instruments);

impl Default for Subrequests {
    fn default() -> Self {
        Self(Instruments::new())
    }
}

impl Subrequests {
    /// Does the `work` of one, a call of `path` that belongs to the trace of `traceparent`, within
    /// `timeout`.
    ///
    /// # Errors
    /// Those of the work, or `DEADLINE_EXCEEDED`.
    pub async fn serve<T>(
        &self,
        path: &str,
        traceparent: &str,
        timeout: Duration,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let caller = propagate::from_text(Some(traceparent));
        let mut call = Call::begin(path, caller, self.0.clone());
        let until = Instant::now() + timeout;
        let work = deadline::within(until, work).instrument(call.span.clone());
        // A wrong one must not take the others with it.
        let work = AssertUnwindSafe(work).catch_unwind();
        let answer = tokio::time::timeout_at(until, work).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(panic)) => Err(panicked(&*panic).into()),
            Err(_) => Err(expired(timeout).into()),
        };
        call.end(answer.as_ref().err().map_or(Code::Ok, Status::code));
        answer
    }
}
