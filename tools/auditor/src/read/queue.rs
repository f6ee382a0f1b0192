//! The content of `ORDERS`. Messages are read by number: no consumer is created.

use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::jetstream::{
    self,
    message::StreamMessage,
    stream::{RawMessageErrorKind, Stream},
};
use futures::{StreamExt as _, TryStreamExt as _};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use uuid::Uuid;

use super::Line;
use crate::{Client, Options};

const STREAM: &str = "ORDERS";
/// Messages requested concurrently.
const AT_ONCE: usize = 64;

#[derive(Debug)]
pub(crate) struct Queue {
    /// When the stream was created, in µs since 1970: a recreated stream counts from 1 again.
    pub(crate) created_us: i64,
    pub(crate) messages: Vec<Message>,
    /// Numbers of messages of the sale that cannot be read.
    pub(crate) unreadable: Vec<u64>,
}

#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) seq: u64,
    pub(crate) message_id: Option<String>,
    pub(crate) body: Body,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Body {
    pub(crate) kind: Kind,
    pub(crate) order_id: Uuid,
    pub(crate) buyer_id: String,
    pub(crate) hold_id: Uuid,
    pub(crate) request_id: Uuid,
    pub(crate) lines: Vec<Line>,
    pub(crate) currency: String,
    pub(crate) total_minor: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Place,
    Cancel,
}

/// Reads every message of the sale that has not been purged.
pub(crate) async fn read(options: &Options) -> anyhow::Result<Queue> {
    let server: async_nats::ServerAddr = options.nats.parse().context("the URL")?;
    // The driver passes over the user that a URL names.
    let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let connect = match (server.username(), server.password()) {
        (Some(user), password) => async_nats::ConnectOptions::with_user_and_password(
            plain(user),
            plain(password.unwrap_or_default()),
        ),
        (None, _) => async_nats::ConnectOptions::new(),
    };
    let mut connect = connect
        .name("flashsale-auditor")
        // What the user `auditor` may listen to.
        .custom_inbox_prefix("_INBOX.auditor")
        .connection_timeout(Duration::from_secs(5))
        .request_timeout(Some(Duration::from_secs(10)));
    let Client { ca_file, cert_file, key_file, nats_credentials } = options.client.clone();
    if let Some(authorities) = ca_file {
        connect = connect.add_root_certificates(authorities);
    }
    if let (Some(cert), Some(key)) = (cert_file, key_file) {
        connect = connect.add_client_certificate(cert, key);
    }
    if let Some(file) = nats_credentials {
        connect = connect.credentials_file(file).await.context("the credentials")?;
    }
    let client = connect.connect(server).await?;
    let stream = jetstream::new(client).get_stream(STREAM).await.context(STREAM)?;
    let info = stream.get_info().await?;
    let created_us = i64::try_from(info.created.unix_timestamp_nanos() / 1_000)?;
    // Numbers begin at 1; a stream that never had a message reports 0 as its first.
    let first = info.state.first_sequence.max(1);
    let asked = futures::stream::iter(first..=info.state.last_sequence);
    let mut found: Vec<StreamMessage> = asked
        .map(|seq| message(&stream, seq))
        .buffered(AT_ONCE)
        .try_filter_map(|found| async { Ok(found) })
        .try_collect()
        .await?;
    let subjects =
        [format!("orders.place.{}", options.sale), format!("orders.cancel.{}", options.sale)];
    found.retain(|message| subjects.iter().any(|subject| *subject == *message.subject));
    let mut queue = Queue { created_us, messages: Vec::new(), unreadable: Vec::new() };
    for message in found {
        match serde_json::from_slice::<Body>(&message.payload) {
            Ok(mut body) => {
                body.lines.sort();
                queue.messages.push(Message {
                    seq: message.sequence,
                    message_id: message.headers.get("Nats-Msg-Id").map(ToString::to_string),
                    body,
                });
            }
            Err(_) => queue.unreadable.push(message.sequence),
        }
    }
    Ok(queue)
}

/// One message; `None` if it was purged, as claimed ones are.
async fn message(stream: &Stream, seq: u64) -> anyhow::Result<Option<StreamMessage>> {
    match stream.get_raw_message(seq).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => bail!("message {seq}: {error}"),
    }
}
