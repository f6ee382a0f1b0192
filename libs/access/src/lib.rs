//! Who calls, and what they may call.
//!
//! A [`Caller`] is known by its key, or by the name in a certificate ([`Keys`]), or it is one buyer
//! whom a shop's token names. Each method has a [`Rule`], which the build makes of the option
//! `flashsale.access.v1.access` in its proto. A rule decides twice: once from the caller and the
//! method alone ([`Rule::admits`]), before anything of the request is read, and once from the sale
//! and the buyer that the decoded request names ([`Rule::covers`]). Where the request names a
//! record instead, the handler asks [`Caller::reaches`] for the record's own sale, and
//! [`Caller::speaks_for`] for its buyer.
//!
//! The crate knows no transport: how a key arrives and how a refusal leaves is for its users to
//! say.

mod caller;
mod current;
mod file;
mod identity;
mod keys;
mod rule;

pub use caller::{Caller, Kind, Sales, is_caller_name};
pub use current::{current, name, reaches, reaches_all, speaks_for, within};
pub use file::{Change, Reloaded};
pub use identity::{NameError, certificate_name, client_id, forwarded_client};
pub use keys::{Key, KeyError, KeyFileError, Keys, MAX_OF_ONE_NAME, PREFIX};
pub use rule::{BuyerOf, Refusal, Role, Rule, SaleOf, Scope};
