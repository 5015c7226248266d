//! Finds names in other names, in any spelling.
//!
//! Each character of a name has several [readings](super::readings), chosen independently of its neighbors: a name is
//! found if some choice of readings spells it. All choices, and all places at which a word can begin or end, are
//! followed at once, in one pass over the name.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use unicode_security::skeleton;

use super::everyday;
use super::readings::{self, COUNT, Letters, STRICT};
use super::units::{Unit, Units};
use crate::text;

/// The names to be found in others.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    reach: Reach,
    /// All forms of all names in one tree. The first node is the root.
    nodes: Vec<Node>,
    names: Vec<Wanted>,
    /// Short names as capitals and small letters are drawn, each with its owner, and the kind of match if nothing else
    /// is there.
    drawn: HashMap<String, (usize, Found)>,
}

/// The distance that a match may have from the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// For names that are compared as a whole, and marked as part of others: spaces anywhere, everyday words before or
    /// after, letters that touch (`Claucle`).
    Wide,
    /// For single words.
    Words,
}

/// The way in which a name was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Found {
    /// The name is all there is, except for signs and a parenthesis at the end.
    Whole,
    /// The same at a glance (`Dande` for `Claude`), with a space inside of a word (`C. Laude`) or, for short names, in
    /// another case (`Xai` for `xAI`). It may well be another name.
    Alike,
    /// The name is found among other words.
    Part,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// The children by letter, in order.
    next: Vec<(char, usize)>,
    /// The ASCII letters among them, by bit.
    ascii: u128,
    /// The ASCII letters that can be read as one of them, alone or with the next one: most letters of a name lead nowhere.
    starts: u128,
    /// The names that end here.
    names: Vec<usize>,
    /// `true` if a word ends here within a longer name.
    is_border: bool,
}

#[derive(Clone, Debug)]
struct Wanted {
    owner: usize,
    /// The letters and digits.
    letters: Vec<char>,
}

/// A choice of readings, up to some unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice that was made or not")]
struct State {
    node: usize,
    /// The first of two letters that may be read as one: `c` of `cl`.
    half: Option<char>,
    /// The match began with the first letter of the name.
    from_start: bool,
    /// The match began after an everyday word, in the middle of a word.
    affixed: bool,
    /// A reading that is not strict was chosen.
    loose: bool,
    /// Two letters were read as one.
    merged: bool,
    /// `n` was read as `u`, or `u` as `n`.
    turned: bool,
    /// A letter was read as two, which makes words of names: `Dande` of `Claude`.
    split: bool,
    /// A space was skipped where the name has no border between words.
    joined: bool,
}

/// The length of short names. In them, no digit is read as a letter and no letter as another: too many of such names
/// belong to others.
const SHORT: usize = 3;

/// Names with fewer letters are not compared at a glance.
const GLANCED: usize = 5;

/// No accepted name is longer. Of longer names, the beginning is compared.
const MAX_BYTES: usize = 1024;

impl Matcher {
    pub(crate) fn new(reach: Reach) -> Self {
        Self { reach, nodes: vec![Node::default()], names: Vec::new(), drawn: HashMap::new() }
    }

    /// Adds `name` as a name of `owner`. Returns `false`, and does nothing, if there is no letter or digit in it.
    pub(crate) fn insert(&mut self, name: &str, owner: usize) -> bool {
        let units = Units::of(text::cut(name, MAX_BYTES));
        let (letters, borders) = (units.letters(), units.borders());
        let readings: Vec<_> = letters.iter().map(|c| readings::all(*c)).collect();
        let is_short = letters.len() <= SHORT;
        let wanted = self.names.len();
        let count = if is_short { STRICT } else { COUNT };
        for index in 0..count {
            let mut node = 0;
            for (at, readings) in readings.iter().enumerate() {
                if let Some(node) = self.nodes.get_mut(node) {
                    node.is_border |= borders.contains(&at);
                }
                let letters = readings.get(index).map(Letters::as_slice).unwrap_or_default();
                node = letters.iter().fold(node, |node, letter| self.grow(node, *letter));
            }
            if let Some(node) = self.nodes.get_mut(node).filter(|end| node > 0 && !end.names.contains(&wanted)) {
                node.names.push(wanted);
            }
        }
        if is_short {
            let written: String = letters.iter().collect();
            for other in [written.to_lowercase(), written.to_uppercase()] {
                self.drawn.entry(drawn(&other)).or_insert((owner, Found::Alike));
            }
            self.drawn.insert(drawn(&written), (owner, Found::Whole));
        }
        self.names.push(Wanted { owner, letters });
        self.nodes.iter().any(|node| node.names.contains(&wanted))
    }

