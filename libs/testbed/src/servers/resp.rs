//! As much of Redis's protocol as it takes to set servers up: one command on a connection of its
//! own.

use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// How long a command may take; one that moves keys takes the longest.
const WITHIN: Duration = Duration::from_secs(10);

/// What a Redis answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing there.
    Nil,
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Reply>),
}

impl Reply {
    /// The text, or nothing.
    pub fn text(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }

    /// The list, or an empty one.
    pub fn list(&self) -> &[Self] {
        if let Self::List(list) = self { list } else { &[] }
    }
}

/// Why a command has no answer.
#[derive(Debug, Error)]
pub enum RespError {
    /// The server refused it.
    #[error("{0}")]
    Refused(String),
    /// It cannot be reached.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Asks the Redis on a port of 127.0.0.1.
///
/// # Errors
/// [`RespError`]
pub async fn ask(port: u16, command: &[&str]) -> Result<Reply, RespError> {
    let asked = async {
        let mut stream = BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?);
        let mut sent = format!("*{}\r\n", command.len());
        for word in command {
            sent.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(sent.as_bytes()).await?;
        read(&mut stream).await
    };
    tokio::time::timeout(WITHIN, asked)
        .await
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

type Reading<'a> = Pin<Box<dyn Future<Output = Result<Reply, RespError>> + Send + 'a>>;

fn read(stream: &mut BufReader<TcpStream>) -> Reading<'_> {
    Box::pin(async move {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let line = line.trim_end();
        let Some((kind, rest)) = line.split_at_checked(1) else {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        };
        let number = || {
            rest.parse::<i64>()
                .map_err(|error| RespError::from(io::Error::new(io::ErrorKind::InvalidData, error)))
        };
        Ok(match kind {
            "-" => return Err(RespError::Refused(rest.to_owned())),
            ":" => Reply::Int(number()?),
            "$" => match usize::try_from(number()?) {
                Err(_) => Reply::Nil,
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    stream.read_exact(&mut bytes).await?;
                    bytes.truncate(length);
                    Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
                }
            },
            "*" => match usize::try_from(number()?) {
                Err(_) => Reply::Nil,
                Ok(length) => {
                    let mut list = Vec::with_capacity(length);
                    for _ in 0..length {
                        list.push(read(stream).await?);
                    }
                    Reply::List(list)
                }
            },
            _ => Reply::Text(rest.to_owned()),
        })
    })
}
