//! The callbacks of hosted clients, which receive their authorization codes.

/// The date on which [`VENDOR_CALLBACKS`] was last compared with the requests of clients: `YYYY-MM-DD`.
///
/// ```
/// assert_eq!(tower_dcr::rules::VENDOR_CALLBACKS_VERSION.len(), "YYYY-MM-DD".len());
/// ```
pub const VENDOR_CALLBACKS_VERSION: &str = "2026-11-29";

/// Redirect URI patterns of known hosted clients, in the syntax of [`RedirectPattern`](crate::rules::RedirectPattern).
///
/// A server that accepts only these `https` redirects passes the table to
/// [`RedirectUris::only_https`](crate::rules::RedirectUris::only_https). Every such table becomes outdated: keep the
/// list in configuration, and watch for rejections. [`Identities::checked`](crate::rules::Identities::checked) returns
/// the source of each row. Not every row proves an identity: some vendors pass the code on to others.
///
/// ```
/// use tower_dcr::rules::{ConfigError, RedirectPattern, RedirectUris, VENDOR_CALLBACKS};
///
/// let vendors: Vec<RedirectPattern> =
///     VENDOR_CALLBACKS.iter().map(|pattern| pattern.parse()).collect::<Result<_, ConfigError>>()?;
/// let guard = RedirectUris::mcp().only_https(vendors);
/// # let _ = guard;
/// # Ok::<_, ConfigError>(())
/// ```
pub const VENDOR_CALLBACKS: [&str; CALLBACKS.len()] = {
    let mut patterns = [""; CALLBACKS.len()];
    let mut at = 0;
    while at < CALLBACKS.len() {
        #[expect(clippy::indexing_slicing, reason = "both have one length, and this runs when it is compiled")]
        let (slot, callback) = (&mut patterns[at], &CALLBACKS[at]);
        *slot = callback.pattern;
        at += 1;
    }
    patterns
};

/// A callback of a hosted client.
pub(crate) struct Callback {
    /// The identity's name in the table of known identities, or the product's if it is not there.
    pub(crate) vendor: &'static str,
    pub(crate) pattern: &'static str,
    /// The way by which a code can get to others than the vendor. A callback with one proves nothing.
    pub(crate) relays: Option<&'static str>,
    /// The source: documentation or an observation.
    pub(crate) source: &'static str,
    /// The date on which it was last compared with its source.
    pub(crate) checked: &'static str,
}

const fn proof(vendor: &'static str, pattern: &'static str, source: &'static str, checked: &'static str) -> Callback {
    Callback { vendor, pattern, relays: None, source, checked }
}

const fn relay(
    vendor: &'static str,
    pattern: &'static str,
    relays: &'static str,
    source: &'static str,
    checked: &'static str,
) -> Callback {
    Callback { vendor, pattern, relays: Some(relays), source, checked }
}

pub(crate) const CALLBACKS: [Callback; 18] = [
    relay(
        "Google Antigravity",
        "https://antigravity.google/oauth-callback",
        "the page shows the code, or hands it to a program on the person's computer",
        "https://antigravity.google/docs/mcp",
        "2026-11-29",
    ),
    proof(
        "Devin AI",
        "https://api.devin.ai/mcp/oauth/callback",
        "https://github.com/koala73/worldmonitor/issues/8305",
        "2026-11-29",
    ),
    proof(
        "LobeHub",
        "https://app.lobehub.com/oauth/connector/callback",
        "https://github.com/lobehub/lobehub",
        "2026-11-23",
    ),
    proof(
        "Mistral AI",
        "https://callback.mistral.ai/v1/integrations_auth/oauth2_callback",
        "https://github.com/koala73/worldmonitor/issues/8305",
        "2026-11-29",
    ),
    proof(
        "ChatGPT",
        "https://chatgpt.com/connector/oauth/*",
        "https://developers.openai.com/apps-sdk/build/auth",
        "2026-11-29",
    ),
    proof(
        "ChatGPT",
        "https://chatgpt.com/connector_platform_oauth_redirect",
        "https://developers.openai.com/apps-sdk/build/auth",
        "2026-11-29",
    ),
    proof(
        "Claude",
        "https://claude.ai/api/mcp/auth_callback",
        "https://support.claude.com/en/articles/11503834",
        "2026-11-29",
    ),
    proof(
        "Claude",
        "https://claude.com/api/mcp/auth_callback",
        "https://support.claude.com/en/articles/11503834",
        "2026-11-29",
    ),
    relay(
        "Microsoft Copilot",
        "https://global.consent.azure-apim.net/redirect/*",
        "every connector of Power Platform has a path there, and anybody can make one",
        "https://learn.microsoft.com/en-us/connectors/custom-connectors/connection-parameters",
        "2026-11-29",
    ),
    proof(
        "Grok",
        "https://grok.com/connectors-oauth-exchange-code/",
        "https://github.com/koala73/worldmonitor/issues/8305",
        "2026-11-29",
    ),
    relay(
        "Visual Studio Code",
        "https://insiders.vscode.dev/redirect",
        "the page hands the code to an editor, and that to any extension",
        "https://code.visualstudio.com/api/extension-guides/ai/mcp",
        "2026-11-29",
    ),
    relay(
        "Docker MCP Gateway",
        "https://mcp.docker.com/oauth/callback",
        "the page sends the code to the port on the person's computer that the state names",
        "https://github.com/docker/mcp-gateway/blob/main/pkg/oauth/manager.go",
        "2026-11-29",
    ),
    relay(
        "Slack",
        "https://oauth2.slack.com/external/auth/callback",
        "every Slack app uses it for other services, and anybody can make one",
        "https://docs.slack.dev/tools/deno-slack-sdk/guides/integrating-with-services-requiring-external-authentication",
        "2026-11-29",
    ),
    relay(
        "Visual Studio Code",
        "https://vscode.dev/redirect",
        "the page hands the code to an editor, and that to any extension",
        "https://code.visualstudio.com/api/extension-guides/ai/mcp",
        "2026-11-29",
    ),
    proof(
        "Cursor",
        "https://www.cursor.com/agents/mcp/oauth/callback",
        "https://cursor.com/docs/context/mcp",
        "2026-11-29",
    ),
    proof(
        "Cursor",
        "https://www.cursor.com/bot/mcp/oauth/callback",
        "https://cursor.com/docs/context/mcp",
        "2026-11-29",
    ),
    proof(
        "Perplexity",
        "https://enterprise.perplexity.ai/rest/connections/oauth_callback",
        "https://www.perplexity.ai/help-center/en/articles/13915507",
        "2026-11-29",
    ),
    proof(
        "Perplexity",
        "https://www.perplexity.ai/rest/connections/oauth_callback",
        "https://www.perplexity.ai/help-center/en/articles/13915507",
        "2026-11-29",
    ),
];
