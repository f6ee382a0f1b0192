//! The rules of sales: what one may look like, how its state changes, how a shop's export becomes
//! one. No clocks, no I/O.

mod check;
mod export;
mod import;
mod prices;
mod problems;
mod report;
mod rules;
mod sale;
mod update;

pub use check::{
    AboveRegular, Bounds, Capacity, Check, Conflict, Drift, Facts, Known, Verdict, ahead, checks,
};
pub use export::{Export, ItemResult, LineResult, StockExport, head, taken};
pub use flashsale_record::SaleState;
pub use import::{Import, Imported, ItemSource};
pub use prices::{NewRevision, Price, PriceChange, PriceRevision, PriceSwitch};
pub use problems::{Kind, Problem, Problems};
pub use report::{ItemReport, Report, Totals, UnitsOut};
pub use rules::{ItemDraft, RoomDraft, SettingsDraft, items, settings};
pub use sale::{
    AtStock, Change, ChangeKind, Item, NewSale, NotChanged, Room, Sale, Settings, SkuConflict,
    StateConflict, must_be_told,
};
pub use update::{Field, Update};
