//! Private-use schemes of known applications, and the handlers behind them that act instead of receiving a code.

use std::sync::LazyLock;

use serde::Deserialize;

use super::RedirectUri;

/// A private-use scheme of a known application, with the handlers that are never redirect URIs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KnownScheme {
    /// The scheme, without the colon.
    pub(crate) scheme: String,
    /// The handlers that install, clone, open or run something: host and path segments in lower case. `*` is any segment,
    /// `x*` one that begins with `x`.
    #[serde(default)]
    denied: Vec<String>,
    /// `true` if the application has the handlers of Visual Studio Code ([`CODE`]) as well.
    #[serde(default)]
    is_editor: bool,
    /// A query parameter that makes any link of the scheme act.
    denied_parameter: Option<String>,
    /// The URL that documents the scheme, or the source code that reads it.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test reads it"))]
    pub(crate) source: String,
    /// The date on which the row was last compared with its source.
    pub(crate) checked: String,
}

impl KnownScheme {
    fn denied(&self) -> impl Iterator<Item = &str> {
        let editor = if self.is_editor { CODE } else { &[] };
        editor.iter().copied().chain(self.denied.iter().map(String::as_str))
    }
}

/// The table of known applications, in the order of their schemes.
static KNOWN: LazyLock<Vec<KnownScheme>> = LazyLock::new(|| {
    // A test checks that each line can be read.
    TABLE.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
});

const TABLE: &str = include_str!("known_schemes.jsonl");

/// Returns the table of known applications.
pub(crate) fn known_schemes() -> impl Iterator<Item = &'static KnownScheme> {
    KNOWN.iter()
}

/// Handlers that Visual Studio Code and the editors made from it have in common: files and folders, settings, profiles,
/// the installer of extensions and of MCP servers, Git, remote machines and containers.
const CODE: &[&str] = &[
    "chat",
    "extension",
    "extensions",
    "file",
    "github.codespaces",
    "github.remotehub",
    "jeanp413.open-remote-*",
    "mcp",
    "ms-vscode-remote*",
    "ms-vscode.remote-*",
    "profile",
    "prompt",
    "settings",
    "schemas",
    "vscode.git",
    "vscode.git-base",
    "vscode-remote",
    "workspace",
];

/// The handlers of [`CODE`] whose last segment says nothing: a file or a profile can be called `callback`.
const OPEN_ENDED: [&str; 2] = ["file", "profile"];

/// Pages on the web that open such a handler, with or without `www.`, at any depth of the path: an `https` redirect to one
/// does the same. `*` is any segment.
static LAUNCHERS: [(&str, &[&str]); 7] = [
    ("block.github.io", &["goose/extension", "goose/recipe"]),
    ("cursor.com", &["install-mcp", "deeplink", "link"]),
    ("insiders.vscode.dev", &["redirect/*"]),
    ("vscode.dev", &["redirect/*"]),
    ("kiro.dev", &["launch"]),
    ("lmstudio.ai", &["install-mcp"]),
    ("open.docker.com", &[""]),
];

/// Words in a path that name an act. New handlers come with every release; most have one of these
/// words in them.
const ACTS: [&str; 20] = [
    "checkout",
    "clone",
    "command",
    "commands",
    "download",
    "eval",
    "exec",
    "execute",
    "import",
    "install",
    "launch",
    "navigate",
    "open",
    "reinstall",
    "run",
    "script",
    "spawn",
    "terminal",
    "uninstall",
    "upgrade",
];

/// The letters that may follow such a word without a gap: `openRepo`.
const OBJECTS: [&str; 20] = [
    "app",
    "chat",
    "command",
    "extension",
    "file",
    "folder",
    "link",
    "mcp",
    "package",
    "plugin",
    "project",
    "recipe",
    "repo",
    "repository",
    "script",
    "server",
    "tab",
    "url",
    "window",
    "workspace",
];

/// More rounds of escapes than any reader undoes.
const MAX_ROUNDS: usize = 8;

