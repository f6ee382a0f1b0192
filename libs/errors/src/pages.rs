//! Where the page about a reason is: its file in `docs/errors/`, and the URL in an error's
//! `google.rpc.Help`.

use std::sync::OnceLock;

use crate::Reason;

/// The default URL of `docs/errors/`. No other place in the code names it.
pub const PAGES_URL: &str = "https://flashsale.dev/docs/errors";

/// The configured URL. One for the process, as its log is: errors are made everywhere in it.
static PUBLISHED_AT: OnceLock<String> = OnceLock::new();

/// Sets where `docs/errors/` is published: the base of every help link of this process. Empty means
/// [`PAGES_URL`]. Only the first call has an effect.
pub fn publish_pages_at(url: &str) {
    if !url.is_empty() {
        let _ = PUBLISHED_AT.set(url.trim_end_matches('/').to_owned());
    }
}

impl Reason {
    /// The name of its page in `docs/errors/`: `sold-out.md` for `SOLD_OUT`.
    pub fn page(self) -> String {
        format!("{}.md", self.as_str().to_lowercase().replace('_', "-"))
    }

    /// The URL of its page.
    pub fn help_url(self) -> String {
        format!("{}/{}", PUBLISHED_AT.get().map_or(PAGES_URL, String::as_str), self.page())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, because the URL is global to the process.
    #[test]
    fn help_urls_use_the_published_base() {
        assert_eq!(Reason::SoldOut.help_url(), "https://flashsale.dev/docs/errors/sold-out.md");
        publish_pages_at("");
        assert_eq!(Reason::SoldOut.help_url(), "https://flashsale.dev/docs/errors/sold-out.md");
        publish_pages_at("https://git.shop.example/flashsale/docs/errors/");
        assert_eq!(
            Reason::RequestIdReused.help_url(),
            "https://git.shop.example/flashsale/docs/errors/request-id-reused.md"
        );
    }
}
