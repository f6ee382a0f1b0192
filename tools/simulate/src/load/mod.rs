//! `flashsale load`: buyers come by a schedule of rates, whatever the platform does, and the report
//! says whether it bore them.

mod args;
mod chart;
mod page;
mod report;
mod schedule;
mod threshold;
mod timeline;
mod traffic;

use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use flashsale_access::Key;
use flashsale_cli::{
    client::{Target, request, sale_state},
    output::{Output, ReaderGone},
    program::{NOT_DONE, ServerArgs},
};
use flashsale_proto::{
    NamedChannel,
    sale::{GetSaleRequest, Sale, SaleState, sale_service_client::SaleServiceClient},
};
use flashsale_testbed::{Home, RunDir};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Endpoint;

pub(crate) use self::args::LoadArgs;
use self::{report::Report, timeline::Timeline, traffic::Traffic};
use crate::{
    crowd::Crowd,
    files::write_whole,
    live::LiveLine,
    proof::{Audit, Stores, audit, settle},
    stack::{Export, Provision, Stack, open_sale},
};

/// Thresholds or the audit were not kept.
const BROKEN: u8 = 1;

/// What asks for an early end.
type Signals<'a> = Pin<&'a mut (dyn Future<Output = &'static str> + Send)>;

/// Runs the load; exits with 0 only if every threshold and, where it is made, the audit held.
///
/// # Errors
/// When there was no load at all; that is exit code 2 too.
pub(crate) async fn load(
    args: &LoadArgs,
    server: ServerArgs,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let named = server.addr.as_ref().is_some_and(|addr| !addr.is_empty());
    let target = named.then(|| Target::find(server).for_shop());
    args.check(target.as_ref().map(Target::addr))?;
    args.schedule()?;
    let export = Export::find(&args.stack())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let asked_to_end = async move {
        tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "Ctrl-C" }
    };
    tokio::pin!(asked_to_end);
    // Whatever is dropped here on the way out is killed: nothing is left behind.
    let mut site = tokio::select! {
        site = Site::find(args, target.as_ref(), export, output) => site?,
        signal = &mut asked_to_end => bail!("ended by {signal}"),
        () = output.reader_gone() => bail!(ReaderGone),
    };
    let result = drive(args, &mut site, asked_to_end.as_mut(), output).await;
    let stopped = site.stop().await;
    let code = result?;
    stopped?;
    Ok(code)
}

/// What is loaded.
struct Site {
    /// What was started for it, if anything was.
    stack: Option<Stack>,
    /// Where this load writes when there is no stack with a folder of its own.
    folder: Option<RunDir>,
    grpc_url: String,
    endpoint: Endpoint,
    /// The shop's key.
    key: Option<Key>,
    stores: Option<Stores>,
    sale: Sale,
    /// Whether the sale was made for the load, which then may end it.
    own_sale: bool,
}

impl Site {
    async fn find(
        args: &LoadArgs,
        target: Option<&Target>,
        export: Export,
        output: &Output,
    ) -> anyhow::Result<Self> {
        let Some(target) = target else {
            let say = |text: &str| output.say(&format!("  {text}"));
            let provision = Provision { provider_rate: args.provider_rate, ..Provision::default() };
            let stack = Stack::start(&say, &provision).await?;
            let sale = stack.open_sale(&args.stack(), export).await?;
            return Ok(Self {
                folder: None,
                grpc_url: stack.grpc_url.clone(),
                endpoint: stack.endpoint()?,
                key: Some(stack.keys().shop().clone()),
                stores: Some(stack.stores()),
                stack: Some(stack),
                sale,
                own_sale: true,
            });
        };
        let channel = target.connect()?;
        let told = |error: anyhow::Error| match error.downcast_ref::<tonic::Status>() {
            Some(status) if flashsale_errors::Failure::from_status(status).is_none() => {
                let (message, next_step) = target.trouble(status);
                anyhow::anyhow!("{message}. {}", next_step.unwrap_or_default())
            }
            Some(_) | None => error,
        };
        let sale = match &args.sale {
            None => open_sale(channel, &args.stack(), export).await.map_err(told)?,
            Some(sale_id) => {
                let asked = GetSaleRequest { sale_id: sale_id.clone() };
                let answer = SaleServiceClient::new(channel).get_sale(request(asked)).await;
                let answer = answer.map_err(|status| told(status.into()))?;
                let sale = answer.into_inner().sale.unwrap_or_default();
                ensure!(
                    sale.state() == SaleState::Open,
                    "the sale {sale_id} is not open but {}",
                    sale_state(&sale)
                );
                sale
            }
        };
        Ok(Self {
            stack: None,
            folder: Some(RunDir::create(&Home::locate()?).context("no folder to write in")?),
            grpc_url: target.addr().to_owned(),
            endpoint: target.endpoint()?,
            key: target.key()?,
            stores: args.stores(),
            sale,
            own_sale: args.sale.is_none(),
        })
    }

    fn folder(&self) -> anyhow::Result<&Path> {
        let stack = self.stack.as_ref().map(|stack| stack.folder());
        let own = self.folder.as_ref().map(RunDir::path);
        stack.or(own).context("there is no folder to write in")
    }

