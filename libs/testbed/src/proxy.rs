//! A TCP proxy between a process and a server, which loses replies, holds requests back, stands
//! still, is cut, or leads elsewhere.
//!
//! In front of Redis it reads the protocol as far as it takes to tell one command, and one reply,
//! from the next.

use std::{
    collections::HashMap,
    io,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// What is read at once.
const CHUNK: usize = 16 * 1024;

/// What is done to the first script call that names a word.
#[derive(Debug)]
pub enum Tap {
    /// Its reply is lost together with the connection.
    Lose,
    /// Its reply never comes, and nothing else does on that connection.
    Stall,
    /// It is not passed on before [`Hold::go`] is sent.
    Hold(Held),
}

/// Both ends of a request that is held back.
#[derive(Debug)]
pub struct Held {
    reached: oneshot::Sender<()>,
    go: oneshot::Receiver<()>,
}

/// A request that will be held back.
#[derive(Debug)]
pub struct Hold {
    /// Told when it is there.
    pub reached: oneshot::Receiver<()>,
    /// Lets it go on.
    pub go: oneshot::Sender<()>,
}

/// Which way bytes go through a plain proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    ToServer,
    /// To the client.
    ToClient,
}

/// Tells when some text comes by, once.
#[derive(Debug)]
struct Wire {
    way: Way,
    text: &'static str,
    /// Whether it is told after the text has gone on; otherwise the text waits for [`Hold::go`].
    passes: bool,
    held: Held,
}

#[derive(Debug)]
struct Control {
    /// Where it leads; 0 means nowhere.
    target: AtomicU16,
    frozen: watch::Sender<bool>,
    cut: Mutex<CancellationToken>,
    taps: Mutex<HashMap<String, Tap>>,
    wire: Mutex<Option<Wire>>,
    lost: AtomicU64,
}

/// A running proxy. Dropped, it and its connections are gone.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    control: Arc<Control>,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// A proxy that passes on whatever comes to the port `target` of this machine.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn plain(target: u16) -> anyhow::Result<Self> {
        Self::start(target, false).await
    }

    /// A proxy that reads Redis's protocol.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn of_redis(target: u16) -> anyhow::Result<Self> {
        Self::start(target, true).await
    }

    async fn start(target: u16, redis: bool) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("a proxy")?;
        let port = listener.local_addr()?.port();
        let control = Arc::new(Control {
            target: AtomicU16::new(target),
            frozen: watch::Sender::new(false),
            cut: Mutex::default(),
            taps: Mutex::default(),
            wire: Mutex::default(),
            lost: AtomicU64::new(0),
        });
        let shared = Arc::clone(&control);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (control, cut) = (Arc::clone(&shared), lock(&shared.cut).clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = cut.cancelled() => {}
                        // Whatever ends a connection ends it for both sides, which is all they
                        // learn.
                        _ = connection(client, control, redis) => {}
                    }
                });
            }
        });
        Ok(Self { port, control, accepting })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Leads new connections elsewhere.
    pub fn lead_to(&self, target: u16) {
        self.control.target.store(target, Ordering::SeqCst);
    }

    /// Ends all connections.
    pub fn cut(&self) {
        std::mem::take(&mut *lock(&self.control.cut)).cancel();
    }

    /// Stands still: connections stay open and nothing gets through, until [`Self::thaw`].
    pub fn freeze(&self) {
        self.control.frozen.send_replace(true);
    }

    /// Passes on again, first of all what has waited.
    pub fn thaw(&self) {
        self.control.frozen.send_replace(false);
    }

    /// Does something to the first script call that names `word` and is answered with a hold.
    pub fn tap(&self, word: String, tap: Tap) {
        lock(&self.control.taps).insert(word, tap);
    }

    /// Holds the first script call back that names `word`.
    pub fn hold(&self, word: String) -> Hold {
        let (reach, reached) = oneshot::channel();
        let (go, gone) = oneshot::channel();
        self.tap(word, Tap::Hold(Held { reached: reach, go: gone }));
        Hold { reached, go }
    }

    /// Tells, once, when `text` comes by on its `way` through a plain proxy: after it has passed,
    /// or before, and then it waits.
    pub fn wire(&self, way: Way, text: &'static str, passes: bool) -> Hold {
        let (reach, reached) = oneshot::channel();
        let (go, gone) = oneshot::channel();
        let held = Held { reached: reach, go: gone };
        *lock(&self.control.wire) = Some(Wire { way, text, passes, held });
        Hold { reached, go }
    }

    /// Replies that were lost, of scripts that had run.
    pub fn lost(&self) -> u64 {
        self.control.lost.load(Ordering::SeqCst)
    }
}

/// What becomes of a command's reply.
#[derive(Debug)]
enum Fate {
    Pass,
    Lose(String),
    Stall(String),
}

async fn connection(client: TcpStream, control: Arc<Control>, redis: bool) -> io::Result<()> {
    let target = control.target.load(Ordering::SeqCst);
    if target == 0 {
        return Ok(());
    }
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (fates, decided) = mpsc::unbounded_channel();
    let (up, down) = (Arc::clone(&control), control);
    if redis {
        tokio::select! {
            ended = commands(from_client, to_server, up, fates) => ended,
            ended = replies(from_server, to_client, down, decided) => ended,
        }
    } else {
        tokio::select! {
            ended = copy(from_client, to_server, Way::ToServer, up) => ended,
            ended = copy(from_server, to_client, Way::ToClient, down) => ended,
        }
    }
}

