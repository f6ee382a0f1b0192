//! Ends a sale and waits until it is at rest: every order at its end, every hold closed, every consequence carried out.

use std::time::{Duration, Instant};

use flashsale_errors::Failure;
use flashsale_proto::sale::{
    EndSaleRequest, GetSaleReportRequest, SaleReport, sale_service_client::SaleServiceClient,
};
use tonic::{Code, Status, transport::Channel};

use crate::client::{request, request_id};

/// Longer than the longest hold, the provider's pace and every retry of a run take together. What is not at rest then is left to the
/// audit, which names it.
const AT_MOST: Duration = Duration::from_secs(300);

/// A pause between looks.
const LOOK: Duration = Duration::from_millis(500);

/// Ends the sale and waits. Returns whether everything came to rest.
pub(crate) async fn settle(channel: Channel, sale_id: &str) -> anyhow::Result<bool> {
    let mut sales = SaleServiceClient::new(channel.clone());
    let end = EndSaleRequest { request_id: request_id(), sale_id: sale_id.to_owned() };
    sales.end_sale(request(end)).await?;
    let at_rest = |report: &SaleReport| report.r#final && report.consequences_due == 0;
    let report = report_once(channel, sale_id, AT_MOST, at_rest).await?;
    Ok(at_rest(&report))
}

fn passes(status: &Status) -> bool {
    match Failure::from_status(status) {
        Some(failure) => failure.delay().is_some(),
        None => status.code() == Code::Unavailable,
    }
}

/// A sale's report, as soon as it is as `wanted` or `at_most` has passed.
pub(crate) async fn report_once(
    channel: Channel,
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
            // What passes is waited for like the report: a store that is away, a service that starts anew.
            Err(status) if in_time && passes(&status) => {}
            Err(status) => return Err(status.into()),
        }
        tokio::time::sleep(LOOK).await;
    }
}
