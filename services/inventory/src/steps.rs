//! The steps of inventory at which a fault suite may kill it: each script, statement, commit and
//! publish.

use crate::store::Scripts;

/// Steps other than scripts, and those of the one script that has several. A test compares the list
/// with the sources.
const NAMED: [&str; 36] = [
    "commit/adjustment_begin",
    "commit/adjustment_end",
    "commit/claim",
    "commit/rebuild_raise",
    "commit/takeover",
    "load/claim",
    "load/orders",
    "load/probe",
    "load/publish",
    "load/stage",
    "publish/closing",
    "publish/marker",
    "sql/adjustment_done",
    "sql/adjustment_find",
    "sql/adjustment_forget",
    "sql/adjustment_take_up",
    "sql/adjustments_list",
    "sql/adjustments_stalled",
    "sql/claims_floor",
    "sql/epochs_read",
    "sql/fence_passed",
    "sql/loaded_sales",
    "sql/lookup",
    "sql/publish_stock",
    "sql/rebuild_end",
    "sql/rebuild_release",
    "sql/rebuild_renew",
    "sql/rebuilds_cut_off",
    "sql/reconcile_orders",
    "sql/reconcile_orders_again",
    "sql/reconcile_units",
    "sql/sale_rules",
    "sql/servers_confirm",
    "sql/servers_forget",
    "sql/servers_read",
    "sql/watched_sales",
];

/// All steps; none in a build without kill points.
pub fn all() -> Vec<&'static str> {
    if !flashsale_failpoint::COMPILED_IN {
        return Vec::new();
    }
    Scripts::NAMES.iter().chain(&NAMED).copied().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{collections::BTreeSet, fs, path::Path};

    use flashsale_failpoint::sources;

    use super::*;

    /// A step that is not listed is never killed at.
    #[test]
    fn every_step_is_listed() {
        let texts = sources::below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
        let words = [".commit()", "publish_order(", ".eval(", ".eval_with("];
        let found: Vec<_> = texts.iter().map(|text| sources::look(text, &words)).collect();
        let missing: Vec<_> = found.iter().flat_map(|found| &found.missing).collect();
        assert!(missing.is_empty(), "no steps: {missing:#?}");
        let names: BTreeSet<&str> =
            found.iter().flat_map(|found| &found.steps).map(String::as_str).collect();
        // The steps of the load are named where it is called.
        let listed = NAMED.into_iter().filter(|name| !name.starts_with("load/"));
        assert_eq!(names, listed.collect());
        let fill = include_str!("store/fill.rs");
        for name in NAMED.iter().filter_map(|name| name.strip_prefix("load/")) {
            assert!(fill.contains(&format!("\"load/{name}\"")), "{name}");
        }
        assert_eq!(fill.matches("\"load/").count(), 6, "five steps, and what is cut off");
        let scripts = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("lua")).unwrap();
        assert_eq!(
            scripts.count(),
            Scripts::NAMES.len() + 1,
            "each file but the prelude is a script"
        );
    }
}
