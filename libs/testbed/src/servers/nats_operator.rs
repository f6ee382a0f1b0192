//! An operator of NATS, for one run: what `nsc` makes.
//!
//! A user is let in by a JWT of an account that the operator has signed, and by a signature of its
//! own; the server knows no password.

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::keys::write_secret;

/// An operator with one account, which has JetStream, and the server's own.
#[derive(Debug)]
pub struct NatsOperator {
    account: KeyPair,
    config: String,
}

impl NatsOperator {
    /// A new one.
    ///
    /// # Errors
    /// None that can happen: the keys are new and can sign.
    pub fn create() -> io::Result<Self> {
        let operator = KeyPair::new_operator();
        let (account, system) = (KeyPair::new_account(), KeyPair::new_account());
        let limits = |storage: i64| {
            json!({
                "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
                "wildcards": true, "conn": -1, "leaf": -1, "mem_storage": storage,
                "disk_storage": storage, "streams": storage, "consumer": storage,
            })
        };
        let of_account = |account: &KeyPair, storage: i64| {
            let claims = json!({"limits": limits(storage), "type": "account", "version": 2});
            jwt(&operator, account, claims)
        };
        let own = jwt(&operator, &operator, json!({"type": "operator", "version": 2}))?;
        let config = format!(
            "operator: {own:?}\nsystem_account: {system:?}\nresolver: MEMORY\n\
             resolver_preload {{\n  {account:?}: {of_account:?}\n  {system:?}: {of_system:?}\n}}\n",
            system = system.public_key(),
            account = account.public_key(),
            of_account = of_account(&account, -1)?,
            of_system = of_account(&system, 0)?,
        );
        Ok(Self { account, config })
    }

    /// Writes the credentials of a new user, who may do everything in the account.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_credentials(&self, file: &Path) -> io::Result<()> {
        let user = KeyPair::new_user();
        let limits = json!({"subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2});
        let jwt = jwt(&self.account, &user, limits)?;
        let seed = user.seed().map_err(io::Error::other)?;
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        write_secret(file, &text)
    }

    /// What the server's configuration says of it.
    pub(crate) fn config(&self) -> &str {
        &self.config
    }
}

/// What `issuer` says of `subject`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, claims: Value) -> io::Result<String> {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let body = part(json!({
        "jti": subject.public_key(),
        "iat": 1,
        "iss": issuer.public_key(),
        "sub": subject.public_key(),
        "name": "flashsale",
        "nats": claims,
    }));
    let signed = format!("{header}.{body}");
    let signature = issuer.sign(signed.as_bytes()).map_err(io::Error::other)?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
