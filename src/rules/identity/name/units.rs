//! The parts of a name: its letters, the signs between them, and the borders of words.

use icu_properties::props::{GeneralCategory, Script};
use unicode_normalization::{UnicodeNormalization, is_nfc};
use unicode_security::GeneralSecurityProfile;

use super::characters::{category, is_blank, of};
use super::readings;

/// A significant character: a letter or digit, or a sign. Marks on letters and invisible characters have no unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    pub(super) c: char,
    /// A letter or digit as written. Any other unit is a sign: it can be read as a letter (`C|aude`) or as nothing
    /// (`Claude™`).
    pub(super) is_plain: bool,
    /// `true` if a word can begin here and the previous one end.
    pub(super) is_border: bool,
    /// `true` if the unit is in parentheses.
    is_enclosed: bool,
}

/// A name as units.
#[derive(Debug)]
pub(super) struct Units {
    all: Vec<Unit>,
    /// The places between units at which a name can end if the parentheses after it are left out.
    head: std::ops::RangeInclusive<usize>,
    /// The end of the last letter or digit.
    end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Digit,
    Letter(Script),
    /// A letter in another style: full-width, mathematical, small capitals.
    Styled,
}

impl Unit {
    /// Returns `true` if the character is not visible.
    pub(super) fn is_blank(self) -> bool {
        is_blank(self.c)
    }
}

