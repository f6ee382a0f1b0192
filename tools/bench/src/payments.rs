//! What the measurements of payments have in common.

use flashsale_payment::{Config, DEFAULTS, config::PaymentConfig};
use flashsale_service::config::load_from;

/// The key that Stripe is called with.
const SECRET_KEY: &str = "sk_test_bench";

/// The payment service's own settings where nothing else is set.
pub(crate) fn defaults() -> anyhow::Result<PaymentConfig> {
    let env = [("ACCESS__MODE", "off"), ("PAYMENT__STRIPE_SECRET_KEY", SECRET_KEY)];
    let env = env.into_iter().map(|(key, value)| (format!("FLASHSALE_{key}"), value.to_owned()));
    let config: Config = load_from("payment", DEFAULTS, None, env)?;
    Ok(config.payment)
}