/// Returns `true` if following `uri` makes a known application install, clone, open or run something.
///
/// Applications read their links by host, path, or both, some without case and after decoding. So host and path are read
/// here as one list of segments, decoded until nothing is left to decode, in lower case and without empty segments:
/// `cursor:/x`, `cursor://x`, `cursor:///x` and `cursor://X./` are one handler.
///
/// A scheme without a row may be an editor made from a known one, or its nightly build: what the rows have in common counts
/// there, too.
pub(super) fn is_denied(uri: &RedirectUri<'_>) -> bool {
    let known = KNOWN.binary_search_by(|known| known.scheme.as_str().cmp(uri.scheme)).ok().and_then(|at| KNOWN.get(at));
    let query = uri.raw.split_once('?').map_or("", |(_, query)| query);
    let has_denied_parameter =
        |row: &KnownScheme| row.denied_parameter.as_deref().is_some_and(|name| has_parameter(query, name));
    if known.map_or_else(|| KNOWN.iter().any(has_denied_parameter), has_denied_parameter) {
        return true;
    }
    let Some(segments) = segments(uri.host.into_iter().chain(uri.path.split('/'))) else { return true };
    let is_callback = segments.last().is_some_and(|last| is_callback(last));
    let is_denied = known.map_or_else(
        || is_denied_in_kin(uri.scheme, &segments, is_callback),
        |known| known.denied().any(|handler| is_handler(handler, &segments)),
    );
    // The first one is as a rule the ID of an extension, `publisher.name`, in which a word says nothing. An extension
    // decides itself about a callback of its own, and so does an application with a domain name in reverse order.
    let is_extension = segments.first().is_some_and(|first| first.contains('.'));
    let is_own = is_extension || (known.is_none() && uri.scheme.contains('.'));
    let acts = || segments.iter().skip(usize::from(is_extension)).any(|segment| names_an_act(segment));
    is_denied || (!(is_own && is_callback) && acts())
}

/// Returns `true` if a scheme without a row leads to a handler of a related application. Related are the applications whose
/// scheme is the beginning of this one, and Visual Studio Code, from which most editors are made. Handlers with a name that
/// only one application uses count behind every scheme.
fn is_denied_in_kin(scheme: &str, segments: &[String], is_callback: bool) -> bool {
    let leads_to = |handler: &str| is_handler(handler, segments);
    let is_sister = |row: &&KnownScheme| scheme.starts_with(&row.scheme);
    let is_name = |handler: &str| handler.split('/').next().is_some_and(|first| first.contains(['.', '-', '_']));
    KNOWN.iter().filter(is_sister).flat_map(KnownScheme::denied).any(leads_to)
        || KNOWN.iter().flat_map(KnownScheme::denied).filter(|handler| is_name(handler)).any(leads_to)
        || CODE.iter().any(|handler| {
            let is_own = is_callback && (scheme.contains('.') || !OPEN_ENDED.contains(handler));
            leads_to(handler) && !is_own
        })
}

/// Returns `true` if the last segment of a path names a callback and no action.
fn is_callback(last: &str) -> bool {
    const NAMES: [&str; 7] = ["callback", "cb", "complete", "done", "login", "redirect", "return"];
    let mut words = last.split(|c: char| !c.is_alphanumeric());
    !names_an_act(last)
        && words.any(|word| NAMES.contains(&word) || word.starts_with("oauth") || word.starts_with("auth"))
}

/// Returns `true` if `https` to this host and path opens a handler of a known application.
pub(super) fn is_launcher(uri: &RedirectUri<'_>) -> bool {
    let host = uri.host.unwrap_or_default();
    let host = host.strip_prefix("www.").unwrap_or(host);
    let Some((_, handlers)) = LAUNCHERS.iter().find(|(launcher, _)| *launcher == host) else { return false };
    let Some(segments) = segments(uri.path.split('/')) else { return true };
    let mut tails = (0..=segments.len()).filter_map(|depth| segments.get(depth..));
    tails.any(|tail| handlers.iter().any(|handler| is_handler(handler, tail)))
        // `vscode.dev/redirect` is also where Visual Studio Code gets its codes; with a `url` it opens that one.
        || (host.ends_with("vscode.dev") && uri.raw.split_once('?').is_some_and(|(_, query)| has_parameter(query, "url")))
}

/// Returns `true` if the first segments are those of the handler.
fn is_handler(handler: &str, segments: &[String]) -> bool {
    let mut rest = segments.iter();
    handler.split('/').filter(|wanted| !wanted.is_empty()).all(|wanted| {
        rest.next().is_some_and(|segment| match wanted.strip_suffix('*') {
            Some(prefix) => segment.starts_with(prefix),
            None => segment == wanted,
        })
    })
}

