//! A sale whose Redis loses everything recovers unattended, and no order is lost or sold twice.

use std::time::{Duration, Instant};

use flashsale_errors::{Failure, Reason};
use flashsale_proto::{
    checkout::OrderState,
    inventory::{GetStockRequest, inventory_service_client::InventoryServiceClient},
    waitingroom::Outlook,
};
use flashsale_testbed::{assert_failure, eventually};
use nix::sys::signal::{Signal, kill};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    command::{Flashsale, channel},
    shopper::{SKU, Shopper},
};

/// Sends one inline command to Redis and returns the answer.
async fn redis(url: &str, command: &str) -> String {
    let address = url.strip_prefix("redis://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn wiped_redis_is_rebuilt_within_10s() {
    let mut up = Flashsale::start(&["up"]);
    up.read_until("Ctrl-C stops everything");
    let about = up.json("up.json");
    let text = |name: &str| about[name].as_str().unwrap().to_owned();
    let (sale_id, redis_url) = (text("sale_id"), text("redis"));
    let channel = channel(&about).await;
    let books = async || {
        let skus = vec![SKU.to_owned()];
        let get = GetStockRequest { sale_id: sale_id.clone(), skus, fresh: false };
        let mut stock = InventoryServiceClient::new(channel.clone());
        stock.get_stock(get).await.map(|answer| answer.into_inner())
    };
    let shopper = async |name: &str| {
        let mut shopper = Shopper::new(channel.clone(), &sale_id, name);
        shopper.come_in().await;
        shopper
    };
    // At the loss one order is paid, and one just placed and perhaps not yet claimed.
    let (ada, bob, cem) = (shopper("Ada").await, shopper("Bob").await, shopper("Cem").await);
    let paid = ada.place(1, "pm_card_visa").await.unwrap();
    ada.sees(&paid, OrderState::Confirmed).await;
    let before = books().await.unwrap();
    let placed = bob.place(2, "pm_card_visa").await.unwrap();
    assert!(redis(&redis_url, "FLUSHALL").await.starts_with("+OK"));

    let lost = Instant::now();
    let after = eventually("the sale is open again", async || match books().await {
        Ok(stock) => Some(stock),
        Err(status) => {
            let reason = Failure::from_status(&status).map(|failure| failure.reason());
            assert_eq!(reason, Some(Reason::StockFenced), "{status:?}");
            None
        }
    })
    .await;
    assert!(lost.elapsed() < Duration::from_secs(10), "it took {:?}", lost.elapsed());
    assert_eq!(after.epoch, before.epoch + 1);
    bob.sees(&placed, OrderState::Confirmed).await;
    eventually("the books have every order", async || {
        let now = books().await.unwrap().stock.remove(0);
        assert_eq!(now.allotted, now.available + now.held + now.placed + now.sold);
        (now.sold == 3 && now.available == now.allotted - 3).then_some(())
    })
    .await;
    // The room was lost too, and restored from the record: a buyer admitted before can still order,
    // once their ticket has brought their place back.
    let refused = cem.place(1, "pm_card_visa").await.unwrap_err();
    assert_failure(&refused, Reason::AdmissionWithdrawn);
    assert_eq!(cem.asks().await.outlook(), Outlook::Admitted);
    cem.place(1, "pm_card_visa").await.unwrap();
    let audit = up.say(&["stock", "audit", "--sale", &sale_id]);
    assert_eq!(audit.code, Some(0), "{audit:?}");

    kill(up.pid(), Signal::SIGINT).unwrap();
    let (status, said) = up.end();
    assert!(status.success(), "{said}");
}
