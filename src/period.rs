//! Times as people write them in a configuration.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time whose text is `90s`, `2h 30m` or `7days`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Period(pub(crate) Duration);

impl TryFrom<String> for Period {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|error| format!("{text:?} is no time like \"90s\", \"2h 30m\" or \"7days\": {error}"))
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        humantime::format_duration(period.0).to_string()
    }
}

impl fmt::Debug for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
