//! URI schemes that can never lead back to a client.

/// Schemes that run code in the page that follows them.
const EXECUTABLE: [&str; 3] = ["data", "javascript", "vbscript"];

/// Schemes that read files, nest other URLs, speak to network services, or are handled by the browser or the operating
/// system itself (its installer, settings, scripts, remote desktops) instead of by an application that someone chose to
/// install.
const HANDLED_ELSEWHERE: [&str; 143] = [
    "about",
    "acap",
    "afp",
    "aim",
    "android-app",
    "app-prefs",
    "app-settings",
    "applescript",
    "apt",
    "apturl",
    "blob",
    "brave",
    "browser",
    "callto",
    "chrome",
    "chrome-error",
    "chrome-extension",
    "chrome-native",
    "chrome-search",
    "chrome-untrusted",
    "cid",
    "content",
    "cydia",
    "dav",
    "davs",
    "devtools",
    "dict",
    "dns",
    "edge",
    "edge-extension",
    "facetime",
    "facetime-audio",
    "feed",
    "file",
    "filesystem",
    "finger",
    "firefox",
    "firefox-private",
    "fish",
    "flatpak",
    "flatpak+https",
    "ftp",
    "ftps",
    "geo",
    "git",
    "googlechrome",
    "googlechromes",
    "gopher",
    "hcp",
    "help",
    "imap",
    "imessage",
    "intent",
    "ipp",
    "ipps",
    "irc",
    "ircs",
    "isolated-app",
    "itms",
    "itms-apps",
    "itms-appss",
    "itms-books",
    "itms-services",
    "jar",
    "ldap",
    "ldapi",
    "ldaps",
    "livescript",
    "local",
    "macappstore",
    "macappstores",
    "magnet",
    "mailto",
    "man",
    "market",
    "mhtml",
    "microsoft-edge",
    "mid",
    "mk",
    "mms",
    "mmsto",
    "mocha",
    "moz-extension",
    "news",
    "nfs",
    "nntp",
    "opera",
    "pkg",
    "pop",
    "prefs",
    "rdar",
    "rdp",
    "res",
    "resource",
    "rlogin",
    "rsync",
    "rtmp",
    "rtsp",
    "rtsps",
    "rtspu",
    "safari-extension",
    "safari-web-extension",
    "samsungapps",
    "scp",
    "search",
    "search-ms",
    "service",
    "sftp",
    "shell",
    "shortcuts",
    "sileo",
    "sip",
    "sips",
    "smb",
    "sms",
    "smsto",
    "snap",
    "ssh",
    "steam",
    "svn",
    "svn+ssh",
    "tel",
    "telnet",
    "tftp",
    "tn3270",
    "trash",
    "urn",
    "view-source",
    "vivaldi",
    "vnc",
    "voicemail",
    "wais",
    "webcal",
    "workflow",
    "ws",
    "wss",
    "wtai",
    "wyciwyg",
    "x-apple.systempreferences",
    "x-help-action",
    "x-man-page",
    "x-web-search",
    "xmpp",
];

/// Returns `true` if no configuration allows redirects to `scheme`. Ignores case.
pub(crate) fn is_dangerous_scheme(scheme: &str) -> bool {
    // Office, ms-settings, ms-msdt and their kin (the Follina class), and settings of Apple's systems.
    starts_with_ignore_case(scheme, "ms-")
        || starts_with_ignore_case(scheme, "x-apple")
        // A transport beside it makes no difference: `git+ssh`, `flatpak+https`, `view-source+http`.
        || scheme.split('+').chain([scheme]).any(|part| {
            is_executable_scheme(part) || HANDLED_ELSEWHERE.iter().any(|known| known.eq_ignore_ascii_case(part))
        })
}

/// Returns `true` if following a link with `scheme` runs code. Ignores case.
pub(crate) fn is_executable_scheme(scheme: &str) -> bool {
    EXECUTABLE.iter().any(|known| known.eq_ignore_ascii_case(scheme))
}

/// RFC 3986 section 3.1, lower case only: section 6.2.2.1 calls that the normal form.
pub(super) fn is_canonical(scheme: &str) -> bool {
    scheme.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && scheme.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.'))
}

fn starts_with_ignore_case(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
