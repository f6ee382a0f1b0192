//! Which rows the caller selects.

use std::collections::{HashMap, HashSet};

use super::options::Selection;
use crate::{
    problems::{Problem, Problems, shown},
    row::{Catalogue, Product, Variant},
};

/// The most levels of a category that are compared.
const MAX_LEVELS: usize = 20;

/// The selection, compared with the catalogue once for all rows.
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    /// `None` for all.
    skus: Option<HashSet<&'a str>>,
    /// By product: whether its handle, tags and categories fit.
    products: Vec<bool>,
    /// Whether a variant without a known product fits.
    unknown_product: bool,
}

/// One list of names, and which of them were found.
#[derive(Debug)]
struct Names<'a> {
    option: &'static str,
    /// The names as given, by what they are compared as.
    given: HashMap<String, &'a str>,
    found: HashSet<String>,
}

impl<'a> Chosen<'a> {
    /// Compares. Names of which the file has nothing are mistakes, not empty selections: each is a
    /// problem.
    pub(super) fn new(
        catalogue: &Catalogue,
        selection: &'a Selection,
        problems: &mut Problems,
    ) -> Self {
        let mut handles = Names::new("--handle", &selection.handles, plain);
        let mut tags = Names::new("--tag", &selection.tags, plain);
        let mut categories =
            Names::new("--category", &selection.categories, |name| levels(name).join(">"));
        let products = catalogue
            .products
            .iter()
            .map(|product| {
                // All three are asked, so that each finds its names.
                let handle = handles.fits(std::iter::once(plain(&product.handle)));
                let tag = tags.fits(product.tags.iter().map(plain));
                let category = categories.fits(category_names(product));
                handle && tag && category
            })
            .collect();
        let known: HashSet<&str> = catalogue.variants.iter().map(|v| v.sku.as_str()).collect();
        for name in selection.skus.iter().filter(|name| !known.contains(name.as_str())) {
            problems.add(missing("--sku", name));
        }
        let unknown_product = [&handles, &tags, &categories].iter().all(|n| n.given.is_empty());
        for names in [handles, tags, categories] {
            names.report(problems);
        }
        let skus: HashSet<&str> = selection.skus.iter().map(String::as_str).collect();
        Self { skus: Some(skus).filter(|skus| !skus.is_empty()), products, unknown_product }
    }

    /// Whether one of each list that is not empty fits.
    pub(super) fn has(&self, variant: &Variant) -> bool {
        let product = variant.product.and_then(|at| self.products.get(at));
        self.skus.as_ref().is_none_or(|skus| skus.contains(variant.sku.as_str()))
            && product.copied().unwrap_or(self.unknown_product)
    }
}

impl<'a> Names<'a> {
    fn new(option: &'static str, names: &'a [String], key: impl Fn(&str) -> String) -> Self {
        let given = names.iter().map(|name| (key(name), name.as_str())).collect();
        Self { option, given, found: HashSet::new() }
    }

    /// Whether one of `keys` is among the names, or there are no names.
    fn fits(&mut self, keys: impl Iterator<Item = String>) -> bool {
        if self.given.is_empty() {
            return true;
        }
        let mut fits = false;
        for key in keys.filter(|key| self.given.contains_key(key)) {
            self.found.insert(key);
            fits = true;
        }
        fits
    }

    fn report(self, problems: &mut Problems) {
        let lost = self.given.into_iter().filter(|(key, _)| !self.found.contains(key));
        let mut lost: Vec<&str> = lost.map(|(_, name)| name).collect();
        lost.sort_unstable();
        for name in lost {
            problems.add(missing(self.option, name));
        }
    }
}

fn missing(option: &str, name: &str) -> Problem {
    let what = format!("is {}, which the file does not have", shown(name));
    Problem::option(option, what, "correct it, or leave it out")
}

fn plain(name: &str) -> String {
    name.trim().to_lowercase()
}

fn levels(category: &str) -> Vec<String> {
    category.split('>').take(MAX_LEVELS).map(plain).collect()
}

/// Everything that a product's categories may be called: each whole, its beginnings, its levels.
fn category_names(product: &Product) -> impl Iterator<Item = String> {
    product.categories.iter().flat_map(|category| {
        let levels = levels(category);
        let starts: Vec<String> =
            (1..=levels.len()).map(|count| levels[..count].join(">")).collect();
        starts.into_iter().chain(levels)
    })
}
