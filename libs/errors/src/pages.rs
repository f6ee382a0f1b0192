//! The address of a reason's page, which an error's `google.rpc.Help` names.

use std::sync::OnceLock;

use crate::Reason;

/// Where `docs/errors/` is published unless the process says otherwise. The one place that names
/// it.
pub const PAGES_URL: &str = "https://flashsale.dev/docs/errors";

/// Where this process says that the pages are. One for the process, as its log is: errors are
/// created everywhere in it.
static PUBLISHED_AT: OnceLock<String> = OnceLock::new();

/// Says where `docs/errors/` is published: what every help link of this process begins with from
/// now on. Empty means [`PAGES_URL`]. Only the first call that is not empty has an effect.
pub fn publish_pages_at(url: &str) {
    if !url.is_empty() {
        let _ = PUBLISHED_AT.set(url.trim_end_matches('/').to_owned());
    }
}

impl Reason {
    /// The address of its page.
    pub fn help_url(self) -> String {
        format!("{}/{}", PUBLISHED_AT.get().map_or(PAGES_URL, String::as_str), self.page())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, because the URL is global to the process.
    #[test]
    fn links_lead_to_the_published_pages() {
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
