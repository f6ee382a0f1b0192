//! Three private NATS servers that keep each message on all of them.

use std::path::Path;

use super::nats::{NatsOptions, NatsServer, Routes};
use super::ports;
use super::server::StartError;
use super::tools::Tools;

const SERVERS: usize = 3;

/// A private NATS cluster.
#[derive(Debug)]
pub struct NatsCluster {
    servers: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts three servers with their data under `dir` and waits until each has JetStream up and
    /// knows who leads it.
    ///
    /// # Errors
    /// If one does not start; the message has the end of its log.
    pub async fn start(
        tools: &Tools,
        dir: &Path,
        options: &NatsOptions,
    ) -> Result<Self, StartError> {
        let all = (0..SERVERS).map(|_| ports::free_port()).collect::<Result<Vec<u16>, _>>();
        let all = all.map_err(|source| StartError::Io {
            name: "nats".to_owned(),
            what: "find a free port".to_owned(),
            source,
        })?;
        let start = |node: usize| {
            let routes = Some(Routes { own: all[node], all: all.clone() });
            NatsServer::start_routed(
                tools,
                dir.join(format!("nats-{node}")),
                options.clone(),
                routes,
            )
        };
        // None of them is ready before there is a leader, for which there must be two.
        let (a, b, c) = tokio::try_join!(start(0), start(1), start(2))?;
        Ok(Self { servers: vec![a, b, c] })
    }

    /// The URLs of all servers, with commas between.
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.servers.iter().map(NatsServer::url).collect();
        urls.join(",")
    }

    /// The servers.
    pub fn servers(&self) -> &[NatsServer] {
        &self.servers
    }
}
