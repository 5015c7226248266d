//! Where hosted clients receive their authorization codes.

/// When [`VENDOR_CALLBACKS`] was last compared with what clients send: `YYYY-MM-DD`.
///
/// ```
/// assert_eq!(tower_dcr::policy::VENDOR_CALLBACKS_VERSION.len(), "YYYY-MM-DD".len());
/// ```
pub const VENDOR_CALLBACKS_VERSION: &str = "2026-11-23";

/// Redirect URI patterns of known hosted clients, as [`RedirectPattern`](super::RedirectPattern) reads them.
///
/// A server that wants these and no other `https` redirects gives the table to
/// [`RedirectUriGuard::only_https`](super::RedirectUriGuard::only_https). Every such table goes stale: keep the list in
/// configuration, and watch for refusals.
///
/// ```
/// use tower_dcr::policy::{ConfigError, RedirectPattern, RedirectUriGuard, VENDOR_CALLBACKS};
///
/// let vendors: Vec<RedirectPattern> =
///     VENDOR_CALLBACKS.iter().map(|pattern| pattern.parse()).collect::<Result<_, ConfigError>>()?;
/// let guard = RedirectUriGuard::mcp().only_https(vendors);
/// # let _ = guard;
/// # Ok::<_, ConfigError>(())
/// ```
pub const VENDOR_CALLBACKS: [&str; 17] = [
    "https://antigravity.google/oauth-callback",
    "https://api.devin.ai/mcp/oauth/callback",
    "https://app.lobehub.com/oauth/connector/callback",
    "https://callback.mistral.ai/v1/integrations_auth/oauth2_callback",
    "https://chatgpt.com/connector/oauth/*",
    "https://chatgpt.com/connector_platform_oauth_redirect",
    "https://claude.ai/api/mcp/auth_callback",
    "https://claude.com/api/mcp/auth_callback",
    "https://global.consent.azure-apim.net/redirect/*",
    "https://grok.com/connectors-oauth-exchange-code/",
    "https://insiders.vscode.dev/redirect",
    "https://mcp.docker.com/oauth/callback",
    "https://oauth2.slack.com/external/auth/callback",
    "https://vscode.dev/redirect",
    "https://www.cursor.com/agents/mcp/oauth/callback",
    "https://www.cursor.com/bot/mcp/oauth/callback",
    "https://www.perplexity.ai/rest/connections/oauth_callback",
];
