//! `flashsale sale export`: the results of a sale as a file.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::Args;
use flashsale_catalogue::{Encoding, Separator};
use flashsale_cli::{
    client::{MAX_EXPORT_BYTES, request, time},
    output::Output,
};
use flashsale_proto::{
    NamedChannel,
    sale::{
        ExportEncoding, ExportKind, ExportSaleRequest, ExportSaleResponse, ExportSeparator,
        ExportSummary, export_sale_response::Part, sale_service_client::SaleServiceClient,
    },
};
use serde_json::json;
use tonic::Streaming;

use super::import::{encoding, separator};

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The sale's id.
    sale_id: String,
    /// What to write: shopify (its inventory CSV), woocommerce or bigcommerce, which go into the
    /// shop; or our lists, stock, orders or json.
    #[arg(long, value_parser = kind)]
    format: ExportKind,
    /// A fresh export of the shop, at most 3 MiB: of Shopify the inventory, of the others the
    /// products. What was sold is taken off its stock. Needed for the formats of shops.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write a shop's format before the report is final. What is held or on its way is taken off
    /// too.
    #[arg(long)]
    not_final: bool,
    /// The location of Shopify whose stock changes; needed where the inventory has several.
    #[arg(long)]
    location: Option<String>,
    /// What the baseline is written in: utf-8 (also UTF-16, if a byte order mark says so) or
    /// windows-1252.
    #[arg(long, value_parser = encoding)]
    encoding: Option<Encoding>,
    /// What stands between the cells of the baseline: comma, semicolon or tab; found without it.
    #[arg(long, value_parser = separator)]
    separator: Option<Separator>,
    /// The file to write; standard output without it.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file of --output if there is one.
    #[arg(long, requires = "output")]
    force: bool,
}

fn kind(text: &str) -> Result<ExportKind, String> {
    match text {
        "shopify" => Ok(ExportKind::ShopifyInventoryCsv),
        "woocommerce" => Ok(ExportKind::WoocommerceCsv),
        "bigcommerce" => Ok(ExportKind::BigcommerceCsv),
        "stock" => Ok(ExportKind::StockCsv),
        "orders" => Ok(ExportKind::OrdersCsv),
        "json" => Ok(ExportKind::Json),
        _ => {
            Err("it is one of shopify, woocommerce, bigcommerce, stock, orders and json".to_owned())
        }
    }
}

