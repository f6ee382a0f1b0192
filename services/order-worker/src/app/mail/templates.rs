//! The texts of mails: the templates under `templates/<language>/`, and a folder of the shop's own
//! with the same layout, which takes precedence. Files named `.html` are escaped, others are plain.

use std::{collections::BTreeSet, fs, io, path::Path};

use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::domain::{
    mail::{Mail, Refund, Topic, one_line},
    money,
};

/// Without the name of a month, which would need a language.
const DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
/// The kinds of mail, and the templates of each.
const KINDS: [&str; 4] = ["action", "confirmation", "failure", "refund"];
const FORMATS: [&str; 3] = ["subject", "txt", "html"];

macro_rules! templates {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../templates/", $name))),)+]
    };
}

const SOURCES: &[(&str, &str)] = templates![
    "en/action.subject",
    "en/action.txt",
    "en/action.html",
    "en/confirmation.subject",
    "en/confirmation.txt",
    "en/confirmation.html",
    "en/failure.subject",
    "en/failure.txt",
    "en/failure.html",
    "en/refund.subject",
    "en/refund.txt",
    "en/refund.html",
    "de/action.subject",
    "de/action.txt",
    "de/action.html",
    "de/confirmation.subject",
    "de/confirmation.txt",
    "de/confirmation.html",
    "de/failure.subject",
    "de/failure.txt",
    "de/failure.html",
    "de/refund.subject",
    "de/refund.txt",
    "de/refund.html",
];

/// Templates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplatesError {
    /// The folder cannot be read.
    #[error("{0} cannot be read: {1}")]
    Folder(String, io::Error),
    /// One is malformed.
    #[error("{0}: {1}")]
    Malformed(String, minijinja::Error),
    /// A language lacks one.
    #[error(
        "there is no {0}: a language has action, confirmation, failure and refund, each as subject, txt and html"
    )]
    Missing(String),
}

/// The compiled templates.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    languages: BTreeSet<String>,
    /// The shop's own language, in lower case.
    default: String,
    /// Where buyers go on with their payment; none where the shop has not said so.
    action_url: Option<String>,
}

/// The texts of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// The text/plain alternative.
    pub text: String,
    /// The text/html alternative.
    pub html: String,
}

#[derive(Serialize)]
struct Line {
    title: String,
    sku: String,
    quantity: i64,
    unit_price: String,
    price: String,
}

