//! The steps of sale: each commit that changes the record is one at which a fault suite may kill
//! the process. Reads are not steps.

flashsale_failpoint::steps! {
    pub(crate) const COMMIT_CHANGE = "commit/change";
    pub(crate) const COMMIT_CREATE = "commit/create";
    pub(crate) const COMMIT_FINAL = "commit/final";
    pub(crate) const COMMIT_TOLD = "commit/told";
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use flashsale_failpoint::{KillPoint, Moment};

    use super::*;

    /// Each is armed by its name: that is what a fault suite knows.
    #[test]
    fn every_step_is_reachable_by_name() {
        for (name, moment) in all().into_iter().flat_map(|name| Moment::ALL.map(|at| (name, at))) {
            let point: KillPoint = format!("{name}:{moment}:1").parse().unwrap();
            assert_eq!((point.step.as_str(), point.moment), (name, moment));
            assert!(named(name).is_some(), "{name}");
        }
    }
}
