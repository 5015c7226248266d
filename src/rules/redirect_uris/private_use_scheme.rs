//! The private-use schemes that an operator lists.

use std::borrow::Borrow;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::redirect_uri::{RedirectClass, RedirectUri, is_dangerous_scheme};
use crate::rules::ConfigError;

/// A scheme as in RFC 8252 section 7.1, which a browser passes to an application.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PrivateUseScheme(String);

impl PrivateUseScheme {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PrivateUseScheme {
    type Err = ConfigError;

    fn from_str(scheme: &str) -> Result<Self, ConfigError> {
        let scheme = scheme.to_owned();
        if is_dangerous_scheme(&scheme) {
            return Err(ConfigError::DangerousScheme { scheme });
        }
        match RedirectUri::parse(&format!("{scheme}:/cb")) {
            Ok(uri) if uri.class() == RedirectClass::PrivateUse => Ok(Self(scheme)),
            _ => Err(ConfigError::Scheme { scheme }),
        }
    }
}

impl TryFrom<String> for PrivateUseScheme {
    type Error = ConfigError;

    fn try_from(scheme: String) -> Result<Self, ConfigError> {
        scheme.parse()
    }
}

impl From<PrivateUseScheme> for String {
    fn from(scheme: PrivateUseScheme) -> Self {
        scheme.0
    }
}

impl Borrow<str> for PrivateUseScheme {
    fn borrow(&self) -> &str {
        &self.0
    }
}
