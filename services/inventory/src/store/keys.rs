//! The keys of a sale. `docs/stores.md` says what each holds.

use uuid::Uuid;

/// The last parts of the keys' names, in the order in which every script takes them.
const NAMES: [&str; 9] =
    ["meta", "stock", "holds", "deadlines", "pending", "orders", "requests", "buyers", "spent"];

/// All keys of a sale, as `KEYS` of every script. They share a hash tag, so that a Cluster keeps
/// them in one slot.
pub fn keys(sale_id: Uuid) -> Vec<String> {
    NAMES.iter().map(|name| format!("fs:{{{}}}:{name}", sale_id.as_hyphenated())).collect()
}

/// The keys of a sale, and behind them the places in its waiting room and the room, as `KEYS` of
/// `reserve.lua`. The waiting room writes those; they are no part of the stock.
pub(super) fn keys_with_places(sale_id: Uuid) -> Vec<String> {
    let mut keys = keys(sale_id);
    let sale_id = sale_id.as_hyphenated();
    keys.extend([format!("fs:{{{sale_id}}}:room:buyers"), format!("fs:{{{sale_id}}}:room")]);
    keys
}

/// The key that an instance writes to find out which server it speaks to: in a Cluster one in the
/// sale's slot, else one for all sales.
pub fn beat_key(sale_id: Option<Uuid>) -> String {
    match sale_id {
        Some(sale_id) => format!("fs:{{{}}}:beat", sale_id.as_hyphenated()),
        None => "fs:beat".to_owned(),
    }
}
