//! The consent page, shown before an application gets access.

use std::time::Duration;

use tower_dcr::clients::{ConsentFacts, Destination};
use tower_dcr::rules::{Claim, ClaimStatus};

use crate::authorization::Authorization;

/// Renders the consent page for an application that asks for `scope`. The name is chosen by the application; the destination of the response and the time of
/// registration are reliable.
pub(crate) fn page(facts: &ConsentFacts, request: &Authorization, id: &str) -> String {
    let (introduction, name) = match (facts.client_name.as_deref(), facts.document_host.as_deref()) {
        (Some(name), _) => ("An application that calls itself", name),
        (None, Some(host)) => ("An application of", host),
        (None, None) => ("The application", "An application that gives no name"),
    };
    let (badge, verdict) = verdict(facts);
    format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Allow access?</title>
<style>
  body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 28rem; margin: 4rem auto; padding: 0 1rem; }}
  dt {{ color: #555; }} dd {{ margin: 0 0 1rem; font-weight: 600; overflow-wrap: anywhere; }}
  bdi {{ unicode-bidi: isolate; }}
  p {{ border-left: .25rem solid #b45309; padding-left: .75rem; }}
  p.verified {{ border-color: #15803d; }} p.contradicted {{ border-color: #b91c1c; }}
  button {{ font: inherit; padding: .5rem 1.25rem; margin-right: .5rem; }}
</style>
<h1>Allow access?</h1>
<dl>
{publisher}  <dt>{introduction}</dt><dd id="name"><bdi>{name}</bdi></dd>
  <dt>The answer goes to</dt><dd id="destination"><bdi>{destination}</bdi></dd>
  <dt>It gets the scope</dt><dd id="scope">{scope}</dd>
  <dt>It was registered here</dt><dd id="first-seen">{first_seen}</dd>
{issuer}</dl>
<p id="verdict" class="{badge}">{verdict}</p>
<form method="post" action="/authorize">
  <input type="hidden" name="id" value="{id}">
  <input type="hidden" name="client_id" value="{client_id}">
  <button name="approve" value="yes">Allow</button>
  <button>Deny</button>
</form>
"#,
        name = escape(name),
        destination = escape(&facts.destination.to_string()),
        scope = escape(&request.scope),
        client_id = escape(&request.client_id),
        first_seen = escape(&first_seen(facts)),
        publisher = publisher(facts),
        issuer = issuer(facts),
        verdict = escape(&verdict),
    )
}

/// Returns the line about the host of the client's metadata document: the one thing that its publisher has proven.
fn publisher(facts: &ConsentFacts) -> String {
    let line = |host: &String| {
        format!("  <dt>An application described by</dt><dd id=\"publisher\"><bdi>{}</bdi></dd>\n", escape(host))
    };
    facts.document_host.as_ref().map(line).unwrap_or_default()
}

/// Returns the line about the issuer of the client's software statement, which the operator of this server trusts.
fn issuer(facts: &ConsentFacts) -> String {
    let line = |issuer: &String| {
        format!("  <dt>It is vouched for by</dt><dd id=\"issuer\"><bdi>{}</bdi></dd>\n", escape(issuer))
    };
    facts.statement_issuer.as_ref().map(line).unwrap_or_default()
}

/// Returns the statement about the name, and its level of warning.
fn verdict(facts: &ConsentFacts) -> (&'static str, String) {
    let identity = &facts.identity;
    let advice = advice(facts);
    match (identity.status, identity.claimed.as_deref()) {
        (ClaimStatus::Verified, Some(owner)) if facts.owner.is_some() => {
            let verified = format!("Verified: the answer goes to a callback of {owner}, and only there.");
            // Every user of a product can have it connect an application under any name.
            match facts.client_name.as_deref().filter(|name| !name.eq_ignore_ascii_case(owner)) {
                Some(name) => {
                    ("verified", format!("{verified} The name \u{201c}{name}\u{201d} is the application\u{2019}s own."))
                }
                None => ("verified", verified),
            }
        }
        (ClaimStatus::Contradicted, Some(claimed)) if identity.claim == Some(Claim::Mention) => {
            ("contradicted", format!("It mentions {claimed} in its name, and is not from {claimed}. {advice}"))
        }
        (ClaimStatus::Contradicted, Some(claimed)) if identity.claim == Some(Claim::Link) => {
            ("contradicted", format!("It links to pages of {claimed}, and is not from {claimed}. {advice}"))
        }
        (ClaimStatus::Contradicted, Some(claimed)) => {
            ("contradicted", format!("It claims to be {claimed}, and is not. {advice}"))
        }
        (ClaimStatus::Unverified, Some(claimed)) => {
            ("unverified", format!("Not verified: no evidence that it comes from {claimed}. {advice}"))
        }
        _ if facts.client_name.is_none() => ("unclaimed", format!("It has no name. {advice}")),
        _ => ("unclaimed", format!("The name is not checked. {advice}")),
    }
}

/// Names the recipient of the response, and says when to continue, in words for users of a site, an editor or a
/// terminal.
fn advice(facts: &ConsentFacts) -> String {
    let publisher = facts.document_host.as_ref().and_then(|_| facts.warning());
    let receivers = match &facts.destination {
        _ if publisher.is_some() => publisher.map(|warning| format!("{warning}. ")).unwrap_or_default(),
        Destination::Loopback => "Any program on this computer can receive the answer. ".to_owned(),
        Destination::Application(scheme) => {
            format!("Any program on this device can take {scheme}: links and receive the answer. ")
        }
        Destination::Host(_) => String::new(),
        _ => return "The destination is unknown. Do not continue.".to_owned(),
    };
    let relay = match facts.relay {
        Some(relay) => format!("The code that gives access can also reach others: {relay}. "),
        None => String::new(),
    };
    format!("{receivers}{relay}Continue only if you have just started to connect this application yourself.")
}

fn first_seen(facts: &ConsentFacts) -> String {
    let Some(first_seen) = facts.first_seen else {
        let unknown =
            if facts.document_host.is_some() { "never: this is its first sign-in" } else { "at an unknown time" };
        return unknown.into();
    };
    let age = first_seen.elapsed().unwrap_or_default();
    let ago = |number: u64, unit: &str| format!("{number} {unit}{} ago", if number == 1 { "" } else { "s" });
    let when = match age.as_secs() {
        0..60 => "just now".to_owned(),
        seconds @ 60..3600 => ago(seconds / 60, "minute"),
        seconds @ 3600..86_400 => ago(seconds / 3600, "hour"),
        seconds => ago(seconds / 86_400, "day"),
    };
    let is_new = age < Duration::from_hours(24);
    match (facts.last_used, is_new) {
        (Some(_), _) => format!("{when}, and has been used since"),
        (None, true) => when,
        (None, false) => format!("{when}, and was never used"),
    }
}

fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(facts: &ConsentFacts) -> String {
        page(facts, &Authorization::example(), "1")
    }

    #[test]
    fn the_issuer_of_a_statement_is_shown() {
        let mut facts = ConsentFacts::default();
        assert!(!shown(&facts).contains("vouched for"));
        facts.statement_issuer = Some("https://directory.example.com/?a&b".into());
        let page = shown(&facts);
        let line =
            r#"<dt>It is vouched for by</dt><dd id="issuer"><bdi>https://directory.example.com/?a&amp;b</bdi></dd>"#;
        assert!(page.contains(line), "{page}");
    }

    #[test]
    fn the_publisher_of_a_document_comes_first() {
        let mut facts = ConsentFacts::default();
        (facts.destination, facts.client_name) = (Destination::Loopback, Some("Claude Code".into()));
        let without = shown(&facts);
        assert!(!without.contains("publisher") && without.contains("Any program on this computer"), "{without}");
        facts.document_host = Some("claude.ai".into());
        let page = shown(&facts);
        let [publisher, name] = ["<bdi>claude.ai</bdi>", "<bdi>Claude Code</bdi>"].map(|part| page.find(part).unwrap());
        assert!(publisher < name, "{page}");
        assert!(page.contains("claude.ai has published the description") && page.contains("is not proven"), "{page}");
    }
}
