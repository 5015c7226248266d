//! Private-use schemes of known native applications.

/// Schemes without a dot that known native clients register. RFC 8252 section 8.4 advises servers to reject them, which
/// would break these clients. The key `redirect_uris.private_use_schemes` replaces the table. Links that make the
/// application act are rejected under any list. Last compared with the requests of clients on 2026-11-29.
pub(crate) const NATIVE_SCHEMES: [&str; 15] = [
    "antigravity",
    "claude",
    "cursor",
    "grokbot",
    "jetbrains",
    "kiro",
    "postman",
    "raycast",
    "slack",
    "vscode",
    "vscode-insiders",
    "warp",
    "windsurf",
    "workbuddy",
    "zed",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redirect_uri::known_schemes;

    #[test]
    fn each_has_a_row_with_its_handlers() {
        for scheme in NATIVE_SCHEMES {
            assert!(known_schemes().any(|known| known.scheme == scheme), "{scheme}");
        }
    }
}
