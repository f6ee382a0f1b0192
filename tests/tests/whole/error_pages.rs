//! `docs/errors/` against the reasons, the contract, the code that raises them, and the output of
//! `flashsale errors`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use flashsale_errors::{Reason, Retry};

use crate::{
    command::{Said, flashsale, own_home, repository},
    runbook::error_pages,
};

const SECTIONS: [&str; 5] = [
    "What happened",
    "What the caller does",
    "What on-call does",
    "ErrorInfo metadata",
    "BadRequest fields",
];

/// Reasons of the contract that no code answers yet; their pages say so.
const NEVER_ANSWERED: &[Reason] = &[];

fn read(path: impl AsRef<Path>) -> String {
    let path = repository().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn page(reason: Reason) -> String {
    read(Path::new("docs/errors").join(reason.page()))
}

/// The text under a heading.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, behind) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    behind.split("\n## ").next().unwrap()
}

/// A row of the table at the top.
fn row<'a>(page: &'a str, name: &str) -> &'a str {
    let start = format!("| {name} | ");
    let row = page.lines().find_map(|line| line.strip_prefix(&start));
    row.unwrap_or_else(|| panic!("no row {name:?}")).trim_end_matches(" |")
}

/// The texts between single back-quotes.
fn quoted(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| !line.starts_with("```"))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect()
}

/// Everything quoted in the first column of a section's table.
fn listed(page: &str, heading: &str) -> BTreeSet<String> {
    let rows = section(page, heading).lines().filter(|line| line.starts_with("| "));
    let cells = rows.map(|line| line.trim_start_matches("| ").split(" | ").next().unwrap());
    cells.flat_map(quoted).map(str::to_owned).collect()
}

fn upper_snake(code: tonic::Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

#[test]
fn reasons_and_pages_correspond() {
    let there: BTreeSet<PathBuf> = error_pages().into_iter().collect();
    let folder = repository().join("docs/errors");
    let mut expected: BTreeSet<PathBuf> =
        Reason::ALL.iter().map(|reason| folder.join(reason.page())).collect();
    expected.insert(folder.join("README.md"));
    assert_eq!(there, expected);
}

#[test]
fn pages_state_status_and_retry() {
    for reason in Reason::ALL {
        let (name, text) = (reason.as_str(), page(*reason));
        assert!(text.starts_with(&format!("# {name}\n")), "{name}");
        let code = reason.code();
        let status = format!("`{}` ({}, `{code:?}`)", upper_snake(code), i32::from(code));
        assert_eq!(row(&text, "gRPC status"), status, "{name}");
        let retry = match reason.retry() {
            Retry::Never => "no: not as it is".to_owned(),
            Retry::SameAfter(delay) => format!(
                "yes: the same request with the same `request_id`, after {} ms or as RetryInfo says",
                delay.as_millis()
            ),
        };
        assert_eq!(row(&text, "retry"), retry, "{name}");
        assert!(text.contains(&format!("\n> {}\n", reason.next_step())), "{name}");
        let headings: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, SECTIONS, "{name}");
        for heading in SECTIONS {
            assert!(!section(&text, heading).trim().is_empty(), "{name}: {heading}");
        }
    }
}

