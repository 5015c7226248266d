//! Known products whose clients register with many servers: their names, schemes and domains.

/// The date on which [`Identities::known`](crate::rules::Identities::known) was last compared with the requests of
/// clients: `YYYY-MM-DD`.
///
/// ```
/// assert_eq!(tower_dcr::rules::IDENTITIES_VERSION.len(), "YYYY-MM-DD".len());
/// ```
pub const IDENTITIES_VERSION: &str = "2026-11-29";

/// A row of the table, in the form of [`ReservedIdentity`](crate::rules::ReservedIdentity). The `https` callbacks that
/// prove the identity are in the table of vendor callbacks.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) also: &'static [&'static str],
    /// The product's own private-use schemes.
    pub(crate) schemes: &'static [&'static str],
    /// The schemes that lead to extensions.
    pub(crate) relayed: &'static [&'static str],
    pub(crate) links: &'static [&'static str],
    pub(crate) domains: &'static [&'static str],
    /// `true` if its clients send `https` and loopback redirects in one registration.
    pub(crate) mixes: bool,
    /// The source: documentation or an observation of its names, schemes and domains.
    pub(crate) source: &'static str,
    /// The date on which the row was last compared with its source.
    pub(crate) checked: &'static str,
}

/// The table of known products.
///
/// Names that are everyday words, or names of people, are listed only together with more words. Software that people
/// run on their own hosts is not listed. Hosts with a marketplace or with projects of others (`github.com`,
/// `hub.docker.com`, `apps.microsoft.com`) claim no identity. The domains include relays on which any customer can get a
/// callback (`azure-apim.net`, `botframework.com`, `oauth.pstmn.io`): a domain proves nothing.
pub(crate) const KNOWN: [Known; 19] = [
    Known {
        name: "Claude",
        also: &[
            "Claude Code",
            "Claude Desktop",
            "Claude AI",
            "Anthropic",
            "Anthropic Claude",
            "Claude by Anthropic",
            "claude.ai",
        ],
        schemes: &["claude"],
        relayed: &[],
        links: &["claude.ai", "claude.com", "anthropic.com"],
        domains: &["claude.ai", "claude.com", "anthropic.com"],
        mixes: false,
        source: "https://support.claude.com/en/articles/11503834",
        checked: "2026-11-29",
    },
    Known {
        name: "ChatGPT",
        also: &["ChatGPT Plus", "ChatGPT Desktop", "OpenAI", "OpenAI ChatGPT", "OpenAI Codex", "Codex CLI"],
        schemes: &[],
        relayed: &[],
        links: &["chatgpt.com", "openai.com"],
        domains: &["chatgpt.com", "openai.com", "chat.com", "sora.com"],
        mixes: false,
        source: "https://developers.openai.com/apps-sdk/build/auth",
        checked: "2026-11-29",
    },
    Known {
        name: "Cursor",
        also: &["Cursor AI", "Cursor IDE", "Cursor Agent", "Cursor by Anysphere"],
        schemes: &["grokbot"],
        relayed: &["cursor"],
        links: &["cursor.com"],
        domains: &["cursor.com", "cursor.sh", "anysphere.co", "anysphere.inc"],
        mixes: true,
        source: "https://cursor.com/docs/context/mcp",
        checked: "2026-11-29",
    },
    Known {
        name: "Visual Studio Code",
        also: &["VS Code", "Visual Studio Code Insiders", "VS Code Insiders"],
        schemes: &[],
        relayed: &["vscode", "vscode-insiders"],
        links: &["code.visualstudio.com", "vscode.dev"],
        domains: &["vscode.dev", "visualstudio.com", "microsoft.com"],
        mixes: true,
        source: "https://code.visualstudio.com/api/extension-guides/ai/mcp",
        checked: "2026-11-29",
    },
    Known {
        name: "GitHub Copilot",
        also: &["GitHub", "GitHub Copilot Chat", "GitHub Copilot CLI"],
        schemes: &["x-github-client"],
        relayed: &["vscode", "vscode-insiders"],
        links: &[],
        domains: &["github.com", "githubcopilot.com", "github.dev"],
        mixes: true,
        source: "https://docs.github.com/en/copilot/concepts/context/mcp",
        checked: "2026-11-24",
    },
    Known {
        name: "Microsoft Copilot",
        also: &["Microsoft", "Microsoft Copilot Studio", "Copilot Studio", "Microsoft 365 Copilot", "M365 Copilot"],
        schemes: &[],
        relayed: &[],
        links: &["copilot.microsoft.com", "copilotstudio.microsoft.com"],
        domains: &[
            "microsoft.com",
            "azure-apim.net",
            "bing.com",
            "botframework.com",
            "cloud.microsoft",
            "live.com",
            "microsoft365.com",
            "microsoftonline.com",
            "office.com",
            "office365.com",
            "powerapps.com",
            "powerautomate.com",
            "powerplatform.com",
        ],
        mixes: false,
        source: "https://learn.microsoft.com/en-us/microsoft-copilot-studio/mcp-add-existing-server-to-agent",
        checked: "2026-11-29",
    },
    Known {
        name: "Google Gemini",
        also: &["Gemini CLI", "Gemini Code Assist"],
        schemes: &[],
        relayed: &[],
        links: &["gemini.google.com"],
        domains: &["google.com", "gemini.google"],
        mixes: true,
        source: "https://github.com/google-gemini/gemini-cli",
        checked: "2026-11-24",
    },
    Known {
        name: "Google Antigravity",
        also: &["Antigravity IDE", "antigravity-client"],
        schemes: &[],
        relayed: &["antigravity"],
        links: &["antigravity.google"],
        domains: &["antigravity.google", "google.com"],
        mixes: true,
        source: "https://antigravity.google/docs/mcp",
        checked: "2026-11-29",
    },
    Known {
        name: "Grok",
        also: &["xAI Grok", "Grok by xAI", "xAI"],
        schemes: &["grokbot"],
        relayed: &[],
        links: &["grok.com", "x.ai"],
        domains: &["grok.com", "x.ai", "x.com"],
        mixes: false,
        source: "https://github.com/koala73/worldmonitor/issues/8305",
        checked: "2026-11-29",
    },
    Known {
        name: "Mistral AI",
        also: &["Le Chat", "Mistral Le Chat", "mistral-mcp-client"],
        schemes: &[],
        relayed: &[],
        links: &["mistral.ai"],
        domains: &["mistral.ai"],
        mixes: false,
        source: "https://github.com/koala73/worldmonitor/issues/8305",
        checked: "2026-11-29",
    },
    Known {
        name: "Perplexity",
        also: &["Perplexity AI", "Perplexity Comet"],
        schemes: &[],
        relayed: &[],
        links: &["perplexity.ai"],
        domains: &["perplexity.ai", "perplexity.com"],
        mixes: false,
        source: "https://www.perplexity.ai/help-center/en/articles/13915507",
        checked: "2026-11-29",
    },
    Known {
        name: "Devin AI",
        also: &["Cognition Devin"],
        schemes: &[],
        relayed: &[],
        links: &["devin.ai"],
        domains: &["devin.ai", "cognition.ai"],
        mixes: false,
        source: "https://github.com/koala73/worldmonitor/issues/8305",
        checked: "2026-11-29",
    },
    Known {
        name: "Windsurf",
        also: &["Windsurf Editor", "Windsurf IDE", "Codeium"],
        schemes: &[],
        relayed: &["windsurf"],
        links: &["windsurf.com", "codeium.com"],
        domains: &["windsurf.com", "codeium.com", "windsurf.ai"],
        mixes: true,
        source: "https://docs.windsurf.com/windsurf/cascade/mcp",
        checked: "2026-11-29",
    },
    Known {
        name: "JetBrains",
        also: &["JetBrains AI Assistant", "IntelliJ IDEA"],
        schemes: &[],
        relayed: &["jetbrains"],
        links: &[],
        domains: &["jetbrains.com", "jetbrains.ai"],
        mixes: true,
        source: "https://www.jetbrains.com/help/ai-assistant/mcp.html",
        checked: "2026-11-24",
    },
    Known {
        name: "Slack",
        also: &["Slackbot", "Slack AI"],
        schemes: &["slack"],
        relayed: &[],
        links: &[],
        domains: &["slack.com", "slack.dev"],
        mixes: false,
        source: "https://docs.slack.dev/tools/deno-slack-sdk/guides/integrating-with-services-requiring-external-authentication",
        checked: "2026-11-29",
    },
    Known {
        name: "Docker MCP Gateway",
        also: &["Docker Desktop", "Docker MCP Toolkit"],
        schemes: &[],
        relayed: &[],
        links: &[],
        domains: &["docker.com", "docker.io"],
        mixes: true,
        source: "https://github.com/docker/mcp-gateway",
        checked: "2026-11-29",
    },
    Known {
        name: "Raycast",
        also: &["Raycast AI"],
        schemes: &[],
        relayed: &["com.raycast", "raycast"],
        links: &[],
        domains: &["raycast.com"],
        mixes: true,
        source: "https://developers.raycast.com/api-reference/oauth",
        checked: "2026-11-29",
    },
    Known {
        name: "Warp Terminal",
        also: &["warp.dev"],
        schemes: &["warp"],
        relayed: &[],
        links: &[],
        domains: &["warp.dev"],
        mixes: true,
        source: "https://docs.warp.dev/terminal/more-features/uri-scheme",
        checked: "2026-11-29",
    },
    Known {
        name: "Postman",
        also: &[],
        schemes: &["postman"],
        relayed: &[],
        links: &[],
        domains: &["postman.com", "postman.co", "getpostman.com", "oauth.pstmn.io"],
        mixes: true,
        source: "https://learning.postman.com/docs/sending-requests/authorization/oauth-20/",
        checked: "2026-11-29",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redirect_uri::known_schemes;

    /// Without a row, a scheme would be allowed without its handlers being known.
    #[test]
    fn each_scheme_has_a_row_with_its_handlers() {
        for scheme in KNOWN.iter().flat_map(|known| known.schemes.iter().chain(known.relayed)) {
            assert!(known_schemes().any(|known| known.scheme() == *scheme), "{scheme}");
        }
    }
}
