//! Laying the defaults over each other, and the file and the environment over them, value by value.
//!
//! The defaults hold every key there is, so that they say which keys are known and of which type
//! each value is.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{ConfigError, PREFIX, Problem};

/// A value that replaces a default.
#[derive(Debug)]
pub(super) struct Override {
    path: Vec<String>,
    value: Value,
}

/// The environment variable that sets `key`, a path such as `peers.waiting-room.url`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").replace('-', "_").to_uppercase())
}

/// The defaults: each of `texts` over those before it. `[peers."*"]` stands for every other section
/// in `[peers]`, and goes.
pub(super) fn defaults<'a>(
    texts: impl Iterator<Item = &'a &'a str>,
) -> Result<Table, toml::de::Error> {
    let mut merged = Table::new();
    for text in texts {
        lay(&mut merged, text.parse()?);
    }
    if let Some(Value::Table(peers)) = merged.get_mut("peers") {
        if let Some(Value::Table(common)) = peers.remove("*") {
            for own in peers.iter_mut().filter_map(|(_, peer)| peer.as_table_mut()) {
                let own_values = std::mem::replace(own, common.clone());
                lay(own, own_values);
            }
        }
        if peers.is_empty() {
            merged.remove("peers");
        }
    }
    Ok(merged)
}

/// Lays `over` over `under`, key by key.
fn lay(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => lay(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// Collects what `file` sets.
pub(super) fn from_file(
    service: &str,
    defaults: &Table,
    file: &Table,
    overrides: &mut Vec<Override>,
    problems: &mut Vec<Problem>,
) {
    collect(service, defaults, file, &mut Vec::new(), overrides, problems);
}

fn collect(
    service: &str,
    defaults: &Table,
    table: &Table,
    path: &mut Vec<String>,
    overrides: &mut Vec<Override>,
    problems: &mut Vec<Problem>,
) {
    for (key, value) in table {
        path.push(key.clone());
        match (defaults.get(key), value) {
            (Some(Value::Table(defaults)), Value::Table(table)) => {
                collect(service, defaults, table, path, overrides, problems);
            }
            (Some(default), value) => match like(default, value) {
                Some(value) => overrides.push(Override { path: path.clone(), value }),
                None => problems
                    .push(Problem::new(path.join("."), format!("must be {}", kind(default)))),
            },
            // A section of another service.
            (None, Value::Table(_)) => {}
            (None, Value::String(file)) if text_of(defaults, key).is_some() => {
                from_its_file(defaults, key, &of(service, file), path, overrides, problems);
            }
            (None, _) => problems.push(unknown(path, defaults)),
        }
        path.pop();
    }
}

fn unknown(path: &[String], section: &Table) -> Problem {
    let known: Vec<&str> = section.keys().map(String::as_str).collect();
    Problem::new(path.join("."), format!("is not a key; there are {}", known.join(", ")))
}

/// `value` if it is of the type of `default`. A whole number will do for a number.
fn like(default: &Value, value: &Value) -> Option<Value> {
    match (default, value) {
        #[allow(clippy::cast_precision_loss)]
        (Value::Float(_), Value::Integer(number)) => Some(Value::Float(*number as f64)),
        (default, value) => default.same_type(value).then(|| value.clone()),
    }
}

fn kind(default: &Value) -> &'static str {
    match default {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list, separated by commas",
        Value::Table(_) => "a section",
    }
}

/// Collects what variables named `FLASHSALE_<SECTION>__<KEY>` set. Other variables are passed over.
pub(super) fn from_env(
    service: &str,
    defaults: &Table,
    env: impl Iterator<Item = (String, String)>,
    overrides: &mut Vec<Override>,
    problems: &mut Vec<Problem>,
) {
    // In the order of their names, so that problems are always listed alike.
    let mut variables: Vec<(String, String)> =
        env.filter(|(name, _)| name.starts_with(PREFIX) && name.contains("__")).collect();
    variables.sort();
    for (name, text) in variables {
        let segments: Vec<&str> = name[PREFIX.len()..].split("__").collect();
        let Some((key, sections)) = segments.split_last() else { continue };
        let mut path = Vec::new();
        let mut section = defaults;
        let known = sections.iter().all(|segment| match entry(section, segment) {
            Some((name, Value::Table(inner))) => {
                path.push(name.clone());
                section = inner;
                true
            }
            _ => false,
        });
        if !known {
            continue;
        }
        match entry(section, key) {
            Some((key, default)) => {
                path.push(key.clone());
                match parse(default, &text) {
                    Some(value) => overrides.push(Override { path, value }),
                    None => problems
                        .push(Problem::new(path.join("."), format!("must be {}", kind(default)))),
                }
            }
            None => {
                path.push(key.to_lowercase());
                if text_of(section, key).is_some() {
                    from_its_file(
                        section,
                        key,
                        &of(service, &text),
                        &mut path,
                        overrides,
                        problems,
                    );
                } else {
                    problems.push(unknown(&path, section));
                }
            }
        }
    }
}

/// The text key that `key` names with `_file` behind it: its value is what that file holds.
fn text_of<'a>(section: &'a Table, key: &str) -> Option<&'a String> {
    let (name, value) = entry(section, key.to_lowercase().strip_suffix("_file")?)?;
    value.is_str().then_some(name)
}

