//! The steps of inventory at which a fault suite may kill it: each script, statement, commit and
//! publish.

use crate::store::Scripts;

// The scripts, by their names, and then the rest, with the steps of the one script that has
// several.
flashsale_failpoint::steps! {
    behind Scripts::NAMES;
    pub(crate) const COMMIT_ADJUSTMENT_BEGIN = "commit/adjustment_begin";
    pub(crate) const COMMIT_ADJUSTMENT_END = "commit/adjustment_end";
    pub(crate) const COMMIT_CLAIM = "commit/claim";
    pub(crate) const COMMIT_REBUILD_RAISE = "commit/rebuild_raise";
    pub(crate) const COMMIT_TAKEOVER = "commit/takeover";
    pub(crate) const LOAD_CLAIM = "load/claim";
    pub(crate) const LOAD_ORDERS = "load/orders";
    pub(crate) const LOAD_PROBE = "load/probe";
    pub(crate) const LOAD_PUBLISH = "load/publish";
    pub(crate) const LOAD_PRICES = "load/prices";
    pub(crate) const LOAD_STAGE = "load/stage";
    pub(crate) const PUBLISH_CLOSING = "publish/closing";
    pub(crate) const PUBLISH_MARKER = "publish/marker";
    pub(crate) const REPRICE_ARM = "reprice/arm";
    pub(crate) const REPRICE_CLEAN = "reprice/clean";
    pub(crate) const REPRICE_LOOK = "reprice/look";
    pub(crate) const REPRICE_PROMOTE = "reprice/promote";
    pub(crate) const REPRICE_PROMOTED = "reprice/promoted";
    pub(crate) const REPRICE_STAGE = "reprice/stage";
    pub(crate) const REPRICE_WITHDRAW = "reprice/withdraw";
    pub(crate) const SQL_ADJUSTMENT_DONE = "sql/adjustment_done";
    pub(crate) const SQL_ADJUSTMENT_FIND = "sql/adjustment_find";
    pub(crate) const SQL_ADJUSTMENT_FORGET = "sql/adjustment_forget";
    pub(crate) const SQL_ADJUSTMENT_TAKE_UP = "sql/adjustment_take_up";
    pub(crate) const SQL_ADJUSTMENTS_LIST = "sql/adjustments_list";
    pub(crate) const SQL_ADJUSTMENTS_STALLED = "sql/adjustments_stalled";
    pub(crate) const SQL_CLAIMS_FLOOR = "sql/claims_floor";
    pub(crate) const SQL_EPOCHS_READ = "sql/epochs_read";
    pub(crate) const SQL_FENCE_PASSED = "sql/fence_passed";
    pub(crate) const SQL_LOADED_SALES = "sql/loaded_sales";
    pub(crate) const SQL_LOOKUP = "sql/lookup";
    pub(crate) const SQL_PRICE_REVISIONS = "sql/price_revisions";
    pub(crate) const SQL_PRICE_ROWS = "sql/price_rows";
    pub(crate) const SQL_PRICES_OF = "sql/prices_of";
    pub(crate) const SQL_PUBLISH_STOCK = "sql/publish_stock";
    pub(crate) const SQL_REBUILD_END = "sql/rebuild_end";
    pub(crate) const SQL_REBUILD_RELEASE = "sql/rebuild_release";
    pub(crate) const SQL_REBUILD_RENEW = "sql/rebuild_renew";
    pub(crate) const SQL_REBUILDS_CUT_OFF = "sql/rebuilds_cut_off";
    pub(crate) const SQL_RECONCILE_ORDERS = "sql/reconcile_orders";
    pub(crate) const SQL_RECONCILE_ORDERS_AGAIN = "sql/reconcile_orders_again";
    pub(crate) const SQL_RECONCILE_UNITS = "sql/reconcile_units";
    pub(crate) const SQL_SALE_RULES = "sql/sale_rules";
    pub(crate) const SQL_SERVERS_CONFIRM = "sql/servers_confirm";
    pub(crate) const SQL_SERVERS_FORGET = "sql/servers_forget";
    pub(crate) const SQL_SERVERS_READ = "sql/servers_read";
    pub(crate) const SQL_WATCHED_SALES = "sql/watched_sales";
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, path::Path};

    use flashsale_failpoint::{KillPoint, Moment};

    use super::*;

    /// Each is armed by its name: that is what a fault suite knows.
    #[test]
    fn every_step_is_reachable_by_name() {
        for (name, moment) in all().into_iter().flat_map(|name| Moment::ALL.map(|at| (name, at))) {
            let point: KillPoint = format!("{name}:{moment}:1").parse().unwrap();
            assert_eq!((point.step.as_str(), point.moment), (name, moment));
            assert!(named(name).is_some() || Scripts::NAMES.contains(&name), "{name}");
        }
    }

    #[test]
    fn every_script_is_listed() {
        let scripts = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("lua")).unwrap();
        assert_eq!(
            scripts.count(),
            Scripts::NAMES.len() + 1,
            "each file but the prelude is a script"
        );
    }
}
