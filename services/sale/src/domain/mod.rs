//! The rules of sales: what one may look like, how its state changes, how a shop's export becomes
//! one. No clocks, no I/O.

mod import;
mod problems;
mod report;
mod rules;
mod sale;

pub use flashsale_record::SaleState;
pub use import::{Import, Imported};
pub use problems::{Kind, Problem, Problems};
pub use report::{ItemReport, Report, Totals, UnitsOut};
pub use rules::{ItemDraft, RoomDraft, SettingsDraft, items, settings};
pub use sale::{Item, NewSale, Room, Sale, Settings, StateChange, StateConflict, must_be_told};
