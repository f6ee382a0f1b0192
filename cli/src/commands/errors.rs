//! `flashsale errors`.

use std::process::ExitCode;

use anyhow::bail;
use flashsale_errors::{Reason, Retry};
use serde_json::{Value, json};

use crate::output::{Output, table};

/// Explains a reason, or lists all.
pub(crate) fn run(name: Option<&str>, output: &Output) -> anyhow::Result<ExitCode> {
    let Some(name) = name else {
        let all: Vec<Value> = Reason::ALL.iter().map(|reason| view(*reason)).collect();
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
        });
        return Ok(ExitCode::SUCCESS);
    };
    let Some(reason) = Reason::parse(&name.to_uppercase()) else {
        bail!("there is no reason {name:?}; `flashsale errors` lists all of them");
    };
    output.print(&view(reason), || {
        format!(
            "{}\n  gRPC status: {:?}\n  Retry:       {}\n  What to do:  {}",
            reason.as_str(),
            reason.code(),
            retry(reason),
            reason.next_step()
        )
    });
    Ok(ExitCode::SUCCESS)
}

fn retry(reason: Reason) -> String {
    match reason.retry() {
        Retry::SameAfter(delay) => {
            format!(
                "the same request, with the same request_id, after {} ms or as RetryInfo says",
                delay.as_millis()
            )
        }
        Retry::Never => "not as it is".to_owned(),
    }
}

fn view(reason: Reason) -> Value {
    json!({
        "reason": reason.as_str(),
        "status": format!("{:?}", reason.code()),
        "retry": retry(reason),
        "next_step": reason.next_step(),
    })
}
