//! Client names, which strangers choose: characters that can't be displayed, and names that are easily confused.
//!
//! ```
//! use tower_dcr::rules::visible;
//!
//! assert_eq!(visible("Cla\u{200B}ude"), "Cla\u{27E8}U+200B\u{27E9}ude");
//! ```

mod characters;
mod everyday;
mod matcher;
mod normal;
mod readings;
mod units;

pub use characters::visible;
pub(crate) use characters::{Fault, cut, fault, is_odd};
pub(crate) use matcher::is_confusable;
pub(crate) use matcher::{Found, Matcher, Reach};
pub(crate) use normal::normal;
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
