//! Files of keys and certificates that are read again while the process runs. What happens to one
//! is in the log, and a broken one raises an alarm.

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use flashsale_access::{Change, Reloaded};
use opentelemetry::{KeyValue, metrics::Gauge};
use tokio::time::{MissedTickBehavior, interval};

/// The value of files that one key of the configuration names.
#[derive(Debug)]
pub struct Watched<T> {
    /// The key, as in `access.keys_file`.
    key: String,
    files: Reloaded<T>,
    broken: Gauge<u64>,
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads the files that `key` names, and looks at them again every `every` until this value is
    /// dropped, whether calls come or not: what waits for a step of a rotation sees it in the log.
    ///
    /// # Errors
    /// If one cannot be read or is broken: a process must not start without it.
    pub fn open(
        key: impl Into<String>,
        paths: Vec<PathBuf>,
        every: Duration,
        parse: impl Fn(&[String]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, String> {
        let files = Reloaded::open_all(paths, parse)?;
        let broken = flashsale_telemetry::meter()
            .u64_gauge("flashsale_access_keys_broken")
            .with_unit("{file}")
            .with_description(
                "1 while a file of keys or certificates is broken or away and an older one is in use.",
            )
            .build();
        let watched = Arc::new(Self { key: key.into(), files, broken });
        watched.tell(0);
        tokio::spawn(follow(Arc::downgrade(&watched), every));
        Ok(watched)
    }

    /// The present value.
    pub fn current(&self) -> Arc<T> {
        self.files.get()
    }

    /// Looks at the files again.
    fn refresh(&self) {
        match self.files.refresh() {
            Some(Change::Taken | Change::Mended) => {
                tracing::info!(file = self.key, "the file has been read again and is in use");
                self.tell(0);
            }
            Some(Change::Broken(problem)) => {
                tracing::error!(
                    file = self.key,
                    problem,
                    "the file is broken; the one before stays in use"
                );
                self.tell(1);
            }
            None => {}
        }
    }

    fn tell(&self, broken: u64) {
        self.broken.record(broken, &[KeyValue::new("file", self.key.clone())]);
    }
}

/// Looks at the files at each tick, off the threads that serve calls: a disk may hang.
async fn follow<T: Send + Sync + 'static>(watched: Weak<Watched<T>>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first one is at once.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(watched) = watched.upgrade() else { return };
        if tokio::task::spawn_blocking(move || watched.refresh()).await.is_err() {
            return;
        }
    }
}
