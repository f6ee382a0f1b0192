//! Replies that are lost on their way from Redis: each request takes effect once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use flashsale_inventory::domain::Refusal;
use flashsale_testbed::eventually;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    books::assert_books_balance,
    world::{SaleSpec, place, place_lines, release, reserve, world_on},
};

/// A proxy of Redis that can lose the reply to a script: Redis has run it, and the connection
/// breaks.
struct Proxy {
    url: String,
    to_lose: Arc<AtomicU32>,
    /// How many connections will hang when they carry a script: no reply comes, and they stay open.
    to_hang: Arc<AtomicU32>,
    _accepting: tokio::task::JoinSet<()>,
}

impl Proxy {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (to_lose, to_hang) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let mut accepting = tokio::task::JoinSet::new();
        accepting.spawn({
            let (to_lose, to_hang) = (Arc::clone(&to_lose), Arc::clone(&to_hang));
            async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    let (to_lose, to_hang) = (Arc::clone(&to_lose), Arc::clone(&to_hang));
                    connections.spawn(carry(client, server, to_lose, to_hang));
                }
            }
        });
        Self { url, to_lose, to_hang, _accepting: accepting }
    }

    /// Loses the reply to the next script.
    fn lose_one(&self) {
        self.to_lose.store(1, Ordering::SeqCst);
    }

    fn has_lost_it(&self) -> bool {
        self.to_lose.load(Ordering::SeqCst) == 0
    }
}

/// Forwards a connection's bytes both ways, until it breaks or is broken.
async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    to_lose: Arc<AtomicU32>,
    to_hang: Arc<AtomicU32>,
) {
    let (mut asked, mut answered) = ([0; 16_384], [0; 16_384]);
    let (mut loses, mut hangs) = (false, false);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(count @ 1..) = read else { return };
                let script = asked[..count].windows(7).any(|word| word == b"EVALSHA");
                let one = |left: u32| left.checked_sub(1);
                hangs |= script && to_hang.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one).is_ok();
                loses |= script && to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one).is_ok();
                if server.write_all(&asked[..count]).await.is_err() { return }
            }
            read = server.read(&mut answered) => {
                let Ok(count @ 1..) = read else { return };
                if hangs { continue }
                if loses || client.write_all(&answered[..count]).await.is_err() { return }
            }
        }
    }
}

#[tokio::test]
async fn lost_reply_takes_units_once() {
    let redis = flashsale_testbed::redis().await;
    let proxy = Proxy::to(redis.server.port()).await;
    let world = world_on(redis, &proxy.url).await;
    let sale = world.sale(SaleSpec::default(), &[("a", 20, 0, 1)]).await;
    let mut carts = Vec::new();
    for _ in 0..4 {
        let cart = world.ask(&reserve(sale, "ada", &[("a", 1)])).await.unwrap();
        carts.push(cart.hold.hold_id);
    }
    // So that Redis has the scripts: the first reply to each only says that it does not.
    world.ask(&place(sale, "ada", carts[0])).await.unwrap();
    world.ask(&release(sale, "ada", carts[1])).await.unwrap();
    for request in [
        reserve(sale, "bob", &[("a", 2)]),
        place_lines(sale, "bob", &[("a", 3)]),
        place(sale, "ada", carts[2]),
        release(sale, "ada", carts[3]),
    ] {
        proxy.lose_one();
        let first = world.ask(&request).await;
        assert!(proxy.has_lost_it(), "{request:?}");
        // The buyer retries, and retries again.
        let again = eventually("there is an answer", async || world.ask(&request).await.ok()).await;
        assert_books_balance(&world, sale).await;
        assert!(again.replayed, "{request:?} was done again");
        assert_eq!(first, Err(Refusal::Unanswered), "{request:?}");
    }
    assert_eq!(world.books(sale, "a").await, [13, 2, 5, 0]);
}

#[tokio::test]
async fn hung_connection_does_not_block_others() {
    let redis = flashsale_testbed::redis().await;
    let proxy = Proxy::to(redis.server.port()).await;
    // Over two connections, in turn.
    let world = world_on(redis, &proxy.url).await;
    let sale = world.sale(SaleSpec::default(), &[("a", 20, 0, 1)]).await;
    world.ask(&reserve(sale, "ada", &[("a", 1)])).await.unwrap();
    proxy.to_hang.store(1, Ordering::SeqCst);
    let mut answered: Vec<bool> = Vec::new();
    // Two hanging runs are as many as may be under way at once.
    while answered.iter().filter(|answered| !**answered).count() < 2
        || answered.last() == Some(&false)
    {
        assert!(answered.len() < 12, "no caller is answered any more: {answered:?}");
        // A caller that gives up leaves behind a script whose reply is still awaited.
        let request = reserve(sale, "bob", &[("a", 1)]);
        let answer = tokio::time::timeout(Duration::from_secs(1), world.ask(&request)).await;
        answered.push(answer.is_ok_and(|answer| answer.is_ok()));
    }
    // All of them were run.
    let all = 1 + i64::try_from(answered.len()).unwrap();
    let read = async || {
        let stock = world.inventory.read(sale, &[]).await.ok()?;
        (stock.skus[0].held == all).then_some(())
    };
    eventually("all of them hold their unit", read).await;
}
