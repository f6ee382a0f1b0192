//! The admission that a request shows.

/// Why an admission does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdmissionFault {
    /// None was sent.
    Required,
    /// It was not issued by the waiting room.
    Invalid,
    /// It is for another buyer or sale.
    Foreign,
    Expired,
    /// Its key is not known here and the waiting room cannot be asked for it now.
    Unverified,
}

impl AdmissionFault {
    /// Its name in the scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Invalid => "invalid",
            Self::Foreign => "foreign",
            Self::Expired => "expired",
            Self::Unverified => "unverified",
        }
    }

    /// The fault with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Required, Self::Invalid, Self::Foreign, Self::Expired, Self::Unverified]
            .into_iter()
            .find(|fault| fault.as_str() == name)
    }
}

/// The result of judging an admission. It takes effect in the script: a sale without a room needs
/// no admission, and a replay gets its answer even if the admission is no longer valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A good admission.
    Good {
        /// The id under which it is spent.
        id: String,
        /// The number of the place in the waiting room that it was given out for.
        number: i64,
        /// The generation of that place.
        generation: u32,
    },
    /// No valid admission.
    Fault(AdmissionFault),
}

impl Proof {
    /// The verdict's name in the scripts.
    pub fn verdict(&self) -> &'static str {
        match self {
            Self::Good { .. } => "ok",
            Self::Fault(fault) => fault.as_str(),
        }
    }

    /// The id under which it is spent; empty without a valid one.
    pub fn id(&self) -> &str {
        match self {
            Self::Good { id, .. } => id,
            Self::Fault(_) => "",
        }
    }

    /// The number and the generation of its place, as the scripts take them; empty without a valid
    /// one.
    pub fn place(&self) -> [String; 2] {
        match self {
            Self::Good { number, generation, .. } => [number.to_string(), generation.to_string()],
            Self::Fault(_) => [String::new(), String::new()],
        }
    }
}
