//! Whether Redis is one that can keep stock.

use std::{future::Future, sync::Arc, time::Duration};

use fred::types::InfoKind;

use crate::{EvalError, Store, nodes::Node};

/// The oldest version whose script cache is neither persisted nor replicated, which is what the
/// fence stands on.
const OLDEST_MAJOR: u32 = 7;
/// How often a Redis that does not answer is asked again.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A server that must not be used as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It throws keys away when its memory is full: units that were taken would be gone.
    #[error(
        "the Redis server {node} has maxmemory-policy {policy}, which throws away keys that are still needed: set maxmemory-policy noeviction there"
    )]
    Evicting {
        /// Which one.
        node: String,
        /// What it is set to.
        policy: String,
    },
    /// Its scripts would survive a restart or a promotion, which could then not be noticed.
    #[error("the Redis server {node} has version {version}: Redis 7.0 or newer is needed")]
    TooOld {
        /// Which one.
        node: String,
        /// What it calls itself.
        version: String,
    },
}

/// Why a check did not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// A server answered, and must not be used.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// Not every server answered, so that nothing is known.
    #[error("Redis could not be checked: {0}")]
    Unanswered(#[from] EvalError),
}

impl Store {
    /// Asks every master whether stock can be kept there: its version, and that it evicts nothing.
    ///
    /// # Errors
    /// [`CheckError`]
    pub async fn check(&self) -> Result<(), CheckError> {
        let way = self.nodes.way();
        // Also waits until the driver knows which servers there are.
        self.node_of(way, None).await?;
        for node in self.nodes.all(way) {
            let version = self.info(&way.client, &node, InfoKind::Server, "redis_version").await?;
            let memory = InfoKind::Memory;
            let policy = self.info(&way.client, &node, memory, "maxmemory_policy").await?;
            judge(&node, &version, &policy)?;
        }
        Ok(())
    }

    /// Checks until every master has answered, or until `stop`: what did not answer by then passes.
    ///
    /// # Errors
    /// [`Unfit`]
    pub async fn check_until(&self, stop: impl Future<Output = ()> + Send) -> Result<(), Unfit> {
        let mut stop = std::pin::pin!(stop);
        let checked = async {
            loop {
                match self.check().await {
                    Ok(()) => return Ok(()),
                    Err(CheckError::Unfit(unfit)) => return Err(unfit),
                    Err(CheckError::Unanswered(error)) => {
                        tracing::debug!(%error, "Redis is not checked yet");
                    }
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        tokio::select! {
            () = &mut stop => Ok(()),
            checked = checked => checked,
        }
    }
}

fn judge(node: &Arc<Node>, version: &str, policy: &str) -> Result<(), Unfit> {
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < OLDEST_MAJOR) {
        return Err(Unfit::TooOld { node: node.name.clone(), version: version.to_owned() });
    }
    if policy != "noeviction" {
        return Err(Unfit::Evicting { node: node.name.clone(), policy: policy.to_owned() });
    }
    Ok(())
}
