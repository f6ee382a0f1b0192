//! The server programs: where they are and whether they are new enough.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use flashsale_home::Home;
use thiserror::Error;

/// The oldest versions taken, as in `scripts/tools.lock`.
const REDIS: Wanted = Wanted {
    name: "redis-server",
    program: "redis-server",
    minimum: (7, 0),
    variable: "FLASHSALE_REDIS_SERVER",
    remedy: "`make setup` installs it as root; by hand: apt-get install redis-server",
};
const NATS: Wanted = Wanted {
    name: "nats-server",
    program: "nats-server",
    minimum: (2, 10),
    variable: "FLASHSALE_NATS_SERVER",
    remedy: "`make setup` downloads it into .flashsale/tools; Debian 12's own package (2.9) is too old",
};
const POSTGRES: Wanted = Wanted {
    name: "postgres",
    program: "postgres",
    minimum: (15, 0),
    variable: "FLASHSALE_POSTGRES_BIN",
    remedy: "`make setup` installs it as root; by hand: apt-get install postgresql",
};

#[derive(Debug)]
struct Wanted {
    name: &'static str,
    program: &'static str,
    minimum: (u32, u32),
    variable: &'static str,
    remedy: &'static str,
}

impl Wanted {
    fn minimum_words(&self) -> String {
        match self.minimum {
            (major, 0) if major > 9 => format!("{major}"),
            (major, minor) => format!("{major}.{minor}"),
        }
    }
}

/// A server program is missing or too old.
#[derive(Debug, Error)]
#[error("{}", describe(.wanted, .minimum, .rejected, .variable, .remedy))]
pub struct ToolsError {
    wanted: &'static str,
    minimum: String,
    rejected: Vec<String>,
    variable: &'static str,
    remedy: &'static str,
}

fn describe(
    wanted: &str,
    minimum: &str,
    rejected: &[String],
    variable: &str,
    remedy: &str,
) -> String {
    let found = if rejected.is_empty() { "none was found".to_owned() } else { rejected.join("; ") };
    format!(
        "{wanted} {minimum} or newer is needed: {found}. {remedy}. {variable} names another place."
    )
}

/// The versions of the servers, for the report of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// Redis (or Valkey).
    pub redis: String,
    /// NATS.
    pub nats: String,
    /// Postgres.
    pub postgres: String,
}

/// The server programs of this machine, all new enough.
#[derive(Debug, Clone)]
pub struct Tools {
    redis_server: PathBuf,
    nats_server: PathBuf,
    postgres_bin: PathBuf,
    versions: Versions,
}

impl Tools {
    /// Finds the programs. For each the first place counts that has one new enough: the environment
    /// (`FLASHSALE_REDIS_SERVER`, `FLASHSALE_NATS_SERVER`, `FLASHSALE_POSTGRES_BIN`, where nothing
    /// else is tried), `.flashsale/tools/bin`, PATH, and for Postgres `/usr/lib/postgresql/*/bin`,
    /// newest first.
    ///
    /// Runs each candidate with `--version`: blocks for some milliseconds.
    ///
    /// # Errors
    /// Names the first program that is missing or too old, what was found instead, and how to get
    /// it.
    pub fn locate() -> Result<Self, ToolsError> {
        Self::locate_in(&Search::of_this_process())
    }

    fn locate_in(search: &Search) -> Result<Self, ToolsError> {
        let (redis_server, redis) = find(&REDIS, search.files(&REDIS, search.redis.as_deref()))?;
        let (nats_server, nats) = find(&NATS, search.files(&NATS, search.nats.as_deref()))?;
        let (postgres, version) = find(&POSTGRES, search.postgres_candidates())?;
        Ok(Self {
            redis_server,
            nats_server,
            postgres_bin: postgres.parent().map(Path::to_owned).unwrap_or_default(),
            versions: Versions { redis, nats, postgres: version },
        })
    }

    /// The program `redis-server`.
    pub fn redis_server(&self) -> &Path {
        &self.redis_server
    }

    /// The program `nats-server`.
    pub fn nats_server(&self) -> &Path {
        &self.nats_server
    }

    /// The folder with `postgres` and `initdb`.
    pub fn postgres_bin(&self) -> &Path {
        &self.postgres_bin
    }

    /// What the programs say their versions are.
    pub fn versions(&self) -> &Versions {
        &self.versions
    }
}

