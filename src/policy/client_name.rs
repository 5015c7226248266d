//! Names that can be shown.

use super::{Policy, Submission};
use crate::registration::{Field, Value};
use crate::rejection::{ErrorCode, Rejection};

/// Refuses a `client_name` (language-tagged ones too) that would not be shown as it reads: one with a line separator or
/// a character that reorders the text around it (`Claude` spelled backwards after U+202E).
///
/// Who may call itself what is not decided here.
///
/// ```
/// # use tower_dcr::{Registration, policy::{Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, body: &str) -> Result<String, String> {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration();
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).map_err(|refused| refused.description())?;
/// #     Ok(String::from_utf8(registration.canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::policy::ClientName;
///
/// assert!(judge(&ClientName::new(), r#"{"client_name":"Café"}"#).is_ok());
/// assert!(judge(&ClientName::new(), r#"{"client_name":"\u202eedualC"}"#).is_err());
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[must_use]
pub struct ClientName {}

impl ClientName {
    /// The rule has nothing to configure.
    pub fn new() -> Self {
        Self {}
    }
}

impl Policy for ClientName {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin("client-name");
        let document = submission.registration();
        if document.is_plain() {
            return Ok(());
        }
        let mut names = document.entries().filter(|member| member.kind().base() == Some(Field::CLIENT_NAME));
        let hidden = names.any(|name| match name.value() {
            Value::String(text) => text.chars().any(is_unshowable),
            _ => false,
        });
        if hidden {
            let detail = "contains a character that changes how text is shown";
            return Err(submission.reject(ErrorCode::InvalidClientMetadata, detail).with_field("client_name"));
        }
        Ok(())
    }

    fn describe(&self, out: &mut String) {
        out.push_str("ClientName");
    }
}

/// Controls, the line and paragraph separators, and Unicode's `Bidi_Control` characters (UAX #9).
fn is_unshowable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}
