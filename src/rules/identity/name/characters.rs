//! Characters that are not displayed as they are, or that change how others are displayed.

use std::borrow::Cow;
use std::fmt::Write;

use icu_properties::props::{
    BidiControl, BinaryProperty, CanonicalCombiningClass, DefaultIgnorableCodePoint, Emoji, EnumeratedProperty,
    ExtendedPictographic, GeneralCategory, GraphemeClusterBreak, JoiningType, NoncharacterCodePoint, VariationSelector,
    WhiteSpace,
};
use icu_properties::{CodePointMapData, CodePointSetData};
use unicode_security::MixedScript;

/// A reason why a name can't be displayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing is visible.
    Blank,
    /// A character that is invisible, or changes how others are displayed.
    Hidden,
    /// More combining marks on one letter than any language has: they cover the lines above and below.
    Marks,
}

/// UTS #39 section 5.4: "Forbid sequences of more than 4 nonspacing marks".
const MAX_MARKS: usize = 4;

impl Fault {
    const fn description(self) -> &'static str {
        match self {
            Self::Blank => "has nothing in it that is shown",
            Self::Hidden => "contains a character that is not shown, or changes how others are",
            Self::Marks => "has too many combining marks on one letter",
        }
    }
}

/// Returns the reason for which a name is rejected. `None` if there is none.
pub(crate) fn fault(name: &str) -> Option<&'static str> {
    first_fault(name).map(Fault::description)
}

/// Returns `true` if a name that is accepted is to be flagged: it has a word that mixes scripts as no language does (UTS
/// #39 section 5.1), or odd characters.
pub(crate) fn is_odd(name: &str) -> bool {
    !name.is_ascii() && (name.chars().any(is_unusual) || name.split_whitespace().any(|word| !word.is_single_script()))
}

fn first_fault(name: &str) -> Option<Fault> {
    if name.is_ascii() {
        // The case of nearly every name.
        return match () {
            () if name.bytes().any(|byte| byte.is_ascii_control()) => Some(Fault::Hidden),
            () if name.bytes().all(|byte| byte == b' ') => Some(Fault::Blank),
            () => None,
        };
    }
    let mut marks = 0;
    let mut blank = true;
    let mut before: Option<char> = None;
    for (at, c) in name.char_indices() {
        if is_hidden_at(name, at, c) {
            return Some(Fault::Hidden);
        }
        let is_mark = matches!(category(c), GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark);
        marks = if is_mark { marks + 1 } else { 0 };
        if marks > MAX_MARKS {
            return Some(Fault::Marks);
        }
        blank &= is_blank(c) || is_mark && before.is_none_or(is_blank);
        before = Some(c);
    }
    blank.then_some(Fault::Blank)
}

/// Returns `true` if a reader may see `c` as a box or not at all: not assigned, or for private use. A browser with a
/// newer Unicode version may well display it, so it is no reason to reject.
fn is_unusual(c: char) -> bool {
    matches!(category(c), GeneralCategory::Unassigned | GeneralCategory::PrivateUse)
}

