//! `flashsale errors`: the list of reasons and the page of each, which are part of the program.

use std::process::ExitCode;

use anyhow::bail;
use flashsale_cli::output::{Output, table};
use flashsale_errors::{Reason, Retry};
use serde_json::{Map, Value, json};

/// Explains a reason, or lists all.
pub(crate) fn run(name: Option<&str>, output: &Output) -> anyhow::Result<ExitCode> {
    let Some(name) = name else {
        let all: Vec<Value> = Reason::ALL.iter().map(|reason| summary(*reason).into()).collect();
        output.print(&json!(all), || {
            table(
                &["reason", "status", "what to do"],
                &[],
                Reason::ALL.iter().map(|reason| {
                    vec![
                        reason.as_str().to_owned(),
                        format!("{:?}", reason.code()),
                        reason.next_step().to_owned(),
                    ]
                }),
            )
        })?;
        return Ok(ExitCode::SUCCESS);
    };
    let Some(reason) = Reason::parse(&name.to_uppercase()) else {
        bail!("there is no reason {name:?}; `flashsale errors` lists all of them");
    };
    output.print(&whole(reason), || reason.page_text().trim_end().to_owned())?;
    Ok(ExitCode::SUCCESS)
}

/// The fields of a reason that the list shows.
fn summary(reason: Reason) -> Map<String, Value> {
    let (retry, after_ms) = match reason.retry() {
        Retry::SameAfter(delay) => {
            let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            let words = format!(
                "the same request, with the same request_id, after {ms} ms or as RetryInfo says"
            );
            (words, Some(ms))
        }
        Retry::Never => ("not as it is".to_owned(), None),
    };
    let fields = [
        ("reason", json!(reason.as_str())),
        ("status", json!(format!("{:?}", reason.code()))),
        ("code", json!(i32::from(reason.code()))),
        ("retry", json!(retry)),
        ("retry_after_ms", json!(after_ms)),
        ("next_step", json!(reason.next_step())),
        ("page", json!(reason.help_url())),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The summary, and each section of the page by its heading: `what_happened` and so on, as
/// Markdown.
fn whole(reason: Reason) -> Value {
    let mut fields = summary(reason);
    for section in reason.page_text().split("\n## ").skip(1) {
        if let Some((heading, body)) = section.split_once('\n') {
            let name = heading.to_lowercase().replace([' ', '-'], "_");
            fields.insert(name, json!(body.trim()));
        }
    }
    fields.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn a_page_as_json_has_its_sections_by_name() {
        let value = whole(Reason::SoldOut);
        for name in [
            "what_happened",
            "what_the_caller_does",
            "what_on_call_does",
            "errorinfo_metadata",
            "badrequest_fields",
        ] {
            assert!(value[name].as_str().is_some_and(|body| !body.is_empty()), "{name}: {value}");
        }
        assert!(value["errorinfo_metadata"].as_str().unwrap().contains("`available`"));
    }
}