impl Units {
    pub(super) fn of(name: &str) -> Self {
        // Half-width marks of Japanese are part of the letter before them.
        let composed: String = match () {
            () if name.is_ascii() => String::new(),
            () if name.contains(['\u{FF9E}', '\u{FF9F}']) => name.nfkc().collect(),
            () if is_nfc(name) => String::new(),
            () => name.nfc().collect(),
        };
        let name = if composed.is_empty() { name } else { &composed };
        let mut units: Vec<Unit> = Vec::with_capacity(name.len());
        let (mut before, mut depth) = (None, 0_usize);
        let mut chars = name.chars().peekable();
        while let Some(c) = chars.next() {
            let Some(class) = class(readings::part(c), before) else { continue };
            match c {
                '(' | '（' => depth += 1,
                ')' | '）' => depth = depth.saturating_sub(1),
                _ => {}
            }
            let is_border = match (before, class) {
                (Some((last, before)), Some(class)) => {
                    before != class || is_spaceless(class) || is_hump(last, c, chars.peek().copied())
                }
                _ => true,
            };
            units.push(Unit { c, is_plain: class.is_some(), is_border, is_enclosed: depth > 0 });
            before = class.map(|class| (c, class));
        }
        let last = |wanted: &dyn Fn(&Unit) -> bool| units.iter().rposition(wanted).map_or(0, |last| last + 1);
        let end = last(&|unit| unit.is_plain);
        let head = match last(&|unit| unit.is_plain && !unit.is_enclosed) {
            0 => last(&|unit| unit.c.is_alphanumeric() && !unit.is_enclosed),
            head => head,
        };
        let plain_behind = units.iter().skip(head).position(|unit| unit.is_plain);
        // Only signs before the parenthesis: the name is the text in it.
        let head =
            if head == 0 { end..=units.len() } else { head..=plain_behind.map_or(units.len(), |plain| head + plain) };
        Self { all: units, head, end }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, Unit)> {
        self.all.iter().copied().enumerate()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns `true` if a name from the first letter to the unit before `at` is the whole text, apart from signs and
    /// parentheses after it.
    pub(super) fn is_end(&self, at: usize) -> bool {
        at >= self.end || self.head.contains(&at)
    }

    /// Returns the letters and digits before a parenthesis at the end; if there are none, the signs that can be read as
    /// letters.
    pub(super) fn letters(&self) -> Vec<char> {
        let head = self.all.get(..*self.head.end()).unwrap_or_default();
        let plain: Vec<char> = head.iter().filter(|unit| unit.is_plain).map(|unit| unit.c).collect();
        if plain.is_empty() { head.iter().map(|unit| unit.c).collect() } else { plain }
    }

    /// Returns the beginnings of words, as indexes among the letters and digits.
    pub(super) fn borders(&self) -> Vec<usize> {
        let plain = self.all.iter().filter(|unit| unit.is_plain);
        plain.enumerate().filter(|(_, unit)| unit.is_border).map(|(at, _)| at).collect()
    }

    /// Returns `true` if there is no sign between letters.
    pub(super) fn is_one_word(&self) -> bool {
        let first = self.all.iter().position(|unit| unit.is_plain);
        let word = first.and_then(|first| self.all.get(first..self.end));
        word.is_some_and(|word| word.iter().all(|unit| unit.is_plain))
    }

    /// Returns the end of the word that contains the unit `at`.
    pub(super) fn word_end(&self, at: usize) -> usize {
        let behind = self.all.iter().enumerate().skip(at + 1);
        behind.filter(|(_, unit)| unit.is_border).map(|(end, _)| end).next().unwrap_or(self.all.len())
    }

    /// Returns the units from `start` to before `end` as lower-case ASCII letters, up to the first one that has no such
    /// reading.
    pub(super) fn ascii(&self, start: usize, end: usize) -> String {
        let units = self.all.get(start..end).unwrap_or_default();
        units.iter().map_while(|unit| readings::ascii(unit.c)).collect()
    }

    /// Returns the runs of at most so many letters and digits.
    pub(super) fn words(&self, at_most: usize) -> impl Iterator<Item = String> {
        self.all
            .split(|unit| !unit.is_plain)
            .filter(move |word| !word.is_empty() && word.len() <= at_most)
            .map(|word| word.iter().map(|unit| unit.c).collect())
    }

    pub(super) fn count_plain(&self) -> usize {
        self.all.iter().filter(|unit| unit.is_plain).count()
    }

    /// Returns `true` if the sign at `at` is between two single letters: `C l a u d e`.
    pub(super) fn is_between_single_letters(&self, at: usize) -> bool {
        let (before, behind) = (self.all.get(..at).unwrap_or_default(), self.all.get(at + 1..).unwrap_or_default());
        let sign: fn(&&Unit) -> bool = |unit| !unit.is_plain;
        let single = |units: &mut dyn Iterator<Item = &Unit>| {
            units.next().is_some_and(|unit| unit.is_plain) && units.next().is_none_or(|unit| !unit.is_plain)
        };
        single(&mut before.iter().rev().skip_while(sign)) && single(&mut behind.iter().skip_while(sign))
    }
}

/// Returns `true` if `name` is one word, so that it can be a reserved word.
pub(crate) fn is_one_word(name: &str) -> bool {
    Units::of(name).is_one_word()
}

/// The part of a character in a name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// No unit of its own.
    None,
    Sign,
    Plain(Class),
    /// Belongs to a letter of the same script before it. Otherwise it is drawn above another one, and a sign.
    Mark(Script),
}

/// Returns the class of a letter or digit, `Some(None)` for a sign, and `None` for a character that is not a unit of
/// its own.
#[expect(clippy::option_option, reason = "private, and read once")]
fn class(part: Part, before: Option<(char, Class)>) -> Option<Option<Class>> {
    match part {
        Part::None => None,
        Part::Sign => Some(None),
        Part::Plain(class) => Some(Some(class)),
        Part::Mark(script) => Some(before.map(|(_, class)| class).filter(|class| *class == Class::Letter(script))),
    }
}

