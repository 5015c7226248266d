//! The URLs whose documents are fetched.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Standing;
use super::client_id_url::{ClientIdUrl, ClientIdUrlOptions};
use crate::rules::ConfigError;

/// The URLs whose documents are fetched. It is decided by the URL alone, before its name is resolved.
///
/// ```
/// use tower_dcr::documents::Admission;
///
/// assert_eq!(serde_json::to_string(&Admission::Listed)?, "\"listed\"");
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Admission {
    /// None. The metadata of the server does not announce documents, and clients register instead.
    Off,
    /// Those in [`allow`](super::DocumentSettings::allow).
    Listed,
    /// All, with an event for each that is not listed.
    Reporting,
    /// All.
    #[default]
    Open,
}

/// The decision of [`Admission`] about a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admitted {
    /// By this entry of the list.
    ByEntry(UrlPattern),
    /// Not by an entry, since all are.
    Unlisted,
    /// Not by an entry, which is reported.
    Reported,
    /// The URL is not admitted.
    No,
}

/// A URL, or a URL with `*` in the place of whole segments of its path.
///
/// ```
/// use tower_dcr::documents::{ClientIdUrl, UrlPattern};
///
/// let pattern: UrlPattern = "https://chatgpt.com/oauth/*/client.json".parse()?;
/// assert!(pattern.matches(&ClientIdUrl::parse("https://chatgpt.com/oauth/x/client.json")?));
/// assert!(!pattern.matches(&ClientIdUrl::parse("https://chatgpt.com/oauth/x/y/client.json")?));
/// assert!("https://*.example.com/client.json".parse::<UrlPattern>().is_err());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
pub struct UrlPattern {
    text: String,
    /// The text with a name in the place of each `*`.
    example: ClientIdUrl,
}

/// Stands for `*` where a pattern is read as a URL.
const ANY: &str = "any";

impl UrlPattern {
    /// Returns `true` if `url` is the URL of the pattern, character by character.
    #[must_use]
    pub fn matches(&self, url: &ClientIdUrl) -> bool {
        if url.authority() != self.example.authority() {
            return false;
        }
        let path = self.text.get(self.text.len() - self.path_len()..).unwrap_or_default();
        let (mut wanted, mut found) = (path.split('/'), url.path_and_query().split('/'));
        loop {
            match (wanted.next(), found.next()) {
                (None, None) => return true,
                (Some("*"), Some(segment)) if !segment.is_empty() && !segment.contains('?') => {}
                (Some(wanted), Some(found)) if wanted == found => {}
                _ => return false,
            }
        }
    }

    /// Returns `true` if it is one URL.
    pub(crate) fn is_exact(&self) -> bool {
        !self.text.split('/').any(|segment| segment == "*")
    }

    /// Returns a URL that it matches.
    pub(crate) fn example(&self) -> &ClientIdUrl {
        &self.example
    }

    fn path_len(&self) -> usize {
        let stars = self.text.split('/').filter(|segment| *segment == "*").count();
        self.example.path_and_query().len() - stars * (ANY.len() - 1)
    }
}

impl FromStr for UrlPattern {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let error = |reason: String| ConfigError::UrlPattern { pattern: text.to_owned(), reason };
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        if path.split('/').nth(2).is_some_and(|host| host.contains('*')) {
            return Err(error("a host can't be a pattern".to_owned()));
        }
        if query.contains('*') {
            return Err(error("a query can't be a pattern".to_owned()));
        }
        if path.split('/').any(|segment| segment.contains('*') && segment != "*") {
            return Err(error("a part of a segment can't be a pattern".to_owned()));
        }
        let segments = text.split('/').map(|segment| if segment == "*" { ANY } else { segment });
        let example = segments.collect::<Vec<_>>().join("/");
        let options = ClientIdUrlOptions { query: true, ports: (1..=u16::MAX).collect() };
        let example = ClientIdUrl::parse_with(&example, &options).map_err(|why| error(why.to_string()))?;
        Ok(Self { text: text.to_owned(), example })
    }
}

