//! The parts of a message that are logged: some headers, unfolded, and a digest of the body.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The prefix of the shop's own headers, in lower case.
const OURS: &str = "x-flashsale-";

/// A message, parsed as far as the log needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// `Message-ID`, without its angle brackets.
    pub message_id: Option<String>,
    /// `Subject`, unfolded, encoded words left as they are.
    pub subject: Option<String>,
    /// Every `X-Flashsale-…` header, by its name in lower case; the first of each name.
    pub headers: BTreeMap<String, String>,
    /// SHA-256 of the body, which begins after the empty line, in lower-case hex.
    pub body_sha256: String,
}

impl Message {
    /// Parses a message with CRLF line ends (RFC 5322, sections 2.1 and 2.2).
    #[must_use]
    pub fn read(raw: &[u8]) -> Self {
        let (head, body) = if let Some(body) = raw.strip_prefix(b"\r\n") {
            (&raw[..0], body)
        } else {
            match raw.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => (&raw[..end + 2], &raw[end + 4..]),
                None => (raw, &raw[raw.len()..]),
            }
        };
        let mut message = Self { body_sha256: hex(&Sha256::digest(body)), ..Self::default() };
        for (name, value) in headers(&String::from_utf8_lossy(head)) {
            match name.as_str() {
                "message-id" => {
                    let bare = value.trim_start_matches('<').trim_end_matches('>').to_owned();
                    message.message_id.get_or_insert(bare);
                }
                "subject" => {
                    message.subject.get_or_insert(value);
                }
                _ if name.starts_with(OURS) => {
                    message.headers.entry(name).or_insert(value);
                }
                _ => {}
            }
        }
        message
    }
}

/// The headers in their order: names in lower case, values unfolded (section 2.2.3: the CRLF of a
/// folded line is dropped, its white space stays).
fn headers(head: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in head.split("\r\n").filter(|line| !line.is_empty()) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = found.last_mut() {
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            found.push((name.trim_end().to_ascii_lowercase(), value.to_owned()));
        }
    }
    for (_, value) in &mut found {
        *value = value.trim().to_owned();
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn own_headers_are_unfolded_and_kept() {
        let message = Message::read(
            b"From: <shop@x.example>\r\nSubject: Your order\r\n is confirmed\r\n\
              Message-ID: <1@x.example>\r\nX-Flashsale-Order: o-1\r\n\
              X-FLASHSALE-KIND:\r\n\tconfirmation\r\nX-Other: no\r\n\r\nX-Flashsale-Order: body\r\n",
        );
        assert_eq!(message.subject.unwrap(), "Your order is confirmed");
        assert_eq!(message.message_id.unwrap(), "1@x.example");
        let ours: Vec<(&str, &str)> =
            message.headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(ours, [("x-flashsale-kind", "confirmation"), ("x-flashsale-order", "o-1")]);
        let body = hex(&Sha256::digest(b"X-Flashsale-Order: body\r\n"));
        assert_eq!(message.body_sha256, body);
    }

    #[test]
    fn odd_messages_are_read() {
        let empty = hex(&Sha256::digest(b""));
        for raw in ["", "Subject: x", "Subject: x\r\n", " folded nothing\r\n\r\n", "no colon\r\n"] {
            assert_eq!(Message::read(raw.as_bytes()).body_sha256, empty, "{raw:?}");
        }
        let headless = Message::read(b"\r\nbody");
        assert_eq!(headless.body_sha256, hex(&Sha256::digest(b"body")));
    }
}
