//! Pages of lists (AIP-158): how many, and where the next one begins.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flashsale_errors::{Failure, Reason};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

/// The last row of a page of a list by time and id: the next page is what comes behind it. Rows
/// that come meanwhile neither shift nor repeat anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "(i64, Uuid)", try_from = "(i64, Uuid)")]
pub struct Place {
    /// Its time, in whole microseconds, as Postgres keeps it.
    pub at: OffsetDateTime,
    /// Its id.
    pub id: Uuid,
}

impl From<Place> for (i64, Uuid) {
    fn from(Place { at, id }: Place) -> Self {
        // Years up to 9999 fit 64 bits in microseconds.
        (i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000)).unwrap_or(i64::MAX), id)
    }
}

impl TryFrom<(i64, Uuid)> for Place {
    type Error = &'static str;

    fn try_from((us, id): (i64, Uuid)) -> Result<Self, Self::Error> {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1_000)
            .ok()
            // A time beyond the years that the wire knows is nothing that the record could be asked
            // for.
            .filter(|at| (1..=9999).contains(&at.year()))
            .map(|at| Self { at, id })
            .ok_or("the time is out of range")
    }
}

/// How many a page has: `default` unless asked for; more than the most is the most.
///
/// # Errors
/// `ARGUMENT_INVALID` when it is negative.
pub fn size(page_size: i32, default: usize, most: usize) -> Result<usize, Failure> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(most)),
        Err(_) => {
            let what = format!("is negative; it must be 1 to {most}, or 0 for {default}");
            Err(Failure::invalid("page_size", what))
        }
    }
}

/// What is read to know whether there is another page behind one of `size`.
pub fn one_more(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX).saturating_add(1)
}

/// What of `rows`, of which [`one_more`] was read, is the page, and the last of them if there is
/// another page.
pub fn cut<T, K>(mut rows: Vec<T>, size: usize, key: impl Fn(&T) -> K) -> (Vec<T>, Option<K>) {
    let more = rows.len() > size;
    rows.truncate(size);
    let next = rows.last().filter(|_| more).map(key);
    (rows, next)
}

#[derive(Serialize, Deserialize)]
struct Body<K> {
    key: K,
    check: String,
}

/// The token with which a caller asks for the page after `key`; empty without one, which is the
/// last page. `list` names the list and everything that it is narrowed to, so that the token is of
/// this list only. It holds nothing that a caller may not know: it is checked against mix-ups, not
/// signed against forgery.
pub fn token(list: &[&str], key: Option<&impl Serialize>) -> String {
    let text = |key| {
        let check = check(list, key)?;
        serde_json::to_vec(&Body { key, check }).ok()
    };
    key.and_then(text).map(|body| URL_SAFE_NO_PAD.encode(body)).unwrap_or_default()
}

/// The key in a token; `None` for an empty one, which is the first page.
///
/// # Errors
/// `PAGE_TOKEN_INVALID` when it is not one that this list returned.
pub fn key<K: Serialize + DeserializeOwned>(
    list: &[&str],
    token: &str,
) -> Result<Option<K>, Failure> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Body<K>>(&bytes).ok())
        // Whatever is not, to the letter, what would be returned for its key.
        .filter(|body| self::token(list, Some(&body.key)) == token);
    match read {
        Some(body) => Ok(Some(body.key)),
        None => {
            let what = "is not one that this list returned";
            Err(Failure::field(Reason::PageTokenInvalid, "page_token", what))
        }
    }
}

fn check(list: &[&str], key: &impl Serialize) -> Option<String> {
    let key = serde_json::to_string(key).ok()?;
    let mut hash = Sha256::new();
    for part in list.iter().copied().chain([key.as_str()]) {
        // With its length, so that no two lists read the same.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    Some(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const US: i64 = 1_700_000_000_123_456;

    fn read(list: &[&str], text: &str) -> Result<Option<Place>, Reason> {
        key(list, text).map_err(|failure| failure.reason())
    }

    #[test]
    fn a_token_leads_back_to_its_own_list_only() {
        let place = Place::try_from((US, Uuid::from_u128(7))).unwrap();
        let text = token(&["sale", "ada", ""], Some(&place));
        assert_eq!(read(&["sale", "ada", ""], &text), Ok(Some(place)));
        assert_eq!(read(&["sale"], ""), Ok(None));
        assert_eq!(token(&["sale"], None::<&Place>), "");
        for other in [&["sale", "", "ada"][..], &["sale", "eve", ""], &["salea", "da", ""]] {
            assert_eq!(read(other, &text), Err(Reason::PageTokenInvalid));
        }
        // A key of another shape.
        assert!(key::<String>(&["sale", "ada", ""], &text).is_err());
    }

    #[test]
    fn a_token_that_was_cut_or_changed_is_none() {
        let place = Place::try_from((US, Uuid::from_u128(7))).unwrap();
        let text = token(&["sale"], Some(&place));
        let made_up = |us: &str| {
            let body = String::from_utf8(URL_SAFE_NO_PAD.decode(&text).unwrap()).unwrap();
            URL_SAFE_NO_PAD.encode(body.replace(&US.to_string(), us))
        };
        // Also with a check of its own a time has to be one.
        let far = token(&["sale"], Some(&(i64::MAX, Uuid::nil())));
        for at in 0..text.len() {
            let mut wrong = text.clone();
            let other = if &text[at..=at] == "A" { "B" } else { "A" };
            wrong.replace_range(at..=at, other);
            assert_eq!(read(&["sale"], &wrong), Err(Reason::PageTokenInvalid), "{wrong}");
        }
        for wrong in
            [&text[1..], &format!("{text}AAAA"), &made_up("1"), "not a token", "AAAA", &far]
        {
            assert_eq!(read(&["sale"], wrong), Err(Reason::PageTokenInvalid), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".+") {
            proptest::prop_assert_eq!(read(&["sale"], &text), Err(Reason::PageTokenInvalid));
        }
    }

    #[test]
    fn page_size_is_bounded() {
        assert_eq!(size(0, 50, 500).unwrap(), 50);
        assert_eq!(size(7, 50, 500).unwrap(), 7);
        assert_eq!(size(i32::MAX, 50, 500).unwrap(), 500);
        assert_eq!(size(-1, 50, 500).unwrap_err().reason(), Reason::ArgumentInvalid);
        assert_eq!(one_more(2), 3);
        assert_eq!(cut(vec![1, 2, 3], 2, |row| *row), (vec![1, 2], Some(2)));
        assert_eq!(cut(vec![1, 2], 2, |row| *row), (vec![1, 2], None));
    }
}