    async fn channel(&self) -> anyhow::Result<NamedChannel> {
        let endpoint = self.endpoint.clone().connect_timeout(Duration::from_secs(3));
        let channel = endpoint.connect().await?;
        Ok(NamedChannel::with(channel, self.key.as_ref()))
    }

    /// Waits until what was started here ends by itself, which it should not.
    async fn services_ended(&self) -> String {
        match &self.stack {
            Some(stack) => stack.services_ended().await,
            None => std::future::pending().await,
        }
    }

    async fn stop(self) -> anyhow::Result<()> {
        match self.stack {
            Some(stack) => stack.stop().await,
            None => Ok(()),
        }
    }
}

async fn drive(
    args: &LoadArgs,
    site: &mut Site,
    mut signals: Signals<'_>,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let schedule = args.schedule()?;
    let seed = args.seed.unwrap_or_else(rand::random);
    let history = site.folder()?.join("buyers.jsonl");
    // On a platform that goes on, buyers of an earlier load may be there.
    let name = format!("load-{seed:x}");
    let crowd = Crowd::new(
        site.endpoint.clone(),
        site.key.as_ref(),
        args.connections,
        &name,
        &site.sale,
        &history,
        seed,
    )
    .await?;
    let crowd = Arc::new(crowd);
    let units: i64 = site.sale.items.iter().map(|item| item.quantity).sum();
    output.say(&format!(
        "  {} items and {units} units are on sale; about {:.0} buyers come within {:.0} s, at most {:.0} a second (seed {seed})\n  {schedule}",
        site.sale.items.len(),
        schedule.expected(),
        schedule.length().as_secs_f64(),
        schedule.highest(),
    ));
    let processes = site.stack.as_ref().map(Stack::processes).unwrap_or_default();
    let watched = !processes.is_empty();
    let load_average = report::load_average();
    let channel = site.channel().await?;
    let traffic = Arc::new(Traffic::new(Arc::clone(&crowd), args.max_in_flight)?);
    let timeline = Timeline::start(
        Arc::clone(&traffic),
        schedule.clone(),
        channel.clone(),
        processes,
        LiveLine::new(output),
    );
    let mut settled = false;
    let mut ended_early = {
        let whole = async {
            traffic.run(&schedule, &args.mix).await;
            if site.own_sale {
                settled = settle(channel.clone(), &site.sale.sale_id).await?;
            }
            anyhow::Ok(())
        };
        tokio::select! {
            whole = whole => whole.err().map(|error| format!("the sale could not be brought to rest: {error:#}")),
            what = site.services_ended() => Some(what),
            () = timeline.target_gone() => Some(format!("nobody answers at {} any more", site.grpc_url)),
            signal = &mut signals => Some(format!("ended by {signal}")),
            () = output.reader_gone() => return Err(ReaderGone.into()),
        }
    };
    let timeline = timeline.finish().await;
    let took = traffic.began.elapsed();
    crowd.history.finish().await?;
    let mut verdict = None;
    if ended_early.is_none() {
        if let Some(stack) = &mut site.stack {
            stack.stop_services().await?;
        }
        verdict = tokio::select! {
            audit = inspect(site, &history, settled) => match audit {
                Ok(audit) => audit,
                Err(error) => {
                    ended_early = Some(format!("{error:#}"));
                    None
                }
            },
            signal = &mut signals => {
                ended_early = Some(format!("ended by {signal}"));
                None
            }
        };
    }
    let report = Report {
        args,
        schedule: &schedule,
        seed,
        target: &site.grpc_url,
        own_stack: site.stack.is_some(),
        sale: &site.sale,
        took,
        settled,
        traffic: &traffic,
        timeline,
        load_average,
        audit: verdict.as_ref(),
        audit_meant: site.stores.is_some(),
        ended_early: ended_early.as_deref(),
        versions: site.stack.as_ref().map(|stack| stack.versions.clone()).unwrap_or_default(),
        thresholds: args.thresholds(site.stores.is_some(), watched)?,
    };
    let value = report.value();
    let (json, html) = write(&value, verdict.as_ref())?;
    output.print(&value, || report.human(&value))?;
    if !output.is_json() {
        output.answer(&format!(
            "\nThe report: {}\n            {}\nThe logs:   {}",
            html.display(),
            json.display(),
            site.folder()?.display()
        ))?;
    }
    if let Some(why) = ended_early {
        output.say(&format!("flashsale load: {why}; the report is of what there was until then"));
        return Ok(ExitCode::from(NOT_DONE));
    }
    Ok(if value["passed"] == true { ExitCode::SUCCESS } else { ExitCode::from(BROKEN) })
}

async fn inspect(site: &Site, history: &Path, at_rest: bool) -> anyhow::Result<Option<Audit>> {
    let Some(stores) = &site.stores else { return Ok(None) };
    audit(stores, &site.sale.sale_id, history, at_rest, site.folder()?).await.map(Some)
}

/// Writes `.flashsale/load.json` and `.flashsale/load.html`, each whole or not at all.
fn write(value: &Value, audit: Option<&Audit>) -> anyhow::Result<(PathBuf, PathBuf)> {
    let home = Home::locate()?;
    let (json, html) = (home.path().join("load.json"), home.path().join("load.html"));
    write_whole(&json, &format!("{value:#}\n"))?;
    write_whole(&html, &page::page(value, audit)?)?;
    Ok((json, html))
}
