//! Pages of lists (AIP-158): how many, and where the next one begins.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flashsale_errors::{Failure, Reason};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

const DEFAULT: usize = 50;
const MOST: usize = 500;

/// How many a page has: 50 unless asked for, 500 at most.
///
/// # Errors
/// `ARGUMENT_INVALID` when it is negative.
pub fn size(page_size: i32) -> Result<usize, Failure> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(DEFAULT),
        Ok(size) => Ok(size.min(MOST)),
        Err(_) => Err(Failure::invalid("page_size", "must not be negative")),
    }
}

#[derive(Serialize, Deserialize)]
struct Body<K> {
    key: K,
    list: String,
}

/// The token for whoever asks for the page behind `key`. `list` names everything that the list is narrowed to, so that the token is of this
/// list only. It holds nothing that a caller may not know: it is bound against mix-ups, not signed against forgery.
pub fn token(list: &[&str], key: &impl Serialize) -> String {
    let body = Body { key, list: fingerprint(list) };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&body).unwrap_or_default())
}

/// The key in a token; `None` for an empty one, which is the first page.
///
/// # Errors
/// `PAGE_TOKEN_INVALID` when it is not of this list.
pub fn key<K: DeserializeOwned>(list: &[&str], token: &str) -> Result<Option<K>, Failure> {
    if token.is_empty() {
        return Ok(None);
    }
    let body = URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Body<K>>(&bytes).ok())
        .filter(|body| body.list == fingerprint(list));
    match body {
        Some(body) => Ok(Some(body.key)),
        None => Err(invalid()),
    }
}

/// A token that the list did not return.
pub fn invalid() -> Failure {
    Failure::field(Reason::PageTokenInvalid, "page_token", "is not one that this list returned")
}

/// What of `rows`, of which one more was read than a page has, is the page, and the last of them if there are more.
pub fn cut<T>(mut rows: Vec<T>, size: usize) -> (Vec<T>, bool) {
    let more = rows.len() > size;
    rows.truncate(size);
    (rows, more)
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
        let text = token(&["sale", "ada", ""], &(7, "x".to_owned()));
        let read = |list: &[&str], text: &str| key::<(i64, String)>(list, text);
        assert_eq!(read(&["sale", "ada", ""], &text).unwrap(), Some((7, "x".to_owned())));
        assert_eq!(read(&["sale"], "").unwrap(), None);
        for other in [&["sale", "", "ada"][..], &["sale", "eve", ""], &["salea", "da", ""]] {
            assert_eq!(read(other, &text).unwrap_err().reason(), Reason::PageTokenInvalid);
        }
        assert!(read(&["sale"], "not a token").is_err());
        // A key of another shape.
        assert!(key::<String>(&["sale", "ada", ""], &text).is_err());
    }

    #[test]
    fn a_page_has_what_was_asked_for_within_bounds() {
        assert_eq!(size(0).unwrap(), 50);
        assert_eq!(size(7).unwrap(), 7);
        assert_eq!(size(i32::MAX).unwrap(), 500);
        assert_eq!(size(-1).unwrap_err().reason(), Reason::ArgumentInvalid);
        assert_eq!(cut(vec![1, 2, 3], 2), (vec![1, 2], true));
        assert_eq!(cut(vec![1, 2], 2), (vec![1, 2], false));
    }
}