fn names_an_act(segment: &str) -> bool {
    segment.split(|c: char| !c.is_alphanumeric()).any(|word| {
        ACTS.iter().any(|act| {
            word.strip_prefix(act).is_some_and(|object| {
                object.is_empty()
                    || OBJECTS.iter().any(|known| object == *known || object.strip_suffix('s') == Some(known))
            })
        })
    })
}

/// Returns `true` if the most lenient reader finds such a parameter: one that trims names and reads `name[]` as a list.
fn has_parameter(query: &str, name: &str) -> bool {
    let is_blank = |c: char| c == '+' || c.is_whitespace() || c.is_control();
    let is_it = |own: String| own.split('[').next().is_some_and(|own| own.trim_matches(is_blank) == name);
    query.split(['&', ';']).filter_map(|pair| pair.split('=').next()).any(|own| folded(own).is_none_or(is_it))
}

/// Returns the segments as the most generous reader has them; nothing if they are escaped deeper than any reader goes.
fn segments<'a>(parts: impl Iterator<Item = &'a str>) -> Option<Vec<String>> {
    let mut segments = Vec::new();
    for part in parts {
        let part = folded(part)?;
        let pieces = part.split(['/', '\\']).map(|piece| piece.split(';').next().unwrap_or_default());
        let pieces = pieces.map(|piece| piece.trim_matches(|c: char| c == '.' || c.is_whitespace() || c.is_control()));
        segments.extend(pieces.filter(|piece| !piece.is_empty()).map(str::to_owned));
    }
    Some(segments)
}

