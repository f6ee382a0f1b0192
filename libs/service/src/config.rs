//! Configuration: compiled-in defaults, over them a file, over it the environment; checked as a
//! whole.
//!
//! The defaults are several texts, each over those before it: one for each section that services
//! have in common, kept by the crate that owns the section, and last the service's own.

mod layers;
mod sections;

use std::{fmt, path::Path};

use flashsale_telemetry::TelemetryConfig;
use serde::de::DeserializeOwned;

pub use sections::{AccessConfig, AccessMode, PeerConfig, ServerConfig, Sidecar};

/// Names the TOML file to read.
pub const FILE_VARIABLE: &str = "FLASHSALE_CONFIG";

/// What each environment variable that sets a value begins with: `FLASHSALE_<SECTION>__<KEY>`.
pub const PREFIX: &str = "FLASHSALE_";

/// The defaults that every service has: `[server]`, `[access]`, `[peers.*]` and `[telemetry]`.
const COMMON: [&str; 2] = [include_str!("../config.default.toml"), flashsale_telemetry::DEFAULTS];

/// The section `name` of the defaults that every service has, with `own` over them.
#[allow(clippy::expect_used)] // They are compiled in, and every service's tests load them.
fn common<C: DeserializeOwned>(name: &str, own: &str) -> C {
    let mut sections = layers::defaults(COMMON.iter().chain([&own])).expect("it is TOML");
    let section = sections.remove(name).expect("there is such a section");
    section.try_into().expect("it has every key")
}

/// A configuration that can say what is wrong with it.
pub trait Validate {
    /// Everything that is wrong, not only the first.
    fn problems(&self) -> Vec<Problem>;
}

/// The sections every service has.
pub trait CommonConfig {
    /// `[server]`.
    fn server(&self) -> &ServerConfig;
    /// `[access]`.
    fn access(&self) -> &AccessConfig;
    /// `[telemetry]`.
    fn telemetry(&self) -> &TelemetryConfig;
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path of the key, as in `server.max_in_flight`.
    pub key: String,
    /// What is wrong with it and what would be right, as in `must be above 0`.
    pub problem: String,
}

impl Problem {
    /// A problem with the value of `key`.
    pub fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }

    /// The environment variable that sets the key.
    pub fn variable(&self) -> String {
        layers::variable(&self.key)
    }
}

impl<K: Into<String>> From<(K, String)> for Problem {
    fn from((key, problem): (K, String)) -> Self {
        Self::new(key, problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (set it in the file, or with {})", self.key, self.problem, self.variable())
    }
}

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read: {cause}")]
    File {
        /// Its path.
        path: String,
        /// What the system or the parser says.
        cause: String,
    },
    /// The compiled-in defaults are broken: a fault of ours.
    #[error("the compiled-in defaults are broken: {0}")]
    Defaults(String),
    /// Values are wrong.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
}

fn list(problems: &[Problem]) -> String {
    let count = problems.len();
    let mut text = format!(
        "{count} {} in the configuration:",
        if count == 1 { "problem" } else { "problems" }
    );
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.to_string());
    }
    text
}

/// Loads the configuration of the service `name` in this process: `defaults`, the file named by
/// `FLASHSALE_CONFIG`, the environment.
///
/// # Errors
/// As [`load_from`].
pub fn load<C: DeserializeOwned + Validate>(
    name: &str,
    defaults: &[&str],
) -> Result<C, ConfigError> {
    let file = std::env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty());
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    load_from(name, defaults, file.as_deref().map(Path::new), env)
}

/// Loads the configuration of the service `name` from the layers given.
///
/// All services of a process are told the same. A `*` stands for the service's name where each has
/// something of its own: as the user in the `url` of a store, and in the path of a key `<key>_file`
/// whose file holds a text, or of any `…_file` of a store.
///
/// `defaults` are laid over each other and over the sections that every service has. The file and
/// the environment may hold sections for other services, which may run in the same process: a
/// section that the defaults do not have is passed over. An unknown key in a section they have is a
/// problem.
///
/// # Errors
/// When the file cannot be read, or with everything that is wrong with the values.
pub fn load_from<C: DeserializeOwned + Validate>(
    name: &str,
    defaults: &[&str],
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<C, ConfigError> {
    let defaults = layers::defaults(COMMON.iter().chain(defaults))
        .map_err(|error| ConfigError::Defaults(error.to_string()))?;
    let mut problems = Vec::new();
    let mut overrides = Vec::new();
    if let Some(path) = file {
        let cannot = |cause: String| ConfigError::File { path: path.display().to_string(), cause };
        let text = std::fs::read_to_string(path).map_err(|error| cannot(error.to_string()))?;
        let table: toml::Table =
            text.parse().map_err(|error: toml::de::Error| cannot(layers::place(&text, &error)))?;
        layers::from_file(name, &defaults, &table, &mut overrides, &mut problems);
    }
    layers::from_env(name, &defaults, env, &mut overrides, &mut problems);
    let config: C = layers::apply(name, &defaults, &overrides, &mut problems)?;
    problems.extend(config.problems());
    if problems.is_empty() { Ok(config) } else { Err(ConfigError::Invalid(problems)) }
}