/// Returns the part of `c`. Asks several tables.
pub(super) fn part(c: char) -> Part {
    use GeneralCategory as Category;
    if c.is_ascii() {
        return match c {
            'a'..='z' | 'A'..='Z' => Part::Plain(Class::Letter(Script::Latin)),
            '0'..='9' => Part::Plain(Class::Digit),
            _ => Part::Sign,
        };
    }
    let script: Script = of(c);
    let is_styled = || !std::iter::once(c).nfkc().eq(std::iter::once(c).nfc());
    match category(c) {
        Category::NonspacingMark | Category::SpacingMark | Category::EnclosingMark => {
            if c.is_alphanumeric() {
                Part::Mark(script)
            } else {
                Part::None
            }
        }
        Category::Format => Part::None,
        // Two tables of different Unicode versions.
        _ if !c.is_alphanumeric() => Part::Sign,
        Category::DecimalNumber => Part::Plain(Class::Digit),
        // Clicks, dots and ordinals: drawn like signs.
        Category::OtherLetter if script == Script::Latin => Part::Sign,
        Category::UppercaseLetter | Category::LowercaseLetter | Category::TitlecaseLetter | Category::OtherLetter => {
            // Phonetic letters and small capitals are in no ordinary word.
            let is_odd = || script == Script::Latin && !GeneralSecurityProfile::identifier_allowed(c);
            Part::Plain(if is_styled() || is_odd() { Class::Styled } else { Class::Letter(script) })
        }
        Category::ModifierLetter if matches!(c, 'ー' | 'ｰ') => Part::Plain(Class::Letter(Script::Katakana)),
        Category::ModifierLetter
            if !matches!(script, Script::Common | Script::Inherited | Script::Latin) && !is_styled() =>
        {
            Part::Plain(Class::Letter(script))
        }
        _ => Part::Sign,
    }
}

/// Returns `true` if these letters are written without spaces between words, so that each can begin one.
fn is_spaceless(class: Class) -> bool {
    use Script as S;
    let spaceless =
        [S::Han, S::Hiragana, S::Katakana, S::Hangul, S::Bopomofo, S::Thai, S::Lao, S::Khmer, S::Myanmar, S::Tibetan];
    matches!(class, Class::Letter(script) if spaceless.contains(&script))
}

/// Returns `true` at a border inside camel case: `ClaudeCode` is two words, `ChatGPTPlus` is three.
fn is_hump(before: char, c: char, next: Option<char>) -> bool {
    c.is_uppercase() && (before.is_lowercase() || before.is_uppercase() && next.is_some_and(char::is_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(name: &str) -> Vec<String> {
        let units = Units::of(name);
        let mut words: Vec<String> = Vec::new();
        for (_, unit) in units.iter().filter(|(_, unit)| unit.is_plain) {
            match words.last_mut() {
                Some(word) if !unit.is_border => word.push(unit.c),
                _ => words.push(unit.c.into()),
            }
        }
        words
    }

    #[test]
    fn words_end_at_signs_and_borders() {
        for (name, wanted, reason) in [
            ("Claude by Anthropic", &["Claude", "by", "Anthropic"][..], "spaces"),
            ("ClaudeCode", &["Claude", "Code"], "a hump"),
            ("ChatGPTPlus", &["Chat", "GPT", "Plus"], "capitals before a hump"),
            ("Claude4Teams", &["Claude", "4", "Teams"], "digits"),
            ("Claude✓pro‐x", &["Claude", "pro", "x"], "signs"),
            ("ChatGPT中文", &["Chat", "GPT", "中", "文"], "another script"),
            ("Claudeアプリ", &["Claude", "ア", "プ", "リ"], "a script without spaces"),
            ("claudeｐro", &["claude", "ｐ", "ro"], "another width"),
            ("C\u{332}laude", &["Claude"], "a mark is no border"),
            ("हिन्दी", &["हिनदी"], "vowel signs belong to the word"),
            ("  ", &[], "nothing"),
        ] {
            assert_eq!(words(name), wanted, "{reason}: {name}");
        }
    }

    #[test]
    fn a_parenthesis_at_the_end_is_not_the_name() {
        for (name, wanted) in [
            ("Claude (x)", "Claude"),
            ("Claude (x) ✓", "Claude"),
            ("Claude (x", "Claude"),
            ("App (a) (b)", "App"),
            ("(x) Claude", "xClaude"),
            ("★ (Claude)", "Claude"),
            ("(Claude)", "Claude"),
        ] {
            assert_eq!(Units::of(name).letters().into_iter().collect::<String>(), wanted, "{name}");
        }
        assert!(Units::of("ᶜˡ (x)").is_end(2), "letters that are drawn small");
        assert!(Units::of("…Official!").is_one_word() && !Units::of("of ficial").is_one_word());
    }
}
