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
    /// A good admission, with the id under which it is spent.
    Good(String),
    /// No valid admission.
    Fault(AdmissionFault),
}

impl Proof {
    /// The verdict's name in the scripts.
    pub fn verdict(&self) -> &'static str {
        match self {
            Self::Good(_) => "ok",
            Self::Fault(fault) => fault.as_str(),
        }
    }

    /// The id under which it is spent; empty without a valid one.
    pub fn id(&self) -> &str {
        match self {
            Self::Good(id) => id,
            Self::Fault(_) => "",
        }
    }
}
