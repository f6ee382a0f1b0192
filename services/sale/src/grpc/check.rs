//! Checks of sales for the wire.

use flashsale_proto::sale::{self, CheckSaleResponse, CheckVerdict};
use flashsale_service::wire;

use crate::{
    app::check::Checked,
    domain::{Check, Verdict},
};

pub(super) fn response(from: &Checked) -> CheckSaleResponse {
    CheckSaleResponse {
        checks: from.checks.iter().map(check).collect(),
        read_time: Some(wire::timestamp(from.read_at)),
    }
}

fn check(from: &Check) -> sale::Check {
    sale::Check {
        id: from.id.to_owned(),
        verdict: verdict(from.verdict).into(),
        value: from.value.clone(),
        bound: from.bound.clone(),
        remedy: from.remedy.to_owned(),
        title: from.title.to_owned(),
    }
}

fn verdict(from: Verdict) -> CheckVerdict {
    match from {
        Verdict::Pass => CheckVerdict::Pass,
        Verdict::Warn => CheckVerdict::Warn,
        Verdict::Fail => CheckVerdict::Fail,
        Verdict::Unknown => CheckVerdict::Unknown,
    }
}
