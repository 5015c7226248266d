//! Grant types and response types, which depend on one another.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{ConfigError, Policy, Submission, describe_as_debug};
use crate::rejection::{ErrorCode, Rejection};

/// Narrows `grant_types` and `response_types` to what the server offers, writes their defaults out, and refuses a pair
/// that contradicts itself (RFC 7591 section 2.1).
///
/// Values are compared literally: "the value MUST be […] the same as the value of the `grant_type` parameter"
/// (RFC 7591 section 2). A client that asks for more than it gets (VS Code asks for the device flow) still signs in;
/// one that is left without any grant is refused.
#[derive(Clone, Debug)]
#[must_use]
pub struct Grants {
    types: BTreeSet<String>,
    responses: BTreeSet<String>,
    refuse_others: bool,
}

const CODE: &str = "authorization_code";

impl Grants {
    /// `authorization_code` and `refresh_token` with `code`: what MCP and OAuth 2.1 public clients use.
    pub fn authorization_code() -> Self {
        Self {
            types: [CODE, "refresh_token"].map(str::to_owned).into(),
            responses: ["code".to_owned()].into(),
            refuse_others: false,
        }
    }

    /// The grant types and response types of the server. Of a composite response type (`code id_token`) the order does
    /// not matter.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Grants`] where no grant type is given, where `password` is (RFC 9700 section 2.4: it "MUST NOT
    /// be used"), or where a response type needs a grant type that is not in the list.
    pub fn new<S: Into<String>>(
        grants: impl IntoIterator<Item = S>,
        responses: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        let grants: BTreeSet<String> = grants.into_iter().map(Into::into).collect();
        let responses: BTreeSet<String> =
            responses.into_iter().map(|response| in_order(&response.into()).into_owned()).collect();
        let reason = match () {
            () if grants.is_empty() => "there is none",
            () if grants.contains("password") => "password must not be used",
            () if !responses.iter().all(|response| is_granted(response, |grant| grants.contains(grant))) => {
                "a response type needs a grant type that is not offered"
            }
            () => return Ok(Self { types: grants, responses, refuse_others: false }),
        };
        Err(ConfigError::Grants { reason })
    }

    /// Refuses a registration that asks for more than the server offers, instead of narrowing it.
    pub fn refusing_others(mut self) -> Self {
        self.refuse_others = true;
        self
    }

    fn review_grants(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        // RFC 7591 section 2: "If omitted, the default behavior is that the client will use only the
        // "authorization_code" Grant Type."
        submission.insert_default_strings("grant_types", [CODE]);
        self.narrow(submission, "grant_types", |grant| self.types.contains(grant))?;
        // `refresh_token` alone leads nowhere: nothing could issue the first token.
        let usable = submission
            .registration()
            .strings("grant_types")
            .is_some_and(|mut grants| grants.any(|grant| grant != "refresh_token"));
        if usable {
            Ok(())
        } else {
            Err(refuse(submission, "grant_types", "leaves no grant type that this server offers"))
        }
    }

    fn review_responses(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        if !submission.registration().contains("response_types") {
            // The literal default is ["code"], which contradicts a client that asks for client_credentials alone; the
            // server may provision another (section 3.1).
            let code = requests(submission, CODE);
            submission.insert_default_strings("response_types", code.then_some("code"));
        }
        self.narrow(submission, "response_types", |response| self.responses.contains(&*in_order(response)))?;
        let Some(mut responses) = submission.registration().strings("response_types") else { return Ok(()) };
        if responses.clone().any(|response| !is_granted(response, |grant| requests(submission, grant))) {
            return Err(refuse(submission, "response_types", "contradicts grant_types"));
        }
        if requests(submission, CODE)
            && !responses.any(|response| response == "code" || response.split(' ').any(|part| part == "code"))
        {
            return Err(refuse(submission, "response_types", "must include code"));
        }
        Ok(())
    }

    fn narrow(
        &self,
        submission: &mut Submission<'_>,
        field: &'static str,
        offered: impl Fn(&str) -> bool,
    ) -> Result<(), Rejection> {
        let Some(values) = submission.registration().strings(field) else {
            return Err(refuse(submission, field, "must be an array of strings"));
        };
        let all_offered = values.clone().all(&offered);
        if self.refuse_others && !all_offered {
            return Err(refuse(submission, field, "asks for more than this server offers"));
        }
        if !all_offered || values.clone().enumerate().any(|(at, value)| values.clone().take(at).any(|one| one == value))
        {
            let mut seen = BTreeSet::new();
            submission.narrow_strings(field, |value| offered(value) && seen.insert(value.to_owned()));
        }
        Ok(())
    }
}

impl Policy for Grants {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin("grant-types");
        self.review_grants(submission)?;
        submission.begin("response-types");
        self.review_responses(submission)
    }

    fn describe(&self, out: &mut String) {
        describe_as_debug(self, out);
    }
}

fn refuse(submission: &Submission<'_>, field: &'static str, detail: &'static str) -> Rejection {
    submission.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field)
}

fn requests(submission: &Submission<'_>, grant: &str) -> bool {
    submission.registration().strings("grant_types").is_some_and(|mut grants| grants.any(|asked| asked == grant))
}

/// RFC 7591 section 2.1 and OpenID Connect Dynamic Client Registration section 2: `code` needs `authorization_code`,
/// `token` and `id_token` need `implicit`, a composite needs both.
fn is_granted(response: &str, granted: impl Fn(&str) -> bool) -> bool {
    if response == "code" {
        return granted(CODE);
    }
    response.split(' ').all(|part| match part {
        "code" => granted(CODE),
        "token" | "id_token" => granted("implicit"),
        "none" => true,
        _ => false,
    })
}

/// RFC 6749 section 3.1.1: "the order of values does not matter".
fn in_order(response: &str) -> Cow<'_, str> {
    if !response.as_bytes().contains(&b' ') {
        return Cow::Borrowed(response);
    }
    let mut parts: Vec<&str> = response.split(' ').collect();
    parts.sort_unstable();
    Cow::Owned(parts.join(" "))
}
