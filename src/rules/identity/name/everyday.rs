//! Words that people put before or behind a product's name without a space: `claudeapp`, `chatgptpro`, `myclaude`.

use std::sync::LazyLock;

/// The words, in order. Only in small letters: a capital already begins a word. Longer words count with a plural s, too.
static WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| include_str!("everyday.txt").lines().collect());

/// The place of the first word with each letter, and the end.
static STARTS: LazyLock<[usize; 27]> = LazyLock::new(|| {
    let start = |letter: usize| {
        WORDS.partition_point(|word| word.bytes().next().is_some_and(|first| usize::from(first) < letter))
    };
    std::array::from_fn(|letter| start(usize::from(b'a') + letter))
});

/// Longer texts are not taken apart.
const MAX_BYTES: usize = 40;

/// Shorter words have no plural: `devinais` is French.
const MIN_PLURAL_BYTES: usize = 4;

/// Returns `true` if `text` consists of everyday words and names. `names` returns the lengths of the names at the
/// beginning of a text.
pub(super) fn is_everyday(text: &str, names: &dyn Fn(&str) -> Vec<usize>) -> bool {
    text.is_empty() || reach(text, names).contains(&text.len())
}

/// Returns every length of a beginning of `text` that consists of everyday words only.
pub(super) fn prefixes(text: &str) -> Vec<usize> {
    reach(text, &|_| Vec::new())
}

fn reach(text: &str, names: &dyn Fn(&str) -> Vec<usize>) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut rest = Vec::new();
    let mut next = Some(text);
    while let Some(text_left) = next {
        let behind_names = names(text_left).into_iter().filter_map(|length| text_left.get(length..));
        for left in rests(text_left).chain(behind_names) {
            let length = text.len() - left.len();
            if length <= MAX_BYTES && !lengths.contains(&length) {
                lengths.push(length);
                rest.push(left);
            }
        }
        next = rest.pop();
    }
    lengths
}

/// Returns the remainders of `text` after each everyday word at its beginning.
fn rests(text: &str) -> impl Iterator<Item = &str> {
    let letter = text.bytes().next().map_or(usize::MAX, |first| usize::from(first.wrapping_sub(b'a')));
    let words = STARTS.get(letter).zip(STARTS.get(letter.saturating_add(1)));
    let words = words.and_then(|(start, end)| WORDS.get(*start..*end)).unwrap_or_default().iter();
    words.flat_map(move |word| {
        let left = text.strip_prefix(word);
        let plural = left.filter(|_| word.len() >= MIN_PLURAL_BYTES).and_then(|left| left.strip_prefix('s'));
        left.into_iter().chain(plural)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_everyday_words_and_names_count() {
        assert!(WORDS.is_sorted() && WORDS.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())));
        let acme = |text: &str| if text.starts_with("acme") { vec![4] } else { Vec::new() };
        for (text, wanted) in [
            ("", true),
            ("app", true),
            ("mcpclient", true),
            ("apps", true),
            ("plugins", true),
            ("extensionsserver", true),
            ("fromacme", true),
            ("acmeplugin", true),
            ("acmex", false),
            ("appx", false),
            ("ais", false),
            ("s", false),
            ("tte", false),
        ] {
            assert_eq!(is_everyday(text, &acme), wanted, "{text}");
        }
        let mut lengths = prefixes("myappslack");
        lengths.sort_unstable();
        assert_eq!(lengths, [2, 5, 6]);
        assert!(!is_everyday(&"app".repeat(20), &acme), "a flood");
    }
}
