//! Polls a sale's report until a condition holds.

use std::time::{Duration, Instant};

use flashsale_errors::Failure;
use flashsale_proto::{
    NamedChannel,
    sale::{GetSaleReportRequest, SaleReport, sale_service_client::SaleServiceClient},
};
use tonic::{Code, Status};

use crate::client::request;

/// The pause between two polls.
const LOOK: Duration = Duration::from_millis(500);

fn passes(status: &Status) -> bool {
    match Failure::from_status(status) {
        Some(failure) => failure.delay().is_some(),
        None => status.code() == Code::Unavailable,
    }
}

/// A sale's report, as soon as `wanted` holds of it or `at_most` has passed.
///
/// # Errors
/// The status of a call that a retry cannot help, or of any failed call once `at_most` has passed.
pub async fn report_once(
    channel: NamedChannel,
    sale_id: &str,
    at_most: Duration,
    wanted: impl Fn(&SaleReport) -> bool,
) -> anyhow::Result<SaleReport> {
    let mut sales = SaleServiceClient::new(channel);
    let began = Instant::now();
    loop {
        let asked = GetSaleReportRequest { sale_id: sale_id.to_owned() };
        let in_time = began.elapsed() < at_most;
        match sales.get_sale_report(request(asked)).await {
            Ok(answer) => {
                let report = answer.into_inner().report.unwrap_or_default();
                if wanted(&report) || !in_time {
                    return Ok(report);
                }
            }
            // A transient failure is waited out: a store that is away, a service that restarts.
            Err(status) if in_time && passes(&status) => {}
            Err(status) => return Err(status.into()),
        }
        tokio::time::sleep(LOOK).await;
    }
}
