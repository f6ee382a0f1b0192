//! A private Postgres.

use std::fs::{self, Permissions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, User};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::folder::LockedFolder;
use super::process::{Command, log_tail};
use super::server::{Kind, Server, StartError, io_error};
use super::tls::ServerTls;
use super::tools::Tools;

/// `initdb` takes a second or two on an idle machine.
const INITDB_WITHIN: Duration = Duration::from_secs(120);
/// The superuser; connections from 127.0.0.1 need no password.
const SUPERUSER: &str = "postgres";
/// What it speaks TLS with, in its folder: the authority of its clients, its certificate and key.
const TLS_FILES: [&str; 3] = ["tls-ca.pem", "tls.pem", "tls.key"];

/// How a private Postgres is set up.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Off, a crash of the machine (not of Postgres) may lose everything: only for tests.
    pub fsync: bool,
    /// How many connections it takes.
    pub max_connections: u32,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { fsync: true, max_connections: 200 }
    }
}

/// A private Postgres.
pub type PostgresServer = Server<Postgres>;

/// What a [`PostgresServer`] is made of.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    options: PostgresOptions,
    tls: Option<ServerTls>,
    /// Who Postgres runs as when we are root, which it refuses.
    user: Option<(Uid, Gid)>,
    data: PathBuf,
    /// Where the data had to go because that user cannot reach the folder asked for.
    elsewhere: Option<LockedFolder>,
}

impl PostgresServer {
    /// Starts Postgres with its data in `dir` and waits until it takes connections. A folder
    /// without a database gets one. As root it runs as the user `postgres` (or `nobody`); where
    /// that user cannot reach `dir`, the data goes to a fresh folder under /tmp or /var/tmp, which
    /// is removed at the end.
    ///
    /// # Errors
    /// If it does not start; the message has the end of its log.
    pub async fn start(
        tools: &Tools,
        dir: impl Into<PathBuf>,
        options: PostgresOptions,
    ) -> Result<Self, StartError> {
        Self::launch(Postgres::new(tools, options), dir.into()).await
    }

    /// The same, reached over TLS alone, by clients with a certificate.
    ///
    /// # Errors
    /// If it does not start; the message has the end of its log.
    pub async fn start_over_tls(
        tools: &Tools,
        dir: impl Into<PathBuf>,
        options: PostgresOptions,
        tls: ServerTls,
    ) -> Result<Self, StartError> {
        let postgres = Postgres { tls: Some(tls), ..Postgres::new(tools, options) };
        Self::launch(postgres, dir.into()).await
    }

    /// The URL of the database `postgres`, as superuser.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The URL of a database, as superuser. Over TLS it says so; the client's files are not in it.
    pub fn url_of(&self, database: &str) -> String {
        let mode = if self.kind().tls.is_some() { "?sslmode=verify-full" } else { "" };
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/{database}{mode}", self.port())
    }

    /// Where its data is: the folder asked for, or one that its user can reach.
    pub fn data_dir(&self) -> &Path {
        &self.kind().data
    }
}

impl Postgres {
    fn new(tools: &Tools, options: PostgresOptions) -> Self {
        Self {
            bin: tools.postgres_bin().to_owned(),
            options,
            tls: None,
            user: None,
            data: PathBuf::new(),
            elsewhere: None,
        }
    }

    /// Puts copies of what it speaks TLS with into its folder, for its user alone.
    fn copy_certificates(&self, tls: &ServerTls) -> io::Result<()> {
        let files = [&tls.ca_file, &tls.own.cert_file, &tls.own.key_file];
        for (from, to) in files.into_iter().zip(TLS_FILES) {
            let to = self.data.join(to);
            fs::copy(from, &to)?;
            fs::set_permissions(&to, Permissions::from_mode(0o600))?;
            if let Some((uid, gid)) = self.user {
                chown(&to, Some(uid.as_raw()), Some(gid.as_raw()))?;
            }
        }
        Ok(())
    }

