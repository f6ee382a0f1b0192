//! The texts, from the templates under `templates/<language>/`. A name ending in `.html` is escaped, the others are plain.

use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::{Letter, Topic, money, one_line};

/// The language of all mails: the order does not carry another.
const LANGUAGE: &str = "en";
const DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[day padding:none] [month repr:long] [year], [hour]:[minute] UTC");

macro_rules! templates {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../templates/", $name))),)+]
    };
}

const SOURCES: &[(&str, &str)] = templates![
    "en/confirmation.subject",
    "en/confirmation.txt",
    "en/confirmation.html",
    "en/failure.subject",
    "en/failure.txt",
    "en/failure.html",
    "en/refund.subject",
    "en/refund.txt",
    "en/refund.html",
];

/// The compiled templates.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
}

/// A letter in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The subject.
    pub subject: String,
    /// The plain part.
    pub text: String,
    /// The HTML part.
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
    /// Compiles them.
    ///
    /// # Errors
    /// When one of them is malformed: a fault of ours.
    pub fn new() -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        for (name, source) in SOURCES {
            environment.add_template(name, source)?;
        }
        Ok(Self { environment })
    }

    /// Puts `letter` in words.
    ///
    /// # Errors
    /// When a template does not fit: a fault of ours.
    pub fn render(&self, letter: &Letter) -> Result<Rendered, minijinja::Error> {
        let lines: Vec<Line> = letter
            .lines
            .iter()
            .map(|line| Line {
                title: one_line(&line.title),
                sku: line.sku.clone(),
                quantity: line.quantity,
                unit_price: money::format(line.unit_price_minor, &letter.currency),
                price: money::format(
                    line.unit_price_minor.saturating_mul(line.quantity),
                    &letter.currency,
                ),
            })
            .collect();
        let values = context! {
            order_id => letter.order_id.to_string(),
            topic => letter.topic.as_str(),
            name => one_line(&letter.name),
            sale => one_line(&letter.sale_name),
            lines => lines,
            total => money::format(letter.total_minor, &letter.currency),
            reason => letter.end_reason.as_deref().unwrap_or_default(),
            placed_at => letter.placed_at.format(DATE).unwrap_or_default(),
        };
        let kind = match letter.topic {
            Topic::Confirmed => "confirmation",
            Topic::Declined | Topic::Cancelled => "failure",
            Topic::Refunded => "refund",
        };
        let part = |part: &str| {
            self.environment.get_template(&format!("{LANGUAGE}/{kind}.{part}"))?.render(&values)
        };
        Ok(Rendered { subject: part("subject")?, text: part("txt")?, html: part("html")? })
    }
}
