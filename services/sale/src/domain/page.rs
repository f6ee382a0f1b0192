//! Where a page of the list of sales begins.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

/// What the check sum begins with, so that a token of another list does not pass.
const LIST: &[u8] = b"flashsale.sale.v1.ListSales/1";
const CHECK_BYTES: usize = 8;
const KEY_BYTES: usize = 24;

/// The last sale of a page: the next page is what comes after it, newest first. Sales that are created meanwhile neither
/// shift nor repeat anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageKey {
    /// When the sale was created, in whole microseconds, as the store keeps it.
    pub created_at: OffsetDateTime,
    /// Its id.
    pub id: Uuid,
}

impl PageKey {
    /// The token for a caller: opaque, of this list only. It holds nothing that a caller may not know, so that it is checked
    /// against mix-ups, not signed against forgery.
    pub fn token(self) -> String {
        let micros = self.created_at.unix_timestamp_nanos() / 1_000;
        let mut bytes = Vec::with_capacity(KEY_BYTES + CHECK_BYTES);
        // Years up to 9999 fit 64 bits in microseconds.
        bytes.extend(i64::try_from(micros).unwrap_or(i64::MAX).to_be_bytes());
        bytes.extend(self.id.as_bytes());
        bytes.extend(check(&bytes));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The key in a token; `None` when it is not one of this list.
    pub fn parse(token: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (key, sum) = bytes.split_at_checked(KEY_BYTES)?;
        if sum != check(key) {
            return None;
        }
        let (micros, id) = key.split_at_checked(8)?;
        let micros = i64::from_be_bytes(micros.try_into().ok()?);
        let created_at =
            OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok()?;
        Some(Self { created_at, id: Uuid::from_slice(id).ok()? })
    }
}

fn check(key: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Sha256::new().chain_update(LIST).chain_update(key).finalize();
    let mut sum = [0; CHECK_BYTES];
    sum.copy_from_slice(&digest[..CHECK_BYTES]);
    sum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_token_brings_back_its_key_and_no_other_text_does() {
        let key = PageKey {
            created_at: datetime!(2026-11-23 18:00:00.123456 UTC),
            id: Uuid::from_u128(77),
        };
        let token = key.token();
        assert_eq!(PageKey::parse(&token), Some(key));
        for at in 0..token.len() {
            let mut wrong = token.clone();
            let other = if &token[at..=at] == "A" { "B" } else { "A" };
            wrong.replace_range(at..=at, other);
            assert_eq!(PageKey::parse(&wrong), None, "{wrong}");
        }
        assert_eq!(PageKey::parse(&token[1..]), None);
        assert_eq!(PageKey::parse(&format!("{token}AAAA")), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            prop_assert_eq!(PageKey::parse(&text), None);
        }
    }
}
