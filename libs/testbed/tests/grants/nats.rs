//! What NATS grants.

use std::{collections::BTreeSet, time::Duration};

use async_nats::{Client, ConnectOptions, Event, ServerError};
use flashsale_testbed::{
    eventually,
    grants::{Grants, PASSWORD},
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Requests to JetStream that no service makes, and other subjects of no service.
const STRANGE: [&str; 16] = [
    "other",
    "orders",
    "orders.other.x",
    "orders.place.x.y",
    "events.other.x",
    "$JS.API.INFO",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.CREATE.OTHER",
    "$JS.API.STREAM.DELETE.ORDERS",
    "$JS.API.STREAM.DELETE.ORDER_EVENTS",
    "$JS.API.STREAM.MSG.DELETE.ORDERS",
    "$JS.API.STREAM.SNAPSHOT.ORDERS",
    "$JS.API.DIRECT.GET.ORDERS",
    "$JS.API.CONSUMER.DURABLE.CREATE.ORDERS.x",
    "$JS.API.CONSUMER.CREATE.ORDER_EVENTS",
    "$SYS.REQ.SERVER.PING",
];

/// What no user may do, so that its refusal is the last one.
const LAST: &str = "the.last";

/// A connection as this user, and what the server refuses it.
async fn connect(url: &str, user: &str) -> (Client, UnboundedReceiver<String>) {
    let (told, refusals) = unbounded_channel();
    let options = ConnectOptions::with_user_and_password(user.to_owned(), PASSWORD.to_owned())
        .custom_inbox_prefix(format!("_INBOX.{user}"));
    let options = options.event_callback(move |event| {
        let told = told.clone();
        async move {
            if let Event::ServerError(ServerError::Other(text)) = event {
                let _ = told.send(text.to_lowercase());
            }
        }
    });
    (options.connect(url).await.unwrap_or_else(|error| panic!("{user}: {error}")), refusals)
}

/// The subjects that were refused, up to [`LAST`].
async fn refused(client: &Client, refusals: &mut UnboundedReceiver<String>) -> BTreeSet<String> {
    client.publish(LAST, "".into()).await.unwrap();
    client.flush().await.unwrap();
    let mut refused = BTreeSet::new();
    loop {
        let told = tokio::time::timeout(Duration::from_secs(10), refusals.recv()).await;
        let text = told.expect("a refusal").expect("the connection");
        let subject = text.split('"').nth(1).unwrap_or_else(|| panic!("{text}")).to_owned();
        if subject == LAST {
            return refused;
        }
        refused.insert(subject);
    }
}

/// Whether a subject without wildcards is one of a pattern's.
fn matches(pattern: &str, subject: &str) -> bool {
    let (pattern, subject): (Vec<_>, Vec<_>) =
        (pattern.split('.').collect(), subject.split('.').collect());
    pattern.len() == subject.len()
        && pattern.iter().zip(&subject).all(|(want, have)| *want == "*" || want == have)
}

#[tokio::test]
async fn users_publish_where_the_list_says_and_nowhere_else() {
    let nats = flashsale_testbed::nats().await;
    let list = &Grants::list().nats;
    let known = list.values().flat_map(|user| &user.publish);
    let mut subjects: BTreeSet<String> = known.map(|pattern| pattern.replace('*', "x")).collect();
    subjects.extend(STRANGE.map(str::to_owned));
    subjects.extend(list.keys().map(|name| format!("_INBOX.{name}.x")));
    for (name, user) in list {
        let (client, mut refusals) = connect(&nats.url, name).await;
        for subject in &subjects {
            client.publish(subject.clone(), "".into()).await.unwrap();
        }
        let found = refused(&client, &mut refusals).await;
        let wanted: BTreeSet<String> = subjects
            .iter()
            .filter(|subject| !user.publish.iter().any(|pattern| matches(pattern, subject)))
            .map(|subject| subject.to_lowercase())
            .collect();
        assert_eq!(found, wanted, "{name}");
    }
}

#[tokio::test]
async fn users_listen_where_the_list_says_and_nowhere_else() {
    let nats = flashsale_testbed::nats().await;
    let list = &Grants::list().nats;
    let known = list.values().flat_map(|user| &user.subscribe).cloned();
    let inboxes = list.keys().map(|name| format!("_INBOX.{name}.>"));
    let wide = [">", "orders.>", "orders.place.*", "events.>", "_INBOX.>", "$JS.API.>", "$SYS.>"];
    let subjects: BTreeSet<String> = known.chain(inboxes).chain(wide.map(str::to_owned)).collect();
    for (name, user) in list {
        let (client, mut refusals) = connect(&nats.url, name).await;
        let mut all = Vec::new();
        for subject in &subjects {
            all.push(client.subscribe(subject.clone()).await.unwrap());
        }
        let found = refused(&client, &mut refusals).await;
        let own = format!("_INBOX.{name}.>");
        let wanted: BTreeSet<String> = subjects
            .iter()
            .filter(|subject| **subject != own && !user.subscribe.contains(subject))
            .map(|subject| subject.to_lowercase())
            .collect();
        assert_eq!(found, wanted, "{name}");
    }
}

#[tokio::test]
async fn strangers_are_not_let_in() {
    let nats = flashsale_testbed::nats().await;
    for (user, password) in [("checkout", "wrong"), ("checkout", ""), ("stranger", PASSWORD)] {
        let options = ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
        assert!(options.connect(&nats.url).await.is_err(), "{user}");
    }
    // The tests themselves name no user.
    let client = async_nats::connect(&nats.url).await.unwrap();
    eventually("the tests may do everything", async || client.flush().await.ok()).await;
}

#[test]
fn every_subject_is_published_by_its_owner() {
    for (name, user) in &Grants::list().nats {
        // NATS takes an empty list for no rule at all.
        assert!(!user.publish.is_empty(), "{name} may publish anywhere");
        for pattern in &user.publish {
            let wide = pattern.contains('>') || pattern.starts_with('*');
            assert!(!wide, "{name} publishes {pattern}");
        }
    }
}
