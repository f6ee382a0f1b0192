//! What the buyers saw, line by line, for the auditor to hold against the stores.

use std::{path::Path, time::SystemTime};

use anyhow::Context as _;
use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, sync::mpsc, task::JoinHandle};

/// Lines that may wait for the disk.
const BUFFER: usize = 4_096;

/// The log of the buyers.
#[derive(Debug)]
pub(crate) struct History {
    lines: mpsc::Sender<Option<String>>,
    writing: tokio::sync::Mutex<Option<JoinHandle<std::io::Result<()>>>>,
}

impl History {
    /// Starts a log in a new file.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = std::fs::File::create(path)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        let (lines, mut waiting) = mpsc::channel::<Option<String>>(BUFFER);
        let writing = tokio::spawn(async move {
            let mut file = tokio::io::BufWriter::new(tokio::fs::File::from_std(file));
            while let Some(Some(line)) = waiting.recv().await {
                file.write_all(line.as_bytes()).await?;
            }
            file.flush().await
        });
        Ok(Self { lines, writing: tokio::sync::Mutex::new(Some(writing)) })
    }

    /// Adds a line with the time.
    pub(crate) async fn add(&self, mut event: Value) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        event["ts_ms"] = Value::from(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        // The writer only ends after `finish`, or with an error that `finish` reports.
        self.lines.send(Some(format!("{event}\n"))).await.ok();
    }

    /// Writes what is left.
    pub(crate) async fn finish(&self) -> anyhow::Result<()> {
        self.lines.send(None).await.ok();
        if let Some(writing) = self.writing.lock().await.take() {
            writing.await?.context("the buyers' log cannot be written")?;
        }
        Ok(())
    }
}
