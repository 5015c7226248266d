//! How what clients say of themselves is shown to people.

use std::fmt::Write;

use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// With every character made visible that is not, or that changes how others are shown: controls, formats (bidirectional
/// overrides and isolates, zero-width ones), separators but the space, private use, and what is not assigned. Escaping,
/// which the template does, is against markup; this is against reading "Claude" where it says something else.
pub(super) fn text(raw: &str) -> String {
    let mut shown = String::with_capacity(raw.len());
    for c in raw.chars() {
        let misleads = match c.general_category_group() {
            GeneralCategoryGroup::Other => true,
            GeneralCategoryGroup::Separator => c != ' ',
            // Enclosing marks, variation selectors and fillers: nothing by themselves.
            _ => c.general_category() == GeneralCategory::EnclosingMark || is_blank(c),
        };
        if misleads {
            // Writing into memory can't fail.
            let _infallible = write!(shown, "\u{27E8}U+{:04X}\u{27E9}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Letters and marks that show nothing: Hangul fillers, variation selectors, the combining grapheme joiner, braille blank.
fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\u{034F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}' | '\u{2800}' | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}' | '\u{FFA0}' | '\u{E0100}'..='\u{E01EF}'
    )
}

/// A host as it is compared, and beside it what a browser may show instead.
pub(super) fn host(host: &str) -> String {
    if !host.contains("xn--") {
        return text(host);
    }
    let (unicode, _) = idna::domain_to_unicode(host);
    if unicode == host { text(host) } else { format!("{} ({})", text(host), text(&unicode)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_invisible_is_shown() {
        let rows = [
            ("plain", "Claude Code", "Claude Code"),
            ("other scripts", "Приложение 日本 é", "Приложение 日本 é"),
            ("right to left override", "a\u{202E}b", "a⟨U+202E⟩b"),
            ("isolate", "\u{2066}x\u{2069}", "⟨U+2066⟩x⟨U+2069⟩"),
            ("zero width", "Cla\u{200B}ude", "Cla⟨U+200B⟩ude"),
            ("soft hyphen", "a\u{AD}b", "a⟨U+00AD⟩b"),
            ("line separator", "a\u{2028}b", "a⟨U+2028⟩b"),
            ("no-break space", "a\u{A0}b", "a⟨U+00A0⟩b"),
            ("control", "a\nb\u{7}", "a⟨U+000A⟩b⟨U+0007⟩"),
            ("tag", "a\u{E0041}", "a⟨U+E0041⟩"),
            ("filler", "\u{3164}", "⟨U+3164⟩"),
            ("private use", "\u{E000}", "⟨U+E000⟩"),
        ];
        for (reason, raw, wanted) in rows {
            assert_eq!(text(raw), wanted, "{reason}");
        }
    }

    #[test]
    fn hosts_are_shown_in_both_forms() {
        assert_eq!(host("app.example.com"), "app.example.com");
        assert_eq!(host("xn--80ak6aa92e.com"), "xn--80ak6aa92e.com (аррӏе.com)");
        assert_eq!(host("com.example.app:"), "com.example.app:");
    }
}