    /// Returns the owners of the names that `name` is or contains.
    pub(crate) fn find(&self, name: &str) -> BTreeSet<(usize, Found)> {
        let units = Units::of(text::cut(name, MAX_BYTES));
        let mut search = Search { matcher: self, units: &units, found: BTreeSet::new() };
        search.run();
        let mut found = search.found;
        self.find_drawn(&units, &mut found);
        found
    }

    /// Finds short names in which a capital I is a small l, or the reverse. No other letters are read differently in
    /// them.
    fn find_drawn(&self, units: &Units, found: &mut BTreeSet<(usize, Found)>) {
        if self.drawn.is_empty() {
            return;
        }
        for word in units.words(SHORT).filter(|word| !word.chars().any(char::is_numeric)) {
            if let Some((owner, alone)) = self.drawn.get(&drawn(&word)) {
                let is_all = word.chars().count() == units.count_plain();
                found.insert((*owner, if is_all { *alone } else { Found::Part }));
            }
        }
    }

    /// Returns the child of `node` for `letter`, and creates it if there is none.
    fn grow(&mut self, node: usize, letter: char) -> usize {
        if let Some(next) = self.child(node, letter) {
            return next;
        }
        let made = self.nodes.len();
        self.nodes.push(Node::default());
        if let Some(node) = self.nodes.get_mut(node) {
            let at = node.next.partition_point(|(other, _)| *other < letter);
            node.next.insert(at, (letter, made));
            node.ascii |= bit(letter);
            node.starts |= starts(letter);
        }
        made
    }

    fn child(&self, node: usize, letter: char) -> Option<usize> {
        let node = self.nodes.get(node)?;
        let at = match bit(letter) {
            0 => node.next.binary_search_by_key(&letter, |(other, _)| *other).ok()?,
            bit if node.ascii & bit == 0 => return None,
            bit => (node.ascii & (bit - 1)).count_ones() as usize,
        };
        node.next.get(at).map(|(_, next)| *next)
    }

    fn wanted(&self, state: &State) -> impl Iterator<Item = &Wanted> {
        self.ends_at(if state.half.is_none() { state.node } else { 0 })
    }

    fn ends_at(&self, node: usize) -> impl Iterator<Item = &Wanted> {
        self.nodes.get(node).into_iter().flat_map(|node| &node.names).filter_map(|wanted| self.names.get(*wanted))
    }

    /// Returns the lengths of the names, except for short ones, that `text` begins with.
    fn heads(&self, text: &str) -> Vec<usize> {
        let mut node = 0;
        let nodes = text.char_indices().map_while(|(at, letter)| {
            node = self.child(node, letter)?;
            Some((at + letter.len_utf8(), node))
        });
        let is_head = |node: usize| self.ends_at(node).any(|wanted| !wanted.is_short());
        nodes.filter(|(_, node)| is_head(*node)).map(|(length, _)| length).collect()
    }

    /// Returns the state after a space.
    fn pass_space(&self, state: State) -> State {
        let is_inside = state.node > 0 || state.half.is_some();
        let is_border = || state.half.is_none() && self.nodes.get(state.node).is_some_and(|node| node.is_border);
        State { joined: state.joined || is_inside && !is_border(), ..state }
    }

