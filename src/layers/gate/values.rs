//! The form of values in the section `[gate]`: a value that no request can have is a mistake of the operator.

use std::marker::PhantomData;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::settings::GateSettings;
use crate::layers::web_url::{Host, WebUrl};

type Checked = Result<(), String>;

/// The values of a list.
pub(super) trait Listed {
    fn check(value: &str) -> Checked;
}

impl GateSettings {
    /// Checks the values that code sets. Those of a policy file are checked when it is read.
    pub(super) fn check(&self) -> Checked {
        let of_issuer = self.issuer.as_deref().map_or(Ok(()), check_issuer);
        of_issuer.map_err(|message| format!("GateSettings::issuer: {message}"))?;
        check_list::<Scope>("additional_scopes", self.additional_scopes.as_ref())?;
        check_list::<GrantType>("anonymous_grants", self.anonymous_grants.as_ref())?;
        check_list::<Resource>("resources", self.resources.as_ref())?;
        check_list::<ResponseMode>("response_modes", self.response_modes.as_ref())
    }
}

fn check_list<L: Listed>(name: &str, list: Option<&Vec<String>>) -> Checked {
    list.into_iter().flatten().enumerate().try_for_each(|(index, value)| {
        L::check(value).map_err(|message| format!("GateSettings::{name}[{index}]: {message}"))
    })
}

pub(super) fn issuer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let issuer = Option::<String>::deserialize(deserializer)?;
    issuer.iter().try_for_each(|value| check_issuer(value)).map_err(D::Error::custom)?;
    Ok(issuer)
}

/// A value of a list. It is checked by itself, so that the path of an error has its index.
struct Element<L>(String, PhantomData<L>);

impl<'de, L: Listed> Deserialize<'de> for Element<L> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = String::deserialize(deserializer)?;
        L::check(&value).map_err(D::Error::custom)?;
        Ok(Self(value, PhantomData))
    }
}

pub(super) fn each<'de, L: Listed, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let values = Option::<Vec<Element<L>>>::deserialize(deserializer)?;
    Ok(values.map(|values| values.into_iter().map(|Element(value, _)| value).collect()))
}

fn expect(is_one: bool, value: &str, what: &str) -> Checked {
    if is_one { Ok(()) } else { Err(format!("{value:?} is {what}")) }
}

/// RFC 8414 section 2: "a URL that uses the 'https' scheme and has no query or fragment components".
fn check_issuer(value: &str) -> Checked {
    let is_one = WebUrl::read(value).is_some_and(|url| url.is_issuer());
    expect(is_one, value, "not an issuer: write an https URL, or http on a loopback host, without query and fragment")
}

/// RFC 6749 section 3.3: `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )`.
fn is_token(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
}

pub(super) enum Scope {}

impl Listed for Scope {
    fn check(value: &str) -> Checked {
        expect(is_token(value), value, "not one scope: list each by itself, without spaces, quotes and backslashes")
    }
}

/// RFC 6749 appendix A.10: a name or a URI.
pub(super) enum GrantType {}

impl Listed for GrantType {
    fn check(value: &str) -> Checked {
        expect(is_token(value), value, "not one grant type: list each by itself, as in grant_types of a registration")
    }
}

pub(super) enum ResponseMode {}

impl Listed for ResponseMode {
    fn check(value: &str) -> Checked {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':' | b'/');
        let is_one = !value.is_empty() && value.bytes().all(is_plain);
        expect(is_one, value, "not one response mode: list each by itself, as requests write it, such as \"form_post\"")
    }
}

/// RFC 8707 section 2: "Its value MUST be an absolute URI, as specified by Section 4.3 of [RFC3986]", and "MUST NOT include a
/// fragment component".
pub(super) enum Resource {}

impl Listed for Resource {
    fn check(value: &str) -> Checked {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&byte);
        let (scheme, rest) = value.split_once(':').unwrap_or_default();
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        let is_web = ["http", "https"].iter().any(|web| web.eq_ignore_ascii_case(scheme));
        let has_host = || WebUrl::read(value).is_some_and(|url| url.is_plain && url.host != Host::Unclear);
        let is_one = is_scheme && !rest.is_empty() && value.bytes().all(is_allowed) && (!is_web || has_host());
        expect(
            is_one,
            value,
            "not a resource: write an absolute URI without a fragment, such as \"https://mcp.example.com/mcp\"",
        )
    }
}

/// Returns `true` if clients write the resource so: their URL libraries write scheme and host in lower case, and leave out a default
/// port and dot segments. Resources are compared as strings.
pub(crate) fn is_resource_of_clients(value: &str) -> bool {
    WebUrl::read(value).is_none_or(|url| url.is_canonical(value))
}
