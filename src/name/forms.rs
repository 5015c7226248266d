//! What a name looks like, as strings that can be compared.
//!
//! No one mapping finds all imitations, so a name has several forms, and two names are confusable if they share one
//! (UTS #39 section 4 knows one form only, and misses `CIaude`: it compares lower-case letters).

use std::collections::BTreeSet;

use decancer::Translation;
use unicode_normalization::UnicodeNormalization;
use unicode_security::skeleton;

use super::without_parentheticals;
use crate::text;

/// A name in every reading, taken apart into words.
#[derive(Clone, Debug)]
pub(crate) struct Readings {
    readings: Vec<Reading>,
    /// The words before a parenthetical at the end.
    named: usize,
}

/// One way of reading a name.
#[derive(Clone, Debug, Default)]
struct Reading {
    /// Lower-case letters and digits, without what separates the words.
    letters: String,
    /// Where each word ends.
    ends: Vec<usize>,
}

/// What words are read as: letters that look the same become the same. Between words is a [`SEPARATOR`], which stays.
type Read = fn(&str) -> String;

/// White space, which stands in no word, and a control, which nothing is taken for.
const SEPARATOR: char = '\n';

/// Unicode's skeletons of three cases: capital I, small l and the digit 1 are the same only among capitals.
const AS_WRITTEN: [Read; 3] = [
    |word| letters(skeleton(&word.to_lowercase())),
    |word| letters(skeleton(word)),
    |word| letters(skeleton(&word.to_uppercase())),
];

/// Digits and signs that are drawn for letters, and the table of somebody else.
const AS_DRAWN: [Read; 2] = [|word| letters(skeleton(&unleeted(word))), cured];

/// No name that passes is longer; of others the beginning is compared.
const MAX_BYTES: usize = 1024;

impl Readings {
    pub(crate) fn of(name: &str) -> Self {
        let name = text::cut(name, MAX_BYTES);
        let words = words(name);
        let named = self::words(without_parentheticals(name)).len();
        let text = words.join("\n");
        let reading = |text: &str, read: &Read| Reading::of(&read(text));
        let mut readings: Vec<Reading> = AS_WRITTEN.iter().chain(&AS_DRAWN).map(|read| reading(&text, read)).collect();
        if !text.is_ascii() {
            // Before compatibility forms are replaced, and after: each loses what the other finds.
            let compatible: String = text.nfkc().collect();
            readings.extend(AS_WRITTEN.iter().map(|read| reading(&compatible, read)));
        }
        Self { readings, named }
    }

    /// What the name reads as a whole, without a parenthetical at its end; nothing if there are no letters in it.
    pub(crate) fn whole(&self) -> impl Iterator<Item = String> {
        let whole = self.readings.iter().map(|reading| reading.phrase(0, self.named)).filter(|form| !form.is_empty());
        let forms: BTreeSet<String> = whole.flat_map(|form| [form.to_owned(), merge(form)]).collect();
        forms.into_iter()
    }

    /// What each run of at most `longest` words reads as.
    pub(crate) fn phrases(&self, longest: usize) -> impl Iterator<Item = &str> {
        self.readings.iter().flat_map(move |reading| {
            let words = reading.ends.len();
            let runs = move |start: usize| (start + 1..=words.min(start + longest)).map(move |end| (start, end));
            (0..words).flat_map(runs).map(|(start, end)| reading.phrase(start, end)).filter(|phrase| !phrase.is_empty())
        })
    }

    pub(crate) fn count_words(&self) -> usize {
        self.readings.first().map_or(0, |reading| reading.ends.len())
    }
}

impl Reading {
    fn of(words: &str) -> Self {
        let mut reading = Self::default();
        for word in words.split(SEPARATOR) {
            reading.letters.push_str(word);
            reading.ends.push(reading.letters.len());
        }
        reading
    }

    /// The words from `start` to before `end`, in one.
    fn phrase(&self, start: usize, end: usize) -> &str {
        let end_of = |words: usize| words.checked_sub(1).and_then(|last| self.ends.get(last)).copied();
        self.letters.get(end_of(start).unwrap_or_default()..end_of(end).unwrap_or_default()).unwrap_or_default()
    }
}

/// What white space, punctuation or a capital letter sets apart. Marks that are drawn for letters (`C|aude`, `Cl@ude`) do
/// not.
fn words(name: &str) -> Vec<&str> {
    let separates =
        |c: char| c.is_whitespace() || "-_.,:;/\\&()[]{}<>\"'`´*~#=«»‹›„“”‚‘’–—·•，。、（）【】「」『』".contains(c);
    name.split(separates).flat_map(humps).filter(|word| !word.is_empty()).collect()
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
    let other: BTreeSet<String> = Readings::of(other).whole().collect();
    Readings::of(one).whole().any(|form| other.contains(&form))
}

/// Letters and digits without their marks, in lower case, and what separates words.
fn letters(skeleton: impl Iterator<Item = char>) -> String {
    let kept = |c: &char| c.is_alphanumeric() || *c == SEPARATOR;
    skeleton.filter(kept).flat_map(char::to_lowercase).filter(kept).collect()
}

/// With letters for the digits and signs that are written for them.
fn unleeted(word: &str) -> String {
    word.nfkc().collect::<String>().to_lowercase().chars().map(unleet).collect()
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
            _ if c == SEPARATOR => cured.push(c),
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
                    "🅒laude",
                    "🅲🅻🅰🆄🅳🅴",
                    "🇨🇱🇦🇺🇩🇪",
                    "Ⓒⓛⓐⓤⓓⓔ",
                    "ꓚlaude",
                    "C\u{332}l\u{332}a\u{332}ude",
                    "C\u{20DD}laude",
                    "ᑕlaude",
                    "Ｃｌａｕｄｅ",
                    "ᶜˡᵃᵘᵈᵉ",
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
                assert!(is_confusable(name, imitation), "{imitation} for {name}: {:?}", Readings::of(imitation));
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
        assert_eq!(words("Claude by Anthropic"), ["Claude", "by", "Anthropic"]);
        assert_eq!(words("ClaudeCode"), ["Claude", "Code"]);
        assert_eq!(words("ChatGPTPlus"), ["Chat", "GPT", "Plus"]);
        assert_eq!(words("Jean-Claude's (C|aude)"), ["Jean", "Claude", "s", "C|aude"]);
        assert_eq!(words("  "), [""; 0]);
        let readings = Readings::of("C l a u d e (x)");
        assert!(readings.whole().any(|form| form == "claude"));
        assert!(readings.phrases(2).any(|phrase| phrase == "ex") && !readings.phrases(2).any(|phrase| phrase == "cla"));
    }
}