#[test]
fn index_lists_reasons_in_order() {
    let index = read("docs/errors/README.md");
    let rows: Vec<&str> = index.lines().filter(|line| line.starts_with("| [")).collect();
    let expected: Vec<String> = Reason::ALL
        .iter()
        .map(|reason| {
            let retry = match reason.retry() {
                Retry::Never => "no".to_owned(),
                Retry::SameAfter(delay) => format!("after {} ms", delay.as_millis()),
            };
            format!(
                "| [{}]({}) | `{}` | {retry} | {} |",
                reason.as_str(),
                reason.page(),
                upper_snake(reason.code()),
                reason.next_step()
            )
        })
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn errors_command_prints_the_pages() {
    let home = own_home();
    let say = |args: &[&str]| Said::by(&mut flashsale(home.path(), args));
    let all = say(&["errors", "--json"]).json();
    for (reason, listed) in Reason::ALL.iter().zip(all.as_array().unwrap()) {
        let (name, text) = (reason.as_str(), page(*reason));
        let said = say(&["errors", name]);
        assert_eq!((said.code, said.out.trim_end()), (Some(0), text.trim_end()), "{name}");
        let json = say(&["errors", name, "--json"]).json();
        for (field, value) in listed.as_object().unwrap() {
            assert_eq!(&json[field], value, "{name}");
        }
        assert!(json["page"].as_str().unwrap().ends_with(&format!("/{}", reason.page())));
        for heading in SECTIONS {
            let field = heading.to_lowercase().replace([' ', '-'], "_");
            assert_eq!(json[&field], section(&text, heading).trim(), "{name}: {field}");
        }
    }
}

/// The Rust files of a folder, each with its code before its tests.
fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
            found.push((path.display().to_string(), code));
        }
    }
}

/// The code that answers callers.
fn answering() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in ["libs/errors", "libs/service", "services/sale", "services/inventory"] {
        sources(&repository().join(part).join("src"), &mut found);
    }
    for part in
        ["services/waiting-room", "services/checkout", "services/payment", "services/order-worker"]
    {
        sources(&repository().join(part).join("src"), &mut found);
    }
    found
}

/// The metadata keys that the code attaches, by the name of the reason's variant: a key attached
/// between two mentions of reasons belongs to the first.
fn attached() -> BTreeMap<String, BTreeSet<String>> {
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, code) in answering() {
        for part in code.split("Reason::").skip(1) {
            let variant: String = part.chars().take_while(|c| c.is_alphanumeric()).collect();
            let of_reason = keys.entry(variant).or_default();
            for with in part.split(".with(\"").skip(1) {
                of_reason.insert(with.split('"').next().unwrap().to_owned());
            }
        }
    }
    // The sale service attaches it to one of three reasons, the one that fits all the problems.
    let errors = read("services/sale/src/grpc/errors.rs");
    assert!(errors.contains("Failure::new(reason, what).with(\"problems\", count)"));
    for variant in ["ArgumentInvalid", "QuantityInvalid", "ExportInvalid"] {
        keys.entry(variant.to_owned()).or_default().insert("problems".to_owned());
    }
    keys
}

#[test]
fn pages_list_the_attached_metadata() {
    let attached = attached();
    for reason in Reason::ALL {
        let in_code = attached.get(&format!("{reason:?}")).cloned().unwrap_or_default();
        let in_page = listed(&page(*reason), "ErrorInfo metadata");
        assert_eq!(
            in_page,
            in_code,
            "{}: the page on the left, the code on the right",
            reason.as_str()
        );
    }
}

#[test]
fn unanswered_reasons_are_marked() {
    let mut raised = String::new();
    for (path, code) in answering() {
        if !path.ends_with("libs/errors/src/reason.rs") {
            raised.push_str(&code);
        }
    }
    for reason in Reason::ALL {
        let constructor = if *reason == Reason::ArgumentInvalid {
            "Failure::invalid(".to_owned()
        } else {
            format!("Reason::{reason:?}")
        };
        let never = NEVER_ANSWERED.contains(reason);
        assert_eq!(!raised.contains(&constructor), never, "{}", reason.as_str());
        assert_eq!(page(*reason).contains("**This version never answers it**"), never);
    }
}

/// A call, or a service, with its comment.
#[derive(Debug)]
struct Described {
    service: String,
    comment: String,
}