/// Sets a text to what the file holds, without the line's end behind it. The file's text is in no
/// message: it is a secret, or it would stand in the configuration itself.
fn from_its_file(
    section: &Table,
    key: &str,
    file: &str,
    path: &mut [String],
    overrides: &mut Vec<Override>,
    problems: &mut Vec<Problem>,
) {
    match std::fs::read_to_string(file) {
        Ok(text) => {
            let mut of_text = path.to_vec();
            if let (Some(last), Some(name)) = (of_text.last_mut(), text_of(section, key)) {
                name.clone_into(last);
            }
            let value = Value::String(text.trim_end_matches(['\r', '\n']).to_owned());
            overrides.push(Override { path: of_text, value });
        }
        Err(error) => problems.push(Problem::new(
            path.join("."),
            format!("names {file}, which cannot be read: {error}"),
        )),
    }
}

/// The key that a segment of a variable's name means.
fn entry<'a>(section: &'a Table, segment: &str) -> Option<(&'a String, &'a Value)> {
    section.iter().find(|(key, _)| key.replace('-', "_").eq_ignore_ascii_case(segment))
}

/// A value of the type of `default`.
fn parse(default: &Value, text: &str) -> Option<Value> {
    match default {
        Value::String(_) => Some(Value::String(text.to_owned())),
        Value::Integer(_) => text.trim().replace('_', "").parse().ok().map(Value::Integer),
        Value::Float(_) => text.trim().parse().ok().map(Value::Float),
        Value::Boolean(_) => text.trim().parse().ok().map(Value::Boolean),
        Value::Datetime(_) => text.trim().parse().ok().map(Value::Datetime),
        Value::Array(values) => {
            let element = values.first().cloned().unwrap_or_else(|| Value::String(String::new()));
            let elements = text.split(',').map(str::trim).filter(|element| !element.is_empty());
            elements.map(|text| parse(&element, text)).collect::<Option<_>>().map(Value::Array)
        }
        Value::Table(_) => None,
    }
}

/// Reads the configuration. A value that does not fit its field becomes a problem and is left out,
/// so that everything else can still be checked.
pub(super) fn apply<C: DeserializeOwned>(
    service: &str,
    defaults: &Table,
    overrides: &[Override],
    problems: &mut Vec<Problem>,
) -> Result<C, ConfigError> {
    // Each value is tried alone, so that every one at fault is found and named.
    let mut merged = defaults.clone();
    for change in overrides {
        let mut alone = defaults.clone();
        set(&mut alone, change);
        match read::<C>(alone) {
            Ok(_) => set(&mut merged, change),
            Err(error) => problems.push(Problem::new(
                change.path.join("."),
                format!("cannot be used: {}", reason(&error)),
            )),
        }
    }
    fill_in(service, &mut merged);
    read(merged).map_err(|error| ConfigError::Defaults(error.to_string()))
}

/// The sections of the stores, in which each service has a user of its own.
const STORES: [&str; 3] = ["postgres", "redis", "nats"];

/// Puts the service's name where a `*` stands for it in the sections of the stores.
fn fill_in(service: &str, config: &mut Table) {
    for store in STORES {
        let Some(Value::Table(section)) = config.get_mut(store) else { continue };
        for (key, value) in section.iter_mut() {
            let Value::String(text) = value else { continue };
            if key == "url" {
                // Only as the user, which comes first: a password may have a `*` as well.
                *text = ["@", ":"].iter().fold(text.clone(), |text, end| {
                    text.replace(&format!("://*{end}"), &format!("://{service}{end}"))
                });
            } else if key.ends_with("_file") {
                *text = of(service, text);
            }
        }
    }
}

/// The path of a file of this service.
fn of(service: &str, path: &str) -> String {
    path.replace('*', service)
}

/// What the parser of a file says, and in which line; without the line itself, which may hold a
/// secret.
pub(super) fn place(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    format!("line {line}: {}", reason(error))
}

fn read<C: DeserializeOwned>(table: Table) -> Result<C, toml::de::Error> {
    Value::Table(table).try_into()
}

/// The parser's words without the place, which the key tells better.
fn reason(error: &toml::de::Error) -> String {
    error.message().trim().to_owned()
}

fn set(table: &mut Table, change: &Override) {
    let Some((key, sections)) = change.path.split_last() else { return };
    let mut table = table;
    for section in sections {
        match table.get_mut(section) {
            Some(Value::Table(inner)) => table = inner,
            _ => return,
        }
    }
    table.insert(key.clone(), change.value.clone());
}
