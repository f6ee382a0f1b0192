//! `flashsale up`: the stack in the foreground, with an open sale and the next calls to try.

use std::process::ExitCode;

use anyhow::Context as _;
use flashsale_proto::sale::Sale;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{StackArgs, client, output::Output, stack::Stack};

/// Runs until Ctrl-C.
pub(crate) async fn up(args: &StackArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let asked_to_end = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    tokio::pin!(asked_to_end);
    let say = |text: &str| eprintln!("  {text}");
    let starting = async {
        let stack = Stack::start(&say).await?;
        let sale = stack.open_sale(args).await?;
        anyhow::Ok((stack, sale))
    };
    let (stack, sale) = tokio::select! {
        started = starting => started?,
        () = &mut asked_to_end => return Ok(ExitCode::SUCCESS),
    };
    let up_file = client::up_file()?;
    let about = json!({
        "grpc": stack.grpc_url, "http": stack.http_url, "sale_id": sale.sale_id,
        "redis": stack.redis_url(), "nats": stack.nats_url(), "postgres": stack.postgres_url(),
        "folder": stack.dir.path(),
    });
    std::fs::write(&up_file, format!("{about:#}\n"))
        .with_context(|| format!("{} cannot be written", up_file.display()))?;
    output.print(&about, || describe(&stack, &sale));
    let result = tokio::select! {
        () = &mut asked_to_end => Ok(ExitCode::SUCCESS),
        what = stack.services_ended() => Err(anyhow::anyhow!(what)),
    };
    std::fs::remove_file(&up_file).ok();
    eprintln!("  stopping");
    stack.stop().await?;
    result
}

fn describe(stack: &Stack, sale: &Sale) -> String {
    let address = stack.grpc_url.trim_start_matches("http://");
    let sku = sale.items.first().map(|item| item.sku.clone()).unwrap_or_default();
    let join = json!({
        "request_id": client::request_id(), "sale_id": sale.sale_id, "buyer_id": "ada",
    });
    let get_stock = json!({ "sale_id": sale.sale_id });
    let reserve = json!({
        "request_id": client::request_id(), "sale_id": sale.sale_id, "buyer_id": "ada",
        "lines": [{ "sku": sku, "quantity": 1 }],
    });
    let call = |data: &serde_json::Value, method: &str| {
        let data = data.to_string().replace('\'', "'\\''");
        format!(
            "  buf curl --protocol grpc --http2-prior-knowledge -d '{data}' \\\n    {}/{method}",
            stack.grpc_url
        )
    };
    format!(
        "\nA sale is open: {name} ({sale_id})\n\n\
         gRPC                {grpc} (with reflection)\n\
         metrics and health  {http}/metrics, {http}/readyz\n\
         Redis               {redis}\n\
         NATS                {nats}\n\
         Postgres            {postgres}\n\
         logs                {folder}\n\n\
         Try, in another terminal (grpcurl takes the same: grpcurl -plaintext -d '…' {address} <service>/<method>):\n\n\
         {stock}\n\n{join}\n\n{reserve}\n\n\
         The last one answers ADMISSION_REQUIRED: the sale has a waiting room. `flashsale stock show {sale_id}` shows the stock.\n\
         Ctrl-C stops everything.",
        name = sale.settings.as_ref().map(|settings| settings.name.as_str()).unwrap_or_default(),
        sale_id = sale.sale_id,
        grpc = stack.grpc_url,
        http = stack.http_url,
        redis = stack.redis_url(),
        nats = stack.nats_url(),
        postgres = stack.postgres_url(),
        folder = stack.dir.path().display(),
        stock = call(&get_stock, "flashsale.inventory.v1.InventoryService/GetStock"),
        join = call(&join, "flashsale.waitingroom.v1.WaitingRoomService/Join"),
        reserve = call(&reserve, "flashsale.inventory.v1.InventoryService/Reserve"),
    )
}