    /// Returns `false` if no choice of `state` begins with `letter`.
    fn may_read(&self, state: &State, letter: char) -> bool {
        match (state.half, bit(letter)) {
            (Some(half), _) => one_of_two(half).is_some_and(|(second, _)| second == letter),
            (None, 0) => true,
            (None, bit) => self.nodes.get(state.node).is_some_and(|node| node.starts & bit != 0),
        }
    }

    /// Follows every choice that `state` has for these letters.
    fn read(&self, state: State, letters: &[char], states: &mut Vec<State>) {
        match letters.split_first() {
            None if states.contains(&state) => {}
            None => states.push(state),
            Some((letter, rest)) => self.step(state, *letter, &mut |state| self.read(state, rest, states)),
        }
    }

    fn step(&self, state: State, letter: char, then: &mut dyn FnMut(State)) {
        let mut go = |node: Option<usize>, state: State| {
            if let Some(node) = node {
                then(State { node, ..state });
            }
        };
        if let Some(half) = state.half {
            let one = one_of_two(half).filter(|(second, _)| *second == letter);
            go(one.and_then(|(_, one)| self.child(state.node, one)), State { half: None, merged: true, ..state });
            return;
        }
        go(self.child(state.node, letter), state);
        if self.reach == Reach::Words {
            return;
        }
        match letter {
            'n' => go(self.child(state.node, 'u'), State { turned: true, ..state }),
            'u' => go(self.child(state.node, 'n'), State { turned: true, ..state }),
            // As in Roman inscriptions.
            'v' => go(self.child(state.node, 'u'), State { merged: true, ..state }),
            _ => {}
        }
        if one_of_two(letter).is_some_and(|(_, one)| self.child(state.node, one).is_some()) {
            go(Some(state.node), State { half: Some(letter), ..state });
        }
        if state.from_start
            && let Some((first, second)) = two_of_one(letter)
        {
            let node = self.child(state.node, first).and_then(|node| self.child(node, second));
            go(node, State { split: true, ..state });
        }
    }
}

impl Wanted {
    fn is_short(&self) -> bool {
        self.letters.len() <= SHORT
    }

    /// Returns `true` if the letters differ from the name in case. If their number differs, some are signs, which have
    /// no case.
    fn is_in_other_case(&self, letters: &[char]) -> bool {
        letters.len() == self.letters.len()
            && self.letters.iter().zip(letters).any(|(one, other)| one.is_uppercase() != other.is_uppercase())
    }
}

/// Returns the bit of an ASCII character, and 0 for others.
const fn bit(letter: char) -> u128 {
    if letter.is_ascii() { 1 << letter as u32 } else { 0 }
}

/// Returns the letters with which a reading of `letter` can begin, see [`Matcher::step`].
const fn starts(letter: char) -> u128 {
    bit(letter)
        | match letter {
            'c' => bit('d'),
            'd' => bit('c'),
            'i' | 'n' => bit('u'),
            'u' => bit('n') | bit('v') | bit('i'),
            'v' => bit('w'),
            'w' => bit('v'),
            _ => 0,
        }
}

/// Returns the second letter of a pair that is read as one, and that one.
const fn one_of_two(first: char) -> Option<(char, char)> {
    match first {
        'c' => Some(('l', 'd')),
        'v' => Some(('v', 'w')),
        'i' => Some(('i', 'u')),
        _ => None,
    }
}

/// Returns the two letters that one looks like.
const fn two_of_one(letter: char) -> Option<(char, char)> {
    match letter {
        'd' => Some(('c', 'l')),
        'w' => Some(('v', 'v')),
        'u' => Some(('i', 'i')),
        _ => None,
    }
}

/// Returns the letters as they are drawn: a small l is a capital I, a small i is not.
fn drawn(word: &str) -> String {
    /// Each letter is drawn alone: there are no marks among them.
    static ASCII: LazyLock<Vec<String>> =
        LazyLock::new(|| (0..128_u8).map(|byte| drawn_as_text(char::from(byte).encode_utf8(&mut [0; 4]))).collect());
    if word.is_ascii() {
        return word.bytes().filter_map(|byte| ASCII.get(usize::from(byte))).map(String::as_str).collect();
    }
    drawn_as_text(word)
}

