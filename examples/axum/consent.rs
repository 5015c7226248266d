//! What a person is shown before an application gets access.

use tower_dcr::redirect_uri::{RedirectClass, RedirectUri};

use crate::authorization::Authorization;

/// The consent page. The name is whatever the application calls itself; where the answer goes is what can be relied on.
pub(crate) fn page(authorization: &Authorization, id: &str) -> String {
    let name = escape(&authorization.client_name);
    let (place, warning) = match RedirectUri::parse(&authorization.redirect_uri) {
        Ok(uri) => match uri.class() {
            RedirectClass::Https => (uri.host().unwrap_or_default().to_owned(), ""),
            RedirectClass::Loopback => (
                "an application on this computer".to_owned(),
                "Any program on this computer can do this. Go on only if you have just started it yourself.",
            ),
            _ => (
                format!("the application that opens {}: links", uri.scheme()),
                "Go on only if you have installed that application and have just started to connect it.",
            ),
        },
        Err(_) => ("an address that could be anything".to_owned(), "This does not look right."),
    };
    format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Allow access?</title>
<style>
  body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 28rem; margin: 4rem auto; padding: 0 1rem; }}
  dt {{ color: #555; }} dd {{ margin: 0 0 1rem; font-weight: 600; overflow-wrap: anywhere; }}
  p.warning {{ border-left: .25rem solid #b45309; padding-left: .75rem; }}
  button {{ font: inherit; padding: .5rem 1.25rem; margin-right: .5rem; }}
</style>
<h1>Allow access?</h1>
<dl>
  <dt>An application that calls itself</dt><dd>{name}</dd>
  <dt>The answer goes to</dt><dd>{place}</dd>
</dl>
<p class="warning">Nobody has checked the name. {warning}</p>
<form method="post" action="/authorize">
  <input type="hidden" name="id" value="{id}">
  <button name="approve" value="yes">Allow</button>
  <button>Refuse</button>
</form>
"#,
        place = escape(&place),
    )
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
