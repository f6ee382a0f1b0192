//! What happened when: a sample a second, from the first buyer until the sale is at rest.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use flashsale_errors::Failure;
use flashsale_proto::{
    NamedChannel,
    inventory::{GetStockRequest, SkuStock, inventory_service_client::InventoryServiceClient},
};
use serde_json::{Map, Value, json};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::MissedTickBehavior,
};
use tonic::Request;

use super::{schedule::Schedule, traffic::Traffic};
use crate::live::LiveLine;

const EVERY: Duration = Duration::from_secs(1);
/// How long the stock may take to be told.
const STOCK_WITHIN: Duration = Duration::from_secs(2);
/// Looks in a row without an answer, after which the target is gone.
const GONE_AFTER: u32 = 5;
/// The most samples: the longest schedule, and the longest that leaving and coming to rest may
/// take.
const MAX_SAMPLES: usize = 3_000;

/// A process whose memory is watched.
pub(super) type Process = (&'static str, u32);

/// Takes samples until told to stop.
#[derive(Debug)]
pub(super) struct Timeline {
    stop: oneshot::Sender<()>,
    sampling: JoinHandle<()>,
    samples: Arc<Mutex<Vec<Value>>>,
    gone: watch::Receiver<bool>,
}

impl Timeline {
    /// Starts.
    pub(super) fn start(
        traffic: Arc<Traffic>,
        schedule: Schedule,
        channel: NamedChannel,
        processes: Vec<Process>,
        live: LiveLine,
    ) -> Self {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let (tell_gone, gone) = watch::channel(false);
        let sampler = Sampler {
            traffic,
            schedule,
            inventory: InventoryServiceClient::new(channel),
            processes,
            live,
            samples: Arc::clone(&samples),
            gone: tell_gone,
        };
        let sampling = tokio::spawn(sampler.run(stopped));
        Self { stop, sampling, samples, gone }
    }

    /// Waits until the services have not been reached for a while.
    pub(super) async fn target_gone(&self) {
        if self.gone.clone().wait_for(|gone| *gone).await.is_err() {
            // It does not look any more.
            std::future::pending::<()>().await;
        }
    }

    /// Takes a last sample; all of them.
    pub(super) async fn finish(self) -> Vec<Value> {
        self.stop.send(()).ok();
        self.sampling.await.ok();
        std::mem::take(&mut *self.samples.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Sampler {
    traffic: Arc<Traffic>,
    schedule: Schedule,
    inventory: InventoryServiceClient<NamedChannel>,
    processes: Vec<Process>,
    live: LiveLine,
    samples: Arc<Mutex<Vec<Value>>>,
    gone: watch::Sender<bool>,
}

impl Sampler {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut said, mut missed) = (None, 0);
        loop {
            let last = tokio::select! {
                _ = tick.tick() => false,
                _ = &mut stopped => true,
            };
            let stock = match self.stock().await {
                Ok(stock) => {
                    missed = 0;
                    stock
                }
                Err(Unreachable) => {
                    missed += 1;
                    None
                }
            };
            if missed >= GONE_AFTER {
                self.gone.send_replace(true);
            }
            let sample = self.sample(stock);
            if last || said.is_none_or(|said: Instant| said.elapsed() >= self.live.every()) {
                said = Some(Instant::now());
                self.live.write(&line(&sample), last);
            }
            let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
            if samples.len() < MAX_SAMPLES {
                samples.push(sample);
            }
            if last {
                return;
            }
        }
    }

    /// The stock, if it is told; a refusal is an answer too.
    async fn stock(&mut self) -> Result<Option<Vec<SkuStock>>, Unreachable> {
        let sale_id = self.traffic.crowd.sale.sale_id.clone();
        let mut asked = Request::new(GetStockRequest { sale_id, ..GetStockRequest::default() });
        asked.set_timeout(STOCK_WITHIN);
        match self.inventory.get_stock(asked).await {
            Ok(answer) => Ok(Some(answer.into_inner().stock)),
            Err(status) if Failure::from_status(&status).is_some() => Ok(None),
            Err(_) => Err(Unreachable),
        }
    }

    fn sample(&self, stock: Option<Vec<SkuStock>>) -> Value {
        let traffic = &self.traffic;
        let (counters, measures) = (&traffic.crowd.counters, &traffic.crowd.measures);
        let at = traffic.began.elapsed();
        let phase = self.schedule.at(at);
        let memory: Map<String, Value> = self
            .processes
            .iter()
            .filter_map(|(name, pid)| Some(((*name).to_owned(), json!(resident(*pid)?))))
            .collect();
        let own = ("load", std::process::id());
        let cpu: Map<String, Value> = [own]
            .iter()
            .chain(&self.processes)
            .filter_map(|(name, pid)| Some(((*name).to_owned(), json!(cpu_seconds(*pid)?))))
            .collect();
        let stock = stock.map(|stock| {
            let sum = |of: fn(&SkuStock) -> i64| stock.iter().map(of).sum::<i64>();
            json!({
                "available": sum(|sku| sku.available), "held": sum(|sku| sku.held),
                "placed": sum(|sku| sku.placed), "sold": sum(|sku| sku.sold),
            })
        });
        json!({
            "t_seconds": at.as_secs_f64(),
            "phase": phase.map(|(text, _)| text),
            "asked_per_second": phase.map_or(0.0, |(_, rate)| rate),
            "scheduled": traffic.scheduled.load(Ordering::Relaxed),
            "dropped": traffic.dropped.load(Ordering::Relaxed),
            "in_flight": traffic.in_flight(),
            "waiting": counters.waiting.load(Ordering::Relaxed),
            "admitted": counters.admitted.load(Ordering::Relaxed),
            "accepted": counters.accepted.load(Ordering::Relaxed),
            "confirmed": counters.confirmed.load(Ordering::Relaxed),
            "sold_out": counters.sold_out.load(Ordering::Relaxed),
            "rejects": measures.rejects().by_reason(),
            "latency_ms": measures.recent(),
            "stock": stock,
            "memory_bytes": memory,
            "cpu_seconds": cpu,
        })
    }
}

/// No answer, or one of another program.
struct Unreachable;

/// The resident memory of a process, in bytes.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}

/// The processor time a process has taken.
fn cpu_seconds(pid: u32) -> Option<f64> {
    // Ticks of user and system time, fields 14 and 15; what is before the last parenthesis may hold
    // spaces. A tick is 10 ms to /proc.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

fn line(sample: &Value) -> String {
    let of = |name: &str| sample[name].as_u64().unwrap_or_default();
    let p99 = sample["latency_ms"]["place_order"]["p99"].as_f64();
    let refused: u64 = sample["rejects"]
        .as_object()
        .into_iter()
        .flat_map(|rejects| rejects.values())
        .filter_map(Value::as_u64)
        .sum();
    format!(
        "{:4.0}s  {:5.0}/s  inside {:5}  waiting {:5}  admitted {:5}  accepted {:5}  confirmed {:5}  refused {:5}  dropped {:3}  place \
         order p99 {}",
        sample["t_seconds"].as_f64().unwrap_or_default(),
        sample["asked_per_second"].as_f64().unwrap_or_default(),
        of("in_flight"),
        of("waiting"),
        of("admitted"),
        of("accepted"),
        of("confirmed"),
        refused,
        of("dropped"),
        p99.map_or("-".to_owned(), |ms| format!("{ms:.0} ms")),
    )
}