impl TryFrom<String> for UrlPattern {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl From<UrlPattern> for String {
    fn from(pattern: UrlPattern) -> Self {
        pattern.text
    }
}

impl fmt::Display for UrlPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl super::DocumentSettings {
    /// Decides whether the document at `url` may be fetched. Nothing is sent for it.
    ///
    /// ```
    /// use tower_dcr::documents::{Admission, Admitted, ClientIdUrl, DocumentSettings};
    ///
    /// let mut settings = DocumentSettings::default();
    /// let url = ClientIdUrl::parse("https://app.example.com/client.json")?;
    /// assert_eq!(settings.admit(&url), Admitted::Unlisted);
    /// settings.admission = Admission::Listed;
    /// assert_eq!(settings.admit(&url), Admitted::No);
    /// # Ok::<_, tower_dcr::documents::ClientIdUrlError>(())
    /// ```
    #[must_use]
    pub fn admit(&self, url: &ClientIdUrl) -> Admitted {
        if self.admission == Admission::Off || self.own_hosts.iter().any(|host| host.eq_ignore_ascii_case(url.host())) {
            return Admitted::No;
        }
        match (self.listed(url), self.admission) {
            (Some(entry), _) => Admitted::ByEntry(entry.clone()),
            (None, Admission::Open) => Admitted::Unlisted,
            (None, Admission::Reporting) => Admitted::Reported,
            (None, Admission::Off | Admission::Listed) => Admitted::No,
        }
    }
}

impl Admitted {
    /// Returns the standing of a client that has never been used.
    pub(crate) fn standing(&self) -> Standing {
        match self {
            Self::ByEntry(entry) if entry.is_exact() => Standing::Known,
            Self::ByEntry(_) => Standing::Matched,
            _ => Standing::Unknown,
        }
    }

    /// Returns `true` if the document may be fetched.
    #[must_use]
    pub const fn is_admitted(&self) -> bool {
        !matches!(self, Self::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_whole_segments_of_one_host() {
        let pattern: UrlPattern = "https://chatgpt.com/oauth/codex/*/client.json".parse().unwrap();
        let matches = |url: &str| pattern.matches(&ClientIdUrl::parse(url).unwrap());
        assert!(matches("https://chatgpt.com/oauth/codex/abc/client.json"));
        for url in [
            "https://chatgpt.com/oauth/codex/client.json",
            "https://chatgpt.com/oauth/codex/a/b/client.json",
            "https://chatgpt.com/oauth/codex/a/client.json/x",
            "https://www.chatgpt.com/oauth/codex/a/client.json",
            "https://evilchatgpt.com/oauth/codex/a/client.json",
            "https://chatgpt.com.evil.example/oauth/codex/a/client.json",
        ] {
            assert!(!matches(url), "{url}");
        }
        for text in [
            "https://*.example.com/c",
            "https://*/c",
            "https://a.example.com/*x",
            "http://a.example.com/c",
            "*",
            "https://a.example.com/c?x=/*/y",
        ] {
            assert!(text.parse::<UrlPattern>().is_err(), "{text}");
        }
        for (text, words) in [
            ("https://*.example.com/c", "the URL pattern \"https://*.example.com/c\": a host can't be a pattern"),
            ("https://a.*/c", "a host can't be a pattern"),
            ("https://a.example.com/c?x=*", "a query can't be a pattern"),
            ("https://a.example.com/x*/c", "a part of a segment can't be a pattern"),
        ] {
            let error = text.parse::<UrlPattern>().unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert!(error.suggestion().unwrap().to_string().contains("list each host"), "{error}");
        }
        let exact: UrlPattern = "https://a.example.com/any/c".parse().unwrap();
        assert!(exact.is_exact() && !pattern.is_exact());
        assert!(!exact.matches(&ClientIdUrl::parse("https://a.example.com/x/c").unwrap()));
        let last: UrlPattern = "https://a.example.com/c/*".parse().unwrap();
        let options = ClientIdUrlOptions { query: true, ports: [443].into() };
        let read = |url| ClientIdUrl::parse_with(url, &options).unwrap();
        assert!(last.matches(&read("https://a.example.com/c/x")));
        assert!(!last.matches(&read("https://a.example.com/c/x?y")));
        assert!(!last.matches(&read("https://a.example.com:443/c/x")));
    }
}