    /// Chooses the user and a folder which that user can reach, and makes the folder theirs.
    fn settle(&mut self, dir: &Path) -> io::Result<()> {
        self.data = dir.join("data");
        if Uid::effective().is_root() {
            let (uid, gid) = other_user()?;
            self.user = Some((uid, gid));
            if !can_reach(dir, uid, gid)? {
                let folder = shared_folder(uid, gid)?;
                self.data = folder.path().join("data");
                self.elsewhere = Some(folder);
            }
        }
        fs::create_dir_all(&self.data)?;
        // Postgres refuses a data folder that others may read.
        fs::set_permissions(&self.data, Permissions::from_mode(0o700))?;
        if let Some((uid, gid)) = self.user {
            chown(&self.data, Some(uid.as_raw()), Some(gid.as_raw()))?;
        }
        Ok(())
    }

    async fn initdb(&self, dir: &Path) -> Result<(), StartError> {
        let log = dir.join("initdb.log");
        let child = Command::new(self.bin.join("initdb"))
            .arg("--pgdata")
            .arg(&self.data)
            .args(["--username", SUPERUSER, "--auth", "trust"])
            .args(["--encoding", "UTF8", "--locale", "C"])
            .args(["--no-sync", "--no-instructions"])
            .user(self.user)
            .clean_env()
            .log(&log)
            .spawn()
            .map_err(|e| io_error::<Self>("start initdb", e))?;
        match tokio::time::timeout(INITDB_WITHIN, child.wait()).await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(StartError::Ended {
                name: "initdb".to_owned(),
                status: status.to_string(),
                log: log_tail(&log, 0),
            }),
            Err(_) => Err(StartError::NotReady {
                name: "initdb".to_owned(),
                limit: INITDB_WITHIN,
                reason: "it is still at work".to_owned(),
                log: log_tail(&log, 0),
            }),
        }
    }
}

impl Kind for Postgres {
    const NAME: &'static str = "postgres";
    const PORTS: usize = 1;
    /// "Fast": clients are disconnected, a checkpoint is written.
    const STOP: Signal = Signal::SIGINT;
    /// "Immediate": all its processes end, nothing is written, shared memory is given back (SIGKILL
    /// would leave it).
    const DEATH: Signal = Signal::SIGQUIT;

    async fn prepare(&mut self, dir: &Path) -> Result<(), StartError> {
        self.settle(dir).map_err(|e| io_error::<Self>("make its data folder", e))?;
        if !self.data.join("PG_VERSION").exists() {
            self.initdb(dir).await?;
        }
        // Only from this machine, by address; `initdb` also lets in replicas and unix sockets.
        let mut rule = "host all all 127.0.0.1/32 trust\n";
        if let Some(tls) = &self.tls {
            rule = "hostssl all all 127.0.0.1/32 trust clientcert=verify-ca\n";
            self.copy_certificates(tls).map_err(|e| io_error::<Self>("copy certificates", e))?;
        }
        let hba = self.data.join("pg_hba.conf");
        fs::write(&hba, rule).map_err(|e| io_error::<Self>(&format!("write {}", hba.display()), e))
    }

    fn command(&self, _dir: &Path, ports: &[u16]) -> Result<Command, StartError> {
        let fsync = if self.options.fsync { "on" } else { "off" };
        let settings = [
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", ports[0].to_string()),
            ("unix_socket_directories", String::new()),
            ("max_connections", self.options.max_connections.to_string()),
            ("shared_buffers", "128MB".to_owned()),
            ("fsync", fsync.to_owned()),
            ("synchronous_commit", "on".to_owned()),
            ("full_page_writes", fsync.to_owned()),
            ("max_wal_size", "1GB".to_owned()),
            ("timezone", "UTC".to_owned()),
            ("log_line_prefix", "%m [%p] ".to_owned()),
            // Its own copy of the output to a file would be the second one.
            ("logging_collector", "off".to_owned()),
        ];
        let mut command =
            Command::new(self.bin.join("postgres")).arg("-D").arg(&self.data).user(self.user);
        for (key, value) in settings {
            command = command.arg("-c").arg(format!("{key}={value}"));
        }
        if self.tls.is_some() {
            let keys = ["ssl_ca_file", "ssl_cert_file", "ssl_key_file"].into_iter();
            command = command.args(["-c", "ssl=on"]);
            for (key, file) in keys.zip(TLS_FILES) {
                command = command.arg("-c").arg(format!("{key}={file}"));
            }
        }
        Ok(command)
    }

