//! Displays client metadata to people.

use tower_dcr::rules::visible;

/// Spells out characters that are invisible or change the display of others. The template escapes markup; this
/// prevents a different name from reading as "Claude".
pub(super) fn text(raw: &str) -> String {
    visible(raw).into_owned()
}

/// Returns the host as it is compared, followed by the form that a browser may display instead.
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
    fn spells_out_invisible_characters() {
        let rows = [
            ("plain", "Claude Code", "Claude Code"),
            ("other scripts", "Приложение 日本 é", "Приложение 日本 é"),
            ("right to left override", "a\u{202E}b", "a⟨U+202E⟩b"),
            ("isolate", "\u{2066}x\u{2069}", "⟨U+2066⟩x⟨U+2069⟩"),
            ("zero width", "Cla\u{200B}ude", "Cla⟨U+200B⟩ude"),
            ("soft hyphen", "a\u{AD}b", "a⟨U+00AD⟩b"),
            ("line separator", "a\u{2028}b", "a⟨U+2028⟩b"),
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
