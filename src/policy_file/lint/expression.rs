//! The hosts that a regular expression for redirect URIs leaves open.
//!
//! Expressions match whole URIs, but their text can undo that: scheme and host have to be written out in each way
//! through the expression. So every way is followed up to the end of its host.

use crate::redirect_uri::public_suffix;
use regex_syntax::hir::{Class, Hir, HirKind};

/// A mistake in an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An alternative does not begin with a scheme that is written out.
    Unanchored,
    /// An expression before the path also matches the end of a host.
    HostNotAnchored,
    /// A dot that is not escaped.
    Dot,
    /// The varying part is not left of a domain that is written out.
    OpenDomain,
    /// The varying part is left of a public suffix.
    PublicSuffix,
    /// Any path and query pass.
    NoEnd,
    /// The expression has more ways than are followed.
    TooIntricate,
}

/// A step of a way through an expression.
#[derive(Clone, Copy)]
enum Symbol {
    Char(char),
    Varying(Variety),
}

/// The characters that a varying step may match.
#[derive(Clone, Copy, Default)]
struct Variety {
    /// A dot.
    dot: bool,
    /// The end of a host.
    end: bool,
    /// Any number of characters.
    many: bool,
}

type Way = Vec<Symbol>;

/// The limit on ways that are followed.
const MAX_WAYS: usize = 256;

/// The characters that end the host of a URI for some reader.
const ENDS: [char; 6] = ['/', '?', '#', ':', '@', '\\'];

/// Returns the first mistake in an expression; `None` if there is none.
pub(super) fn fault(expression: &str) -> Option<Fault> {
    // Expressions that can't be read are rejected earlier.
    let hir = regex_syntax::Parser::new().parse(expression).ok()?;
    let Some(ways) = follow(&hir, vec![Way::new()]) else { return Some(Fault::TooIntricate) };
    ways.iter().find_map(|way| fault_of_way(way)).or_else(|| has_no_end(&hir).then_some(Fault::NoEnd))
}

/// Extends `ways` by `hir`, each up to the end of its host; `None` if there are too many.
fn follow(hir: &Hir, ways: Vec<Way>) -> Option<Vec<Way>> {
    let (ended, mut open): (Vec<Way>, Vec<Way>) = ways.into_iter().partition(|way| has_ended(way));
    if open.is_empty() {
        return Some(ended);
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => {
            for c in String::from_utf8_lossy(&literal.0).chars() {
                push(&mut open, Symbol::Char(c));
            }
        }
        HirKind::Class(class) => push(&mut open, symbol(class)),
        HirKind::Capture(capture) => open = follow(&capture.sub, open)?,
        HirKind::Concat(parts) => open = parts.iter().try_fold(open, |open, part| follow(part, open))?,
        HirKind::Alternation(parts) => {
            let found: Option<Vec<_>> = parts.iter().map(|part| follow(part, open.clone())).collect();
            open = found?.concat();
        }
        HirKind::Repetition(repetition) => {
            let skipped = if repetition.min == 0 { open.clone() } else { Vec::new() };
            if repetition.max != Some(1) {
                // The last round is followed as written, the others as any of its characters.
                let mut any = Variety { many: true, ..Variety::default() };
                collect(&repetition.sub, &mut any);
                push(&mut open, Symbol::Varying(any));
            }
            open = [follow(&repetition.sub, open)?, skipped].concat();
        }
    }
    open.extend(ended);
    (open.len() <= MAX_WAYS).then_some(open)
}

fn push(ways: &mut [Way], symbol: Symbol) {
    for way in ways.iter_mut().filter(|way| !has_ended(way)) {
        way.push(symbol);
    }
}

fn symbol(class: &Class) -> Symbol {
    // Redirect URIs are ASCII.
    let mut letters = (0..=127_u8).map(char::from).filter(|c| has(class, *c)).map(|c| c.to_ascii_lowercase());
    match letters.next() {
        // One letter in both cases, or one character in brackets: `[.]`.
        Some(first) if letters.all(|c| c == first) => Symbol::Char(first),
        _ => Symbol::Varying(variety(class)),
    }
}