    async fn ready(&self, _dir: &Path, ports: &[u16], pid: u32) -> Result<(), String> {
        // Postgres itself says there who it is and that it is ready: line 1 its process id, line 8
        // its state.
        let status = fs::read_to_string(self.data.join("postmaster.pid"))
            .map_err(|error| error.to_string())?;
        let lines: Vec<&str> = status.lines().map(str::trim).collect();
        if lines.first() != Some(&pid.to_string().as_str()) || lines.get(7) != Some(&"ready") {
            return Err("it is still starting".to_owned());
        }
        // Its process id is the answer to whose port it is; a login would need a certificate.
        if self.tls.is_some() { Ok(()) } else { login(ports[0]).await }
    }

    fn finish(&mut self) {
        if let Some(folder) = self.elsewhere.take() {
            let path = folder.path().to_owned();
            if let Err(error) = folder.remove() {
                tracing::warn!(path = %path.display(), %error, "cannot remove Postgres's data folder");
            }
        }
    }
}

/// Logs in as a client does, up to the server's "ready for query".
async fn login(port: u16) -> Result<(), String> {
    // Protocol 3.0, then pairs of names and values: a length in front, a zero behind each and one
    // more at the end.
    let parameters = format!("user\0{SUPERUSER}\0database\0postgres\0\0");
    let length = u32::try_from(8 + parameters.len()).map_err(|error| error.to_string())?;
    let mut startup = Vec::new();
    startup.extend_from_slice(&length.to_be_bytes());
    startup.extend_from_slice(&0x0003_0000_u32.to_be_bytes());
    startup.extend_from_slice(parameters.as_bytes());

    let talk = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(&startup).await?;
        loop {
            let kind = stream.read_u8().await?;
            let length = stream.read_u32().await?.saturating_sub(4);
            let mut body = vec![0; usize::try_from(length).unwrap_or_default().min(64 * 1024)];
            stream.read_exact(&mut body).await?;
            match kind {
                b'Z' => {
                    // Terminate: a client that hangs up without it is a line in the log.
                    stream.write_all(&[b'X', 0, 0, 0, 4]).await?;
                    return Ok(());
                }
                b'E' => return Err(io::Error::other(String::from_utf8_lossy(&body).into_owned())),
                _ => {}
            }
        }
    };
    talk.await.map_err(|error| error.to_string())
}

fn other_user() -> io::Result<(Uid, Gid)> {
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)? {
            return Ok((user.uid, user.gid));
        }
    }
    Err(io::Error::other(
        "Postgres does not run as root, and there is neither a user 'postgres' nor 'nobody' to run it as",
    ))
}

/// May this user pass through every folder on the way to `dir`, and `dir` itself? Goes by the
/// permission bits alone: an access list that allows more only costs the detour over /tmp.
fn can_reach(dir: &Path, uid: Uid, gid: Gid) -> io::Result<bool> {
    for folder in fs::canonicalize(dir)?.ancestors() {
        let meta = fs::metadata(folder)?;
        let bit = if meta.uid() == uid.as_raw() {
            0o100
        } else if meta.gid() == gid.as_raw() {
            0o010
        } else {
            0o001
        };
        if meta.mode() & bit == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn shared_folder(uid: Uid, gid: Gid) -> io::Result<LockedFolder> {
    let places = [std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")];
    for place in &places {
        if place.is_dir() && can_reach(place, uid, gid)? {
            return LockedFolder::create(place, "flashsale-postgres-");
        }
    }
    Err(io::Error::other(
        "the user that Postgres runs as can reach neither the data folder nor /tmp nor /var/tmp",
    ))
}
