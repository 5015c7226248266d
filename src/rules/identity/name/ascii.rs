//! Names without tables of Unicode: those in ASCII are judged as with them, and all others are rejected.

use std::borrow::Cow;
use std::fmt::Write;

use super::normal;
use crate::text;

/// Returns the reason for which a name is rejected. `None` if there is none.
pub(crate) fn fault(name: &str) -> Option<&'static str> {
    match () {
        () if name.bytes().any(|byte| byte.is_ascii_control()) => {
            Some("contains a character that is not shown, or changes how others are")
        }
        () if !name.is_ascii() => Some("contains a character outside ASCII, which can't be checked here"),
        () if name.trim().is_empty() => Some("has nothing in it that is shown"),
        () => None,
    }
}

/// Returns `true` if a name that is accepted is to be flagged: none in ASCII.
pub(crate) fn is_odd(_name: &str) -> bool {
    false
}

/// Returns the name with every character outside printable ASCII spelled out, as `⟨U+202E⟩`. For pages and logs; the
/// name itself is never rewritten (RFC 7591 section 2.2).
#[must_use]
pub fn visible(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return name.into();
    }
    let mut shown = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, ' '..='~') {
            shown.push(c);
        } else {
            // Writing into a string can't fail.
            let _infallible = write!(shown, "\u{27E8}U+{:04X}\u{27E9}", u32::from(c));
        }
    }
    shown.into()
}

/// Returns the beginning of `name`, of at most `bytes` bytes. It ends between two words if that leaves half of it.
pub(crate) fn cut(name: &str, bytes: usize) -> &str {
    let head = text::cut(name, bytes);
    let ends_word = name.get(head.len()..).is_none_or(|rest| rest.is_empty() || rest.starts_with(' '));
    let word = if ends_word { Some(head) } else { head.rsplit_once(' ').map(|(words, _)| words) };
    let word = word.map(str::trim_end).filter(|word| word.len() >= bytes / 2);
    word.unwrap_or_else(|| head.trim_end())
}

/// Returns `true` if the names are equal in their normal form. Names that only look alike take the tables.
pub(crate) fn is_confusable(one: &str, other: &str) -> bool {
    normal(one) == normal(other)
}
