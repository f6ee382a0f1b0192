//! A Lua script, made out for one server at a time.

use std::sync::Arc;

use arc_swap::ArcSwap;
use flashsale_failpoint::Step;
use sha1::{Digest as _, Sha1};

use crate::{ServerName, error::OTHER_SERVER};

/// For how many servers a script remembers its hash: the masters of a large cluster. Beyond it the
/// oldest is forgotten and worked out again when it is needed.
const REMEMBERED: usize = 128;

/// A Lua script. Make it once and share it: it remembers what it hashed to for each server there
/// is.
#[derive(Debug)]
pub struct Script {
    step: Step,
    body: String,
    made_out: ArcSwap<Vec<Arc<MadeOut>>>,
}

/// A script made out for the server of this name.
#[derive(Debug)]
pub(crate) struct MadeOut {
    server: ServerName,
    pub(crate) sha: String,
}

impl Script {
    /// A script of this name, for logs and as a step; `body` sees `SERVER`, the name of the server
    /// that it runs on.
    pub fn new(name: &'static str, body: impl Into<String>) -> Self {
        Self { step: Step::declared(name), body: body.into(), made_out: ArcSwap::default() }
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        self.step.name()
    }

    /// The step that a run of it is.
    pub(crate) fn step(&self) -> Step {
        self.step
    }

    /// The text for the server of this name.
    ///
    /// A server that was demoted and promoted again still has the script in its cache, and data
    /// that is not its own. Its replication id tells: the script looks it up before anything else
    /// (about 1 µs).
    pub(crate) fn text(&self, server: &ServerName) -> String {
        let ServerName { run_id, replication_id } = server;
        format!(
            "if not string.find(redis.call('INFO', 'replication'), \
             'master_replid:{replication_id}', 1, true) then \
             return redis.error_reply('{OTHER_SERVER} this is not {server} any more') end\n\
             local SERVER = '{run_id}/{replication_id}'\n{}",
            self.body
        )
    }

    pub(crate) fn make_out(&self, server: &ServerName) -> Arc<MadeOut> {
        let known = self.made_out.load();
        if let Some(made_out) = known.iter().find(|made_out| made_out.server == *server) {
            return Arc::clone(made_out);
        }
        let digest = Sha1::digest(self.text(server).as_bytes());
        let sha = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let made_out = Arc::new(MadeOut { server: server.clone(), sha });
        // Of two at once both may be stored, or one dropped again: this is only a cache.
        self.made_out.rcu(|known| {
            let skipped = (known.len() + 1).saturating_sub(REMEMBERED);
            let mut kept: Vec<_> = known.iter().skip(skipped).cloned().collect();
            kept.push(Arc::clone(&made_out));
            kept
        });
        made_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_caches_a_bounded_number_of_servers() {
        let script = Script::new("test", "return SERVER");
        let name = |run_id: &str, replication_id: &str| ServerName::new(run_id, replication_id);
        let first = script.make_out(&name("a", "1"));
        assert_ne!(script.make_out(&name("b", "1")).sha, first.sha);
        assert_ne!(script.make_out(&name("a", "2")).sha, first.sha);
        assert!(Arc::ptr_eq(&script.make_out(&name("a", "1")), &first));
        for server in 0..1_000 {
            script.make_out(&name(&server.to_string(), "1"));
        }
        assert_eq!(script.made_out.load().len(), REMEMBERED);
        assert_eq!(script.make_out(&name("a", "1")).sha, first.sha);
    }
}
