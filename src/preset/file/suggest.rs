//! What to write instead.

use serde_json::Value as Json;

use super::source::Step;
use crate::policy::Identities;

/// What would be right in place of what `message` is about; `value` is what was written there, `valid` a value that is valid
/// there, if one is known.
pub(super) fn suggestion(message: &str, path: &[Step], value: Option<&Json>, valid: Option<&Json>) -> String {
    if let Some((wrong, known)) = unknown(message) {
        return nearest(&wrong, &known);
    }
    let text = value.and_then(Json::as_str);
    match () {
        () if message.contains("is never allowed in a redirect URI") => "no setting allows it: take it out".into(),
        () if message.contains("is not a URI scheme") => {
            let scheme = text.unwrap_or_default().split(':').next().unwrap_or_default().to_ascii_lowercase();
            if scheme.is_empty() { "a scheme is like \"com.example.app\"".into() } else { format!("write {scheme:?}") }
        }
        () if message.contains("is not a public DNS name") => {
            let host = text.unwrap_or_default().trim_start_matches("https://").split('/').next().unwrap_or_default();
            format!("write the name alone, like {:?}", host.to_ascii_lowercase())
        }
        () if message.contains("below a top-level domain") => {
            "put the wildcard below a domain of yours: \"https://*.example.com/cb\"".into()
        }
        () if message.contains("wildcard") => {
            "a path ends with \"/*\" or has no wildcard: \"https://app.example.com/oauth/*\"".into()
        }
        () if message.starts_with("missing field") => {
            let field = message.split('`').nth(1).unwrap_or_default();
            format!("add `{field} = {}`", example(field).unwrap_or("…"))
        }
        () if message.contains("is no quota") => "write \"60/minute, burst 300\", or \"off\"".into(),
        () if message.contains("is no time like") => "write a number and a unit, like \"7days\"".into(),
        () if message.contains("can't be substituted by none") => {
            "add `otherwise = \"reject\"`, or \"none\" to one_of".into()
        }
        () if message.contains("password must not be used") => "take \"password\" out (RFC 9700 section 2.4)".into(),
        () if message.contains("needs a grant type") => {
            "\"code\" needs \"authorization_code\", \"token\" and \"id_token\" need \"implicit\"".into()
        }
        () if message.contains("can't be allowed as an extra one") => {
            "take it out: it passes by a rule of its own, or is the server's alone".into()
        }
        () if message.contains("is not in the table of known identities") => {
            let known: Vec<String> = Identities::known().names().map(str::to_owned).collect();
            nearest(message.split('"').nth(1).unwrap_or_default(), &known)
        }
        () if message.starts_with("the operators on the member") => {
            "see OpenID Federation 1.0 section 6.1.3, or `dcr explain metadata-policy`".into()
        }
        () if message.contains("expected a boolean") => "write true or false, without quotation marks".into(),
        () if message.contains("must be at least") => "a shorter time breaks clients that are honest".into(),
        () => by_example(path, valid),
    }
}

/// The name that is not known, and those that are.
fn unknown(message: &str) -> Option<(String, Vec<String>)> {
    let is_unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let mut quoted = message.split('`').skip(1).step_by(2).map(str::to_owned);
    let wrong = quoted.next().filter(|_| is_unknown)?;
    Some((wrong, quoted.collect()))
}

fn nearest(wrong: &str, known: &[String]) -> String {
    let bare = wrong.strip_prefix(super::merge::ADD).unwrap_or(wrong);
    let by_likeness = |name: &&String| {
        // Short names that were typed in the wrong order share little but their letters.
        let alike =
            |wrong| strsim::jaro_winkler(wrong, name).max(strsim::normalized_damerau_levenshtein(wrong, name) + 0.1);
        let alike = alike(bare).max(alike(wrong));
        #[expect(clippy::cast_possible_truncation, reason = "a number between 0 and 1000")]
        let thousandths = (alike * 1000.0) as i64;
        thousandths
    };
    match known.iter().max_by_key(by_likeness).filter(|name| by_likeness(name) > 750) {
        Some(name) => format!("did you mean `{}`?", official(name)),
        None if known.is_empty() => "take it out".into(),
        None => {
            let known = known.iter().filter(|name| official(name) == *name).map(|name| format!("`{name}`"));
            format!("known here are {}", known.collect::<Vec<_>>().join(", "))
        }
    }
}

/// What is read under two names is called by one.
fn official(name: &str) -> &str {
    if name == "refuse" { "reject" } else { name }
}

fn by_example(path: &[Step], valid: Option<&Json>) -> String {
    let name = path.iter().rev().find_map(|step| match step {
        Step::Member(name) => Some(name.as_str()),
        Step::Element(_) => None,
    });
    let shown = match (name.and_then(example), valid) {
        (Some(example), _) => Some(example.to_owned()),
        (None, Some(Json::Array(elements))) => elements.first().map(|element| format!("[{element}]")),
        (None, Some(value)) if !value.is_object() => Some(value.to_string()),
        _ => None,
    };
    match shown {
        Some(shown) => format!("write, for example, {shown}"),
        None => "see the schema, or `dcr explain`".into(),
    }
}

/// What could stand there, where the presets have nothing.
fn example(name: &str) -> Option<&'static str> {
    Some(match name {
        "add" | "subset_of" | "superset_of" | "one_of" => "[\"a\", \"b\"]",
        "algorithms" => "[\"ES256\"]",
        "allow" | "reserved_words" | "also_called" => "[\"acme\"]",
        "allowed_origins" => "[\"https://app.example.com\"]",
        "ceiling" | "default" => "[\"read\", \"write\"]",
        "jwks" => "{ keys = [] }",
        "max_clients" => "50000",
        "name" | "owner" => "\"acme\"",
        "only_https" | "patterns" | "https" | "exempt" => "[\"https://app.example.com/oauth/*\"]",
        "sha256" => "\"2bb80d53…\", 64 hexadecimal digits",
        "trusted_proxies" => "[\"10.0.0.0/8\"]",
        "when" => "{ rules = \"partner\" }",
        _ => return None,
    })
}
