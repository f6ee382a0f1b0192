//! Page tokens of ListOrders.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

/// A token that this list did not return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageError;

/// Where the next page begins, bound to the list it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken {
    /// The last order of the page before was placed then.
    pub placed_at: OffsetDateTime,
    /// The last order of the page before.
    pub order_id: Uuid,
}

#[derive(Serialize, Deserialize)]
struct Body {
    at: i128,
    id: Uuid,
    list: String,
}

impl PageToken {
    /// The token for the caller. `list` names everything the list is filtered by.
    pub fn encode(&self, list: &[&str]) -> String {
        let body = Body {
            at: self.placed_at.unix_timestamp_nanos(),
            id: self.order_id,
            list: fingerprint(list),
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&body).unwrap_or_default())
    }

    /// Reads a token back; an empty one is the first page.
    ///
    /// # Errors
    /// When it is not of this list.
    pub fn decode(token: &str, list: &[&str]) -> Result<Option<Self>, PageError> {
        if token.is_empty() {
            return Ok(None);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| PageError)?;
        let body: Body = serde_json::from_slice(&bytes).map_err(|_| PageError)?;
        let placed_at =
            OffsetDateTime::from_unix_timestamp_nanos(body.at).map_err(|_| PageError)?;
        // Every list has an end in the years that the wire knows; a time beyond them is nothing that the record could be asked for.
        if body.list != fingerprint(list) || !(1..=9999).contains(&placed_at.year()) {
            return Err(PageError);
        }
        Ok(Some(Self { placed_at, order_id: body.id }))
    }
}

fn fingerprint(list: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in list {
        // With its length, so that no two lists read the same.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_token_leads_back_to_its_own_list_only() {
        let token = PageToken {
            placed_at: OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_123_456_000)
                .unwrap(),
            order_id: Uuid::from_u128(7),
        };
        let text = token.encode(&["sale", "ada", ""]);
        assert_eq!(PageToken::decode(&text, &["sale", "ada", ""]), Ok(Some(token)));
        assert_eq!(PageToken::decode("", &["sale"]), Ok(None));
        for other in [&["sale", "", "ada"][..], &["sale", "eve", ""]] {
            assert_eq!(PageToken::decode(&text, other), Err(PageError));
        }
        assert_eq!(PageToken::decode("not a token", &["sale"]), Err(PageError));
    }
}
