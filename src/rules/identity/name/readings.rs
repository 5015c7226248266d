//! The letters that one character can be read as.
//!
//! No single table finds all imitations, so a character has several readings, and each character of a name is read
//! independently (UTS #39 section 4 has one reading of a whole text, and misses `CIaude`: it compares lower-case
//! letters).

use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

use decancer::Translation;
use icu_properties::props::GeneralCategory;
use unicode_normalization::UnicodeNormalization;
use unicode_security::skeleton;

use super::characters::category;
use super::units::{self, Part};

/// The number of readings of a character. Some of them are equal.
pub(super) const COUNT: usize = 11;

/// The number of strict readings, which come first and change only case, accents and script. The others read capitals
/// as small letters that are drawn alike, and digits and signs as letters.
pub(super) const STRICT: usize = 4;

/// A few lower-case letters and digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Letters {
    letters: [char; MAX_LETTERS],
    len: usize,
}

/// The length of the longest reading: `㍿` is read as four characters.
const MAX_LETTERS: usize = 4;

/// A reading of a character.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) letters: Letters,
    /// `true` for the first [`STRICT`] readings.
    pub(super) strict: bool,
}

impl Letters {
    /// Keeps letters and digits, without marks, in lower case.
    fn of(text: impl Iterator<Item = char>) -> Self {
        let kept = |c: &char| c.is_alphanumeric();
        let mut letters = Self::default();
        for c in text.filter(kept).flat_map(char::to_lowercase).filter(kept) {
            letters.push(c);
        }
        letters
    }

    fn push(&mut self, c: char) {
        if let Some(place) = self.letters.get_mut(self.len) {
            *place = c;
            self.len += 1;
        }
    }

    pub(super) fn as_slice(&self) -> &[char] {
        self.letters.get(..self.len).unwrap_or_default()
    }

    fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// Returns every reading of `c`, in order. A letter or digit that a table has no reading for is read as itself.
pub(super) fn all(c: char) -> [Letters; COUNT] {
    let own = Letters::of(c.to_lowercase());
    if std::iter::once(c).nfd().any(|mark| matches!(mark, '\u{3099}' | '\u{309A}')) {
        // Tables drop this mark like an accent. In Japanese it makes another letter, and other words.
        return [own; COUNT];
    }
    let once = std::iter::once(c);
    let compatible = once.clone().nfkc().flat_map(char::to_lowercase);
    let unleeted = compatible.clone().map(unleet);
    let [small, as_written, capital] = in_cases(once.clone());
    // Before compatibility forms are replaced, and after: each finds some that the other misses.
    let [small2, written2, capital2] =
        if once.clone().nfkc().eq([c]) { [small, as_written, capital] } else { in_cases(once.nfkc()) };
    let [drawn, _, drawn_capital] =
        if unleeted.clone().eq(compatible) { [small2, written2, capital2] } else { in_cases(unleeted) };
    let cured = cured(c);
    let shaped = Letters::of(shaped(c, cured.as_slice()).into_iter());
    let mut readings =
        [own, small, cured, small2, as_written, capital, written2, capital2, drawn, drawn_capital, shaped];
    if c.is_alphanumeric() {
        let own = if own.is_empty() { Letters { letters: [c; MAX_LETTERS], len: 1 } } else { own };
        readings.iter_mut().filter(|reading| reading.is_empty()).for_each(|reading| *reading = own);
    }
    readings
}

/// Returns Unicode's prototypes of a text in lower case, as it is, and in capitals: capital I, small l and the digit 1
/// are equal only among capitals.
fn in_cases(text: impl Iterator<Item = char> + Clone) -> [Letters; 3] {
    let (lower, upper) = (text.clone().flat_map(char::to_lowercase), text.clone().flat_map(char::to_uppercase));
    if lower.clone().eq(upper.clone()) {
        return [prototypes(text); 3];
    }
    [prototypes(lower), prototypes(text), prototypes(upper)]
}

fn prototypes(mut text: impl Iterator<Item = char> + Clone) -> Letters {
    let all = text.clone();
    match (text.next(), text.next()) {
        (Some(c), None) => Letters::of(skeleton(c.encode_utf8(&mut [0; 4]))),
        _ => Letters::of(skeleton(&all.collect::<String>())),
    }
}

/// Returns the lower-case ASCII letter that `c` is, with or without an accent. `None` if there is none.
pub(super) fn ascii(c: char) -> Option<char> {
    match c {
        'a'..='z' | 'A'..='Z' => Some(c.to_ascii_lowercase()),
        _ if c.is_ascii() => None,
        _ => known(c, |known| known.ascii),
    }
}

/// Returns the part of `c` in a name.
pub(super) fn part(c: char) -> Part {
    if c.is_ascii() { units::part(c) } else { known(c, |known| known.part) }
}

/// Calls `with` for each different reading of `c` that has letters.
pub(super) fn each(c: char, with: impl FnMut(Reading)) {
    static ASCII: LazyLock<Vec<Box<[Reading]>>> =
        LazyLock::new(|| (0..128_u8).map(|byte| distinct(char::from(byte))).collect());
    match ASCII.get(c as usize) {
        Some(readings) => readings.iter().copied().for_each(with),
        None => known(c, |known| known.readings.iter().copied().for_each(with)),
    }
}

/// The properties of a character beyond ASCII. Several tables are asked for them, and names consist of few characters.
struct Known {
    readings: Box<[Reading]>,
    ascii: Option<char>,
    part: Part,
}

/// The number of characters that are kept: more than any language has in use.
const MAX_KNOWN: usize = 8192;

/// Calls `with` with the properties of `c`.
fn known<T>(c: char, with: impl FnOnce(&Known) -> T) -> T {
    static KNOWN: LazyLock<RwLock<HashMap<char, Known>>> = LazyLock::new(RwLock::default);
    if let Some(known) = KNOWN.read().unwrap_or_else(PoisonError::into_inner).get(&c) {
        return with(known);
    }
    let ascii = match cured(c).as_slice() {
        [letter] if letter.is_ascii_lowercase() => Some(*letter),
        _ => None,
    };
    let known = Known { readings: distinct(c), ascii, part: units::part(c) };
    let result = with(&known);
    let mut all = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    if all.len() >= MAX_KNOWN {
        all.clear();
    }
    all.insert(c, known);
    result
}

fn distinct(c: char) -> Box<[Reading]> {
    let mut readings: Vec<Reading> = Vec::with_capacity(4);
    for (index, letters) in all(c).into_iter().enumerate() {
        if !letters.is_empty() && !readings.iter().any(|reading| reading.letters == letters) {
            readings.push(Reading { letters, strict: index < STRICT });
        }
    }
    readings.into()
}

/// Reads a second table of characters that look alike, which has many that Unicode's lacks.
fn cured(c: char) -> Letters {
    match decancer::cure_char(c, decancer::Options::default()) {
        Translation::Character(c) => Letters::of(std::iter::once(c)),
        Translation::String(text) => Letters::of(text.chars()),
        Translation::None => Letters::default(),
    }
}

/// Latin letters that Unicode names after another letter (`LATIN SMALL LETTER L WITH HIGH STROKE`, `TURNED A`), and
/// schwas, if no other table maps them to that letter.
const NAMED: &[(char, &str)] = &[
    ('a', "ɐⱯꞺꞻꬱ"),
    ('c', "𝼏𝼝"),
    ('d', "Ꝺꝺ"),
    ('e', "ƎƏǝɘəɜɝɞʚᴈᶔⱻꞫ"),
    ('g', "ꝾꝿꟐꟑ𝼁𝼂"),
    ('h', "ɥʮʯⱵⱶꞍꟵꟶ"),
    ('i', "Ꞽꞽ𝼚"),
    ('j', "ʄ"),
    ('k', "𝼃𝼐"),
    ('l', "ꝉꬷꬸꬹ𝼄𝼑𝼓"),
    ('m', "Ɯɯɰᴟꟺ"),
    ('o', "ƆɔᴐᴖᴗᶗꟀꟁꬿ𝼛"),
    ('q', "ꞯ"),
    ('r', "ɹɺɻɿᵳⱹꝚꝛꞂꞃꭅꭌꭨ𝼈𝼕𝼖"),
    ('s', "ẜẝꞄꞅꟖꟗꟘꟙ𝼞"),
    ('t', "Ꞇꞇ𝼉𝼍"),
    ('u', "ᴝᴞꞾꞿ"),
    ('v', "ƲɅʋʌỼỽ"),
    ('w', "ʍꟂꟃ"),
    ('y', "ʎ𝼆"),
    ('z', "Ꝣꝣ"),
];

/// Returns a reading that no table has: the base letter of a variant, `c` for an opening bracket, `l` for a line that
/// the tables read as `i`.
fn shaped(c: char, cured: &[char]) -> Option<char> {
    match cured {
        _ if category(c) == GeneralCategory::OpenPunctuation => Some('c'),
        ['i'] if !c.is_alphabetic() => Some('l'),
        _ if c.is_ascii() => None,
        _ => NAMED.iter().find(|(_, variants)| variants.contains(c)).map(|(letter, _)| *letter),
    }
}

/// Returns the letter that a digit or sign is written for.
const fn unleet(c: char) -> char {
    match c {
        '0' => 'o',
        '2' => 'z',
        '3' | '€' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '6' | '9' => 'g',
        '7' | '+' => 't',
        '8' => 'b',
        '!' => 'i',
        // The vowel is drawn as a line.
        '£' | '₤' | '\u{1175}' => 'l',
        '¢' | '<' | '‹' | '«' => 'c',
        '∂' => 'd',
        c => c,
    }
}
