//! Private-use schemes of known native applications.

/// When [`NATIVE_SCHEMES`] was last compared with what clients send: `YYYY-MM-DD`.
///
/// ```
/// assert_eq!(tower_dcr::policy::NATIVE_SCHEMES_VERSION.len(), "YYYY-MM-DD".len());
/// ```
pub const NATIVE_SCHEMES_VERSION: &str = "2026-11-23";

/// Schemes without a dot that known native clients register. RFC 8252 section 8.4 would have a server refuse them;
/// refusing them breaks these clients for good. [`RedirectUriGuard::with_private_use_schemes`] replaces the table.
///
/// [`RedirectUriGuard::with_private_use_schemes`]: super::RedirectUriGuard::with_private_use_schemes
///
/// ```
/// assert!(tower_dcr::policy::NATIVE_SCHEMES.contains(&"vscode"));
/// ```
pub const NATIVE_SCHEMES: [&str; 8] =
    ["claude", "cursor", "grokbot", "jetbrains", "vscode", "vscode-insiders", "warp", "windsurf"];