fn variety(class: &Class) -> Variety {
    Variety { dot: has(class, '.'), end: ENDS.into_iter().any(|end| has(class, end)), many: false }
}

/// Adds the characters that `hir` can match.
fn collect(hir: &Hir, found: &mut Variety) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => {
            let has = |wanted: char| literal.0.iter().any(|byte| char::from(*byte) == wanted);
            found.dot |= has('.');
            found.end |= ENDS.into_iter().any(has);
        }
        HirKind::Class(class) => {
            let Variety { dot, end, .. } = variety(class);
            found.dot |= dot;
            found.end |= end;
        }
        HirKind::Capture(capture) => collect(&capture.sub, found),
        HirKind::Repetition(repetition) => collect(&repetition.sub, found),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().for_each(|part| collect(part, found)),
    }
}

fn has(class: &Class, c: char) -> bool {
    match class {
        Class::Unicode(class) => class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&c)),
        Class::Bytes(class) => {
            let byte = u8::try_from(c).unwrap_or_default();
            class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&byte))
        }
    }
}

/// Returns the host, which follows a scheme that is written out; `None` if there is none.
fn host_of(way: &[Symbol]) -> Option<&[Symbol]> {
    let slashes = [':', '/', '/'];
    let is_char = |symbol: &Symbol, wanted: char| matches!(symbol, Symbol::Char(c) if *c == wanted);
    let at = way.windows(3).position(|window| window.iter().zip(slashes).all(|(symbol, c)| is_char(symbol, c)))?;
    way.get(at + slashes.len()..)
}

/// Returns whether the way has passed the end of its host.
fn has_ended(way: &[Symbol]) -> bool {
    host_of(way).and_then(<[_]>::last).is_some_and(|last| matches!(last, Symbol::Char(c) if ENDS.contains(c)))
}

fn fault_of_way(way: &[Symbol]) -> Option<Fault> {
    let colon = way.iter().position(|symbol| matches!(symbol, Symbol::Char(':'))).unwrap_or(way.len());
    let mut scheme = String::new();
    for symbol in way.get(..colon).unwrap_or_default() {
        match symbol {
            Symbol::Char(c) => scheme.push(*c),
            Symbol::Varying(_) => return Some(Fault::Unanchored),
        }
    }
    // An application may have any path; http is only allowed to the user's own machine.
    if scheme != "https" {
        return None;
    }
    let Some(host) = host_of(way) else {
        let varies = way.iter().any(|symbol| matches!(symbol, Symbol::Varying(_)));
        return varies.then_some(Fault::HostNotAnchored);
    };
    fault_of_host(host)
}

fn fault_of_host(host: &[Symbol]) -> Option<Fault> {
    let mut has_dot = false;
    let mut suffix = Some(String::new());
    let mut varies = false;
    for symbol in host {
        match symbol {
            Symbol::Char(c) if ENDS.contains(c) => break,
            Symbol::Char(c) => {
                has_dot |= *c == '.';
                suffix.get_or_insert_default().push(*c);
            }
            Symbol::Varying(variety) => {
                has_dot |= variety.dot;
                // A host without a dot has no other owner.
                if variety.end && has_dot {
                    return Some(if variety.many { Fault::HostNotAnchored } else { Fault::Dot });
                }
                varies = true;
                suffix = None;
            }
        }
    }
    if !varies || !has_dot {
        return None;
    }
    let Some(domain) = suffix.as_deref().and_then(|suffix| suffix.strip_prefix('.')) else {
        return Some(Fault::OpenDomain);
    };
    let is_suffix = public_suffix(domain).is_some_and(|suffix| suffix.as_bytes() == domain.as_bytes());
    is_suffix.then_some(Fault::PublicSuffix)
}

