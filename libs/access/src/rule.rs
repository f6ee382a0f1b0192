//! Who may call a method.

use uuid::Uuid;

use crate::{Caller, Kind, Sales};

/// A role that a rule lets call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A shop's backend.
    Shop,
    /// An operator.
    Operator,
    /// Any caller that reaches the port, without a name.
    Anyone,
}

/// What says which sale a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaleOf {
    /// A field of the request.
    Field(&'static str),
    /// The record or token that the request names: the handler checks it.
    Record,
    /// Nothing: the request is about all sales, or about none.
    None,
}

/// What says which buyer a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuyerOf {
    /// A field of the request.
    Field(&'static str),
    /// The record or token that the request names: the handler checks it.
    Record,
    /// Nothing.
    None,
}

/// Who may call one method. Made of its proto's option by the build of `flashsale-proto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The path of its requests, as in `/flashsale.sale.v1.SaleService/GetSale`.
    pub path: &'static str,
    /// The roles that may call it.
    pub roles: &'static [Role],
    /// The services that may call it.
    pub services: &'static [&'static str],
    /// Whether a shop has to name a buyer.
    pub buyer_bound: bool,
    /// Whether each call leaves a line in the audit log.
    pub audited: bool,
    /// What says which sale a request is about.
    pub sale: SaleOf,
    /// What says which buyer a request is about.
    pub buyer: BuyerOf,
}

/// Whom a decoded request is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The sale that it names; empty if it names none.
    pub sale: &'a str,
    /// The buyer that it names; empty if it names none.
    pub buyer: &'a str,
    /// Its request id; empty if it has none.
    pub request_id: &'a str,
    /// The order that it names; empty if it names none.
    pub record: &'a str,
    /// The number of the record that it names; 0 if it names none.
    pub number: i64,
}

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No caller is known. The text says what is wrong with the proof, if there was one.
    #[error("{0}")]
    Unknown(&'static str),
    /// The method is for operators and services, who have a port of their own.
    #[error("this method is served on the internal port alone")]
    NotAtThisPort,
    /// The caller is known, and the method is not for it.
    #[error("the {kind} {caller} may not call this method", kind = .kind.as_str())]
    NotAllowed {
        /// The caller's name.
        caller: String,
        /// What it is.
        kind: Kind,
    },
    /// The request is about a sale that the caller does not reach, or about all of them.
    #[error("the caller reaches other sales alone")]
    SaleNotYours {
        /// The field that names the sale, if the request has one.
        field: Option<&'static str>,
        /// Whether the request named one.
        named: bool,
    },
    /// A shop has to say which buyer the call is for.
    #[error("the request names no buyer")]
    BuyerUnproven {
        /// The field that names the buyer.
        field: &'static str,
    },
    /// The token is another buyer's.
    #[error("the token is for another buyer")]
    BuyerMismatch {
        /// The field that names the buyer.
        field: &'static str,
    },
}

impl Rule {
    /// Whether everyone may call, known or not.
    pub fn is_public(&self) -> bool {
        self.roles.contains(&Role::Anyone)
    }

    /// Whether it is for operators and services alone.
    pub fn is_internal(&self) -> bool {
        !self.roles.contains(&Role::Shop) && !self.is_public()
    }

    /// Decides from the caller alone, before anything of the request is read.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], and [`Refusal::SaleNotYours`] for a caller of some sales when the
    /// method is about all of them.
    pub fn admits(&self, caller: &Caller) -> Result<(), Refusal> {
        let allowed = self.is_public()
            || match caller.kind {
                Kind::Shop => self.roles.contains(&Role::Shop),
                Kind::Operator => self.roles.contains(&Role::Operator),
                Kind::Service => self.services.contains(&caller.name.as_str()),
                // What a shop may do for a buyer, that buyer may.
                Kind::Buyer => {
                    let of_one = self.buyer_bound || self.buyer == BuyerOf::Record;
                    of_one && self.roles.contains(&Role::Shop)
                }
            };
        if !allowed {
            return Err(Refusal::NotAllowed { caller: caller.name.clone(), kind: caller.kind });
        }
        match (&self.sale, &caller.sales) {
            (SaleOf::None, Sales::Only(_)) if !self.is_public() => {
                Err(Refusal::SaleNotYours { field: None, named: false })
            }
            _ => Ok(()),
        }
    }