/// Returns `text` decoded until nothing changes, in one case.
fn folded(text: &str) -> Option<String> {
    let mut text = text.to_owned();
    for _ in 0..MAX_ROUNDS {
        let decoded = String::from_utf8_lossy(&super::path::decode(text.as_bytes())).into_owned();
        if decoded == text {
            // By upper case first: a long s and a Kelvin sign are letters to readers that ignore case.
            return Some(text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect());
        }
        text = decoded;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redirect_uri::RedirectUriError::DeniedHandler;

    #[test]
    fn the_table_is_in_order() {
        for line in TABLE.lines() {
            serde_json::from_str::<KnownScheme>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        }
        assert!(KNOWN.is_sorted_by(|one, other| one.scheme < other.scheme));
        for known in known_schemes() {
            let folds = |handler: &str| handler.to_lowercase() == handler && !handler.starts_with('/');
            assert!(known.denied().all(folds), "{}", known.scheme);
            assert!(known.source.starts_with("https://") && known.checked.len() == 10, "{}", known.scheme);
            assert!(RedirectUri::parse(&format!("{}://publisher.name/callback", known.scheme)).is_ok());
        }
    }

    #[test]
    fn rejects_links_that_trigger_actions() {
        for (uri, why) in [
            ("cursor://anysphere.cursor-deeplink/mcp/install?name=x&config=e30", "installs a server"),
            ("cursor://anysphere.cursor-deeplink/prompt?text=x", "writes a prompt"),
            ("cursor://ANYSPHERE.Cursor-Deeplink/mcp/install", "in another case"),
            ("cursor://anysphere.cursor-deeplink./mcp", "a trailing dot"),
            ("cursor:///anysphere.cursor-deeplink/mcp", "in the path"),
            ("cursor:/anysphere.cursor-deeplink", "without an authority"),
            ("cursor:/%61nysphere.cursor-deepl%69nk", "escaped"),
            ("cursor:/%2561nysphere.cursor-deeplink", "escaped twice"),
            ("cursor:/anysphere.cursor-deeplin%E2%84%AA", "a Kelvin sign"),
            ("cursor://anysphere.cursor-deeplink:80/mcp", "a port"),
            ("cursor://anysphere.cursor-deeplink?x", "no path"),
            ("cursor:/anysphere.cursor-deeplink;x/mcp", "a parameter of a segment"),
            ("cursor://vscode.git/clone?url=https://x.test/x.git", "of the editor that it is made from"),
            ("vscode://vscode.git/clone?url=https://x.test/x.git", "clones"),
            ("vscode-insiders://vscode.git/Clone", "clones"),
            ("vscode://ms-vscode-remote.remote-containers/cloneInVolume?url=x", "clones and builds"),
            ("vscode://vscode-remote/ssh-remote+host/home", "opens another machine"),
            ("vscode://file/etc/passwd", "opens a file"),
            ("vscode:/mcp/install", "installs a server"),
            ("vscode://publisher.name/openRepo", "an extension that opens"),
            ("vscode://publisher.name/a/checkout-pull-request", "an extension that checks out"),
            ("windsurf://codeium.windsurf/openChat?prompt=x", "opens a chat"),
            ("windsurf://windsurf-mcp-registry?serverName=x", "installs a server"),
            ("antigravity://vscode.git/clone", "an editor made from it"),
            ("vscodium://vscode.git/clone", "an editor made from it"),
            ("trae://trae.ai-ide/mcp-import?type=stdio", "installs a server"),
            ("kiro://kiro.mcp/add?name=x", "installs a server"),
            ("jetbrains://idea/checkout/git?checkout.repo=x", "clones"),
            ("jetbrains://pycharm/navigate/reference?path=x", "opens a file"),
            ("jetbrains://gateway/com.coder.toolbox?url=x", "installs a plugin"),
            ("jetbrains://idea/oauth?idea.required.plugins.id=x", "installs a plugin first"),
            ("jetbrains://idea/oauth?a=b&idea.required.plugins%2Eid=x", "the same, escaped"),
            ("warp://action/new_tab?path=/", "opens a terminal"),
            ("warp://launch/x", "runs a configuration"),
            ("zed://git/clone?repo=x", "clones"),
            ("zed://extension/x", "installs"),
            ("zed://ssh/host/path", "opens another machine"),
            ("x-github-client://openRepo/https://github.com/x/y", "clones"),
            ("x-github-client://OPENREPO/x", "clones"),
            ("claude://claude.ai/new?q=x", "writes a prompt"),
            ("claude://install-extension?url=x", "installs"),
            ("raycast://extensions/a/b/c", "runs a command"),
            ("raycast://script-commands/x", "runs a script"),
            ("goose://extension?cmd=npx", "runs a command"),
            ("lmstudio://add_mcp?name=x", "installs a server"),
            ("slack://open?team=T1", "opens a place"),
            ("postman://app/collections/import/1", "imports"),
            ("sourcetree://cloneRepo/x", "clones"),
            ("com.raycast:/extensions/evil/x/cmd?launchType=background", "the other scheme of Raycast"),
            ("com.raycast://script-commands/x/callback", "and no callback of its own"),
            ("vscode://vscode.git/clone/callback", "a handler by name, whatever its end"),
            (
                "vscode://ms-vscode-remote.remote-containers/cloneInVolume/callback",
                "a handler by name, whatever its end",
            ),
            ("vscode://publisher.name/openRepo/x", "an end that is no callback"),
            ("vscode://publisher.name/open-callback", "an end that acts"),
            ("vscode://open/callback", "no publisher"),
            // Schemes without a row.
            ("vscodium-insiders://vscode.git/clone?url=x", "an editor made from it"),
            ("vscodium-insiders://vscode.git/callback", "a handler by name, whatever its end"),
            ("positron://vscode.git/clone?url=x", "an editor made from it"),
            ("void://file/etc/passwd", "an editor made from it"),
            ("void://file/etc/callback", "a file of that name"),
            ("pearai://extension/evil.x", "an editor made from it"),
            ("trae-cn://trae.ai-ide/mcp-import?type=stdio", "a sister"),
            ("qoder://mcp/install?name=x", "an editor made from it"),
            ("qoder://settings/x", "an editor made from it"),
            ("cursor-nightly://anysphere.cursor-deeplink/mcp/install?name=x", "a sister"),
            ("cursor-nightly://createchat?prompt=x", "a sister"),
            ("warpdev://action/new_tab?path=/", "a sister"),
            ("xyz://windsurf-mcp-registry?serverName=x", "a name that is nobody else's"),
            ("xyz:/add_mcp?name=x", "a name that is nobody else's"),
            ("idea://open?file=/etc/passwd", "opens a file"),
            ("idea://oauth?idea.required.plugins.id=x", "installs a plugin first"),
            ("phpstorm://open?file=/etc/passwd", "opens a file"),
            ("git-client://clone?repo=x", "clones"),
            ("smartgit://cloneRepo/https://x.test/x", "clones"),
            ("iterm2:/command?c=id", "runs a command"),
            ("github-desktop://openRepo/https://github.com/x/y", "clones"),
            ("myapp://open/callback", "no domain of its own"),
            ("com.example.app:/open?file=x", "no callback"),
            ("com.example.app://vscode.git/callback", "a name that is nobody else's"),
            ("https://www.kiro.dev/launch/mcp/add", "a page that installs, with www"),
            ("https://www.lmstudio.ai/install-mcp", "a page that installs, with www"),
            ("https://www.vscode.dev/redirect/mcp/install", "a page that installs, with www"),
            ("https://cursor.com/en/docs/install-mcp?name=x", "a page that installs, deeper"),
            ("https://vscode.dev/redirect?url%20=vscode://x", "a name with a space"),
            ("https://vscode.dev/redirect?+url=vscode://x", "a name with a space"),
            ("https://vscode.dev/redirect?url%5B%5D=vscode://x", "a list"),
            ("https://vscode.dev/redirect?url=vscode:mcp/install", "a page that opens the link"),
            ("https://vscode.dev/redirect?x=1&%75rl=vscode:mcp/install", "the same, escaped"),
            ("https://insiders.vscode.dev/redirect/mcp/install?name=x", "a page that installs"),
            ("https://cursor.com/en/install-mcp?name=x", "a page that installs"),
            ("https://www.cursor.com/install-mcp", "a page that installs"),
            ("https://cursor.com/link/prompt?text=x", "a page that writes a prompt"),
            ("https://lmstudio.ai/install-mcp?name=x", "a page that installs"),
        ] {
            assert_eq!(RedirectUri::parse(uri), Err(DeniedHandler), "{why}: {uri}");
        }
    }

    #[test]
    fn callbacks_of_the_same_applications_pass() {
        for uri in [
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "cursor://anysphere.cursor-retrieval/oauth/user-mcp/callback",
            "cursor://publisher.code-runner/callback",
            "cursor://?",
            "vscode://vscode.github-authentication/did-authenticate",
            "vscode://vscode.microsoft-authentication/",
            "vscode://publisher.open-in-browser/auth/openid/callback",
            "vscode-insiders://publisher.name",
            "windsurf://codeium.windsurf/callback",
            "windsurf://codeium.windsurf",
            "antigravity://google.antigravity/oauth",
            "claude://claude.ai/mcp-auth-callback",
            "grokbot://mcp/oauth/callback",
            "jetbrains://gateway/",
            "jetbrains://idea/mcp/oauth/callback",
            "raycast://oauth?package_name=Extension",
            "com.raycast:/oauth",
            "slack://oauth/callback",
            "postman://app/oauth2/callback",
            "warp://mcp/oauth2callback",
            "workbuddy://workbuddy/mcp/connector%3A/oauth/callback",
            "zed://oauth/callback",
            "x-github-client://oauth",
            // Behind an extension's ID a word says nothing if a callback is at the end.
            "vscode://acme.ext/open-api/callback",
            "vscode://acme.ext/open-id/callback",
            "vscode://acme.ext/run/callback",
            "vscode://acme.ext/import/callback",
            "cursor://acme.ext/launch/oauth2callback",
            "vscode-insiders://acme.ext/install/auth-complete",
            // Not an application that is known.
            "com.example.app:/install/callback",
            "com.example.app://file/callback",
            "com.example.app:/oauth2redirect",
            "io.element:/callback",
            "myapp://mcp/oauth/callback",
            "myapp://chat/callback",
            "myapp://app",
            "myapp:/session/new",
            "qoder://aicoding.aicoding-agent/mcp/oauth/callback",
            "positron://publisher.name/did-authenticate",
            "cursor-nightly://anysphere.cursor-mcp/oauth/callback",
            "https://vscode.dev/redirect",
            "https://insiders.vscode.dev/redirect",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "https://app.example.com/install-mcp",
        ] {
            assert!(RedirectUri::parse(uri).is_ok(), "{uri}");
        }
    }
}
