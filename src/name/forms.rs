//! What a name looks like, as strings that can be compared.
//!
//! No one mapping finds all imitations, so a name has several forms, and two names are confusable if they share one
//! (UTS #39 section 4 knows one form only, and misses `CIaude`: it compares lower-case letters).

use std::collections::BTreeSet;

use decancer::Translation;
use unicode_normalization::UnicodeNormalization;
use unicode_security::skeleton;

/// The forms of one text, always in the same order, so that those of words can be put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forms([String; Forms::COUNT]);

impl Forms {
    const COUNT: usize = 10;

    fn of(text: &str) -> Self {
        let lower = text.to_lowercase();
        let compatible: String = text.nfkc().collect();
        let compatible_lower = compatible.to_lowercase();
        let unleeted: String = compatible_lower.chars().map(unleet).collect();
        Self([
            letters(skeleton(&lower)),
            letters(skeleton(text)),
            letters(skeleton(&text.to_uppercase())),
            letters(skeleton(&compatible_lower)),
            letters(skeleton(&compatible)),
            letters(skeleton(&compatible.to_uppercase())),
            letters(skeleton(&unleeted)),
            merge(&letters(skeleton(&unleeted))),
            merge(&letters(skeleton(&compatible))),
            cured(text),
        ])
    }

    /// Each form once; none of them is empty.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let distinct: BTreeSet<&str> = self.0.iter().map(String::as_str).filter(|form| !form.is_empty()).collect();
        distinct.into_iter()
    }

    /// Puts the forms of the next word behind these.
    pub(crate) fn join(&mut self, next: &Self) {
        for (form, next) in self.0.iter_mut().zip(&next.0) {
            form.push_str(next);
        }
    }
}

/// The forms of a name as a whole, without what stands in parentheses at its end.
pub(crate) fn whole(name: &str) -> Forms {
    Forms::of(super::without_parentheticals(name))
}

/// The forms of each word of a name: what white space, punctuation or a capital letter sets apart. Marks that are drawn
/// for letters (`C|aude`, `Cl@ude`) are none.
pub(crate) fn words(name: &str) -> Vec<Forms> {
    let separates =
        |c: char| c.is_whitespace() || "-_.,:;/\\&()[]{}<>\"'`´*~#=«»‹›„“”‚‘’–—·•，。、（）【】「」『』".contains(c);
    name.split(separates).flat_map(humps).filter(|word| !word.is_empty()).map(Forms::of).collect()
}

/// `ClaudeCode` are two words, `ChatGPTPlus` are three.
fn humps(word: &str) -> Vec<&str> {
    let mut humps = Vec::new();
    let mut start = 0;
    let mut before: Option<char> = None;
    let mut chars = word.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let after_small = before.is_some_and(char::is_lowercase);
        let before_small =
            before.is_some_and(char::is_uppercase) && chars.peek().is_some_and(|(_, next)| next.is_lowercase());
        if c.is_uppercase() && (after_small || before_small) {
            humps.extend(word.get(start..at));
            start = at;
        }
        before = Some(c);
    }
    humps.extend(word.get(start..));
    humps
}

/// Whether a person could take one of these names for the other.
///
/// Case, spaces, punctuation, accents, letters of other scripts and digits for letters make no difference, nor does a
/// parenthetical at the end. Other words do: `Claude` and `Claude Code` are two names.
///
/// ```
/// use tower_dcr::name::is_confusable;
///
/// for imitation in ["CLAUDE", "C l a u d e", "CIaude", "C1aude", "ᴄlaude", "Claudė", "Claude (verified)"] {
///     assert!(is_confusable("Claude", imitation), "{imitation}");
/// }
/// assert!(!is_confusable("Claude", "Claudette"));
/// ```
#[must_use]
pub fn is_confusable(one: &str, other: &str) -> bool {
    let (one, other) = (whole(one), whole(other));
    one.iter().any(|form| other.iter().any(|other| other == form))
}

/// Letters and digits without their marks, in lower case.
fn letters(skeleton: impl Iterator<Item = char>) -> String {
    skeleton.filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).filter(|c| c.is_alphanumeric()).collect()
}

/// The letter that a digit or sign is written for.
const fn unleet(c: char) -> char {
    match c {
        '0' => 'o',
        '3' | '€' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' | '+' => 't',
        '8' => 'b',
        '9' => 'g',
        '!' => 'i',
        '£' => 'l',
        '¢' => 'c',
        c => c,
    }
}

/// One letter for what looks like it at a glance: two that touch, or one upside down.
fn merge(form: &str) -> String {
    form.replace("cl", "d").replace("vv", "w").replace("ii", "u").replace('n', "u")
}

/// A second table of characters that look alike, which knows many that Unicode's does not. Used character by character:
/// what it would do to the order of a whole text is not wanted here.
fn cured(text: &str) -> String {
    let mut cured = String::with_capacity(text.len());
    for c in text.chars() {
        match decancer::cure_char(c, decancer::Options::default()) {
            Translation::Character(c) => cured.push(c),
            Translation::String(text) => cured.push_str(&text),
            Translation::None => {}
        }
    }
    letters(cured.chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imitations_share_a_form_with_what_they_imitate() {
        for (name, imitations) in [
            (
                "Claude",
                &[
                    "CIaude",
                    "C|aude",
                    "Cǀaude",
                    "Ϲlaude",
                    "Ⅽlaude",
                    "ℂlaude",
                    "𝐂𝐥𝐚𝐮𝐝𝐞",
                    "Ⓒlaude",
                    "Cl⍺ude",
                    "Cʟaude",
                    "Clauɖe",
                    "Cl@ude",
                    "Claucle",
                    "CIaucIe",
                    "Clande",
                    "Claude™",
                    "🤖 Claude",
                ][..],
            ),
            ("Cursor", &["Curs0r", "Curѕor", "Cursor․", "Cur5or"]),
            ("ChatGPT", &["СhаtGРТ", "Chat-GPT", "ChatGP7"]),
            ("GitHub", &["GlTHUB", "G1tHub", "GitHuЬ"]),
            ("Amazon", &["Arnazon", "AMAZ0N"]),
            ("Visual Studio Code", &["VisualStudioCode", "VisuaI Studio Code", "Visual Studiо Cоde"]),
            ("VS Code", &["V5 Code"]),
        ] {
            for imitation in imitations {
                assert!(is_confusable(name, imitation), "{imitation} for {name}: {:?}", whole(imitation));
            }
        }
        for (name, other) in
            [("Claude", "Claudius"), ("Claude", "Cloud"), ("Cursor", "Precursor"), ("GitHub", "GitLab")]
        {
            assert!(!is_confusable(name, other), "{other}");
        }
    }

    #[test]
    fn words_are_what_people_see_as_such() {
        let split =
            |name| words(name).iter().map(|word| word.0.first().cloned().unwrap_or_default()).collect::<Vec<_>>();
        assert_eq!(split("Claude by Anthropic"), ["claude", "by", "anthropic"].map(|w| letters(skeleton(w))));
        assert_eq!(split("ClaudeCode"), ["claude", "code"]);
        assert_eq!(split("ChatGPTPlus"), ["chat", "gpt", "plus"]);
        assert_eq!(split("Jean-Claude's"), ["jean", "claude", "s"]);
        assert_eq!(split("  "), [""; 0]);
    }
}
