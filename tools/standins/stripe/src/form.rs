//! Form-encoded parameters, the way Stripe takes them.
//!
//! docs.stripe.com/api: "accepts form-encoded request bodies". Nested values are written with
//! brackets, `metadata[order_id]=7` and `payment_method_types[]=card`
//! (docs.stripe.com/api/metadata, docs.stripe.com/api/payment_intents/create).

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// More pairs than any real call has; a longer body is refused.
const MAX_PAIRS: usize = 512;

/// Decoded name/value pairs, in the order they came.
#[derive(Debug, Clone, Default)]
pub struct Form {
    pairs: Vec<(String, String)>,
}

impl Form {
    /// Decodes a query string or an `application/x-www-form-urlencoded` body.
    /// `None` for more than `MAX_PAIRS` pairs.
    #[must_use]
    pub fn parse(encoded: &[u8]) -> Option<Self> {
        let mut pairs = Vec::new();
        for (name, value) in form_urlencoded::parse(encoded) {
            if pairs.len() == MAX_PAIRS {
                return None;
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Some(Self { pairs })
    }

    /// The last value given for exactly this name; empty values count as not given, as Stripe's
    /// clients send an empty string to unset something.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether the name was sent at all, even empty.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(key, _)| key == name)
    }

    /// The members of a nested map: `metadata[a]=1&metadata[b]=2` → `{a: 1, b: 2}`.
    #[must_use]
    pub fn map(&self, name: &str) -> BTreeMap<String, String> {
        let members = self.pairs.iter().filter_map(|(key, value)| {
            let inner = key.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')?;
            Some((inner.to_owned(), value.clone()))
        });
        members.collect()
    }

    /// The members of a list, written `name[]=a` or `name[0]=a`.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        let members = self.pairs.iter().filter_map(|(key, value)| {
            let inner = key.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')?;
            inner.chars().all(|c| c.is_ascii_digit()).then(|| value.clone())
        });
        members.collect()
    }

    /// The first name that is not in `known` (nested names count by their outer part).
    #[must_use]
    pub fn first_unknown(&self, known: &[&str]) -> Option<&str> {
        let outer = |key: &'_ str| key.split('[').next().unwrap_or_default().to_owned();
        let unknown = self.pairs.iter().find(|(key, _)| !known.contains(&outer(key).as_str()));
        unknown.map(|(key, _)| key.as_str())
    }

    /// A digest of the parameters that does not depend on their order. Each field is prefixed with
    /// its length, so that no two different forms share an encoding.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut sorted: Vec<_> = self.pairs.iter().collect();
        sorted.sort();
        let mut hash = Sha256::new();
        for (name, value) in sorted {
            hash.update((name.len() as u64).to_be_bytes());
            hash.update(name);
            hash.update((value.len() as u64).to_be_bytes());
            hash.update(value);
        }
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn nested_names_become_maps_and_lists() {
        let form = Form::parse(
            b"amount=500&metadata%5Border_id%5D=7&metadata[sale_id]=s+1&payment_method_types[]=card\
              &payment_method_types%5B1%5D=link",
        )
        .unwrap();
        assert_eq!(form.get("amount"), Some("500"));
        assert_eq!(form.map("metadata")["order_id"], "7");
        assert_eq!(form.map("metadata")["sale_id"], "s 1");
        assert_eq!(form.list("payment_method_types"), ["card", "link"]);
    }

    #[test]
    fn fingerprint_ignores_only_order() {
        let print = |text: &str| Form::parse(text.as_bytes()).unwrap().fingerprint();
        assert_eq!(print("a=1&b=2"), print("b=2&a=1"));
        for other in ["a=12", "a=1&b=3", "a=1", "a=1&b=2&b=2", "ab=12"] {
            assert_ne!(print("a=1&b=2"), print(other), "{other}");
        }
    }

    #[test]
    fn unknown_parameter_is_found_by_prefix() {
        let form = Form::parse(b"metadata[x]=1&amonut=5").unwrap();
        assert_eq!(form.first_unknown(&["metadata", "amount"]), Some("amonut"));
        assert_eq!(form.first_unknown(&["metadata", "amonut"]), None);
    }
}
