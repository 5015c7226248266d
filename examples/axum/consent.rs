//! What a person is shown before an application gets access.

use std::time::Duration;

use tower_dcr::consent::{ConsentFacts, Destination};
use tower_dcr::policy::{Claim, Standing};

/// The consent page. The name is whatever the application calls itself; where the answer goes, and since when this server
/// knows the application, can be relied on.
pub(crate) fn page(facts: &ConsentFacts, id: &str) -> String {
    let name = facts.client_name().unwrap_or("An application without a name");
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
  <dt>An application that calls itself</dt><dd id="name"><bdi>{name}</bdi></dd>
  <dt>The answer goes to</dt><dd id="destination"><bdi>{destination}</bdi></dd>
  <dt>It was registered here</dt><dd id="first-seen">{first_seen}</dd>
</dl>
<p id="verdict" class="{badge}">{verdict}</p>
<form method="post" action="/authorize">
  <input type="hidden" name="id" value="{id}">
  <button name="approve" value="yes">Allow</button>
  <button>Refuse</button>
</form>
"#,
        name = escape(name),
        destination = escape(&facts.destination().to_string()),
        first_seen = escape(&first_seen(facts)),
        verdict = escape(&verdict),
    )
}

/// What is said of the name, and how loudly.
fn verdict(facts: &ConsentFacts) -> (&'static str, String) {
    let identity = facts.identity();
    let advice = match facts.destination() {
        Destination::Loopback => {
            "Any program on this computer can receive the answer. Go on only if you have just started it yourself."
        }
        Destination::Application(_) => {
            "Go on only if you have installed that application and have just started to connect it."
        }
        Destination::Host(_) => "Go on only if you know that site and have just come from it.",
        _ => "This does not look right. Don\u{2019}t go on.",
    };
    match (identity.standing(), identity.claimed()) {
        (Standing::Verified, Some(owner)) if facts.owner().is_some() => {
            ("verified", format!("Verified: the answer goes to {owner} and nobody else."))
        }
        (Standing::Contradicted, Some(claimed)) if identity.claim() == Some(Claim::Mention) => {
            ("contradicted", format!("It mentions {claimed} in its name, and is not from {claimed}. {advice}"))
        }
        (Standing::Contradicted, Some(claimed)) => {
            ("contradicted", format!("It claims to be {claimed}, and is not. {advice}"))
        }
        (Standing::Unverified, Some(claimed)) => {
            ("unverified", format!("Not verified: nothing shows that it comes from {claimed}. {advice}"))
        }
        _ => ("unclaimed", format!("Nobody has checked the name. {advice}")),
    }
}

fn first_seen(facts: &ConsentFacts) -> String {
    let Some(first_seen) = facts.first_seen() else { return "at a time that nobody wrote down".into() };
    let age = first_seen.elapsed().unwrap_or_default();
    let when = match age.as_secs() {
        0..60 => "just now".to_owned(),
        seconds @ 60..3600 => format!("{} minutes ago", seconds / 60),
        seconds @ 3600..86_400 => format!("{} hours ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86_400),
    };
    let is_new = age < Duration::from_secs(86_400);
    match (facts.last_used(), is_new) {
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
