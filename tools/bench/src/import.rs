//! Reading the largest export that is taken, in a process of its own, whose memory is measured.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::Path,
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context as _, ensure};
use flashsale_catalogue::{MAX_BYTES, ReadOptions, SelectOptions, Selection, read_from, select};
use iso_currency::Currency;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Value, json};

use crate::{
    cpu::peak_mib,
    platform::Platform,
    report::{median, rounded},
    say,
};

const MIB: f64 = 1_048_576.0;
/// The same export in each run.
const SEED: u64 = 20;
const FILE: &str = "export.csv";
const HEADER: &str = "Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Option1 Name,\
                      Option1 Value,Variant SKU,Variant Inventory Tracker,Variant Inventory Qty,\
                      Variant Inventory Policy,Variant Price,Variant Compare At Price,Status\n";
/// Every so many products are on sale: no more items than a sale may have.
const SOLD: u32 = 4;
/// What tells them from the others.
const TAG: &str = "drop";
/// What descriptions are made of, as it is written in a quoted cell.
const TEXT: [&str; 12] = [
    "Woven",
    "wool,",
    "Größe",
    "<b>washed",
    "twice</b>",
    "&nbsp;",
    "made to last",
    "<br>\n",
    "<span style=\"\"color: #333333; font-size: 14px;\"\">and",
    "to be mended</span>",
    "<a href=\"\"https://example.com/care\"\">care</a>",
    "30\u{a0}°C.",
];

/// Has an export read as often as there are rounds.
pub(crate) async fn measure(platform: &Platform, rounds: u32) -> anyhow::Result<Value> {
    let path = platform.folder().join(FILE);
    let written = path.clone();
    tokio::task::spawn_blocking(move || write_export(&written)).await??;
    let file = path.to_str().context("a folder whose name is no text")?;
    let mut seen: Vec<Value> = Vec::new();
    for _ in 0..rounds {
        let printed = platform.run(&["read-export", file], &platform.settings()).await?;
        seen.push(serde_json::from_slice(&printed)?);
    }
    fs::remove_file(&path)?;
    let of = |field: &str| -> anyhow::Result<Vec<f64>> {
        let values = seen.iter().map(|round| round[field].as_f64());
        values.collect::<Option<_>>().with_context(|| format!("a reader says no {field}"))
    };
    let (mib, read_ms, resident) = (of("mib")?, of("read_ms")?, of("resident_mib")?);
    let rates = mib.iter().zip(&read_ms).map(|(mib, ms)| mib * 1_000.0 / ms);
    Ok(json!({
        "mib": rounded(median(mib.iter().copied()), 1),
        "variants": median(of("variants")?.into_iter()),
        "items": median(of("items")?.into_iter()),
        "read_ms": median(read_ms.iter().copied()).round(),
        "mib_per_s": rounded(median(rates), 1),
        "select_ms": median(of("select_ms")?.into_iter()).round(),
        "resident_mib": rounded(resident.iter().copied().fold(0.0, f64::max), 1),
        "rounds": {
            "read_ms": read_ms.iter().map(|ms| ms.round()).collect::<Vec<_>>(),
            "resident_mib": resident.iter().map(|mib| rounded(*mib, 1)).collect::<Vec<_>>(),
        },
    }))
}

/// Reads the export and decides what is sold of it, and prints a line of JSON.
pub(crate) fn main(file: &Path) -> ExitCode {
    match read_export(file) {
        Ok(figures) => {
            writeln!(io::stdout(), "{figures}").ok();
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("reading an export: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn read_export(file: &Path) -> anyhow::Result<Value> {
    let began = Instant::now();
    let mib = fs::metadata(file)?.len() as f64 / MIB;
    let catalogue = read_from(File::open(file)?, &ReadOptions::default())?;
    let reading = began.elapsed();
    let options = SelectOptions {
        currency: Some(Currency::EUR),
        selection: Selection { tags: vec![TAG.to_owned()], ..Selection::default() },
        ..SelectOptions::default()
    };
    let items = select(&catalogue, &options)?.totals.items;
    let selecting = began.elapsed() - reading;
    ensure!(items > 0, "nothing is sold of the export");
    Ok(json!({
        "mib": mib,
        "variants": catalogue.variants.len(),
        "items": items,
        "read_ms": reading.as_secs_f64() * 1_000.0,
        "select_ms": selecting.as_secs_f64() * 1_000.0,
        "resident_mib": peak_mib()?,
    }))
}

/// Writes as many whole products as fit into the largest file that is read.
fn write_export(path: &Path) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(HEADER.as_bytes())?;
    let mut left = MAX_BYTES - HEADER.len();
    for number in 0.. {
        let rows = product(number, &mut random);
        let Some(rest) = left.checked_sub(rows.len()) else { break };
        left = rest;
        file.write_all(rows.as_bytes())?;
    }
    file.flush()?;
    Ok(())
}

/// The rows of a product, as Shopify writes them: most of it is its description.
fn product(number: u32, random: &mut StdRng) -> String {
    let mut body = String::new();
    for _ in 0..random.random_range(20..60) {
        body.push_str("<p class=\"\"lead\"\">");
        for _ in 0..random.random_range(10..30) {
            body.push_str(TEXT.choose(random).copied().unwrap_or_default());
            body.push(' ');
        }
        body.push_str("</p>\n");
    }
    let tags =
        if number.is_multiple_of(SOLD) { format!("\"{TAG}, wool\"") } else { "wool".to_owned() };
    let mut rows = format!(
        "product-{number},Product {number},\"{body}\",Northlight,Coats,{tags},true,Size,S,\
         SKU-{number}-S,shopify,5,deny,19.90,29.90,active\n"
    );
    for size in ["M", "L"] {
        rows.push_str(&format!(
            "product-{number},,,,,,,,{size},SKU-{number}-{size},shopify,5,deny,19.90,29.90,\n"
        ));
    }
    rows
}
