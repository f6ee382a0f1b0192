//! Reading exports, off the runtime's threads: whole ones, and those that are still being sent.

use std::{
    io::{self, Cursor, Read},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
};

use super::{error::SaleError, sales::ImportSale};
use crate::domain::{Imported, Problems, Settings, settings};

/// Whole exports that are read at once, and as many that are being sent. Each takes a thread; those
/// that are being sent do not keep the others from being read, however slowly they come.
const AT_ONCE: usize = 2;
/// How long an export waits to be let in that is to be sent. Nothing of it is kept meanwhile.
const PLACE_WITHIN: Duration = Duration::from_secs(1);
/// Parts that wait to be read.
const PARTS_AHEAD: usize = 1;

/// What reading an export came to. It is good if there are no problems.
#[derive(Debug)]
pub struct Export {
    /// What the shop decides, if it said so.
    pub settings: Option<Settings>,
    /// What is sold.
    pub imported: Option<Imported>,
    /// What is wrong, with either.
    pub problems: Problems,
}

impl Export {
    /// What a sale of it would be.
    ///
    /// # Errors
    /// [`SaleError::Invalid`].
    pub fn preview(self) -> Result<Imported, SaleError> {
        match self.imported {
            Some(imported) if self.problems.is_empty() => Ok(imported),
            Some(_) | None => Err(SaleError::Invalid(self.problems)),
        }
    }
}

/// The places of exports that are read.
#[derive(Debug, Clone)]
pub struct Readers {
    whole: Arc<Semaphore>,
    sent: Arc<Semaphore>,
}

impl Readers {
    /// All of them are free.
    pub fn new() -> Self {
        let places = || Arc::new(Semaphore::new(AT_ONCE));
        Self { whole: places(), sent: places() }
    }

    /// Reads an export. One that is given up meanwhile is read to its end, and counts as long.
    ///
    /// # Errors
    /// [`SaleError::Reading`].
    pub async fn read(&self, mut asked: ImportSale) -> Result<Export, SaleError> {
        // It is never closed.
        let place = Arc::clone(&self.whole).acquire_owned().await.ok();
        let content = Cursor::new(std::mem::take(&mut asked.import.content));
        outcome(begin(asked, content, place)).await
    }

    /// A place for an export that is to be sent.
    ///
    /// # Errors
    /// [`SaleError::TooManyUploads`] when none is free within a second.
    pub async fn place(&self) -> Result<OwnedSemaphorePermit, SaleError> {
        let place = tokio::time::timeout(PLACE_WITHIN, Arc::clone(&self.sent).acquire_owned());
        match place.await {
            Ok(Ok(place)) => Ok(place),
            // It is never closed: there is no time left.
            Ok(Err(_)) | Err(_) => Err(SaleError::TooManyUploads(AT_ONCE)),
        }
    }
}

/// An export that is read while it is being sent. Dropped, it is read as far as it was sent, and
/// nothing comes of it.
#[derive(Debug)]
pub struct Reading {
    parts: mpsc::Sender<Vec<u8>>,
    export: JoinHandle<Export>,
    /// Whether all parts so far were taken.
    whole: bool,
}

impl Reading {
    /// Begins to read an export in a place of its own.
    pub fn begin(asked: ImportSale, place: OwnedSemaphorePermit) -> Self {
        let (parts, incoming) = mpsc::channel(PARTS_AHEAD);
        let content = Parts { incoming, part: Cursor::default() };
        Self { parts, export: begin(asked, content, Some(place)), whole: true }
    }

    /// Hands on the next part. False if no more is read, because of what is wrong already.
    pub async fn take(&mut self, part: Vec<u8>) -> bool {
        self.whole = self.parts.send(part).await.is_ok();
        self.whole
    }

    /// What the file came to, which has no more parts.
    ///
    /// # Errors
    /// [`SaleError::Invalid`] if it was not read to its end; [`SaleError::Reading`].
    pub async fn end(self) -> Result<Export, SaleError> {
        let Self { parts, export, whole } = self;
        drop(parts);
        let export = outcome(export).await?;
        if whole {
            return Ok(export);
        }
        export.preview().and_then(|_| {
            Err(SaleError::Reading("it ended before the file, without a reason".to_owned()))
        })
    }
}

fn begin(
    asked: ImportSale,
    content: impl Read + Send + 'static,
    place: Option<OwnedSemaphorePermit>,
) -> JoinHandle<Export> {
    let ImportSale { settings: draft, import, mut problems } = asked;
    let now = flashsale_failpoint::now_utc();
    let currency = draft.as_ref().and_then(|draft| draft.currency);
    let settings = draft.and_then(|draft| settings(&draft, now, &mut problems));
    tokio::task::spawn_blocking(move || {
        let imported = import.decide_from(content, currency, &mut problems);
        drop(place);
        Export { settings, imported, problems }
    })
}

async fn outcome(export: JoinHandle<Export>) -> Result<Export, SaleError> {
    export.await.map_err(|error| SaleError::Reading(error.to_string()))
}

/// The parts of a file as the file that they are of. It waits for the next one.
struct Parts {
    incoming: mpsc::Receiver<Vec<u8>>,
    part: Cursor<Vec<u8>>,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.part.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.incoming.blocking_recv() {
                Some(part) => self.part = Cursor::new(part),
                None => return Ok(0),
            }
        }
    }
}
