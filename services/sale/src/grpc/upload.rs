//! The messages of a streamed import: the import first, then the parts of its files. Each is held
//! to its bounds before anything is kept of it.

use std::time::Duration;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::sale::{
    ImportSaleRequest, ImportSaleStreamRequest, import_sale_stream_request::Part,
};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};
use tonic::{Status, Streaming};

/// The largest part, in bytes.
const MAX_PART_BYTES: usize = 1_024 * 1_024;
/// What the stock file may have, as a part of what the products may: it is kept in memory.
const STOCK_SHARE: usize = 4;
/// How long an upload may take: a client that only just sends keeps others from it.
const UPLOAD_WITHIN: Duration = Duration::from_secs(600);

/// What an upload may take.
#[derive(Debug, Clone, Copy)]
pub struct UploadBounds {
    /// The bytes of the file.
    pub max_bytes: usize,
    /// Until the next message.
    pub part: Duration,
}

/// One of the files, as far as it has come.
#[derive(Debug)]
struct File {
    field: &'static str,
    max_bytes: usize,
    bytes: usize,
    digest: Sha256,
}

impl File {
    fn new(field: &'static str, max_bytes: usize) -> Self {
        Self { field, max_bytes, bytes: 0, digest: Sha256::new() }
    }

    fn take(&mut self, part: &[u8]) -> Result<(), Failure> {
        if part.len() > MAX_PART_BYTES {
            let what = format!("has a part of {} bytes; 1048576 are allowed", part.len());
            return Err(Failure::invalid(self.field, what));
        }
        self.bytes += part.len();
        if self.bytes > self.max_bytes {
            let what = format!(
                "has {} bytes so far; {} are allowed: export fewer products, or without their \
                 descriptions",
                self.bytes, self.max_bytes
            );
            return Err(Failure::field(Reason::ArgumentInvalid, self.field, what)
                .with("max_bytes", self.max_bytes));
        }
        self.digest.update(part);
        Ok(())
    }
}

/// What a client sends.
#[derive(Debug)]
pub(super) struct Upload {
    messages: Streaming<ImportSaleStreamRequest>,
    bounds: UploadBounds,
    until: Instant,
    ended: bool,
    /// What came behind the stock.
    held: Option<Part>,
    stock: File,
    content: File,
}

impl Upload {
    pub(super) fn new(messages: Streaming<ImportSaleStreamRequest>, bounds: UploadBounds) -> Self {
        Self {
            messages,
            bounds,
            until: Instant::now() + UPLOAD_WITHIN,
            ended: false,
            held: None,
            stock: File::new("stock", bounds.max_bytes / STOCK_SHARE),
            content: File::new("content", bounds.max_bytes),
        }
    }

    /// The import.
    ///
    /// # Errors
    /// When something else comes first, or has a file in it; as [`Upload::content`].
    pub(super) async fn import(&mut self) -> Result<ImportSaleRequest, Status> {
        let Some(Part::Import(asked)) = self.next().await? else {
            let what = "is missing: it is the first message, before any part of a file";
            return Err(Failure::invalid("import", what).into());
        };
        let stock = asked.options.as_ref().map_or(0, |options| options.stock.len());
        for (field, bytes) in
            [("import.content", asked.content.len()), ("import.options.stock", stock)]
        {
            if bytes > 0 {
                let what = "is not empty: the file comes in parts, in the messages behind it";
                return Err(Failure::invalid(field, what).into());
            }
        }
        Ok(asked)
    }

    /// The whole stock file; empty if there is none.
    ///
    /// # Errors
    /// As [`Upload::content`].
    pub(super) async fn stock(&mut self) -> Result<Vec<u8>, Status> {
        let mut stock = Vec::new();
        loop {
            match self.next().await? {
                Some(Part::Stock(part)) => {
                    self.stock.take(&part)?;
                    stock.extend_from_slice(&part);
                }
                other @ (Some(Part::Content(_) | Part::Import(_)) | None) => {
                    self.held = other;
                    return Ok(stock);
                }
            }
        }
    }

    /// The next part of the products; `None` behind the last.
    ///
    /// # Errors
    /// When nothing comes in time, more than is allowed, or a part out of its order; when the client
    /// is gone.
    pub(super) async fn content(&mut self) -> Result<Option<Vec<u8>>, Status> {
        let next = match self.held.take() {
            None => self.next().await?,
            held @ Some(_) => held,
        };
        match next {
            None => Ok(None),
            Some(Part::Content(part)) => {
                self.content.take(&part)?;
                Ok(Some(part))
            }
            Some(Part::Stock(_)) => {
                let what = "comes behind content: send all of it before";
                Err(Failure::invalid("stock", what).into())
            }
            Some(Part::Import(_)) => {
                let what = "is there twice: only the first message has it";
                Err(Failure::invalid("import", what).into())
            }
        }
    }

    /// A hash of both files, however they were cut.
    pub(super) fn into_digest(self) -> [u8; 32] {
        let (stock, content) = (self.stock.digest.finalize(), self.content.digest.finalize());
        Sha256::new().chain_update(stock).chain_update(content).finalize().into()
    }

    async fn next(&mut self) -> Result<Option<Part>, Status> {
        if self.ended {
            return Ok(None);
        }
        let silent = Instant::now() + self.bounds.part;
        let message = timeout_at(silent.min(self.until), self.messages.message()).await;
        let Ok(message) = message else {
            let (what, timeout) = if silent < self.until {
                ("no message came within", self.bounds.part)
            } else {
                ("the file was not there within", UPLOAD_WITHIN)
            };
            let ms = timeout.as_millis();
            let failure = Failure::new(Reason::DeadlineExceeded, format!("{what} {ms} ms"));
            return Err(failure.with("timeout_ms", ms).into());
        };
        let Some(message) = message? else {
            self.ended = true;
            return Ok(None);
        };
        if message.part.is_none() {
            let what = "is missing: a message has import, content or stock";
            return Err(Failure::invalid("content", what).into());
        }
        Ok(message.part)
    }
}
