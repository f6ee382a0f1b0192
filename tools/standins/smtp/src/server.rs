//! The listener and the connections, with bounds on lines, sizes, idle time and connections.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Config;
use crate::log::Log;
use crate::session::{Envelope, Next, Reply, Session, too_big};

/// A command line with its CRLF: 512 octets, and what SIZE, BODY and SMTPUTF8 add to MAIL
/// (RFC 5321, section 4.5.3.1.4; RFC 1870; RFC 6531).
const MAX_COMMAND: usize = 512 + 26 + 17 + 10;
/// A line of a message with its CRLF (section 4.5.3.1.6). Longer ones are refused.
const MAX_LINE: usize = 1000;
/// Refused lines in one connection before it is closed.
const MAX_BAD: u32 = 20;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) log: Log,
}

/// Accepts connections until `stop` is cancelled.
pub(crate) async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(shared.config.max_connections));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Possibly out of file descriptors: wait for some to be released.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        let place = Arc::clone(&places).try_acquire_owned();
        tasks.spawn(async move {
            let _ = stream.set_nodelay(true);
            let ended = match place {
                Ok(_place) => talk(stream, &shared, &stop).await,
                // Section 3.8: a server that cannot serve says so and closes.
                Err(_) => turn_away(stream, shared.config.idle_timeout).await,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke");
            }
        });
    }
}

async fn turn_away(mut stream: TcpStream, patience: Duration) -> io::Result<()> {
    let reply = Reply::new(421, "Too many connections, try again later").encode();
    within(patience, stream.write_all(&reply)).await
}

/// One dialogue, from greeting to end.
async fn talk(stream: TcpStream, shared: &Shared, stop: &CancellationToken) -> io::Result<()> {
    let config = &shared.config;
    let patience = config.idle_timeout;
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::with_capacity(16 * 1024, read);
    let mut session = Session::new(config.max_size, config.reject_pattern.as_deref());
    let mut bad = 0;
    within(patience, write.write_all(&Session::greeting().encode())).await?;
    let mut line = Vec::new();
    loop {
        let got = tokio::select! {
            () = stop.cancelled() => {
                let reply = Reply::new(421, "Shutting down").encode();
                return within(patience, write.write_all(&reply)).await;
            }
            got = within(patience, read_line(&mut read, &mut line, MAX_COMMAND)) => got,
        };
        let got = match got {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                let reply = Reply::new(421, "Idle for too long").encode();
                return within(patience, write.write_all(&reply)).await;
            }
            got => got?,
        };
        let (reply, next) = match got {
            Got::End => return Ok(()),
            Got::TooLong => (Reply::new(500, "Line too long"), Next::Command),
            Got::Line => match std::str::from_utf8(&line) {
                Ok(text) => session.take(text),
                Err(_) => (Reply::new(500, "Not UTF-8"), Next::Command),
            },
        };
        bad += u32::from((500..=502).contains(&reply.code));
        within(patience, write.write_all(&reply.encode())).await?;
        if bad > MAX_BAD {
            let reply = Reply::new(421, "Too many errors").encode();
            return within(patience, write.write_all(&reply)).await;
        }
        match next {
            Next::Command => {}
            Next::Close => return Ok(()),
            Next::Data(envelope) => {
                let Some(received) = receive(&mut read, config.max_size, patience).await? else {
                    return Ok(());
                };
                let reply = judge(shared, envelope, received);
                within(patience, write.write_all(&reply.encode())).await?;
            }
        }
    }
}

/// A received message, or why it cannot be accepted.
enum Received {
    Message(Vec<u8>),
    TooBig,
    LineTooLong,
}

