//! The rules of sales: what one may look like, how its state changes, how a shop's export becomes
//! one. No clocks, no I/O.

pub mod export;
pub mod money;
mod problems;
mod report;
mod rules;
mod sale;

pub use flashsale_record::SaleState;
pub use problems::{Kind, Problem, Problems};
pub use report::{ItemReport, Report, Totals, UnitsOut};
pub use rules::{
    ItemDraft, MAX_ITEMS, MAX_QUANTITY, MAX_SKU_CHARS, MAX_TITLE_CHARS, RoomDraft, SettingsDraft,
    items, per_buyer_limit, printable, quantity, settings,
};
pub use sale::{Item, NewSale, Room, Sale, Settings, StateChange, StateConflict, must_be_told};
