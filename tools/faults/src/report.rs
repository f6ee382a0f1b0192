//! `faults.json`, of which each suite writes its own part and leaves the others as they are.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flashsale_testbed::Home;
use serde_json::{Map, Value};

/// Where the report is unless another path is given.
pub(crate) fn default_path() -> anyhow::Result<PathBuf> {
    Ok(Home::locate()?.path().join("faults.json"))
}

/// Writes `part` under `suite`.
pub(crate) fn merge(path: &Path, suite: &str, part: Value) -> anyhow::Result<()> {
    let shown = path.display();
    let mut parts: Map<String, Value> = match std::fs::read(path) {
        Ok(text) => {
            serde_json::from_slice(&text).with_context(|| format!("{shown} is no report"))?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Map::new(),
        Err(error) => return Err(error).with_context(|| format!("{shown} cannot be read")),
    };
    parts.insert(suite.to_owned(), part);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("no folder for {shown}"))?;
    }
    let new = path.with_extension("new");
    std::fs::write(&new, format!("{:#}\n", Value::from(parts)))
        .and_then(|()| std::fs::rename(&new, path))
        .with_context(|| format!("{shown} cannot be written"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn another_suites_part_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/faults.json");
        merge(&path, "planted", json!({ "asked": 3 })).unwrap();
        merge(&path, "inventory", json!({ "seed": 1 })).unwrap();
        merge(&path, "inventory", json!({ "seed": 2 })).unwrap();
        let read: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(read, json!({ "planted": { "asked": 3 }, "inventory": { "seed": 2 } }));
        std::fs::write(&path, "no report").unwrap();
        assert!(merge(&path, "inventory", json!({})).is_err());
    }
}
