//! `flashsale up`: the stack in the foreground, with an open sale and the next calls to try.

use std::process::ExitCode;

use flashsale_cli::{
    client,
    output::{Output, ReaderGone},
    program::sibling,
};
use flashsale_proto::sale::Sale;
use flashsale_testbed::{Home, keys::write_secret};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    StackArgs,
    files::write_whole,
    stack::{Export, Provision, Stack},
};

/// Runs until Ctrl-C.
pub(crate) async fn up(args: &StackArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let export = Export::find(args)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let asked_to_end = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    tokio::pin!(asked_to_end);
    let say = |text: &str| output.say(&format!("  {text}"));
    let starting = async {
        let provision = Provision { card_retry_ms: args.card_retry_ms, ..Provision::default() };
        let stack = Stack::start(&say, &provision).await?;
        let sale = stack.open_sale(args, export).await?;
        anyhow::Ok((stack, sale))
    };
    let (stack, sale) = tokio::select! {
        started = starting => started?,
        () = &mut asked_to_end => return Ok(ExitCode::SUCCESS),
        () = output.reader_gone() => anyhow::bail!(ReaderGone),
    };
    let up_file = client::up_file()?;
    let about = json!({
        "grpc": stack.grpc_url, "http": stack.http_url, "sale_id": sale.sale_id,
        "redis": stack.redis_url(), "nats": stack.nats_url(), "postgres": stack.postgres_url(),
        "folder": stack.folder(), "key_file": client::up_key_file(&up_file),
        "shop_key_file": stack.keys().shop_file(),
    });
    let written = format!("{about:#}\n");
    let key_files = [client::up_key_file(&up_file), client::up_shop_key_file(&up_file)];
    // Of an earlier `up`: the key must not go to its address.
    std::fs::remove_file(&up_file).ok();
    for (file, key) in key_files.iter().zip([stack.keys().operator(), stack.keys().shop()]) {
        write_secret(file, key.expose())?;
    }
    let command_keys =
        ["operator", "shop"].map(|name| stack.folder().join(format!("keys/{name}.toml")));
    for (file, key) in command_keys.iter().zip([stack.keys().operator(), stack.keys().shop()]) {
        let text = format!("key = \"{}\"\nservers = [\"{}\"]\n", key.expose(), stack.grpc_url);
        write_secret(file, &text)?;
    }
    write_whole(&up_file, &written)?;
    let stay = async {
        output.print(&about, || describe(&stack, &sale))?;
        tokio::select! {
            () = asked_to_end => Ok(ExitCode::SUCCESS),
            what = stack.services_ended() => Err(anyhow::anyhow!(what)),
        }
    };
    let result = stay.await;
    // Not that of another `up`, which may have come after this one.
    if std::fs::read_to_string(&up_file).is_ok_and(|text| text == written) {
        std::fs::remove_file(&up_file).ok();
        for file in &key_files {
            std::fs::remove_file(file).ok();
        }
    }
    output.say("  stopping");
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
    let buf = program("buf", Home::locate().ok().map(|home| home.tools().join("bin/buf")));
    let flashsale = program("flashsale", sibling("flashsale").ok());
    let header_file = quoted(&stack.keys().shop_header_file().display().to_string());
    let call = |data: &serde_json::Value, method: &str| {
        let data = quoted(&data.to_string());
        format!(
            "  {buf} curl --protocol grpc --http2-prior-knowledge -H @{header} -d {data} \\\n    {}/{method}",
            stack.grpc_url,
            header = header_file,
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
         Try, in another terminal, as the shop:\n\n\
         {stock}\n\n{join}\n\n{reserve}\n\n\
         The last one is refused with ADMISSION_REQUIRED: the sale has a waiting room. grpcurl takes the same:\n\
         grpcurl -plaintext -H \"$(cat {header_file})\" -d '…' {address} <service>/<method>. The stock as a table, as\n\
         an operator:\n\n\
         \x20 {flashsale} --addr {grpc} --key-file {operator} stock show {sale_id}\n\n\
         Ctrl-C stops everything.",
        name = sale.settings.as_ref().map(|settings| settings.name.as_str()).unwrap_or_default(),
        sale_id = sale.sale_id,
        grpc = stack.grpc_url,
        http = stack.http_url,
        redis = stack.redis_url(),
        nats = stack.nats_url(),
        postgres = stack.postgres_url(),
        folder = stack.folder().display(),
        operator = quoted(&stack.folder().join("keys/operator.toml").display().to_string()),
        stock = call(&get_stock, "flashsale.inventory.v1.InventoryService/GetStock"),
        join = call(&join, "flashsale.waitingroom.v1.WaitingRoomService/Join"),
        reserve = call(&reserve, "flashsale.inventory.v1.InventoryService/Reserve"),
    )
}

/// What to type for a program: where it is, for it need not be on the other terminal's PATH; else
/// its name.
fn program(name: &str, path: Option<std::path::PathBuf>) -> String {
    path.filter(|path| path.exists())
        .map_or_else(|| name.to_owned(), |path| quoted(&path.display().to_string()))
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    if word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c)) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
