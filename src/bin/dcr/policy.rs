//! Policies that are named on the command line.

use std::error::Error;
use std::path::Path;

use tower_dcr::Preset;
use tower_dcr::policy::Caller;

use super::{OK, Outcome, output};

/// A file, or a preset by its name.
pub(super) fn load(policy: &str) -> Result<Preset, Box<dyn Error>> {
    match policy {
        "mcp" if !Path::new(policy).exists() => Ok(Preset::mcp()),
        "strict" if !Path::new(policy).exists() => Ok(Preset::strict()),
        file => Ok(Preset::from_file(file)?),
    }
}

/// A policy whose rules judge one document after the other: no budget is used up by looking. With its fingerprint.
pub(super) fn rules(policy: &str) -> Result<(Preset, String), Box<dyn Error>> {
    let preset = load(policy)?;
    let fingerprint = preset.fingerprint();
    Ok((preset.without_rate_limits(), fingerprint))
}

/// Who asks: nobody in particular without an owner of a token.
pub(super) fn caller(owner: Option<&str>, rules: Option<&str>) -> Caller {
    match (owner, rules) {
        (None, _) => Caller::anonymous(),
        (Some(owner), None) => Caller::authorized(owner),
        (Some(owner), Some(rules)) => Caller::authorized(owner).with_rules(rules),
    }
}

pub(super) fn show(policy: &str, json: bool) -> Outcome {
    let preset = load(policy)?;
    match preset.to_toml().filter(|_| !json) {
        Some(toml) => output::line(toml.trim_end())?,
        None => output::line(preset.to_json())?,
    }
    Ok(OK)
}

pub(super) fn schema() -> Outcome {
    output::json(&Preset::file_schema())?;
    Ok(OK)
}