/// Where to look. Apart from the process's environment, so that tests can say.
#[derive(Debug, Default)]
struct Search {
    redis: Option<PathBuf>,
    nats: Option<PathBuf>,
    postgres: Option<PathBuf>,
    folders: Vec<PathBuf>,
    postgres_folders: Vec<PathBuf>,
}

impl Search {
    fn of_this_process() -> Self {
        let named = |wanted: &Wanted| {
            env::var_os(wanted.variable).filter(|path| !path.is_empty()).map(PathBuf::from)
        };
        let mut folders = Vec::new();
        if let Ok(home) = Home::locate() {
            folders.push(home.tools().join("bin"));
        }
        folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        // Debian keeps each version's programs apart, and off PATH.
        let mut postgres_folders: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .collect();
        postgres_folders.sort();
        postgres_folders.reverse();
        Self {
            redis: named(&REDIS),
            nats: named(&NATS),
            postgres: named(&POSTGRES),
            folders,
            postgres_folders,
        }
    }

    fn files(&self, wanted: &Wanted, named: Option<&Path>) -> Vec<PathBuf> {
        match named {
            Some(path) => vec![path.to_owned()],
            None => self
                .folders
                .iter()
                .map(|folder| folder.join(wanted.program))
                .filter(|path| path.is_file())
                .collect(),
        }
    }

    /// A `postgres` on PATH may be a link; its `initdb` and its libraries stand beside what it
    /// points to.
    fn postgres_candidates(&self) -> Vec<PathBuf> {
        let named = self.postgres.as_deref().map(|bin| bin.join("postgres"));
        let mut candidates = self.files(&POSTGRES, named.as_deref());
        if named.is_none() {
            candidates.extend(
                self.postgres_folders
                    .iter()
                    .map(|bin| bin.join("postgres"))
                    .filter(|path| path.is_file()),
            );
        }
        candidates.into_iter().map(|path| path.canonicalize().unwrap_or(path)).collect()
    }
}

fn find(wanted: &Wanted, candidates: Vec<PathBuf>) -> Result<(PathBuf, String), ToolsError> {
    let mut rejected = Vec::new();
    for path in candidates {
        match check(wanted, &path) {
            Ok(version) => return Ok((path, version.to_string())),
            Err(reason) => rejected.push(format!("{} {reason}", path.display())),
        }
    }
    Err(ToolsError {
        wanted: wanted.name,
        minimum: wanted.minimum_words(),
        rejected,
        variable: wanted.variable,
        remedy: wanted.remedy,
    })
}

fn check(wanted: &Wanted, path: &Path) -> Result<Version, String> {
    let version = Version::of(path)?;
    if (version.major, version.minor) < wanted.minimum {
        return Err(format!("is {version}"));
    }
    if wanted.name == POSTGRES.name {
        let initdb = path.with_file_name("initdb");
        let of_initdb =
            Version::of(&initdb).map_err(|reason| format!("has an initdb that {reason}"))?;
        if of_initdb != version {
            return Err(format!("is {version}, but its initdb is {of_initdb}"));
        }
    }
    Ok(version)
}

#[derive(Debug, PartialEq, Eq)]
struct Version {
    major: u32,
    minor: u32,
    text: String,
}

