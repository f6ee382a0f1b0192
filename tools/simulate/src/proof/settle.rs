//! Ends a sale and waits until it is at rest: every order at its end, every hold closed, every
//! consequence carried out.

use std::time::Duration;

use flashsale_cli::{
    client::{request, request_id},
    report::report_once,
};
use flashsale_proto::{
    NamedChannel,
    sale::{EndSaleRequest, SaleReport, sale_service_client::SaleServiceClient},
};

/// Longer than the longest hold, the provider's pace and every retry of a run take together. What
/// is not at rest then is left to the audit, which names it.
const AT_MOST: Duration = Duration::from_secs(300);

/// Ends the sale and waits. Returns whether everything came to rest.
pub(crate) async fn settle(channel: NamedChannel, sale_id: &str) -> anyhow::Result<bool> {
    let mut sales = SaleServiceClient::new(channel.clone());
    let end = EndSaleRequest { request_id: request_id(), sale_id: sale_id.to_owned() };
    sales.end_sale(request(end)).await?;
    let at_rest = |report: &SaleReport| report.r#final && report.consequences_due == 0;
    let report = report_once(channel, sale_id, AT_MOST, at_rest).await?;
    Ok(at_rest(&report))
}
