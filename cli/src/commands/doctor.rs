//! `flashsale doctor`.

use std::process::ExitCode;

use clap::Args;
use flashsale_cli::{
    client::{Target, request, short, time},
    output::{Output, table},
    program::NOT_DONE,
};
use flashsale_proto::sale::{
    Check, CheckSaleRequest, CheckSaleResponse, CheckVerdict,
    sale_service_client::SaleServiceClient,
};
use serde_json::{Value, json};

/// Something was found.
const FOUND: u8 = 1;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The sale's id.
    sale_id: String,
    /// Count a warning as a failure.
    #[arg(long)]
    strict: bool,
}

/// Has a sale checked, and prints what was found.
pub(crate) async fn run(
    args: DoctorArgs,
    target: &Target,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let DoctorArgs { sale_id, strict } = args;
    let mut sales = SaleServiceClient::new(target.connect()?);
    let asked = CheckSaleRequest { sale_id: sale_id.clone() };
    let answer = sales.check_sale(request(asked)).await?.into_inner();
    output.print(&answer_json(&sale_id, &answer), || human(&sale_id, &answer))?;
    Ok(ExitCode::from(code(&answer.checks, strict)))
}

/// What was found counts more than what could not be looked at.
fn code(checks: &[Check], strict: bool) -> u8 {
    let code_of = |check: &Check| match check.verdict() {
        CheckVerdict::Warn if strict => FOUND,
        CheckVerdict::Pass | CheckVerdict::Warn => 0,
        CheckVerdict::Fail => FOUND,
        // One that a later version has.
        CheckVerdict::Unknown | CheckVerdict::Unspecified => NOT_DONE,
    };
    let codes: Vec<u8> = checks.iter().map(code_of).collect();
    [FOUND, NOT_DONE].into_iter().find(|code| codes.contains(code)).unwrap_or(0)
}

fn verdict(check: &Check) -> String {
    short(check.verdict().as_str_name(), "CHECK_VERDICT_")
}

fn answer_json(sale_id: &str, answer: &CheckSaleResponse) -> Value {
    let checks = answer.checks.iter().map(|check| {
        json!({
            "id": check.id,
            "title": check.title,
            "verdict": verdict(check),
            "value": check.value,
            "bound": check.bound,
            "remedy": check.remedy,
        })
    });
    json!({
        "sale_id": sale_id,
        "read_time": time(answer.read_time.as_ref()),
        "checks": checks.collect::<Vec<_>>(),
    })
}

fn human(sale_id: &str, answer: &CheckSaleResponse) -> String {
    let rows = answer.checks.iter().map(|check| {
        vec![
            check.id.clone(),
            verdict(check),
            check.value.clone(),
            check.bound.clone(),
            check.remedy.clone(),
        ]
    });
    let table = table(&["check", "verdict", "found", "bound", "what to do"], &[], rows);
    format!("Sale {sale_id}, at {}\n{table}", time(answer.read_time.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_verdict_decides_the_exit_code() {
        use CheckVerdict::{Fail, Pass, Unknown, Warn};
        for (verdicts, lenient, strict) in [
            (&[][..], 0, 0),
            (&[Pass, Pass], 0, 0),
            (&[Pass, Warn], 0, 1),
            (&[Fail, Pass], 1, 1),
            (&[Pass, Unknown], 2, 2),
            (&[Warn, Unknown], 2, 1),
            (&[Unknown, Fail], 1, 1),
        ] {
            let check =
                |verdict: &CheckVerdict| Check { verdict: i32::from(*verdict), ..Check::default() };
            let checks: Vec<Check> = verdicts.iter().map(check).collect();
            assert_eq!((code(&checks, false), code(&checks, true)), (lenient, strict));
        }
    }
}