impl Version {
    /// Asks a program for its version.
    fn of(path: &Path) -> Result<Self, String> {
        let output = Command::new(path)
            .arg("--version")
            .output()
            .map_err(|error| format!("does not run ({error})"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        Self::parse(&said).ok_or_else(|| "does not say its version".to_owned())
    }

    /// The first number in what a program says: `Redis server v=7.0.15 sha=…`, `nats-server:
    /// v2.15.1`, `postgres (PostgreSQL) 15.18 (Debian …)`, `… 18beta1`.
    fn parse(said: &str) -> Option<Self> {
        let start = said.find(|c: char| c.is_ascii_digit())?;
        let rest = &said[start..];
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let text = rest[..end].trim_end_matches('.').to_owned();
        let mut parts = text.split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next().map_or(Some(0), |minor| minor.parse().ok())?;
        Some(Self { major, minor, text })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program that says this when asked for its version.
    fn program(folder: &Path, name: &str, says: &str) {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\necho '{says}'\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    fn complete(folder: &Path) -> Search {
        program(folder, "redis-server", "Redis server v=7.0.15 sha=0:0");
        program(folder, "nats-server", "nats-server: v2.15.1");
        program(folder, "postgres", "postgres (PostgreSQL) 15.18 (Debian)");
        program(folder, "initdb", "initdb (PostgreSQL) 15.18 (Debian)");
        Search { folders: vec![folder.to_owned()], ..Search::default() }
    }

    #[test]
    fn all_programs_are_found_with_their_versions() {
        let folder = tempfile::tempdir().unwrap();
        let tools = Tools::locate_in(&complete(folder.path())).unwrap();
        assert_eq!(tools.versions().redis, "7.0.15");
        assert_eq!(tools.versions().nats, "2.15.1");
        assert_eq!(tools.versions().postgres, "15.18");
        assert_eq!(tools.nats_server(), folder.path().join("nats-server"));
    }

    #[test]
    fn a_missing_program_is_named_with_what_installs_it() {
        let folder = tempfile::tempdir().unwrap();
        let search = complete(folder.path());
        fs::remove_file(folder.path().join("redis-server")).unwrap();
        let error = Tools::locate_in(&search).unwrap_err();
        assert_eq!(
            error.to_string(),
            "redis-server 7.0 or newer is needed: none was found. `make setup` installs it as root; by hand: \
             apt-get install redis-server. FLASHSALE_REDIS_SERVER names another place."
        );
    }

    #[test]
    fn a_nats_server_without_what_came_with_2_10_is_refused_and_a_newer_one_further_down_is_taken()
    {
        let old = tempfile::tempdir().unwrap();
        let mut search = complete(old.path());
        program(old.path(), "nats-server", "nats-server: v2.9.10");
        let error = Tools::locate_in(&search).unwrap_err().to_string();
        assert!(error.contains("nats-server 2.10 or newer"), "{error}");
        assert!(error.contains("nats-server is 2.9.10"), "{error}");
        assert!(error.contains("make setup"), "{error}");

        let newer = tempfile::tempdir().unwrap();
        search.folders.push(newer.path().to_owned());
        program(newer.path(), "nats-server", "nats-server: v2.10.0");
        let tools = Tools::locate_in(&search).unwrap();
        assert_eq!(tools.nats_server(), newer.path().join("nats-server"));
    }

    #[test]
    fn a_program_named_by_the_environment_is_the_only_one_tried() {
        let folder = tempfile::tempdir().unwrap();
        let mut search = complete(folder.path());
        search.nats = Some(PathBuf::from("/nonexistent/nats-server"));
        let error = Tools::locate_in(&search).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/nats-server does not run"), "{error}");
    }

    #[test]
    fn a_postgres_is_taken_only_with_an_initdb_of_its_own_version_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let search = complete(folder.path());
        program(folder.path(), "initdb", "initdb (PostgreSQL) 14.2");
        let error = Tools::locate_in(&search).unwrap_err().to_string();
        assert!(error.contains("is 15.18, but its initdb is 14.2"), "{error}");
    }

    #[test]
    fn a_link_on_path_leads_to_the_folder_with_the_other_programs() {
        let folder = tempfile::tempdir().unwrap();
        let mut search = complete(folder.path());
        let links = tempfile::tempdir().unwrap();
        for name in ["redis-server", "nats-server", "postgres"] {
            std::os::unix::fs::symlink(folder.path().join(name), links.path().join(name)).unwrap();
        }
        search.folders = vec![links.path().to_owned()];
        let tools = Tools::locate_in(&search).unwrap();
        assert_eq!(tools.postgres_bin(), folder.path().canonicalize().unwrap().as_path());
    }

    #[test]
    fn the_setup_script_asks_for_the_same_versions() {
        let lock = include_str!("../../../../scripts/tools.lock");
        for wanted in [&REDIS, &NATS, &POSTGRES] {
            let line = format!("#: {} {}\n", wanted.name, wanted.minimum_words());
            assert!(lock.contains(&line), "scripts/tools.lock lacks: {line}");
        }
    }

    #[test]
    fn versions_are_read_out_of_what_programs_say() {
        for (said, major, minor) in [
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc", 7, 0),
            ("Valkey server v=8.1.2 sha=0", 8, 1),
            ("nats-server: v2.15.1\n", 2, 15),
            ("postgres (PostgreSQL) 18beta1", 18, 0),
        ] {
            let version = Version::parse(said).unwrap();
            assert_eq!((version.major, version.minor), (major, minor), "{said}");
        }
        assert_eq!(Version::parse("no version here"), None);
    }
}
