//! The scripts, each behind the prelude.

use flashsale_redis::Script;

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// The scripts of inventory, built once and shared.
        #[derive(Debug)]
        pub struct Scripts { $($(#[$doc])* pub $name: Script,)+ }

        impl Scripts {
            /// Their names.
            pub const NAMES: &[&str] = &[$(concat!("inventory/", stringify!($name)),)+];

            /// All of them.
            pub fn new() -> Self {
                Self {
                    $($name: Script::new(
                        concat!("inventory/", stringify!($name)),
                        concat!(
                            include_str!("../../lua/prelude.lua"),
                            include_str!(concat!("../../lua/", stringify!($name), ".lua")),
                        ),
                    ),)+
                }
            }
        }
    };
}

scripts! {
    /// Loads stock.
    load,
    /// Copies a sale's rules.
    sync,
    /// Brings revisions of prices beside the stock.
    reprice,
    /// Takes units.
    reserve,
    /// Places a hold.
    place,
    /// Moves a deadline.
    extend,
    /// Gives units back.
    release,
    /// Ends placed holds.
    settle,
    /// Ends holds past their deadline.
    sweep,
    /// Reads the books.
    read,
    /// Reads a hold.
    get,
    /// Lists placed holds.
    list_placed,
    /// Takes the units of orders of an older epoch again.
    retake,
    /// Shows what stands there.
    inspect,
    /// Brings indexes in line with holds.
    mend,
    /// Adds or takes out units.
    adjust,
    /// Shows which server takes writes.
    beat,
}

impl Default for Scripts {
    fn default() -> Self {
        Self::new()
    }
}
