//! Client names, which strangers choose: characters that can't be displayed, and names that are easily confused.
//!
//! Without the feature `identity`, there are no tables of Unicode: [`ascii`] has the same functions for ASCII.

#[cfg(not(feature = "identity"))]
mod ascii;
#[cfg(feature = "identity")]
mod characters;
#[cfg(feature = "identity")]
mod everyday;
#[cfg(feature = "identity")]
mod matcher;
mod normal;
#[cfg(feature = "identity")]
mod readings;
#[cfg(feature = "identity")]
mod units;

#[cfg(not(feature = "identity"))]
pub use ascii::visible;
#[cfg(not(feature = "identity"))]
pub(crate) use ascii::{cut, fault, is_confusable, is_odd};
#[cfg(feature = "identity")]
pub use characters::visible;
#[cfg(feature = "identity")]
pub(crate) use characters::{cut, fault, is_odd};
#[cfg(feature = "identity")]
pub(crate) use matcher::is_confusable;
#[cfg(feature = "identity")]
pub(crate) use matcher::{Found, Matcher, Reach};
pub(crate) use normal::normal;
#[cfg(feature = "identity")]
pub(crate) use units::is_one_word;

/// Returns the name without any trailing "(…)", unless only signs would be left. Clients put the name of the server
/// that they talk to there: `Claude Code (filesystem)`.
pub(crate) fn without_parentheticals(mut name: &str) -> &str {
    loop {
        name = name.trim_end();
        let Some(inner) = name.strip_suffix([')', '）']) else { return name };
        match inner.rsplit_once(['(', '（']) {
            Some((head, _)) if head.contains(char::is_alphanumeric) => name = head,
            _ => return name,
        }
    }
}
