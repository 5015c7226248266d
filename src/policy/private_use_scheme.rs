//! The private-use schemes that an operator lists.

use super::ConfigError;
use crate::redirect_uri::{RedirectClass, RedirectUri, is_dangerous_scheme};

/// `scheme`, if it is one of RFC 8252 section 7.1 that a browser hands to an application.
pub(super) fn private_use_scheme(scheme: String) -> Result<String, ConfigError> {
    if is_dangerous_scheme(&scheme) {
        return Err(ConfigError::DangerousScheme { scheme });
    }
    match RedirectUri::parse(&format!("{scheme}:/cb")) {
        Ok(uri) if uri.class() == RedirectClass::PrivateUse => Ok(scheme),
        _ => Err(ConfigError::Scheme { scheme }),
    }
}
