//! Product exports of shops, read into items: whole or not at all.

mod csv_text;
mod shopify;

pub use shopify::{Rules, read};

#[cfg(test)]
mod tests;
