//! Each service reaches the stores as its own user.

use flashsale_testbed::eventually;

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
}
