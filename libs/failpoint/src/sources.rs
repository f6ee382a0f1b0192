//! Whether everything that a service does to its stores is a step, told from its sources.

use std::{fs, io, path::Path};

/// What stands in the source files below `folder`, but for the list of steps itself.
///
/// # Errors
/// When one of them cannot be read.
pub fn below(folder: &Path) -> io::Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            texts.extend(below(&path)?);
        } else if !path.ends_with("src/steps.rs") {
            texts.push(fs::read_to_string(path)?);
        }
    }
    Ok(texts)
}

/// What a source file awaits of the stores.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The names of its steps.
    pub steps: Vec<String>,
    /// What is no step, without white space.
    pub missing: Vec<String>,
}

/// Looks through the text of a source file. A statement of `sql/` on a pool has to be the step `sql/<file>`; one on a `transaction`, or on a
/// `connection` that is lent for one, is part of its commit. Whatever begins with one of `words`, such as `.commit()`, has to be a step of any name.
pub fn look(source: &str, words: &[&str]) -> Found {
    let text: String = source.chars().filter(|letter| !letter.is_whitespace()).collect();
    // From a word to the `await` that carries it out.
    let awaited = |at: usize| text[at..].split(".await").next().unwrap_or_default();
    let mut found = Found::default();
    for (at, _) in text.match_indices("query_file") {
        let statement = awaited(at);
        let file = statement.split("\"sql/").nth(1).and_then(|rest| rest.split(".sql\"").next());
        let lent = ["transaction)", "connection)"].iter().any(|on| statement.contains(on));
        let Some(file) = file.filter(|_| !lent) else { continue };
        if !statement.contains(&format!(".step(\"sql/{file}\")")) {
            found.missing.push(statement.to_owned());
        }
    }
    for (at, _) in words.iter().flat_map(|word| text.match_indices(word)) {
        let statement = awaited(at);
        if !statement.contains(".step(") {
            found.missing.push(statement.to_owned());
        }
    }
    let names = text.split(".step(\"").skip(1).filter_map(|rest| rest.split('"').next());
    found.steps = names.map(str::to_owned).collect();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_step_is_found_and_what_is_part_of_a_commit_is_none() {
        let text = r#"
            query_file!("sql/one.sql", id).fetch_all(&self.pool).step("sql/one").await?;
            query_file!("sql/two.sql", id).fetch_all(&self.pool).await?;
            query_file!("sql/three.sql", id).execute(&self.pool).step("sql/one").await?;
            query_file!("sql/four.sql", id).execute(&mut *transaction).await?;
            query_file!("sql/five.sql", id).execute(connection).await?;
            transaction.commit().await?;
            transaction.commit().step("commit/four").await?;
        "#;
        let found = look(text, &[".commit()"]);
        let [two, three, commit] = found.missing.as_slice() else { panic!("{found:?}") };
        assert!(two.contains("sql/two") && three.contains("sql/three"), "{found:?}");
        assert_eq!(commit, ".commit()");
        assert_eq!(found.steps, ["sql/one", "sql/one", "commit/four"]);
    }
}
