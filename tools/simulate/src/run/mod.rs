//! `flashsale run`: one whole sale with simulated buyers, audited from the stores.

mod progress;
mod report;

use std::{process::ExitCode, sync::Arc, time::Instant};

use anyhow::bail;
use flashsale_cli::output::{Output, ReaderGone};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    RunArgs,
    crowd::{Crowd, Mix, shop},
    proof::{audit, settle},
    stack::{Export, Provision, Stack},
};

/// The most buyers one machine is asked to be.
const MAX_BUYERS: usize = 200_000;

/// Connections the crowd shares, as behind a shop's own front end.
const CONNECTIONS: usize = 32;

/// What goes wrong at the provider during a run, besides its limits: now and then it does what it
/// was asked to, and its answer is lost on the way. No buyer may be charged twice for that.
const PROVIDER_FAULTS: [&str; 1] =
    [r#"{"endpoint":"POST *","kind":"reset_after","probability":0.03}"#];

/// Runs the sale; exits 0 only if every invariant held.
pub(crate) async fn run(args: &RunArgs, output: &Output) -> anyhow::Result<ExitCode> {
    if !(1..=MAX_BUYERS).contains(&args.buyers) {
        bail!("--buyers must be 1 to {MAX_BUYERS}");
    }
    if !(args.rate > 0.0 && args.rate <= 100_000.0) {
        bail!("--rate must be above 0 and at most 100000 buyers per second");
    }
    let export = Export::find(&args.stack)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let asked_to_end = async move {
        tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "Ctrl-C" }
    };
    tokio::pin!(asked_to_end);
    let say = |text: &str| output.say(&format!("  {text}"));
    let mut provision = Provision { provider_faults: &PROVIDER_FAULTS, ..Provision::default() };
    provision.card_retry_ms = args.stack.card_retry_ms.or(provision.card_retry_ms);
    // Whatever is dropped here on the way out is killed: nothing is left behind.
    let mut stack = tokio::select! {
        stack = Stack::start(&say, &provision) => stack?,
        signal = &mut asked_to_end => bail!("ended by {signal}"),
        () = output.reader_gone() => bail!(ReaderGone),
    };
    let result = tokio::select! {
        result = sell(args, export, &mut stack, output) => result,
        signal = &mut asked_to_end => Err(anyhow::anyhow!("ended by {signal}; everything is stopped")),
        () = output.reader_gone() => Err(ReaderGone.into()),
    };
    let stopped = stack.stop().await;
    let code = result?;
    stopped?;
    Ok(code)
}

async fn sell(
    args: &RunArgs,
    export: Export,
    stack: &mut Stack,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(rand::random);
    let sale = stack.open_sale(&args.stack, export).await?;
    let name = sale.settings.as_ref().map(|settings| settings.name.clone()).unwrap_or_default();
    let units: i64 = sale.items.iter().map(|item| item.quantity).sum();
    output.say(&format!(
        "  the sale {name:?} is open: {} items, {units} units; {} buyers come at {} a second (seed {seed})",
        sale.items.len(),
        args.buyers,
        args.rate
    ));
    let history_file = stack.folder().join("buyers.jsonl");
    let crowd = Crowd::new(
        stack.endpoint()?,
        Some(stack.keys().shop()),
        CONNECTIONS,
        "buyer",
        &sale,
        &history_file,
        seed,
    )
    .await?;
    let crowd = Arc::new(crowd);
    let began = Instant::now();
    let progress = progress::Progress::start(Arc::clone(&crowd), stack, &sale, output).await?;
    let failed = {
        let shopping = shop(Arc::clone(&crowd), Mix::of_a_run(), args.buyers, args.rate);
        tokio::select! {
            () = shopping => None,
            what = stack.services_ended() => Some(what),
        }
    };
    if let Some(what) = failed {
        bail!(what);
    }
    let settled = settle(stack.channel().await?, &sale.sale_id).await?;
    progress.stop().await;
    let took = began.elapsed();
    crowd.history.finish().await?;
    stack.stop_services().await?;
    let audit = audit(&stack.stores(), &sale.sale_id, &history_file, true, stack.folder()).await?;
    let report = report::Report {
        args,
        seed,
        sale: &sale,
        took,
        settled,
        crowd: &crowd,
        audit: &audit,
        versions: &stack.versions,
        provider: stack.provider,
    };
    let value = report.value();
    let path = report::write(&value)?;
    output.print(&value, || report.human())?;
    if !output.is_json() {
        let (report, logs) = (path.display(), stack.folder().display());
        output.answer(&format!("\nThe report: {report}\nThe logs:   {logs}"))?;
    }
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