async fn thawed(control: &Control) {
    // The sender is in the control itself.
    let _ = control.frozen.subscribe().wait_for(|frozen| !frozen).await;
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    control: Arc<Control>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        thawed(&control).await;
        let chunk = &chunk[..read];
        match tripped(chunk, way, &control) {
            Some(Wire { passes: true, held, .. }) => {
                to.write_all(chunk).await?;
                let _ = held.reached.send(());
            }
            Some(Wire { held, .. }) => {
                let _ = held.reached.send(());
                let _ = held.go.await;
                to.write_all(chunk).await?;
            }
            None => to.write_all(chunk).await?,
        }
    }
}

/// The wire, if its text is in what was read at once. A text that is cut in two is waited for once
/// more.
fn tripped(chunk: &[u8], way: Way, control: &Control) -> Option<Wire> {
    let mut wire = lock(&control.wire);
    let text = wire.as_ref().filter(|wire| wire.way == way)?.text.as_bytes();
    if chunk.windows(text.len()).any(|bytes| bytes == text) { wire.take() } else { None }
}

/// Reads on until there is a whole value, and takes it out of what was read; `None` at the end.
async fn value(from: &mut OwnedReadHalf, read: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(length) = whole(read) {
            let rest = read.split_off(length);
            return Ok(Some(std::mem::replace(read, rest)));
        }
        if from.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}

async fn commands(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    control: Arc<Control>,
    fates: mpsc::UnboundedSender<Fate>,
) -> io::Result<()> {
    let mut read = Vec::with_capacity(CHUNK);
    while let Some(command) = value(&mut from, &mut read).await? {
        thawed(&control).await;
        let fate = match tapped(&command, &control) {
            Some((word, Tap::Lose)) => Fate::Lose(word),
            Some((word, Tap::Stall)) => Fate::Stall(word),
            Some((_, Tap::Hold(held))) => {
                let _ = held.reached.send(());
                let _ = held.go.await;
                Fate::Pass
            }
            None => Fate::Pass,
        };
        if fates.send(fate).is_err() {
            return Ok(());
        }
        to.write_all(&command).await?;
    }
    Ok(())
}

async fn replies(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    control: Arc<Control>,
    mut fates: mpsc::UnboundedReceiver<Fate>,
) -> io::Result<()> {
    let mut read = Vec::with_capacity(CHUNK);
    while let Some(reply) = value(&mut from, &mut read).await? {
        thawed(&control).await;
        let fate = fates.recv().await.unwrap_or(Fate::Pass);
        let ran = has_run(&reply);
        match fate {
            Fate::Lose(_) if ran => {
                control.lost.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            Fate::Stall(_) if ran => {
                control.lost.fetch_add(1, Ordering::SeqCst);
                return std::future::pending().await;
            }
            // It has not run, and is sent again.
            Fate::Lose(word) => {
                lock(&control.taps).insert(word, Tap::Lose);
            }
            Fate::Stall(word) => {
                lock(&control.taps).insert(word, Tap::Stall);
            }
            Fate::Pass => {}
        }
        to.write_all(&reply).await?;
    }
    Ok(())
}

/// The tap for this command, if it is a script call and names a word that is tapped.
fn tapped(command: &[u8], control: &Control) -> Option<(String, Tap)> {
    let mut words = lines(command);
    words.nth(2).filter(|word| *word == b"EVALSHA")?;
    let mut taps = lock(&control.taps);
    let word = words
        .filter_map(|word| std::str::from_utf8(word).ok())
        .find(|word| taps.contains_key(*word))?;
    taps.remove_entry(word)
}

/// Whether a script has done what it was called for: it answers with a hold.
fn has_run(reply: &[u8]) -> bool {
    lines(reply).nth(2) == Some(b"HOLD")
}

fn lines(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// The length of the first value in `bytes`, if it is whole.
fn whole(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let number = || std::str::from_utf8(&bytes[1..end - 2]).ok()?.parse::<i64>().ok();
    match bytes[0] {
        b'$' => {
            let length = usize::try_from(number()?).map_or(0, |length| length + 2);
            (bytes.len() >= end + length).then_some(end + length)
        }
        b'*' => {
            let mut at = end;
            for _ in 0..number()?.max(0) {
                at += whole(&bytes[at..])?;
            }
            Some(at)
        }
        // A simple text, an error or a number; or a command on one line.
        _ => Some(end),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_value_is_whole_when_its_last_byte_is_there() {
        for value in [
            "+OK\r\n",
            ":1\r\n",
            "$-1\r\n",
            "$3\r\na\r\n\r\n",
            "*2\r\n$1\r\na\r\n*1\r\n:5\r\n",
            "*0\r\n",
        ] {
            let bytes = value.as_bytes();
            assert_eq!(whole(bytes), Some(bytes.len()), "{value:?}");
            for cut in 0..bytes.len() {
                assert_eq!(whole(&bytes[..cut]), None, "{value:?} cut at {cut}");
            }
            assert_eq!(whole(&[bytes, b"+more\r\n"].concat()), Some(bytes.len()), "{value:?}");
        }
    }

    #[test]
    fn only_a_hold_says_that_a_script_has_run() {
        assert!(has_run(b"*3\r\n$4\r\nHOLD\r\n:1\r\n:0\r\n"));
        for reply in
            ["*2\r\n$8\r\nTOO_LATE\r\n:1\r\n", "-NOSCRIPT No matching script\r\n", "$4\r\nHOLD\r\n"]
        {
            assert!(!has_run(reply.as_bytes()), "{reply}");
        }
    }
}