impl ExportArgs {
    /// Writes the file. Warnings go to standard error.
    ///
    /// # Errors
    /// If the baseline cannot be read, the file is there already, the call is refused or ends
    /// early, or the file cannot be written. A file that is not whole is removed.
    pub(super) async fn run(
        self,
        channel: NamedChannel,
        output: &Output,
    ) -> anyhow::Result<ExitCode> {
        let target = self.output.clone().map(|path| (path, self.force));
        let asked = self.into_request()?;
        let mut sales = SaleServiceClient::new(channel);
        match target {
            Some((path, force)) => {
                // Before the call: where the file may not be, nothing is asked for.
                let mut file = NewFile::create(&path, force)?;
                let parts = sales.export_sale(request(asked)).await?.into_inner();
                let summary = tokio::select! {
                    summary = read(parts, |part| file.write(part)) => summary?,
                    interrupted = tokio::signal::ctrl_c() => {
                        interrupted.context("Ctrl-C cannot be waited for")?;
                        bail!("interrupted: {} was not written", path.display());
                    }
                };
                file.keep()?;
                if !output.is_json() {
                    say_warnings(&summary, output);
                }
                let value = json!({
                    "file": path.display().to_string(),
                    "rows": summary.rows,
                    "units": summary.units,
                    "final": summary.r#final,
                    "read_time": time(summary.read_time.as_ref()),
                    "warnings": summary.warnings,
                });
                output.print(&value, || {
                    format!("{}: {} rows, {} units", path.display(), summary.rows, summary.units)
                })?;
            }
            None => {
                let parts = sales.export_sale(request(asked)).await?.into_inner();
                let summary = read(parts, |part| output.bytes(part)).await?;
                say_warnings(&summary, output);
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn into_request(self) -> anyhow::Result<ExportSaleRequest> {
        Ok(ExportSaleRequest {
            baseline: match &self.baseline {
                Some(path) => read_baseline(path)?,
                None => Vec::new(),
            },
            sale_id: self.sale_id,
            format: self.format.into(),
            not_final: self.not_final,
            location: self.location.unwrap_or_default(),
            encoding: match self.encoding.unwrap_or_default() {
                Encoding::Unicode => ExportEncoding::Unspecified,
                Encoding::Windows1252 => ExportEncoding::Windows1252,
            }
            .into(),
            separator: match self.separator {
                None => ExportSeparator::Unspecified,
                Some(Separator::Comma) => ExportSeparator::Comma,
                Some(Separator::Semicolon) => ExportSeparator::Semicolon,
                Some(Separator::Tab) => ExportSeparator::Tab,
            }
            .into(),
        })
    }
}

/// The baseline. Of a larger file no more is read than shows that it is too large.
fn read_baseline(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_EXPORT_BYTES + 1).read_to_end(&mut content))
        .with_context(|| format!("{} cannot be read", path.display()))?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > MAX_EXPORT_BYTES {
        bail!(
            "{} has more than 3 MiB, the most of a baseline: export fewer products of the shop",
            path.display()
        );
    }
    Ok(content)
}

/// Reads the file part by part.
async fn read(
    mut parts: Streaming<ExportSaleResponse>,
    mut write: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<ExportSummary> {
    while let Some(answer) = parts.message().await? {
        match answer.part {
            Some(Part::Content(content)) => write(&content)?,
            Some(Part::Summary(summary)) => return Ok(summary),
            // The name is the caller's choice here; what a later version adds is not the file's.
            Some(Part::File(_)) | None => {}
        }
    }
    bail!("the services stopped before the file was whole; export it again")
}

fn say_warnings(summary: &ExportSummary, output: &Output) {
    for warning in &summary.warnings {
        output.say(&format!("flashsale: {warning}"));
    }
}

/// A file that is removed again unless it is kept. One that replaces another is written beside it,
/// so that there is a whole one at any time.
#[derive(Debug)]
struct NewFile {
    file: File,
    written: PathBuf,
    target: PathBuf,
    kept: bool,
}

impl NewFile {
    fn create(target: &Path, force: bool) -> anyhow::Result<Self> {
        let mut written = target.to_path_buf();
        if force {
            let mut name = target.file_name().unwrap_or_default().to_os_string();
            name.push(format!(".{}.part", std::process::id()));
            written.set_file_name(name);
        } else if target.exists() {
            bail!("{} is there already; pass --force to replace it", target.display());
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&written)
            .with_context(|| format!("{} cannot be written", written.display()))?;
        Ok(Self { file, written, target: target.to_path_buf(), kept: false })
    }

    fn write(&mut self, part: &[u8]) -> anyhow::Result<()> {
        let failed = || format!("{} cannot be written", self.written.display());
        self.file.write_all(part).with_context(failed)
    }

    /// Gives the whole file its name.
    fn keep(mut self) -> anyhow::Result<()> {
        let failed = || format!("{} cannot be written", self.target.display());
        self.file.sync_all().with_context(failed)?;
        if self.written != self.target {
            std::fs::rename(&self.written, &self.target).with_context(failed)?;
        }
        self.kept = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed cannot be helped; the error that led here is told.
            std::fs::remove_file(&self.written).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        export: ExportArgs,
    }

    fn line(args: &[&str]) -> Result<ExportArgs, clap::Error> {
        let args = ["export", "3af5"].iter().chain(args);
        Line::try_parse_from(args).map(|line| line.export)
    }

    #[test]
    fn options_become_the_request() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inventory.csv");
        std::fs::write(&path, "Handle,Location\n").unwrap();
        let baseline = format!("--baseline={}", path.display());
        let args = [
            "--format=shopify",
            &baseline,
            "--not-final",
            "--location=Quay 1",
            "--encoding=windows-1252",
            "--separator=semicolon",
        ];
        let asked = line(&args).unwrap().into_request().unwrap();
        assert_eq!((asked.sale_id.as_str(), asked.location.as_str()), ("3af5", "Quay 1"));
        assert_eq!(asked.format(), ExportKind::ShopifyInventoryCsv);
        assert_eq!(asked.encoding(), ExportEncoding::Windows1252);
        assert_eq!(asked.separator(), ExportSeparator::Semicolon);
        assert_eq!((asked.baseline.as_slice(), asked.not_final), (&b"Handle,Location\n"[..], true));

        let asked = line(&["--format=orders"]).unwrap().into_request().unwrap();
        assert_eq!((asked.format(), asked.not_final), (ExportKind::OrdersCsv, false));
        let wrong: [&[&str]; 3] = [&[], &["--format=magento"], &["--format=json", "--force"]];
        for wrong in wrong {
            assert!(line(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_baseline_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.csv");
        File::create(&path).unwrap().set_len(MAX_EXPORT_BYTES + 1).unwrap();
        let error = read_baseline(&path).unwrap_err().to_string();
        assert!(error.contains("more than 3 MiB"), "{error}");
        assert!(read_baseline(&folder.path().join("none.csv")).is_err());
    }

    #[test]
    fn a_file_is_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stock.csv");
        let names = || std::fs::read_dir(folder.path()).unwrap().count();
        let mut file = NewFile::create(&path, false).unwrap();
        file.write(b"half").unwrap();
        drop(file);
        assert_eq!(names(), 0);

        let mut file = NewFile::create(&path, false).unwrap();
        file.write(b"one").unwrap();
        file.keep().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        let error = NewFile::create(&path, false).unwrap_err().to_string();
        assert!(error.contains("--force"), "{error}");

        let mut file = NewFile::create(&path, true).unwrap();
        file.write(b"half").unwrap();
        drop(file);
        assert_eq!((std::fs::read(&path).unwrap(), names()), (b"one".to_vec(), 1));
        let mut file = NewFile::create(&path, true).unwrap();
        file.write(b"two").unwrap();
        file.keep().unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), names()), (b"two".to_vec(), 1));
    }
}
