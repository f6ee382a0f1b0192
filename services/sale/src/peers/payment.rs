//! Payment: says how many payments a second the budgets of the provider allow.

use flashsale_errors::Reason;
use flashsale_proto::payment::{
    Budget, GetBreakerRequest, payment_admin_service_client::PaymentAdminServiceClient,
};
use flashsale_service::peer::PeerChannel;

use super::{soon::soon, untold::Untold};

const PAYMENT: &str = "payment";
/// The budgets of the two calls that a payment takes, and that of all calls.
const CREATE: &str = "payment_intents.create";
const CONFIRM: &str = "payment_intents.confirm";
const ALL_CALLS: &str = "all";

/// Payment. A clone uses the same channel.
#[derive(Debug, Clone)]
pub struct Payment {
    admin: PaymentAdminServiceClient<PeerChannel>,
}

impl Payment {
    /// Over a channel that may not be connected yet.
    pub fn new(channel: PeerChannel) -> Self {
        Self { admin: PaymentAdminServiceClient::new(channel) }
    }

    /// Payments a second that the budgets allow: one takes a call of each kind.
    ///
    /// # Errors
    /// When the call fails, or takes longer than 2 seconds or half of the caller's remaining time;
    /// also when the answer lacks one of the budgets.
    pub async fn payments_per_s(&self) -> Result<f64, Untold> {
        let answer = soon(PAYMENT, self.admin.clone().get_breaker(GetBreakerRequest {})).await?;
        payments_per_s(&answer.budgets)
            .ok_or(Untold { peer: PAYMENT, why: Reason::Internal.as_str() })
    }
}

fn payments_per_s(budgets: &[Budget]) -> Option<f64> {
    let create = per_s(budgets, CREATE)?;
    let confirm = per_s(budgets, CONFIRM)?;
    let all = per_s(budgets, ALL_CALLS)?;
    Some(create.min(confirm).min(all / 2.0)).filter(|per_s| *per_s > 0.0)
}

/// What operators have set, or else what is configured. That the provider has limited the calls for
/// a while is no plan.
fn per_s(budgets: &[Budget], endpoint: &str) -> Option<f64> {
    let budget = budgets.iter().find(|budget| budget.endpoint == endpoint)?;
    Some(if budget.set_per_s > 0.0 { budget.set_per_s } else { budget.configured_per_s })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(endpoint: &str, configured_per_s: f64, set_per_s: f64) -> Budget {
        let endpoint = endpoint.to_owned();
        Budget { endpoint, configured_per_s, set_per_s, ..Budget::default() }
    }

    #[test]
    fn the_tightest_budget_decides() {
        for (all, create, confirm, per_s) in [
            ((100.0, 0.0), (25.0, 0.0), (25.0, 0.0), 25.0),
            ((100.0, 0.0), (25.0, 5.0), (25.0, 0.0), 5.0),
            ((100.0, 0.0), (25.0, 0.0), (20.0, 0.0), 20.0),
            ((25.0, 0.0), (25.0, 0.0), (25.0, 0.0), 12.5),
            ((25.0, 80.0), (25.0, 0.0), (25.0, 0.0), 25.0),
        ] {
            let budgets = [
                budget("all", all.0, all.1),
                budget("payment_intents.create", create.0, create.1),
                budget("payment_intents.confirm", confirm.0, confirm.1),
            ];
            assert_eq!(payments_per_s(&budgets), Some(per_s));
            assert_eq!(payments_per_s(&budgets[1..]), None);
        }
    }
}
