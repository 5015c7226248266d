//! Products whose clients register everywhere, and what is known to be theirs.

/// When [`Identities::known`](super::Identities::known) was last compared with what clients send: `YYYY-MM-DD`.
///
/// ```
/// assert_eq!(tower_dcr::policy::IDENTITIES_VERSION.len(), "YYYY-MM-DD".len());
/// ```
pub const IDENTITIES_VERSION: &str = "2026-11-24";

/// A row of the table, as [`ReservedIdentity`](super::ReservedIdentity) has it.
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) also: &'static [&'static str],
    pub(super) https: &'static [&'static str],
    pub(super) schemes: &'static [&'static str],
    pub(super) links: &'static [&'static str],
    /// Whether its clients send `https` and loopback redirects in one registration.
    pub(super) mixes: bool,
}

/// Names that are words of everyday language, or of people, are here only with more words around them; software that people
/// run on hosts of their own is not here at all.
pub(super) const KNOWN: [Known; 20] = [
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
        https: &[
            "https://claude.ai/*",
            "https://claude.com/*",
            "https://anthropic.com/*",
            "https://www.anthropic.com/*",
        ],
        schemes: &["claude"],
        links: &["claude.ai", "claude.com", "anthropic.com"],
        mixes: false,
    },
    Known {
        name: "ChatGPT",
        also: &["ChatGPT Plus", "ChatGPT Desktop", "OpenAI", "OpenAI ChatGPT", "OpenAI Codex", "Codex CLI"],
        https: &[
            "https://chatgpt.com/*",
            "https://openai.com/*",
            "https://chat.openai.com/*",
            "https://platform.openai.com/*",
        ],
        schemes: &[],
        links: &["chatgpt.com", "openai.com"],
        mixes: false,
    },
    Known {
        name: "Cursor",
        also: &["Cursor AI", "Cursor IDE", "Cursor Agent", "Cursor by Anysphere"],
        https: &["https://cursor.com/*", "https://www.cursor.com/*"],
        // It sends both.
        schemes: &["cursor", "grokbot"],
        links: &["cursor.com"],
        mixes: true,
    },
    Known {
        name: "Visual Studio Code",
        also: &["VS Code", "Visual Studio Code Insiders", "VS Code Insiders"],
        https: &["https://vscode.dev/*", "https://insiders.vscode.dev/*"],
        schemes: &["vscode", "vscode-insiders"],
        links: &["code.visualstudio.com", "vscode.dev"],
        mixes: true,
    },
    Known {
        name: "GitHub Copilot",
        also: &["GitHub", "GitHub Copilot Chat", "GitHub Copilot CLI"],
        https: &["https://github.com/*", "https://api.githubcopilot.com/*"],
        schemes: &["vscode", "vscode-insiders"],
        // Everybody's project is on github.com.
        links: &["githubcopilot.com"],
        mixes: true,
    },
    Known {
        name: "Microsoft Copilot",
        also: &["Microsoft", "Microsoft Copilot Studio", "Copilot Studio", "Microsoft 365 Copilot", "M365 Copilot"],
        https: &[
            "https://global.consent.azure-apim.net/redirect/*",
            "https://teams.microsoft.com/*",
            "https://copilot.microsoft.com/*",
        ],
        schemes: &[],
        links: &["microsoft.com"],
        mixes: false,
    },
    Known {
        name: "Google Gemini",
        also: &["Gemini CLI", "Gemini Code Assist"],
        https: &["https://gemini.google.com/*"],
        schemes: &[],
        links: &["gemini.google.com", "geminicli.com"],
        mixes: true,
    },
    Known {
        name: "Google Antigravity",
        also: &["Antigravity IDE", "antigravity-client"],
        https: &["https://antigravity.google/*"],
        schemes: &["antigravity"],
        links: &["antigravity.google"],
        mixes: true,
    },
    Known {
        name: "Grok",
        also: &["xAI Grok", "Grok by xAI", "xAI"],
        https: &["https://grok.com/*"],
        schemes: &["grokbot"],
        links: &["grok.com", "x.ai"],
        mixes: false,
    },
    Known {
        name: "Mistral AI",
        also: &["Le Chat", "Mistral Le Chat", "mistral-mcp-client"],
        https: &["https://callback.mistral.ai/*", "https://chat.mistral.ai/*"],
        schemes: &[],
        links: &["mistral.ai"],
        mixes: false,
    },
    Known {
        name: "Perplexity",
        also: &["Perplexity AI", "Perplexity Comet"],
        https: &["https://perplexity.ai/*", "https://www.perplexity.ai/*"],
        schemes: &[],
        links: &["perplexity.ai"],
        mixes: false,
    },
    Known {
        name: "Devin AI",
        also: &["Cognition Devin"],
        https: &["https://api.devin.ai/*", "https://app.devin.ai/*"],
        schemes: &[],
        links: &["devin.ai"],
        mixes: false,
    },
    Known {
        name: "Windsurf",
        also: &["Windsurf Editor", "Windsurf IDE", "Codeium"],
        https: &["https://windsurf.com/*", "https://codeium.com/*"],
        schemes: &["windsurf"],
        links: &["windsurf.com", "codeium.com"],
        mixes: true,
    },
    Known {
        name: "JetBrains",
        also: &["JetBrains AI Assistant", "IntelliJ IDEA"],
        https: &["https://account.jetbrains.com/*", "https://www.jetbrains.com/*"],
        schemes: &["jetbrains"],
        links: &["jetbrains.com"],
        mixes: true,
    },
    Known {
        name: "Slack",
        also: &["Slackbot", "Slack AI"],
        https: &["https://oauth2.slack.com/*", "https://slack.com/*"],
        schemes: &["slack"],
        links: &["slack.com", "slack-edge.com"],
        mixes: false,
    },
    Known {
        name: "Docker MCP Gateway",
        also: &["Docker Desktop", "Docker MCP Toolkit"],
        https: &["https://mcp.docker.com/*"],
        schemes: &[],
        links: &["docker.com"],
        mixes: true,
    },
    Known {
        name: "LobeHub",
        also: &[],
        https: &["https://app.lobehub.com/*"],
        schemes: &[],
        links: &["lobehub.com"],
        mixes: false,
    },
    Known {
        name: "Raycast",
        also: &["Raycast AI"],
        https: &["https://raycast.com/*", "https://www.raycast.com/*"],
        schemes: &["com.raycast", "raycast"],
        links: &["raycast.com"],
        mixes: true,
    },
    Known {
        name: "Warp Terminal",
        also: &["warp.dev"],
        https: &["https://app.warp.dev/*"],
        schemes: &["warp"],
        links: &["warp.dev"],
        mixes: true,
    },
    Known {
        name: "Postman",
        also: &[],
        https: &["https://oauth.pstmn.io/*"],
        schemes: &["postman"],
        links: &["postman.com"],
        mixes: true,
    },
];