fn drawn_as_text(word: &str) -> String {
    skeleton(word).filter(|c| c.is_alphanumeric()).collect()
}

/// A pass over a name.
struct Search<'a> {
    matcher: &'a Matcher,
    units: &'a Units,
    found: BTreeSet<(usize, Found)>,
}

impl Search<'_> {
    fn run(&mut self) {
        let is_wide = self.matcher.reach == Reach::Wide;
        let mut states: Vec<State> = Vec::with_capacity(16);
        let mut next = Vec::with_capacity(16);
        let mut affixed: Vec<usize> = Vec::new();
        let mut seen_plain = false;
        for (at, unit) in self.units.iter() {
            if unit.is_border {
                self.end(&states, at);
                let root = State { from_start: !seen_plain, ..State::default() };
                if !states.contains(&root) {
                    states.push(root);
                }
                if is_wide && unit.is_plain {
                    affixed = self.behind_everyday_words(at);
                }
            } else if is_wide {
                self.end_before_everyday_words(&states, at);
            }
            if affixed.contains(&at) {
                states.push(State { affixed: true, ..State::default() });
            }
            self.advance(at, unit, &states, &mut next);
            std::mem::swap(&mut states, &mut next);
            seen_plain |= unit.is_plain;
        }
        self.end(&states, self.units.len());
    }

    /// Follows the states over a unit.
    fn advance(&self, at: usize, unit: Unit, states: &[State], next: &mut Vec<State>) {
        next.clear();
        // A sign is read as nothing, or as a letter.
        if !unit.is_plain && (self.matcher.reach == Reach::Wide || self.units.is_between_single_letters(at)) {
            let is_joint = unit.is_blank() && !self.units.is_between_single_letters(at);
            next.extend(states.iter().map(|state| if is_joint { self.matcher.pass_space(*state) } else { *state }));
        }
        readings::each(unit.c, |reading| {
            let letters = reading.letters.as_slice();
            for state in states {
                if letters.first().is_some_and(|first| !self.matcher.may_read(state, *first)) {
                    continue;
                }
                let state = State { loose: state.loose || !reading.strict, ..*state };
                self.matcher.read(state, letters, next);
            }
        });
    }

    /// Records the names that end where a word can end.
    fn end(&mut self, states: &[State], at: usize) {
        let is_end = self.units.is_end(at);
        for state in states {
            let is_all = is_end && state.from_start;
            for wanted in self.matcher.wanted(state) {
                let glanced = state.merged || state.turned || state.split;
                let is_too_short =
                    glanced && wanted.letters.len() < GLANCED || (state.loose || state.affixed) && wanted.is_short();
                if is_too_short || state.split && !is_all {
                    continue;
                }
                let found = match () {
                    () if !is_all => Found::Part,
                    () if state.turned || state.split || state.joined => Found::Alike,
                    () if wanted.is_short() && wanted.is_in_other_case(&self.units.letters()) => Found::Alike,
                    () => Found::Whole,
                };
                self.found.insert((wanted.owner, found));
            }
        }
    }

    /// Records the names that end in the middle of a word whose remainder is everyday words and names: `claudeapp`,
    /// `claudeslack`.
    fn end_before_everyday_words(&mut self, states: &[State], at: usize) {
        let mut is_everyday = None;
        for state in states.iter().filter(|state| state.node > 0 && !state.turned && !state.split) {
            for wanted in self.matcher.wanted(state).filter(|wanted| !wanted.is_short()) {
                let is_rest_everyday = || {
                    let end = self.units.word_end(at);
                    let rest = self.units.ascii(at, end);
                    rest.len() == end - at && everyday::is_everyday(&rest, &|text| self.matcher.heads(text))
                };
                if *is_everyday.get_or_insert_with(is_rest_everyday) {
                    self.found.insert((wanted.owner, Found::Part));
                }
            }
        }
    }

    /// Returns the places in the word that begins at `start` that have only everyday words before them: `myclaude`.
    fn behind_everyday_words(&self, start: usize) -> Vec<usize> {
        let word = self.units.ascii(start, self.units.word_end(start));
        // A name that is not short has to follow.
        let lengths = if word.len() > SHORT + 2 { everyday::prefixes(&word) } else { Vec::new() };
        lengths.into_iter().map(|length| start + length).collect()
    }
}

