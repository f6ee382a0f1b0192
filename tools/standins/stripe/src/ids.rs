//! Identifiers in Stripe's form: a prefix naming the kind of object, then letters and digits.

use rand::Rng as _;
use rand::distr::Alphanumeric;

fn random(len: usize) -> String {
    rand::rng().sample_iter(Alphanumeric).take(len).map(char::from).collect()
}

/// `<prefix>_3` followed by 23 random letters and digits, as in `pi_3MtwBwLkdIwHu7ix28a3tqPa`
/// (the sample on docs.stripe.com/api/payment_intents/object).
#[must_use]
pub fn object(prefix: &str) -> String {
    format!("{prefix}_3{}", random(23))
}

/// `req_` and 14 letters and digits, as in the `Request-Id` header
/// (docs.stripe.com/api/request_ids).
#[must_use]
pub fn request() -> String {
    format!("req_{}", random(14))
}

/// The client secret of an intent: its id, `_secret_`, and a random part
/// (docs.stripe.com/api/payment_intents/object, `client_secret`).
#[must_use]
pub fn client_secret(intent: &str) -> String {
    format!("{intent}_secret_{}", random(25))
}
