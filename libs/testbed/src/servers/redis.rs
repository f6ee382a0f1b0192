//! A private Redis, with the users of the services.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::process::Command;
use super::server::{Kind, Server, StartError, io_error};
use super::tls::ServerTls;
use super::tools::Tools;
use crate::grants::Grants;

/// Where a server that is reached over TLS is asked without.
const SOCKET: &str = "redis.sock";

/// How Redis keeps what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Appendonly {
    /// In memory only: a restart loses everything.
    Off,
    /// Written to disk once a second: a crash of the machine loses a second.
    #[default]
    Everysec,
    /// Written to disk before each answer.
    Always,
}

/// How a private Redis is set up. It never evicts and makes no snapshots.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// How it keeps what it was told.
    pub appendonly: Appendonly,
}

/// A private Redis.
pub type RedisServer = Server<Redis>;

/// What a [`RedisServer`] is made of.
#[derive(Debug)]
pub struct Redis {
    program: PathBuf,
    options: RedisOptions,
    tls: Option<ServerTls>,
}

impl RedisServer {
    /// Starts Redis with its data in `dir` and waits until it answers.
    ///
    /// # Errors
    /// If it does not start; the message has the end of its log.
    pub async fn start(
        tools: &Tools,
        dir: impl Into<PathBuf>,
        options: RedisOptions,
    ) -> Result<Self, StartError> {
        let program = tools.redis_server().to_owned();
        Self::launch(Redis { program, options, tls: None }, dir.into()).await
    }

    /// The same, reached over TLS alone, by clients with a certificate.
    ///
    /// # Errors
    /// If it does not start; the message has the end of its log.
    pub async fn start_over_tls(
        tools: &Tools,
        dir: impl Into<PathBuf>,
        options: RedisOptions,
        tls: ServerTls,
    ) -> Result<Self, StartError> {
        let program = tools.redis_server().to_owned();
        Self::launch(Redis { program, options, tls: Some(tls) }, dir.into()).await
    }

    /// `redis://127.0.0.1:<port>`, or `rediss://…` over TLS.
    pub fn url(&self) -> String {
        let scheme = if self.kind().tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.port())
    }
}

impl Kind for Redis {
    const NAME: &'static str = "redis";
    const PORTS: usize = 1;
    const STOP: Signal = Signal::SIGTERM;
    const DEATH: Signal = Signal::SIGKILL;

    async fn prepare(&mut self, dir: &Path) -> Result<(), StartError> {
        write_users::<Self>(dir)
    }

    fn command(&self, dir: &Path, ports: &[u16]) -> Result<Command, StartError> {
        let (appendonly, appendfsync) = match self.options.appendonly {
            Appendonly::Off => ("no", "no"),
            Appendonly::Everysec => ("yes", "everysec"),
            Appendonly::Always => ("yes", "always"),
        };
        let command = Command::new(&self.program)
            .args(["--bind", "127.0.0.1", "--port", &ports[0].to_string()])
            .arg("--dir")
            .arg(dir)
            .args(["--daemonize", "no", "--save", ""])
            .args(["--appendonly", appendonly, "--appendfsync", appendfsync])
            .args(["--maxmemory-policy", "noeviction"])
            .arg("--aclfile")
            .arg(dir.join(USERS));
        Ok(match &self.tls {
            None => command,
            // What comes later counts. The socket is for the question whether it is ready.
            Some(tls) => command
                .args(["--port", "0", "--tls-port", &ports[0].to_string()])
                .args(["--tls-auth-clients", "yes", "--tls-ca-cert-file"])
                .arg(&tls.ca_file)
                .arg("--tls-cert-file")
                .arg(&tls.own.cert_file)
                .arg("--tls-key-file")
                .arg(&tls.own.key_file)
                .arg("--unixsocket")
                .arg(dir.join(SOCKET)),
        })
    }

    async fn ready(&self, dir: &Path, ports: &[u16], pid: u32) -> Result<(), String> {
        if self.tls.is_none() {
            return answers(ports[0], pid).await;
        }
        let stream = UnixStream::connect(dir.join(SOCKET)).await;
        answers_on(stream.map_err(|error| error.to_string())?, pid).await
    }
}

/// The file with its users.
pub(crate) const USERS: &str = "users.acl";

/// Writes the users of the services where a server has its files.
pub(crate) fn write_users<K: Kind>(dir: &Path) -> Result<(), StartError> {
    fs::write(dir.join(USERS), Grants::list().redis_acl_of_tests())
        .map_err(|error| io_error::<K>("write its users", error))
}

/// Whether the server with this process id answers on this port.
pub(crate) async fn answers(port: u16, pid: u32) -> Result<(), String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    answers_on(stream.map_err(|error| error.to_string())?, pid).await
}

async fn answers_on(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    pid: u32,
) -> Result<(), String> {
    let asked = async {
        stream.write_all(b"PING\r\nINFO server\r\nQUIT\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = asked.await.map_err(|error| error.to_string())?;
    // While it loads its data it answers PING with -LOADING.
    if !answer.starts_with("+PONG") {
        return Err(answer.lines().next().unwrap_or("no answer").to_owned());
    }
    let mine = answer.lines().any(|line| line.trim() == format!("process_id:{pid}"));
    if mine { Ok(()) } else { Err("another Redis answers on this port".to_owned()) }
}
