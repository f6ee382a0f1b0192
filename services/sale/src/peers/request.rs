//! The ids of the calls.

use uuid::Uuid;

use crate::domain::Sale;

/// The request id of `operation`: the same for every attempt to tell of this version of the sale.
pub(super) fn request_id(sale: &Sale, operation: &str) -> String {
    Uuid::new_v5(&sale.id, format!("{operation}:{}", sale.version).as_bytes()).to_string()
}