/// From the protos: the names of fields, and calls and services by name.
fn contract() -> (BTreeSet<String>, BTreeMap<String, Described>) {
    let (mut fields, mut calls) = (BTreeSet::new(), BTreeMap::new());
    for package in ["sale", "inventory", "waitingroom", "checkout", "payment", "order"] {
        let folder = repository().join("proto/flashsale").join(package).join("v1");
        for file in std::fs::read_dir(folder).unwrap() {
            let (mut comment, mut service) = (String::new(), String::new());
            for line in std::fs::read_to_string(file.unwrap().path()).unwrap().lines() {
                let line = line.trim();
                if let Some(words) = line.strip_prefix("//") {
                    comment.push_str(words);
                    continue;
                }
                let words: Vec<&str> =
                    line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
                if let ["rpc" | "service", name, ..] = words.as_slice() {
                    if words[0] == "service" {
                        service = (*name).to_owned();
                    }
                    let described =
                        Described { service: service.clone(), comment: comment.clone() };
                    calls.insert((*name).to_owned(), described);
                } else if line.contains(" = ") && line.ends_with(';') {
                    let name = line.split(" = ").next().unwrap().rsplit(' ').next().unwrap();
                    fields.insert(name.to_owned());
                }
                comment.clear();
            }
        }
    }
    (fields, calls)
}

#[test]
fn pages_name_the_calls_that_answer() {
    let (_, calls) = contract();
    for reason in Reason::ALL {
        let (name, text) = (reason.as_str(), page(*reason));
        let answered = row(&text, "answered by");
        let named = quoted(answered);
        for call in &named {
            assert!(calls.contains_key(*call), "{name}: there is no call {call}");
        }
        let all = answered.starts_with("every call") && !answered.starts_with("every call of ");
        let mention = format!("`{name}`");
        for (call, Described { service, comment }) in &calls {
            let covered = all
                || answered.contains(service.as_str())
                || named.contains(&call.as_str())
                || call == service && named.iter().any(|named| calls[*named].service == *service);
            assert!(!comment.contains(&mention) || covered, "{name}: {call} is not named");
        }
    }
}

#[test]
fn pages_name_existing_fields() {
    let (fields, _) = contract();
    let path = |c: char| c.is_ascii_lowercase() || "_.[]0123456789".contains(c);
    for reason in Reason::ALL {
        for field in listed(&page(*reason), "BadRequest fields") {
            // Places in an export have spaces and are no fields.
            for part in field.split('.').filter(|_| field.chars().all(path)) {
                let name = part.trim_end_matches("[0]");
                let of_money = name == "currency_code";
                assert!(of_money || fields.contains(name), "{}: {field}", reason.as_str());
            }
        }
    }
}

#[test]
fn pages_name_existing_metrics_and_logs() {
    let metrics = read("docs/metrics.md");
    let mut code = String::new();
    for folder in ["libs", "services"] {
        let mut found = Vec::new();
        sources(&repository().join(folder), &mut found);
        code.extend(found.into_iter().map(|(_, text)| text));
    }
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut pages = error_pages();
    pages.push(repository().join("docs/runbook.md"));
    for path in pages {
        let (place, text) = (path.display(), read(&path));
        for start in ["flashsale_", "rpc_server_"] {
            for (at, _) in text.match_indices(start) {
                let name: String = text[at..].chars().take_while(|c| word(*c)).collect();
                let known = metrics.contains(&format!("`{}`", name.trim_end_matches("_count")));
                assert!(known, "{place}: there is no metric {name}");
            }
        }
        for line in quoted(&text) {
            let Some(said) = line.strip_prefix('"').and_then(|line| line.strip_suffix('"')) else {
                continue;
            };
            // Text with quotes within is JSON or labels, not a log line.
            let logged = said.contains('"') || code.contains(&format!("\"{said}\""));
            assert!(logged, "{place}: nothing logs {said:?}");
        }
    }
}

#[test]
fn links_between_pages_resolve() {
    let mut pages = error_pages();
    pages.push(repository().join("docs/runbook.md"));
    for path in pages {
        let text = read(&path);
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let page = read(&target);
            let headings = page.lines().filter_map(|line| line.strip_prefix("## "));
            let mut anchors = headings.map(|heading| heading.to_lowercase().replace(' ', "-"));
            assert!(
                anchor.is_empty() || anchors.any(|known| known == anchor),
                "{link} in {path:?}"
            );
        }
    }
}