/// Returns the name with every invisible or misleading character spelled out, as `⟨U+202E⟩`. For pages and logs; the
/// name itself is never rewritten (RFC 7591 section 2.2).
///
/// ```
/// use tower_dcr::rules::visible;
///
/// assert_eq!(visible("Café"), "Café");
/// assert_eq!(visible("\u{202E}edualC"), "⟨U+202E⟩edualC");
/// ```
#[must_use]
pub fn visible(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return name.into();
    }
    let mut shown = String::with_capacity(name.len());
    for (at, c) in name.char_indices() {
        if is_hidden_at(name, at, c) || is_unusual(c) || c == BRAILLE_BLANK {
            // Writing into a string can't fail.
            let _infallible = write!(shown, "\u{27E8}U+{:04X}\u{27E9}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

/// A symbol by its category, but blank.
const BRAILLE_BLANK: char = '\u{2800}';

pub(super) fn is_blank(c: char) -> bool {
    c == BRAILLE_BLANK || has::<WhiteSpace>(c)
}

pub(super) fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

fn has<P: BinaryProperty>(c: char) -> bool {
    CodePointSetData::new::<P>().contains(c)
}

pub(super) fn of<P: EnumeratedProperty>(c: char) -> P {
    CodePointMapData::<P>::new().get(c)
}

/// Returns `true` if `c`, at byte `at` of `name`, is hidden there.
fn is_hidden_at(name: &str, at: usize, c: char) -> bool {
    is_hidden(c, name.get(..at).unwrap_or_default(), name.get(at + c.len_utf8()..).unwrap_or_default())
}

/// Returns `true` for controls, line and paragraph separators, characters that steer the order of text (UAX #9),
/// annotation characters, noncharacters, and characters that no font displays (`Default_Ignorable_Code_Point`:
/// zero-width characters, tags, fillers). Joiners and variation selectors are excepted where scripts and emoji need
/// them.
fn is_hidden(c: char, before: &str, after: &str) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    match category(c) {
        GeneralCategory::Control | GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator => true,
        _ if has::<BidiControl>(c) || has::<NoncharacterCodePoint>(c) || is_annotation(c) => true,
        _ if !has::<DefaultIgnorableCodePoint>(c) => false,
        _ => !joins(c, before, after) && !selects(c, before),
    }
}

/// Returns `true` for the brackets that hide a second text inside of the first.
const fn is_annotation(c: char) -> bool {
    matches!(c, '\u{FFF9}'..='\u{FFFB}')
}

const ZWNJ: char = '\u{200C}';
const ZWJ: char = '\u{200D}';

/// Returns `true` if `c` is visible in any position, as the neighbor of a joiner or a variation selector has to be.
fn is_seen(c: char) -> bool {
    !is_unusual(c) && c != BRAILLE_BLANK && !has::<DefaultIgnorableCodePoint>(c) && !has::<BidiControl>(c)
}

/// Returns `true` if a joiner makes a visible difference in its position: RFC 5892 appendices A.1 and A.2, and between
/// emoji.
fn joins(c: char, before: &str, after: &str) -> bool {
    let is_virama = |c: char| of::<CanonicalCombiningClass>(c) == CanonicalCombiningClass::Virama;
    let virama = || before.chars().next_back().is_some_and(is_virama);
    match c {
        ZWNJ => virama() || connects(before, after),
        ZWJ => virama() || is_pictographic(before) && after.chars().next().is_some_and(is_emoji),
        _ => false,
    }
}

/// Returns `true` if a letter that joins to the left is followed by one that joins to the right. Marks between them
/// don't count.
fn connects(before: &str, after: &str) -> bool {
    let joining = |c: char| of::<JoiningType>(c);
    let transparent = |c: &char| joining(*c) == JoiningType::Transparent && is_seen(*c);
    let left = before.chars().rev().find(|c| !transparent(c));
    let right = after.chars().find(|c| !transparent(c));
    let joins_left = |c: char| matches!(joining(c), JoiningType::LeftJoining | JoiningType::DualJoining);
    let joins_right = |c: char| matches!(joining(c), JoiningType::RightJoining | JoiningType::DualJoining);
    left.is_some_and(joins_left) && right.is_some_and(joins_right)
}

/// Returns `true` for an emoji that can be part of a sequence (UTS #51).
fn is_emoji(c: char) -> bool {
    has::<ExtendedPictographic>(c) && is_seen(c)
}

/// Returns `true` if the last character is such an emoji, with a skin tone or as a picture.
fn is_pictographic(text: &str) -> bool {
    let is_modifier = |c: char| matches!(c, '\u{FE0F}' | '\u{1F3FB}'..='\u{1F3FF}');
    let mut last = text.chars().rev();
    match last.next() {
        Some(c) if is_modifier(c) => last.next().is_some_and(is_emoji),
        Some(c) => is_emoji(c),
        None => false,
    }
}

/// Returns `true` if a variation selector follows a character that has variants. After a Latin letter it changes
/// nothing, and a row of selectors can carry whole invisible texts.
fn selects(c: char, before: &str) -> bool {
    use GeneralCategory::{MathSymbol, OtherLetter, OtherSymbol};
    if !has::<VariationSelector>(c) {
        return false;
    }
    let Some(base) = before.chars().next_back().filter(|base| is_seen(*base)) else { return false };
    match c {
        '\u{FE0E}' | '\u{FE0F}' => has::<Emoji>(base),
        _ => !base.is_ascii() && matches!(category(base), MathSymbol | OtherLetter | OtherSymbol),
    }
}

/// Returns the beginning of `name`, of at most `bytes` bytes. It ends between two words, or between two user-perceived
/// characters if a word boundary would take away more than half of it.
pub(crate) fn cut(name: &str, bytes: usize) -> &str {
    let head = |end: usize| name.get(..end).unwrap_or_default().trim_end();
    let ends = || name.char_indices().map(|(at, _)| at).take_while(|at| *at <= bytes);
    let is_space = |at: &usize| name.get(*at..).and_then(|rest| rest.chars().next()).is_some_and(char::is_whitespace);
    let word = ends().filter(is_space).last().map(head).filter(|word| word.len() >= bytes / 2);
    word.unwrap_or_else(|| head(ends().filter(|at| separates(name, *at)).last().unwrap_or_default()))
}

/// Returns `true` if there is a boundary between user-perceived characters at a byte of `name`. In doubt there is none.
fn separates(name: &str, at: usize) -> bool {
    use GraphemeClusterBreak as Break;
    let (before, behind) = (name.get(..at).unwrap_or_default(), name.get(at..).unwrap_or_default());
    let (Some(last), Some(next)) = (before.chars().next_back(), behind.chars().next()) else { return true };
    let joins_back = [Break::Extend, Break::SpacingMark, Break::ZWJ, Break::V, Break::T];
    if joins_back.contains(&of(next)) || [Break::Prepend, Break::ZWJ, Break::L].contains(&of(last)) {
        return false;
    }
    let is_flag = |c: &char| of::<Break>(*c) == Break::RegionalIndicator;
    let halves = before.chars().rev().take_while(is_flag).count();
    of::<CanonicalCombiningClass>(last) != CanonicalCombiningClass::Virama && (halves % 2 == 0 || !is_flag(&next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_invisible_characters() {
        let hidden = [
            ("a\u{8}b", "backspace"),
            ("a\u{85}b", "next line"),
            ("a\u{2028}b", "line separator"),
            ("\u{202E}edualC", "override"),
            ("a\u{61C}b", "Arabic letter mark"),
            ("Cl\u{200B}aude", "zero width space"),
            ("Cl\u{200C}aude", "a non-joiner between Latin letters"),
            ("Cl\u{200D}aude", "a joiner between Latin letters"),
            ("Cl\u{AD}aude", "soft hyphen"),
            ("Cl\u{34F}aude", "combining grapheme joiner"),
            ("Cl\u{180E}aude", "Mongolian vowel separator"),
            ("Cl\u{E0061}ude", "tag"),
            ("\u{3164}", "Hangul filler"),
            ("Cl\u{FFA0}aude", "half-width Hangul filler"),
            ("Cl\u{FFF9}aude", "annotation"),
            ("Cl\u{FE00}aude", "a variation selector behind a Latin letter"),
            ("\u{2603}\u{FE0F}\u{E0100}", "two variation selectors"),
            ("\u{FFFF}", "noncharacter"),
            ("\u{1F468}\u{200D}\u{1FC67}", "a joiner before an emoji that there is not"),
            ("\u{1F468}\u{FE0F}\u{FE0F}\u{200D}\u{1F469}", "a joiner behind two variation selectors"),
            ("ب\u{200B}\u{200C}ب", "a non-joiner behind what is not seen"),
            ("\u{3164}\u{FE00}", "a variant of a filler"),
            ("\u{2800}\u{FE00}", "a variant of a blank"),
        ];
        for (name, reason) in hidden {
            assert_eq!(first_fault(name), Some(Fault::Hidden), "{reason}");
            let shown = visible(name);
            assert_eq!(visible(&shown), shown, "{reason}: shown as it is shown");
        }
        assert_eq!(first_fault(" \u{A0}\u{2800}"), Some(Fault::Blank));
        assert_eq!(first_fault(""), Some(Fault::Blank));
        assert_eq!(first_fault("Z\u{351}\u{36B}\u{343}\u{36A}\u{302}algo"), Some(Fault::Marks));
    }

    #[test]
    fn long_names_are_cut_where_readers_see_an_end() {
        for (name, bytes, wanted, reason) in [
            ("Meeting Notes", 10, "Meeting", "between words"),
            ("Meeting  Notes", 9, "Meeting", "white space goes"),
            ("A Supercalifragilistic", 12, "A Supercalif", "in a word if it is most of the name"),
            ("クライアント", 8, "クラ", "between two characters"),
            ("cafe\u{301}", 5, "caf", "not before a mark"),
            ("ab\u{1F469}\u{1F3FD}\u{200D}\u{1F4BB}", 10, "ab", "not in an emoji"),
            ("\u{1F1EB}\u{1F1F7}\u{1F1EB}\u{1F1F7}", 12, "\u{1F1EB}\u{1F1F7}", "not in a flag"),
            ("क्षत्र", 7, "", "not behind a virama"),
            ("\u{1112}\u{1161}\u{11AB}", 6, "", "not in a syllable"),
        ] {
            assert_eq!(cut(name, bytes), wanted, "{reason}");
        }
    }

    #[test]
    fn keeps_characters_that_scripts_and_emoji_need() {
        let shown = [
            ("می\u{200C}خواهم", "Persian non-joiner"),
            ("क्\u{200D}ष", "Devanagari joiner behind a virama"),
            ("ශ්\u{200D}රී", "Sinhala"),
            ("\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}", "family"),
            ("\u{1F3F3}\u{FE0F}\u{200D}\u{1F308}", "rainbow flag"),
            ("\u{1F469}\u{1F3FD}\u{200D}\u{1F4BB}", "with a skin tone"),
            ("1\u{FE0F}\u{20E3} First", "keycap"),
            ("葛\u{E0100}飾", "ideographic variant"),
            ("\u{6DD} Quran", "a format character that is seen"),
            ("Re\u{301}sume\u{301}", "decomposed accents"),
            ("\u{E000}", "private use: odd, and no more"),
        ];
        for (name, reason) in shown {
            assert_eq!(first_fault(name), None, "{reason}");
        }
        assert_eq!(visible("\u{E000}\u{1F3F3}\u{FE0F}"), "⟨U+E000⟩\u{1F3F3}\u{FE0F}");
    }
}
