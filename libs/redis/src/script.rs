//! A Lua script, made out for one server at a time.

use std::sync::Arc;

use arc_swap::ArcSwap;
use sha1::{Digest as _, Sha1};

/// For how many servers a script remembers its hash: the masters of a large cluster. Beyond it the oldest is forgotten and worked out
/// again when it is needed.
const REMEMBERED: usize = 128;

/// A Lua script. Make it once and share it: it remembers what it hashed to for each server there is.
#[derive(Debug)]
pub struct Script {
    name: &'static str,
    body: String,
    made_out: ArcSwap<Vec<Arc<MadeOut>>>,
}

/// A script made out for the server with this run id.
#[derive(Debug)]
pub(crate) struct MadeOut {
    pub(crate) run_id: String,
    pub(crate) sha: String,
}

impl Script {
    /// A script of this name for logs; `body` sees `RUN_ID`, the run id of the server it runs on.
    pub fn new(name: &'static str, body: impl Into<String>) -> Self {
        Self { name, body: body.into(), made_out: ArcSwap::default() }
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The text for the server with this run id.
    pub(crate) fn text(&self, run_id: &str) -> String {
        format!("local RUN_ID = '{run_id}'\n{}", self.body)
    }

    pub(crate) fn make_out(&self, run_id: &str) -> Arc<MadeOut> {
        let known = self.made_out.load();
        if let Some(made_out) = known.iter().find(|made_out| made_out.run_id == run_id) {
            return Arc::clone(made_out);
        }
        let digest = Sha1::digest(self.text(run_id).as_bytes());
        let sha = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let made_out = Arc::new(MadeOut { run_id: run_id.to_owned(), sha });
        // Two at once may both put theirs there, or one of them be dropped again: it is only a memory.
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
    fn a_script_remembers_each_server_and_only_so_many() {
        let script = Script::new("test", "return RUN_ID");
        let first = script.make_out("a");
        assert_ne!(script.make_out("b").sha, first.sha);
        assert!(Arc::ptr_eq(&script.make_out("a"), &first));
        for server in 0..1_000 {
            script.make_out(&server.to_string());
        }
        assert_eq!(script.made_out.load().len(), REMEMBERED);
        assert_eq!(script.make_out("a").sha, first.sha);
    }
}