/// Returns `true` if a person could mistake one of these names for the other.
///
/// Case, spaces, punctuation, accents, letters of other scripts and digits for letters make no difference, nor does a
/// parenthesis at the end. Other words do: `Claude` and `Claude Code` are two names. In names of three letters, no
/// digit is read as a letter.
pub(crate) fn is_confusable(one: &str, other: &str) -> bool {
    let is_found = |wanted: &str, name: &str| {
        let mut matcher = Matcher::new(Reach::Wide);
        matcher.insert(wanted, 0) && matcher.find(name).iter().any(|(_, found)| *found != Found::Part)
    };
    is_found(one, other) || is_found(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn names_are_compared_in_both_directions(one in ".{0,120}", other in ".{0,20}") {
            proptest::prop_assert!(is_confusable(&one, &one) || !one.contains(char::is_alphanumeric));
            proptest::prop_assert_eq!(is_confusable(&one, &other), is_confusable(&other, &one));
        }
    }

    #[test]
    fn letters_are_skipped_only_if_they_lead_nowhere() {
        let mut matcher = Matcher::new(Reach::Wide);
        for (owner, name) in
            ["Claude", "Windsurf", "VS Code", "Ünal", "Kiro", "Amazon Q", "豆包", "Dify", "Notion"].iter().enumerate()
        {
            matcher.insert(name, owner);
        }
        for node in 0..matcher.nodes.len() {
            for from_start in [false, true] {
                for half in [None, Some('c'), Some('v'), Some('i')] {
                    let state = State { node, half, from_start, ..State::default() };
                    for letter in (0..128_u8).map(char::from) {
                        let mut leads = false;
                        matcher.step(state, letter, &mut |_| leads = true);
                        assert!(matcher.may_read(&state, letter) || !leads, "{letter} at {:?}", matcher.nodes[node]);
                    }
                }
            }
        }
    }

    #[test]
    fn letters_are_drawn_as_in_a_text() {
        for word in ["Il1", "mM0", "xAI", "z|-"] {
            assert_eq!(drawn(word), drawn_as_text(word));
        }
    }

    #[test]
    fn imitations_share_a_reading_with_what_they_imitate() {
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
                    "Cꝉaude",
                    "Cꬷaude",
                    "Cꬸaude",
                    "Cꬹaude",
                    "C𝼑aude",
                    "C𝼓aude",
                    "𝼝laude",
                    "Clꬱude",
                    "C¦aude",
                    "C❘aude",
                    "Cㅣaude",
                    "Claudə",
                    "Claudɘ",
                    "Clɐude",
                    "CLAUDƎ",
                    "Clau∂e",
                    "C₤AUDE",
                    "[laude",
                    "{laude",
                    "⟨laude",
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
                assert!(is_confusable(name, imitation), "{imitation} for {name}: {:?}", Units::of(imitation));
            }
        }
        for (name, other) in
            [("Claude", "Claudius"), ("Claude", "Cloud"), ("Cursor", "Precursor"), ("GitHub", "GitLab")]
        {
            assert!(!is_confusable(name, other), "{other}");
        }
    }

    fn found(wanted: &str, name: &str, reach: Reach) -> Option<Found> {
        let mut matcher = Matcher::new(reach);
        assert!(matcher.insert(wanted, 7), "{wanted}");
        matcher.find(name).first().map(|(owner, found)| {
            assert_eq!(*owner, 7);
            *found
        })
    }

    #[test]
    fn distinguishes_whole_names_and_mentions() {
        use Found::{Alike, Part, Whole};
        for (wanted, name, expected, reason) in [
            ("Claude", "Claude", Some(Whole), "itself"),
            ("Claude", "Claude²", Some(Whole), "a sign behind it"),
            ("Claude", "Claudeª", Some(Whole), "an ordinal behind it"),
            ("Claude", "Claude!", Some(Whole), "a sign that could be a letter"),
            ("Claude", "Cl@ude!", Some(Whole), "one sign that is a letter, and one that is not"),
            ("Claude", "CLAVDE", Some(Whole), "a Roman V"),
            ("Claude", "Claucle", Some(Whole), "two letters for one"),
            ("Claude", "Clande", Some(Alike), "a letter upside down"),
            ("Claude", "Dande", Some(Alike), "another word"),
            ("Claude", "Dande Maps", None, "another word among others"),
            ("Claude", "Claude4", Some(Part), "a digit behind it"),
            ("Claude", "C l a u d e Pro", Some(Part), "single letters beside a word"),
            ("Claude", "claudeapp", Some(Part), "an everyday word behind it"),
            ("Claude", "getmyclaude", Some(Part), "everyday words before it"),
            ("Claude", "theclaudeapp", Some(Part), "both"),
            ("Claude", "Claudette", None, "another name"),
            ("Slack", "Slacker", None, "another word"),
            ("Claude", "★ (Claude)", Some(Whole), "nothing but signs before the parenthesis"),
            ("Claude", "Claude (x) ✓", Some(Whole), "a sign behind the parenthesis"),
            ("Claude", "Claude (x", Some(Whole), "a parenthesis without an end"),
            ("Claude", "Foo (Claude)", Some(Part), "in a parenthesis"),
            ("Copilot Studio", "Copilot (Studio)", Some(Whole), "one of its words in a parenthesis"),
            ("Claude", "C. Laude", Some(Alike), "a space that the name does not have"),
            ("Claude", "C. Laude Maps", Some(Part), "the same among others"),
            ("Claude", "C-laude", Some(Whole), "a sign that is no space"),
            ("Claude Code", "C l a u d e C o d e", Some(Whole), "single letters"),
            ("Claude Code", "Claude  Code", Some(Whole), "spaces where the name has one"),
            ("ChatGPT", "Chat GPT", Some(Whole), "a space where the name has a hump"),
            ("Claude", "claudeplugins", Some(Part), "several of what there is one of"),
            ("Claude", "claudefromclaude", Some(Part), "an everyday word and a name behind it"),
            ("xAI", "XAI", Some(Alike), "other capitals"),
            ("xAI", "Xai", Some(Alike), "other capitals"),
            ("xAI", "x AI™", Some(Whole), "as it is, with a space where it has a hump"),
            ("xAI", "xAl", Some(Whole), "a small l that is drawn like a capital I"),
            ("xAI", "хАІ", Some(Whole), "Cyrillic letters"),
            ("xAI", "XAL", None, "another letter"),
            ("xAI", "X41", None, "digits in a short name"),
            ("xAI", "proxai", None, "behind an everyday word, but short"),
            ("クロード", "ｸﾛｰﾄﾞ", Some(Whole), "half-width"),
            ("クロード", "クロート", None, "another letter in Japanese"),
            ("クロード", "クロードモネ", Some(Part), "written without a space"),
            ("클로드", "클로드 앱", Some(Part), "Korean"),
        ] {
            assert_eq!(found(wanted, name, Reach::Wide), expected, "{reason}: {name}");
        }
    }

    #[test]
    fn words_are_found_as_words() {
        for (name, expected) in [
            ("Official MCP Client", true),
            ("0fficiaI-Client", true),
            ("o f f i c i a l", true),
            ("ClientOfficial", true),
            ("Unofficial", false),
            ("officialapp", false),
            ("of ficial", false),
        ] {
            assert_eq!(found("official", name, Reach::Words).is_some(), expected, "{name}");
        }
        assert!(!Matcher::new(Reach::Words).insert("…", 0), "nothing to look for");
    }
}
