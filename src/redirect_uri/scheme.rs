//! Which URI schemes can never lead back to a client.

/// Schemes that run code in the page that follows them.
const EXECUTABLE: [&str; 3] = ["data", "javascript", "vbscript"];

/// Schemes that read files, nest other URLs, speak to network services, or are handled by the browser or the operating
/// system itself instead of by an application that someone chose to install.
const HANDLED_ELSEWHERE: [&str; 75] = [
    "about",
    "acap",
    "afp",
    "aim",
    "android-app",
    "blob",
    "callto",
    "chrome",
    "chrome-extension",
    "chrome-untrusted",
    "cid",
    "content",
    "devtools",
    "dict",
    "dns",
    "edge",
    "facetime",
    "feed",
    "file",
    "filesystem",
    "finger",
    "ftp",
    "ftps",
    "geo",
    "git",
    "googlechrome",
    "gopher",
    "hcp",
    "help",
    "imap",
    "intent",
    "irc",
    "ircs",
    "jar",
    "ldap",
    "ldaps",
    "livescript",
    "local",
    "magnet",
    "mailto",
    "mhtml",
    "mid",
    "mk",
    "mocha",
    "moz-extension",
    "news",
    "nfs",
    "nntp",
    "opera",
    "pop",
    "res",
    "resource",
    "rsync",
    "rtsp",
    "safari-extension",
    "safari-web-extension",
    "search",
    "search-ms",
    "sftp",
    "shell",
    "sip",
    "sips",
    "smb",
    "sms",
    "ssh",
    "tel",
    "telnet",
    "tftp",
    "urn",
    "view-source",
    "ws",
    "wss",
    "wyciwyg",
    "x-apple.systempreferences",
    "xmpp",
];

/// Whether a redirect to `scheme` is dangerous whatever the configuration says. Compares without case.
///
/// ```
/// use tower_dcr::redirect_uri::is_dangerous_scheme;
///
/// assert!(is_dangerous_scheme("JavaScript") && is_dangerous_scheme("ms-msdt"));
/// assert!(!is_dangerous_scheme("com.example.app"));
/// ```
#[must_use]
pub fn is_dangerous_scheme(scheme: &str) -> bool {
    // Office, ms-settings, ms-msdt and their kin (the Follina class).
    starts_with_ignore_case(scheme, "ms-")
        || is_executable_scheme(scheme)
        || HANDLED_ELSEWHERE.iter().any(|known| known.eq_ignore_ascii_case(scheme))
}

/// Whether following a link with `scheme` runs code. Compares without case.
///
/// ```
/// use tower_dcr::redirect_uri::is_executable_scheme;
///
/// assert!(is_executable_scheme("data") && !is_executable_scheme("file"));
/// ```
#[must_use]
pub fn is_executable_scheme(scheme: &str) -> bool {
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
