//! The logs of the payment provider, the mail server and the buyers: one JSON object a line.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde::{Deserialize, de::DeserializeOwned};
use uuid::Uuid;

/// A line of the payment provider's log.
#[derive(Debug, Deserialize)]
pub(crate) struct ProviderLine {
    pub(crate) ts_ms: i64,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) payment_intent: String,
    /// The refund that the line is about, if it is about one.
    #[serde(default)]
    pub(crate) refund: Option<String>,
    /// The dispute that the line is about, if it is about one.
    #[serde(default)]
    pub(crate) dispute: Option<String>,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) order_id: Option<String>,
    pub(crate) sale_id: Option<String>,
    /// The means that was charged, as the caller named it.
    #[serde(default)]
    pub(crate) payment_method: Option<String>,
}

/// A line of the mail server's log. Recipients are personal data and are not read.
#[derive(Debug, Deserialize)]
pub(crate) struct MailLine {
    pub(crate) message_id: Option<String>,
    pub(crate) headers: MailHeaders,
}

#[derive(Debug, Deserialize)]
pub(crate) struct MailHeaders {
    #[serde(rename = "x-flashsale-order")]
    pub(crate) order: Option<String>,
    #[serde(rename = "x-flashsale-about")]
    pub(crate) about: Option<String>,
}

impl MailLine {
    /// The order it is about, if it says so.
    pub(crate) fn order(&self) -> Option<Uuid> {
        self.headers.order.as_deref().and_then(|id| id.parse().ok())
    }
}

/// The id of the refund that a mail is about, as it stands there; `None` if it is about something
/// else.
pub(crate) fn refund_of(about: &str) -> Option<&str> {
    about.strip_prefix("REFUND.")
}

/// A line of the buyers' log.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Seen {
    Joined {
        buyer: String,
        number: i64,
    },
    Admitted {
        ts_ms: i64,
        buyer: String,
        number: i64,
    },
    Placed {
        buyer: String,
        request_id: Uuid,
        order_id: String,
    },
    Ended {
        order_id: String,
        state: String,
    },
    /// Refusals, which promise nothing, and all other lines.
    #[serde(other)]
    Other,
}

/// Reads a log, if one is named. While it is still being written (`whole` is false) its last line
/// may be incomplete.
pub(crate) fn read<T: DeserializeOwned>(
    path: &Option<PathBuf>,
    whole: bool,
) -> anyhow::Result<Option<Vec<T>>> {
    let Some(path) = path else { return Ok(None) };
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut lines = Vec::new();
    for (at, line) in text.split_inclusive('\n').enumerate() {
        let Some(line) = line.strip_suffix('\n') else {
            if whole {
                bail!("{}: line {} breaks off", path.display(), at + 1);
            }
            break;
        };
        let parsed = serde_json::from_str(line)
            .with_context(|| format!("{}: line {} cannot be read", path.display(), at + 1))?;
        lines.push(parsed);
    }
    Ok(Some(lines))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::io::Write as _;

    use super::*;

    #[test]
    fn truncated_log_is_read_while_written() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "{{\"event\":\"refused\"}}\n{{\"event\":\"joi").unwrap();
        let path = Some(file.path().to_owned());
        assert_eq!(read::<Seen>(&path, false).unwrap().unwrap().len(), 1);
        assert!(read::<Seen>(&path, true).is_err());
    }

    #[test]
    fn missing_log_is_an_error() {
        assert!(read::<Seen>(&None, true).unwrap().is_none());
        assert!(read::<Seen>(&Some("/nowhere/at/all".into()), true).is_err());
    }
}
