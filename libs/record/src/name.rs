//! Closed sets of names.

/// A name that is not in its set: written by another version, or by hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a state of {of}")]
pub struct UnknownName {
    /// The name.
    pub name: String,
    /// What has these states.
    pub of: &'static str,
}

/// Gives the states of `$of` their names, in both directions.
macro_rules! named {
    ($type:ident of $of:literal: $($state:ident = $name:literal),+ $(,)?) => {
        impl $type {
            /// Every state there is.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$state),+];

            /// The name in the stores and on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$state => $name,)+
                }
            }

            /// The state with this name.
            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$state),)+
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::UnknownName;

            fn from_str(name: &str) -> Result<Self, $crate::UnknownName> {
                Self::parse(name)
                    .ok_or_else(|| $crate::UnknownName { name: name.to_owned(), of: $of })
            }
        }

        impl TryFrom<String> for $type {
            type Error = $crate::UnknownName;

            fn try_from(name: String) -> Result<Self, $crate::UnknownName> {
                name.parse()
            }
        }
    };
}
pub(crate) use named;
