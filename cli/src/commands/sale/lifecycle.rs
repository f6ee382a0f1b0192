//! `flashsale sale start`, `pause`, `resume`, `cancel` and `end`.

use clap::Args;
use flashsale_cli::{
    client::{request, request_id},
    output::Output,
};
use flashsale_errors::{Failure, Reason};
use flashsale_proto::sale::{
    CancelSaleRequest, EndSaleRequest, PauseSaleRequest, Sale, StartSaleRequest,
};
use tonic::Status;

use super::{Sales, repeatable};

#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// The sale's id.
    sale_id: String,
    /// The request's id, a UUID, to repeat a request whose outcome is unknown.
    #[arg(long)]
    request_id: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// Open it although another sale offers one of its skus at the same time; each sells the units
    /// that it was given.
    #[arg(long)]
    allow_shared_skus: bool,
}

pub(super) async fn start(
    args: StartArgs,
    mut sales: Sales,
    output: &Output,
) -> anyhow::Result<Option<Sale>> {
    let StartArgs { change: ChangeArgs { sale_id, request_id: given }, allow_shared_skus } = args;
    let id = given.unwrap_or_else(request_id);
    let asked = StartSaleRequest { request_id: id.clone(), sale_id, allow_shared_skus };
    let answer = sales.start_sale(request(asked)).await;
    Ok(answer.map_err(|status| repeatable(status, &id, output))?.into_inner().sale)
}

pub(super) async fn pause(
    args: ChangeArgs,
    mut sales: Sales,
    output: &Output,
) -> anyhow::Result<Option<Sale>> {
    let id = args.request_id.unwrap_or_else(request_id);
    let asked = PauseSaleRequest { request_id: id.clone(), sale_id: args.sale_id };
    let answer = sales.pause_sale(request(asked)).await;
    Ok(answer.map_err(|status| repeatable(status, &id, output))?.into_inner().sale)
}

pub(super) async fn cancel(
    args: ChangeArgs,
    mut sales: Sales,
    output: &Output,
) -> anyhow::Result<Option<Sale>> {
    let id = args.request_id.unwrap_or_else(request_id);
    let asked = CancelSaleRequest { request_id: id.clone(), sale_id: args.sale_id };
    let answer = sales.cancel_sale(request(asked)).await;
    let answer = answer.map_err(|status| {
        if undecided(&status) && !output.is_json() {
            output.say(
                "It is not decided yet whether the sale is called off: the store of its stock has \
                 not answered, and the sale opens if its time comes first.",
            );
        }
        repeatable(status, &id, output)
    })?;
    Ok(answer.into_inner().sale)
}

pub(super) async fn end(
    args: ChangeArgs,
    mut sales: Sales,
    output: &Output,
) -> anyhow::Result<Option<Sale>> {
    let id = args.request_id.unwrap_or_else(request_id);
    let asked = EndSaleRequest { request_id: id.clone(), sale_id: args.sale_id };
    let answer = sales.end_sale(request(asked)).await;
    Ok(answer.map_err(|status| repeatable(status, &id, output))?.into_inner().sale)
}

/// Whether a cancellation is recorded, but not decided by the store of the stock.
fn undecided(status: &Status) -> bool {
    Failure::from_status(status).is_some_and(|failure| failure.reason() == Reason::PeerUnavailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_peer_that_is_away_leaves_a_cancellation_undecided() {
        let status = |reason| Status::from(Failure::new(reason, "is away"));
        assert!(undecided(&status(Reason::PeerUnavailable)));
        assert!(!undecided(&status(Reason::StoreUnavailable)));
        assert!(!undecided(&status(Reason::SaleStateConflict)));
        assert!(!undecided(&Status::unavailable("no connection")));
    }
}
