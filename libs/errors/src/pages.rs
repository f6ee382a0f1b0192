//! Where the page about a reason is: its file in `docs/errors/`, and the address that an error's `google.rpc.Help` names.

use std::sync::OnceLock;

use crate::Reason;

/// Where `docs/errors/` is published when nobody says otherwise. The one place that names it.
pub const PAGES_URL: &str = "https://flashsale.dev/docs/errors";

/// Where this process says that the pages are. One for a process, as its log is: an error is made in every corner of it.
static PUBLISHED_AT: OnceLock<String> = OnceLock::new();

/// Says where `docs/errors/` is published: what every help link of this process begins with from now on. Empty means [`PAGES_URL`]. What was
/// said first stays.
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

    /// The address of its page.
    pub fn help_url(self) -> String {
        format!("{}/{}", PUBLISHED_AT.get().map_or(PAGES_URL, String::as_str), self.page())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test: where the pages are is one thing for the process.
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