impl Templates {
    /// Compiles the built-in templates and those in `folder`. `default` is the shop's own language,
    /// `action_url` the page where buyers go on with their payment, with `{order_id}` and
    /// `{sale_id}` where these belong.
    ///
    /// # Errors
    /// See [`TemplatesError`].
    pub fn new(
        default: &str,
        folder: Option<&Path>,
        action_url: Option<String>,
    ) -> Result<Self, TemplatesError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        let mut sources: Vec<(String, String)> = SOURCES
            .iter()
            .map(|(name, source)| ((*name).to_owned(), (*source).to_owned()))
            .collect();
        if let Some(folder) = folder {
            sources.extend(read(folder)?);
        }
        let mut languages = BTreeSet::from([default.to_ascii_lowercase()]);
        for (name, source) in sources {
            languages.extend(name.split('/').next().map(str::to_owned));
            environment
                .add_template_owned(name.clone(), source)
                .map_err(|error| TemplatesError::Malformed(name, error))?;
        }
        for language in &languages {
            for name in names(language) {
                if environment.get_template(&name).is_err() {
                    return Err(TemplatesError::Missing(name));
                }
            }
        }
        let default = default.to_ascii_lowercase();
        Ok(Self { environment, languages, default, action_url })
    }

    /// The language for a tag: the tag itself, a wider tag that has templates (`de` for `de-AT`),
    /// or the shop's own.
    fn language(&self, tag: &str) -> &str {
        let tag = tag.to_ascii_lowercase();
        let mut wanted = tag.as_str();
        while !wanted.is_empty() {
            if let Some(language) = self.languages.get(wanted) {
                return language;
            }
            wanted = wanted.rsplit_once('-').map_or("", |(wider, _)| wider);
        }
        &self.default
    }

    /// Where the buyer goes on with the payment; empty where the shop has not said so.
    fn link(&self, mail: &Mail) -> String {
        let url = self.action_url.as_deref().unwrap_or_default();
        url.replace("{order_id}", &mail.order_id.to_string())
            .replace("{sale_id}", &mail.sale_id.to_string())
    }

    /// Fills the templates in for `mail`.
    ///
    /// # Errors
    /// When a template refers to a value that does not exist, or fails to render.
    pub fn render(&self, mail: &Mail) -> Result<Rendered, minijinja::Error> {
        let lines: Vec<Line> = mail
            .lines
            .iter()
            .map(|line| Line {
                title: one_line(&line.title),
                sku: line.sku.clone(),
                quantity: line.quantity,
                unit_price: money::format(line.unit_price_minor, &mail.currency),
                price: money::format(
                    line.unit_price_minor.saturating_mul(line.quantity),
                    &mail.currency,
                ),
            })
            .collect();
        let values = context! {
            order_id => mail.order_id.to_string(),
            topic => mail.topic.in_templates(),
            name => one_line(&mail.name),
            sale => one_line(&mail.sale_name),
            lines => lines,
            total => money::format(mail.total_minor, &mail.currency),
            refunded => match mail.refund {
                Some(Refund::Done(minor)) => money::format(minor, &mail.currency),
                Some(Refund::UnderWay | Refund::Failed) | None => String::new(),
            },
            link => self.link(mail),
            reason => mail.end_reason.as_deref().unwrap_or_default(),
            placed_at => mail.placed_at.format(DATE).unwrap_or_default(),
        };
        let kind = match mail.topic {
            Topic::ActionRequired => "action",
            Topic::Confirmed => "confirmation",
            Topic::Declined | Topic::Cancelled => "failure",
            Topic::Refunded | Topic::Refund(_) => "refund",
        };
        let language = self.language(&mail.locale);
        let render = |format: &str| {
            self.environment.get_template(&format!("{language}/{kind}.{format}"))?.render(&values)
        };
        Ok(Rendered { subject: render("subject")?, text: render("txt")?, html: render("html")? })
    }
}

fn names(language: &str) -> impl Iterator<Item = String> {
    KINDS
        .into_iter()
        .flat_map(move |kind| FORMATS.map(|format| format!("{language}/{kind}.{format}")))
}

/// The templates of every language that has a folder in `folder`, by the names of the built-in
/// ones.
fn read(folder: &Path) -> Result<Vec<(String, String)>, TemplatesError> {
    let unreadable = |path: &Path| {
        let path = path.display().to_string();
        |error| TemplatesError::Folder(path, error)
    };
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        let Some(language) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if !path.is_dir() {
            continue;
        }
        for name in names(&language.to_ascii_lowercase()) {
            let file = name.split('/').next_back().unwrap_or_default();
            let file = path.join(file);
            match fs::read_to_string(&file) {
                Ok(source) => sources.push((name, source)),
                // The built-in one applies, if there is one.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unreadable(&file)(error)),
            }
        }
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_tag_finds_its_language() {
        let templates = Templates::new("en", None, None).unwrap();
        for (tag, language) in
            [("de", "de"), ("de-AT", "de"), ("DE", "de"), ("", "en"), ("fr-CA", "en"), ("d", "en")]
        {
            assert_eq!(templates.language(tag), language, "{tag}");
        }
        assert_eq!(Templates::new("DE", None, None).unwrap().language("fr"), "de");
    }

    #[test]
    fn the_shops_own_templates_win() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("en/refund.subject", "Money back");
        let templates = Templates::new("en", Some(folder.path()), None).unwrap();
        let subject = templates.environment.get_template("en/refund.subject").unwrap();
        assert_eq!(subject.source(), "Money back");
        write("fr/refund.subject", "Remboursement");
        let refused = || Templates::new("en", Some(folder.path()), None).unwrap_err().to_string();
        let error = refused();
        assert!(error.starts_with("there is no fr/action.subject"), "{error}");
        write("fr/refund.subject", "{% if %}");
        let error = refused();
        assert!(error.starts_with("fr/refund.subject: "), "{error}");
        let error = Templates::new("it", None, None).unwrap_err().to_string();
        assert!(error.contains("it/action"), "{error}");
        let missing = folder.path().join("nowhere");
        assert!(matches!(
            Templates::new("en", Some(&missing), None),
            Err(TemplatesError::Folder(..))
        ));
    }
}