    /// Decides from what the decoded request names. The caller was admitted before.
    ///
    /// # Errors
    /// [`Refusal::SaleNotYours`], [`Refusal::BuyerUnproven`] and [`Refusal::BuyerMismatch`].
    pub fn covers(&self, caller: &Caller, scope: Scope<'_>) -> Result<(), Refusal> {
        if self.is_public() {
            return Ok(());
        }
        if let (SaleOf::Field(field), Sales::Only(sales)) = (self.sale, &caller.sales) {
            let reached = Uuid::parse_str(scope.sale).is_ok_and(|sale| sales.contains(&sale));
            if !reached {
                return Err(Refusal::SaleNotYours {
                    field: Some(field),
                    named: !scope.sale.is_empty(),
                });
            }
        }
        let BuyerOf::Field(field) = self.buyer else { return Ok(()) };
        let names_one = self.buyer_bound && matches!(caller.kind, Kind::Shop | Kind::Buyer);
        if names_one && scope.buyer.is_empty() {
            return Err(Refusal::BuyerUnproven { field });
        }
        if !caller.speaks_for(scope.buyer) {
            return Err(Refusal::BuyerMismatch { field });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SALE: Uuid = Uuid::from_u128(7);

    const ORDER: Rule = Rule {
        path: "/test/Order",
        roles: &[Role::Shop, Role::Operator],
        services: &["checkout"],
        buyer_bound: true,
        audited: false,
        sale: SaleOf::Field("sale_id"),
        buyer: BuyerOf::Field("buyer_id"),
    };

    fn caller(name: &str, kind: Kind, sales: Sales) -> Caller {
        Caller { name: name.to_owned(), kind, sales, buyer: None }
    }

    fn only(sale: Uuid) -> Sales {
        Sales::Only([sale].into())
    }

    #[test]
    fn roles_and_services_are_admitted_by_name() {
        let service_only = Rule { roles: &[], ..ORDER };
        for (rule, name, kind, admitted) in [
            (ORDER, "web", Kind::Shop, true),
            (ORDER, "ann", Kind::Operator, true),
            (ORDER, "checkout", Kind::Service, true),
            (ORDER, "payment", Kind::Service, false),
            (service_only, "web", Kind::Shop, false),
            (service_only, "ann", Kind::Operator, false),
            (service_only, "checkout", Kind::Service, true),
            // A shop that calls itself by a service's name is a shop.
            (service_only, "checkout", Kind::Shop, false),
        ] {
            let caller = caller(name, kind, Sales::All);
            assert_eq!(rule.admits(&caller).is_ok(), admitted, "{name} {kind:?}");
        }
    }

    #[test]
    fn keys_of_some_sales_reach_those_alone() {
        let shop = caller("web", Kind::Shop, only(SALE));
        fn scope(sale: &str) -> Scope<'_> {
            Scope { sale, buyer: "ann", ..Scope::default() }
        }
        let own = SALE.to_string();
        assert_eq!(ORDER.covers(&shop, scope(&own)), Ok(()));
        assert_eq!(ORDER.covers(&shop, scope(&own.to_uppercase())), Ok(()));
        let other = Uuid::from_u128(8).to_string();
        for (sale, named) in [(other.as_str(), true), ("", false), ("7", true)] {
            let refusal = Refusal::SaleNotYours { field: Some("sale_id"), named };
            assert_eq!(ORDER.covers(&shop, scope(sale)), Err(refusal), "{sale:?}");
        }
        let everywhere = Rule { sale: SaleOf::None, ..ORDER };
        assert!(everywhere.admits(&shop).is_err());
        assert!(everywhere.admits(&caller("web", Kind::Shop, Sales::All)).is_ok());
        assert!(Rule { sale: SaleOf::Record, ..ORDER }.admits(&shop).is_ok());
        assert!(shop.reaches(SALE) && !shop.reaches(Uuid::from_u128(8)));
    }

    #[test]
    fn a_shop_names_its_buyer() {
        let scope = Scope::default();
        let unproven = Err(Refusal::BuyerUnproven { field: "buyer_id" });
        assert_eq!(ORDER.covers(&caller("web", Kind::Shop, Sales::All), scope), unproven);
        assert_eq!(ORDER.covers(&caller("ann", Kind::Operator, Sales::All), scope), Ok(()));
        assert_eq!(ORDER.covers(&caller("checkout", Kind::Service, Sales::All), scope), Ok(()));
    }

    #[test]
    fn a_buyer_calls_for_itself_alone() {
        let ann =
            Caller { buyer: Some("ann".to_owned()), ..caller("web", Kind::Buyer, only(SALE)) };
        let own = SALE.to_string();
        for (rule, admitted) in [
            (ORDER, true),
            (Rule { buyer_bound: false, ..ORDER }, false),
            (Rule { buyer_bound: false, buyer: BuyerOf::Record, ..ORDER }, true),
            (Rule { roles: &[Role::Operator], ..ORDER }, false),
            (Rule { roles: &[Role::Operator], services: &["web"], ..ORDER }, false),
            (Rule { roles: &[Role::Anyone], buyer_bound: false, ..ORDER }, true),
        ] {
            assert_eq!(rule.admits(&ann).is_ok(), admitted, "{rule:?}");
        }
        let covers =
            |sale: &str, buyer: &str| ORDER.covers(&ann, Scope { sale, buyer, ..Scope::default() });
        assert_eq!(covers(&own, "ann"), Ok(()));
        assert_eq!(covers(&own, "Ann"), Err(Refusal::BuyerMismatch { field: "buyer_id" }));
        assert_eq!(covers(&own, ""), Err(Refusal::BuyerUnproven { field: "buyer_id" }));
        assert!(matches!(
            covers(&Uuid::from_u128(8).to_string(), "ann"),
            Err(Refusal::SaleNotYours { .. })
        ));
        assert!(ann.speaks_for("ann") && !ann.speaks_for("eve"));
    }

    #[test]
    fn public_methods_ask_for_nothing() {
        let public = Rule { roles: &[Role::Anyone], sale: SaleOf::None, ..ORDER };
        let shop = caller("web", Kind::Shop, only(SALE));
        assert!(public.is_public());
        assert_eq!(public.admits(&shop), Ok(()));
        assert_eq!(public.covers(&shop, Scope::default()), Ok(()));
    }

    #[tokio::test]
    async fn outside_a_request_no_caller_reaches_a_sale() {
        use std::sync::Arc;
        assert!(!crate::reaches(SALE));
        assert!(crate::current().is_none());
        let shop = Arc::new(caller("web", Kind::Shop, only(SALE)));
        crate::within(shop, async {
            assert!(crate::reaches(SALE));
            assert!(!crate::reaches(Uuid::from_u128(8)));
            assert_eq!(crate::current().unwrap().name, "web");
        })
        .await;
    }
}