/// The reply to a message; 250 only once it is stored.
fn judge(shared: &Shared, envelope: Envelope, received: Received) -> Reply {
    let raw = match received {
        Received::Message(raw) => raw,
        Received::TooBig => return too_big(),
        Received::LineTooLong => return Reply::new(500, "Line too long"),
    };
    let rate = shared.config.fail_rate;
    if rate > 0.0 && rand::rng().random::<f64>() < rate {
        return Reply::new(451, "Requested action aborted: a fault of the sink");
    }
    match shared.log.keep(&envelope, &raw) {
        Ok(()) => Reply::new(250, "OK: kept"),
        Err(error) => {
            tracing::error!(%error, "a message could not be kept");
            Reply::new(451, "Requested action aborted: the message could not be kept")
        }
    }
}

/// Reads a message up to its terminating dot, undoing the dot-stuffing of section 4.5.2. `None` if
/// the client disconnected. A message that cannot be accepted is still read to its end, so that the
/// dialogue stays in step.
async fn receive(
    read: &mut (impl AsyncBufRead + Unpin),
    max_size: u64,
    patience: Duration,
) -> io::Result<Option<Received>> {
    let max_size = usize::try_from(max_size).unwrap_or(usize::MAX);
    let mut message = Vec::new();
    let (mut too_big, mut too_long) = (false, false);
    let mut line = Vec::new();
    loop {
        match within(patience, read_line(read, &mut line, MAX_LINE)).await? {
            Got::End => return Ok(None),
            Got::TooLong => too_long = true,
            Got::Line if line == b"." => break,
            Got::Line => {
                let line = line.strip_prefix(b".").unwrap_or(&line);
                too_big |= message.len() + line.len() + 2 > max_size;
                if !too_big && !too_long {
                    message.extend_from_slice(line);
                    message.extend_from_slice(b"\r\n");
                }
            }
        }
    }
    Ok(Some(match (too_big, too_long) {
        (true, _) => Received::TooBig,
        (false, true) => Received::LineTooLong,
        (false, false) => Received::Message(message),
    }))
}

/// The result of reading a line.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    /// The line is in the buffer, without its CRLF.
    Line,
    /// It was longer than allowed; it has been read and discarded.
    TooLong,
    End,
}

/// Reads up to CRLF. A bare LF or CR is part of the line, not its end (section 2.3.8): servers that
/// take it for one are open to SMTP smuggling.
async fn read_line(
    read: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    max: usize,
) -> io::Result<Got> {
    line.clear();
    let mut too_long = false;
    // The last octet of a discarded part, in case it is the CR of the line end.
    let mut last = 0;
    loop {
        let chunk = read.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(Got::End);
        }
        let end = chunk.iter().position(|&octet| octet == b'\n').map(|at| at + 1);
        let taken = end.unwrap_or(chunk.len());
        let before = if taken >= 2 { chunk[taken - 2] } else { last };
        last = chunk[taken - 1];
        if !too_long {
            line.extend_from_slice(&chunk[..taken]);
        }
        read.consume(taken);
        if line.len() > max {
            too_long = true;
            line.clear();
        }
        if end.is_some() && before == b'\r' {
            if too_long {
                return Ok(Got::TooLong);
            }
            line.truncate(line.len() - 2);
            return Ok(Got::Line);
        }
    }
}

async fn within<T>(patience: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(patience, work).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[tokio::test]
    async fn only_crlf_ends_a_line() {
        let input = b"a\nb\rc\r\n\r\n.\n\r\nlonger than allowed\r\nok\r\nno end";
        for capacity in 1..input.len() {
            let mut read = BufReader::with_capacity(capacity, &input[..]);
            let mut line = Vec::new();
            let expected: [(Got, &[u8]); 6] = [
                (Got::Line, b"a\nb\rc"),
                (Got::Line, b""),
                (Got::Line, b".\n"),
                (Got::TooLong, b""),
                (Got::Line, b"ok"),
                (Got::End, b"no end"),
            ];
            for (got, text) in expected {
                let read = read_line(&mut read, &mut line, 10).await.unwrap();
                assert_eq!((read, line.as_slice()), (got, text), "pieces of {capacity}");
            }
        }
    }
}
