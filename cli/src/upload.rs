//! An import's files: small ones in one message, others in parts, so that none of those is in
//! memory as a whole.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use flashsale_proto::{
    NamedChannel,
    sale::{
        ImportPreview, ImportSaleRequest, ImportSaleStreamRequest, ImportSaleStreamResponse, Sale,
        import_sale_stream_request::Part, sale_service_client::SaleServiceClient,
    },
};
use futures::stream;
use tokio::{fs::File, io::AsyncReadExt as _, sync::oneshot};
use tonic::{Code, Status};

use crate::client::{MAX_EXPORT_BYTES, read_export, request};

/// From how many bytes on the files are sent in parts, which older servers do not take.
const PARTS_FROM_BYTES: u64 = 2 * 1_024 * 1_024;

/// How much is sent at once, in bytes: on a slow line it has to arrive within seconds.
const PART_BYTES: u64 = 256 * 1_024;

/// A file that is being sent.
#[derive(Debug)]
struct Sent {
    path: PathBuf,
    file: File,
    /// What a part of it is sent as.
    part: fn(Vec<u8>) -> Part,
}

impl Sent {
    async fn open(path: &Path, part: fn(Vec<u8>) -> Part) -> anyhow::Result<Self> {
        let file = File::open(path).await.with_context(|| cannot_be_read(path))?;
        Ok(Self { path: path.to_owned(), file, part })
    }

    /// The next part; `None` at the end.
    async fn next(&mut self) -> anyhow::Result<Option<Part>> {
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(PART_BYTES).read_to_end(&mut bytes).await;
        read.with_context(|| cannot_be_read(&self.path))?;
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()).map(self.part))
    }
}

fn cannot_be_read(path: &Path) -> String {
    format!("{} cannot be read", path.display())
}

/// What is still to be sent.
#[derive(Debug)]
struct Upload {
    import: Option<ImportSaleRequest>,
    files: VecDeque<Sent>,
    failed: Option<oneshot::Sender<anyhow::Error>>,
}

impl Upload {
    async fn next(mut self) -> Option<(ImportSaleStreamRequest, Self)> {
        let part = match self.import.take() {
            Some(import) => Part::Import(import),
            None => self.part().await?,
        };
        Some((ImportSaleStreamRequest { part: Some(part) }, self))
    }

    async fn part(&mut self) -> Option<Part> {
        loop {
            match self.files.front_mut()?.next().await {
                Ok(Some(part)) => return Some(part),
                Ok(None) => drop(self.files.pop_front()),
                Err(error) => {
                    if let Some(failed) = self.failed.take() {
                        let _ = failed.send(error);
                    }
                    // An end would make what was sent so far the whole file.
                    return std::future::pending().await;
                }
            }
        }
    }
}

/// Imports a sale from an export and, if it is given, the file that has its stock: `import` has
/// neither. Returns the sale, and what was left out.
///
/// # Errors
/// If a file cannot be read or is too large, or the import is refused.
pub async fn import_files(
    sales: &mut SaleServiceClient<NamedChannel>,
    import: ImportSaleRequest,
    export: &Path,
    stock: Option<&Path>,
) -> anyhow::Result<(Sale, ImportPreview)> {
    let mut bytes = 0;
    for path in std::iter::once(export).chain(stock) {
        let file = std::fs::metadata(path).with_context(|| cannot_be_read(path))?;
        bytes += file.len();
    }
    if bytes < PARTS_FROM_BYTES {
        return send_whole(sales, import, export, stock).await;
    }
    match send_parts(sales, import.clone(), export, stock).await {
        Ok(answer) => Ok((answer.sale.unwrap_or_default(), answer.preview.unwrap_or_default())),
        Err(error) if bytes <= MAX_EXPORT_BYTES && is_unknown_there(&error) => {
            send_whole(sales, import, export, stock).await
        }
        Err(error) => Err(error),
    }
}

/// Whether a server of an older version has answered, which does not know the call.
fn is_unknown_there(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Status>().is_some_and(|status| status.code() == Code::Unimplemented)
}

async fn send_whole(
    sales: &mut SaleServiceClient<NamedChannel>,
    mut import: ImportSaleRequest,
    export: &Path,
    stock: Option<&Path>,
) -> anyhow::Result<(Sale, ImportPreview)> {
    import.content = read_export(export, MAX_EXPORT_BYTES)?;
    if let (Some(options), Some(stock)) = (&mut import.options, stock) {
        options.stock = read_export(stock, MAX_EXPORT_BYTES)?;
    }
    let answer = sales.import_sale(request(import)).await?.into_inner();
    Ok((answer.sale.unwrap_or_default(), answer.preview.unwrap_or_default()))
}

async fn send_parts(
    sales: &mut SaleServiceClient<NamedChannel>,
    import: ImportSaleRequest,
    export: &Path,
    stock: Option<&Path>,
) -> anyhow::Result<ImportSaleStreamResponse> {
    let mut files = VecDeque::new();
    if let Some(stock) = stock {
        files.push_back(Sent::open(stock, Part::Stock).await?);
    }
    files.push_back(Sent::open(export, Part::Content).await?);
    let (failed, failure) = oneshot::channel();
    let upload = Upload { import: Some(import), files, failed: Some(failed) };
    // Without a deadline: how long it takes is up to the line.
    let answer = sales.import_sale_stream(stream::unfold(upload, Upload::next));
    tokio::select! {
        answer = answer => Ok(answer?.into_inner()),
        Ok(error) = failure => Err(error),
    }
}
