//! The normal form of a name: readable, and equal for equal names.

use unicode_normalization::UnicodeNormalization;

use super::without_parentheticals;
use crate::text;

/// The maximum length of a normal form in bytes: databases limit the length of indexed values.
const MAX_BYTES: usize = 256;

/// Returns the name in compatibility form and lower case, without invisible characters, with single spaces, and without
/// parentheticals at its end. Equal names have one normal form; names that only look alike don't.
pub(crate) fn normal(name: &str) -> String {
    let folded = if name.is_ascii() { folded(name.chars()) } else { folded(name.nfkc()).nfkc().collect() };
    let words: Vec<&str> = folded.split(' ').filter(|word| !word.is_empty()).collect();
    without_parentheticals(text::cut(&words.join(" "), MAX_BYTES)).to_owned()
}

fn folded(name: impl Iterator<Item = char>) -> String {
    let spaced = |c: char| if c.is_whitespace() { ' ' } else { c };
    name.map(spaced).filter(|c| is_seen(*c)).flat_map(char::to_lowercase).collect()
}

#[cfg(feature = "identity")]
fn is_seen(c: char) -> bool {
    use icu_properties::props::GeneralCategory::{Control, Format, PrivateUse, Surrogate, Unassigned};
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    !matches!(super::characters::category(c), Control | Format | PrivateUse | Surrogate | Unassigned)
}

/// Differs only for characters in names that the rule over names rejects.
#[cfg(not(feature = "identity"))]
fn is_seen(c: char) -> bool {
    !c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing in ASCII has another compatibility form, alone or with its neighbors.
    #[test]
    fn ascii_is_its_own_compatibility_form() {
        let all: String =
            (0..128_u8).flat_map(|one| (0..128_u8).map(move |other| [one, other])).flatten().map(char::from).collect();
        assert!(all.nfkc().eq(all.chars()));
    }

    #[test]
    fn names_are_compared_as_people_read_them() {
        let rows = [
            ("case", "Claude Code", "claude code"),
            ("white space", "  Claude \t Code ", "claude code"),
            ("a host in parentheses", "Claude Code (filesystem)", "claude code"),
            ("an invisible character", "Cla\u{200B}ude Code", "claude code"),
            ("full width", "Ｃlaude Code", "claude code"),
            ("nothing but a parenthetical", "(test)", "(test)"),
            ("two parentheticals", "App (a) (b)", "app"),
        ];
        for (reason, name, wanted) in rows {
            assert_eq!(normal(name), wanted, "{reason}");
            assert_eq!(normal(wanted), wanted, "{reason}: normal stays as it is");
        }
        assert_ne!(normal("Claude"), normal("Clause"));
    }
}
