//! `flashsale access`: keys, and the file that says whose they are.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail};
use clap::{Subcommand, ValueEnum};
use flashsale_access::{Caller, Key, Keys, Sales};
use flashsale_cli::output::{Output, table};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

/// How long before its end a key is pointed out.
const ENDS_SOON: Duration = Duration::days(14);

#[derive(Debug, Subcommand)]
pub(crate) enum AccessCommand {
    /// Make a key: it is printed once, with the entry for the file of keys.
    NewKey {
        /// Whose key it is; of a service, its name.
        name: String,
        #[arg(long)]
        role: RoleName,
        /// The sales it is for, by id; without it all of them.
        #[arg(long, value_delimiter = ',')]
        sales: Vec<uuid::Uuid>,
        /// When it ends, for example 2027-06-30T00:00:00Z.
        #[arg(long)]
        not_after: Option<String>,
        /// Add the entry to this file of keys (`access.keys_file`).
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// List whose keys a file knows.
    List { file: PathBuf },
    /// Say whether a file of keys is sound, and which keys have ended or will soon.
    Check { file: PathBuf },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RoleName {
    Shop,
    Operator,
    Service,
}

impl RoleName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Shop => "shop",
            Self::Operator => "operator",
            Self::Service => "service",
        }
    }
}

pub(crate) fn run(command: AccessCommand, output: &Output) -> anyhow::Result<ExitCode> {
    match command {
        AccessCommand::NewKey { name, role, sales, not_after, file } => {
            let key = Key::generate();
            let entry = entry(&key, &name, role, &sales, not_after.as_deref());
            let before = match &file {
                Some(path) if path.exists() => read(path)?,
                Some(_) | None => String::new(),
            };
            let separator = if before.is_empty() || before.ends_with("\n\n") { "" } else { "\n" };
            let after = format!("{before}{separator}{entry}");
            // What a service would refuse is not written.
            parse(&after).with_context(|| match &file {
                Some(path) => format!("{} with the new key", path.display()),
                None => "the key".to_owned(),
            })?;
            if let Some(path) = &file {
                write_whole(path, &after)?;
            }
            let about = json!({ "key": key.expose(), "entry": entry, "file": file });
            output.print(&about, || match &file {
                Some(path) => format!(
                    "{}\n\nKeep it: it is shown this once. {} knows it.",
                    key.expose(),
                    path.display()
                ),
                None => format!(
                    "{}\n\nKeep it: it is shown this once. For the file of keys:\n\n{}",
                    key.expose(),
                    entry.trim_end()
                ),
            })?;
            Ok(ExitCode::SUCCESS)
        }
        AccessCommand::List { file } => {
            let keys = parse(&read(&file)?)?;
            list(&keys, output)?;
            Ok(ExitCode::SUCCESS)
        }
        AccessCommand::Check { file } => {
            let keys = parse(&read(&file)?).with_context(|| file.display().to_string())?;
            if keys.is_empty() {
                bail!("{} has no entry: no one could call", file.display());
            }
            let now = OffsetDateTime::now_utc();
            let ending = |(caller, end, san): (&Caller, Option<OffsetDateTime>, Option<&str>)| {
                let end = end.filter(|end| *end < now + ENDS_SOON)?;
                let verb = if end < now { "ended" } else { "ends" };
                let what = san.map_or("a key", |_| "a certificate's name");
                Some(format!("{what} of {} {verb} at {}", caller.name, shown(Some(end))))
            };
            let mut warnings: Vec<String> = keys.callers().filter_map(ending).collect();
            warnings.sort();
            let count = keys.callers().count();
            output.print(&json!({ "keys": count, "warnings": warnings }), || {
                let mut text =
                    format!("{count} keys and certificates' names, all of them readable");
                for warning in &warnings {
                    text.push_str(&format!("\n{warning}"));
                }
                text
            })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn entry(
    key: &Key,
    name: &str,
    role: RoleName,
    sales: &[uuid::Uuid],
    not_after: Option<&str>,
) -> String {
    let mut entry = format!(
        "[[key]]\nname = {}\nrole = \"{}\"\nsha256 = \"{}\"\n",
        json!(name),
        role.as_str(),
        key.sha256()
    );
    if !sales.is_empty() {
        let ids: Vec<String> = sales.iter().map(ToString::to_string).collect();
        entry.push_str(&format!("sales = {}\n", json!(ids)));
    }
    if let Some(not_after) = not_after {
        entry.push_str(&format!("not_after = {not_after}\n"));
    }
    entry
}

fn list(keys: &Keys, output: &Output) -> anyhow::Result<()> {
    let mut callers: Vec<_> = keys.callers().collect();
    callers.sort_by_key(|(caller, end, san)| (caller.name.clone(), *end, *san));
    let rows: Vec<Value> = callers
        .iter()
        .map(|(caller, end, san)| {
            let sales = match &caller.sales {
                Sales::All => Value::Null,
                Sales::Only(ids) => json!(ids),
            };
            json!({
                "name": caller.name, "role": caller.kind.as_str(), "sales": sales,
                "not_after": end.map(|end| shown(Some(end))), "san": san,
            })
        })
        .collect();
    output.print(&json!(rows), || {
        table(
            &["name", "role", "sales", "ends", "certificate"],
            &[],
            callers.iter().map(|(caller, end, san)| {
                let sales = match &caller.sales {
                    Sales::All => "all".to_owned(),
                    Sales::Only(ids) => format!("{} of them", ids.len()),
                };
                let san = san.unwrap_or("-").to_owned();
                vec![caller.name.clone(), caller.kind.as_str().to_owned(), sales, shown(*end), san]
            }),
        )
    })?;
    Ok(())
}

fn shown(end: Option<OffsetDateTime>) -> String {
    end.and_then(|end| end.format(&Rfc3339).ok()).unwrap_or_else(|| "never".to_owned())
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

fn parse(text: &str) -> anyhow::Result<Keys> {
    Keys::parse(text).map_err(|error| anyhow!("{error}"))
}

/// Writes the file under another name and renames it, so that no service reads half of it. Who may
/// read it stays as it was.
fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    // Through a link to what it leads to: the link stays.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut beside = path.clone().into_os_string();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = || -> std::io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(&beside)?;
        file.write_all(text.as_bytes())?;
        if let Ok(before) = fs::metadata(&path) {
            file.set_permissions(before.permissions())?;
            std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        file.sync_all()?;
        fs::rename(&beside, &path)
    };
    written()
        .inspect_err(|_| {
            fs::remove_file(&beside).ok();
        })
        .with_context(|| format!("{} cannot be written", path.display()))
}
