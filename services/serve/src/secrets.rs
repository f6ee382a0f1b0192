//! What a configuration shows of the secrets in it: nothing.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt::Debug;

use flashsale_service::{Validate, config::load_from};
use serde::de::DeserializeOwned;

/// Every key that may hold a secret. Each service takes those of its own sections.
const SECRETS: [(&str, &str); 6] = [
    ("POSTGRES__URL", "postgres://it:hunter2@127.0.0.1:1/it"),
    ("REDIS__URL", "redis://it:hunter2@127.0.0.1:1"),
    ("NATS__URL", "nats://it:hunter2@127.0.0.1:1"),
    ("MAIL__SMTP_URL", "smtp://it:hunter2@127.0.0.1:1"),
    ("PAYMENT__STRIPE_SECRET_KEY", "sk_test_hunter2"),
    ("PAYMENT__WEBHOOK_SECRETS", "whsec_hunter2"),
];

/// The same, each with something that makes it unusable.
const BROKEN: [(&str, &str); 5] = [
    ("POSTGRES__URL", "postgres://it:12/hunter2@db.example/it?sslmode=hunter2"),
    ("REDIS__URL", "redis://it:12#hunter2@redis.example"),
    ("NATS__URL", "nats://it:hunter2@nats.example:port"),
    ("MAIL__SMTP_URL", "smtp://it:hunter2@mail.example"),
    ("PAYMENT__STRIPE_SECRET_KEY", "hunter2"),
];

fn load<C: DeserializeOwned + Validate>(
    defaults: &[&str],
    secrets: &[(&str, &str)],
) -> Result<C, String> {
    let needed = [("ACCESS__MODE", "off"), ("ADMISSION__EPHEMERAL_KEYS", "true")];
    let all = needed
        .iter()
        .chain(secrets)
        .map(|(key, value)| (format!("FLASHSALE_{key}"), (*value).to_owned()));
    // The last of several values is the one that counts.
    let all: std::collections::BTreeMap<_, _> = all.collect();
    load_from("it", defaults, None, all.into_iter()).map_err(|error| format!("{error} {error:?}"))
}

fn shows_no_secret<C: DeserializeOwned + Validate + Debug>(defaults: &[&str]) {
    let config: C = load(defaults, &SECRETS).unwrap();
    let shown = format!("{config:?} {config:#?}");
    assert!(shown.contains("REDACTED") && !shown.contains("hunter2"), "{shown}");
    let Err(said) = load::<C>(defaults, &BROKEN) else { panic!("it is not refused") };
    assert!(said.contains("postgres.url") && !said.contains("hunter2"), "{said}");
}

#[test]
fn no_configuration_shows_a_secret() {
    shows_no_secret::<flashsale_sale::Config>(flashsale_sale::DEFAULTS);
    shows_no_secret::<flashsale_inventory::Config>(flashsale_inventory::DEFAULTS);
    shows_no_secret::<flashsale_waiting_room::Config>(flashsale_waiting_room::DEFAULTS);
    shows_no_secret::<flashsale_checkout::Config>(flashsale_checkout::DEFAULTS);
    shows_no_secret::<flashsale_order_worker::Config>(flashsale_order_worker::DEFAULTS);
    shows_no_secret::<flashsale_payment::Config>(flashsale_payment::DEFAULTS);
}