/// Returns whether the expression ends with any number of path and query characters.
fn has_no_end(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Capture(capture) => has_no_end(&capture.sub),
        HirKind::Concat(parts) => parts.last().is_some_and(has_no_end),
        HirKind::Alternation(parts) => parts.iter().any(has_no_end),
        HirKind::Repetition(repetition) => {
            let HirKind::Class(class) = repetition.sub.kind() else { return false };
            repetition.max.is_none() && has(class, '/') && has(class, '?')
        }
        HirKind::Empty | HirKind::Look(_) | HirKind::Literal(_) | HirKind::Class(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_open_expressions_and_no_others() {
        for (expression, expected) in [
            (r".*\.example\.com/cb", Some(Fault::Unanchored)),
            (r"\w+://\w+\.\w+/cb", Some(Fault::Unanchored)),
            (r"[a-z]+://app\.example\.com/cb", Some(Fault::Unanchored)),
            (r"https://app\.example\.com/cb|x.*", Some(Fault::Unanchored)),
            (r"https://app\.example\.com/cb|(?:y|\S+)", Some(Fault::Unanchored)),
            (r"(https|.+)://app\.example\.com/cb", Some(Fault::Unanchored)),
            (r"(https://app\.example\.com/)?.*", Some(Fault::Unanchored)),
            (r"https?.*", Some(Fault::Unanchored)),
            (r"https:.*", Some(Fault::HostNotAnchored)),
            (r"https://.*", Some(Fault::HostNotAnchored)),
            (r"https://.*\.example\.com/cb", Some(Fault::HostNotAnchored)),
            (r"https://[^/]*\.example\.com/cb", Some(Fault::HostNotAnchored)),
            (r"https://[^.]+\.example\.com/cb", None),
            (r"https://\S+\.example\.com/cb", Some(Fault::HostNotAnchored)),
            (r"https://app\.example\.com.*", Some(Fault::HostNotAnchored)),
            (r"https://(app\.example\.com|.*)/cb", Some(Fault::HostNotAnchored)),
            (r"https://a\.example.com/cb", Some(Fault::Dot)),
            (r"https://app.example.com/cb", Some(Fault::Dot)),
            (r"https://[a-z.]+/cb", Some(Fault::OpenDomain)),
            (r"https://\w+\.\w+/cb", Some(Fault::OpenDomain)),
            (r"https://app\.[a-z]+\.com/cb", Some(Fault::PublicSuffix)),
            (r"https://[a-z.]+example\.com/cb", Some(Fault::OpenDomain)),
            (r"https://[a-z]+\.com/cb", Some(Fault::PublicSuffix)),
            (r"https://[a-z0-9-]+\.github\.io/cb", Some(Fault::PublicSuffix)),
            (r"https://example\.co[a-z]?/cb", Some(Fault::OpenDomain)),
            (r"https://app\.example\.com/.*", Some(Fault::NoEnd)),
            (r"https://app\.example\.com/(\S*)", Some(Fault::NoEnd)),
            (r"https://app[.]example[.]com/cb", None),
            (r"https://app\.example\.com/cb", None),
            (r"https://app\.example\.com/a.b", None),
            (r"https://app\.example\.com/[a-z]+/cb", None),
            (r"https://app\.example\.com(:8443)?/cb", None),
            (r"https://[a-z]+\.example\.com/cb", None),
            (r"https://([a-z]+\.)*example\.com/cb", None),
            (r"https://(www\.)?example\.(com|net)/cb", None),
            (r"(?i)https://app\.example\.com/cb", None),
            (r"https://a\.example\.com/(a|b)", None),
            (r"https://pr-\d+\.preview\.pages\.dev/cb", None),
            (r"https://x[0-9]", None),
            (r"https://app[^/]*/cb", Some(Fault::HostNotAnchored)),
            (r"http://localhost:\d+/cb", None),
            (r"http://127\.0\.0\.1:[0-9]{2,5}/oauth/[a-z]+", None),
            (r"com\.example\.app:/cb", None),
            (r"com\.example\.app://[a-z]+/cb", None),
        ] {
            assert_eq!(fault(expression), expected, "{expression}");
        }
        let intricate = format!("https://{}example\\.com/cb", "(aa|b)".repeat(9));
        assert_eq!(fault(&intricate), Some(Fault::TooIntricate));
    }
}
