//! Files of keys and certificates that are read again while the process runs. What happens to one is
//! in the log, and a broken one raises an alarm.

use std::sync::Arc;

use flashsale_access::{Change, Reloaded};
use opentelemetry::{KeyValue, metrics::Gauge};

/// The value of files that one key of the configuration names.
#[derive(Debug)]
pub struct Watched<T> {
    /// The key, as in `access.keys_file`.
    key: String,
    files: Reloaded<T>,
    broken: Gauge<u64>,
}

impl<T> Watched<T> {
    /// Watches the files that `key` names.
    pub fn new(key: impl Into<String>, files: Reloaded<T>) -> Self {
        let broken = flashsale_telemetry::meter()
            .u64_gauge("flashsale_access_keys_broken")
            .with_unit("{file}")
            .with_description(
                "1 while a file of keys or certificates is broken or away and an older one is in use.",
            )
            .build();
        let watched = Self { key: key.into(), files, broken };
        watched.tell(0);
        watched
    }

    /// The present value. The files are looked at again when it is time.
    pub fn current(&self) -> Arc<T> {
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
        self.files.get()
    }

    fn tell(&self, broken: u64) {
        self.broken.record(broken, &[KeyValue::new("file", self.key.clone())]);
    }
}
