//! The callbacks of hosted clients, which receive their authorization codes.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::rules::RedirectPattern;

impl RedirectPattern {
    /// Returns the patterns of known hosted clients' callbacks.
    ///
    /// A server that accepts only these `https` redirects sets [`RedirectUris::only_https`](crate::rules::RedirectUris) to them.
    /// Every such table becomes outdated: keep the list in configuration, and watch for rejections. Not every row proves an
    /// identity: some vendors pass the code on to others.
    ///
    /// ```
    /// use tower_dcr::Registration;
    /// use tower_dcr::rules::{Context, Decision, Policy, RedirectPattern, RedirectUris};
    ///
    /// let mut vendors = RedirectUris::mcp();
    /// vendors.only_https = Some(RedirectPattern::vendor_callbacks().collect());
    /// let other = Registration::parse(br#"{"redirect_uris":["https://app.example.com/cb"]}"#)?;
    /// assert_eq!(Policy::new(vendors).evaluate(other, &Context::registration()).decision(), Decision::Reject);
    /// # Ok::<_, tower_dcr::registration::ParseError>(())
    /// ```
    pub fn vendor_callbacks() -> impl Iterator<Item = Self> {
        // A test checks that each row can be read.
        CALLBACKS.iter().filter_map(|callback| callback.pattern.parse().ok())
    }
}

/// A callback of a hosted client.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Callback {
    /// The identity's name in the table of known identities, or the product's if it is not there.
    pub(crate) vendor: String,
    pub(crate) pattern: String,
    /// The way by which a code can get to others than the vendor. A callback with one proves nothing.
    pub(crate) relays: Option<String>,
    /// The source: documentation or an observation.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test reads it"))]
    pub(crate) source: String,
    /// The date on which it was last compared with its source.
    pub(crate) checked: String,
}

pub(crate) static CALLBACKS: LazyLock<Vec<Callback>> = LazyLock::new(|| {
    // A test checks that each line can be read.
    TABLE.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
});

const TABLE: &str = include_str!("vendor_callbacks.jsonl");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_can_be_read() {
        for line in TABLE.lines() {
            let row: Callback = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(row.pattern.parse::<RedirectPattern>().is_ok(), "{line}");
        }
    }
}
