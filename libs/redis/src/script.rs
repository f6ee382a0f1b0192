//! A Lua script, made out for one server at a time.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use sha1::{Digest as _, Sha1};

/// A Lua script. Make it once and share it: it remembers what it hashed to for the present server.
#[derive(Debug)]
pub struct Script {
    name: &'static str,
    body: String,
    made_out: ArcSwapOption<MadeOut>,
}

/// A script made out for the server with this run id.
#[derive(Debug)]
pub(crate) struct MadeOut {
    pub(crate) run_id: String,
    pub(crate) text: String,
    pub(crate) sha: String,
}

impl Script {
    /// A script of this name for logs; `body` sees `RUN_ID`, the run id of the server it runs on.
    pub fn new(name: &'static str, body: impl Into<String>) -> Self {
        Self { name, body: body.into(), made_out: ArcSwapOption::empty() }
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn make_out(&self, run_id: &str) -> Arc<MadeOut> {
        if let Some(made_out) =
            self.made_out.load_full().filter(|made_out| made_out.run_id == run_id)
        {
            return made_out;
        }
        let text = format!("local RUN_ID = '{run_id}'\n{}", self.body);
        let sha = Sha1::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let made_out = Arc::new(MadeOut { run_id: run_id.to_owned(), text, sha });
        self.made_out.store(Some(Arc::clone(&made_out)));
        made_out
    }
}
