//! Each service reaches the stores as its own user.

use std::collections::BTreeSet;

use flashsale_testbed::{ask_redis, eventually};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::world::world;

#[tokio::test]
async fn services_have_users_of_their_own() {
    let world = world(|_| {}).await;
    let connected = eventually("both are connected to Postgres", async || {
        let connected: Vec<(String, String)> = sqlx::query_as(
            "SELECT DISTINCT application_name, usename::text FROM pg_stat_activity
             WHERE datname = current_database() AND application_name <> '' ORDER BY 1",
        )
        .fetch_all(&world.pg.pool)
        .await
        .unwrap();
        (connected.len() == 3).then_some(connected)
    })
    .await;
    let connected: Vec<_> =
        connected.iter().map(|(service, user)| (service.as_str(), user.as_str())).collect();
    let own =
        [("checkout", "checkout"), ("inventory", "inventory"), ("inventory-serving", "inventory")];
    assert_eq!(connected, own);

    let clients = ask_redis(world.redis.server.port(), &["CLIENT", "LIST"]).await.unwrap();
    let users: BTreeSet<&str> = clients
        .text()
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("user="))
        // The test itself.
        .filter(|user| *user != "default")
        .collect();
    assert_eq!(users.into_iter().collect::<Vec<_>>(), ["inventory"]);

    let connections = page(&world.nats.server.monitoring_url(), "/connz?auth=1").await;
    for user in ["checkout", "inventory"] {
        // Inventory has no queue in this world.
        let there = connections.contains(&format!("\"authorized_user\": \"{user}\""));
        assert_eq!(there, user == "checkout", "{connections}");
    }
}

/// A page of a server at `http://host:port`.
async fn page(server: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(server.strip_prefix("http://").unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}
