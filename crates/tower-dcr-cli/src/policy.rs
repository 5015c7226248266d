//! Policies named on the command line.

use std::error::Error;
use std::path::Path;

use tower_dcr::Preset;
use tower_dcr::policy_file::PolicyFileError;
use tower_dcr::rules::{Caller, Suggestion};

use super::{OK, Outcome, output};

/// Loads a file, or a preset by its name.
pub(super) fn load(policy: &str) -> Result<Preset, Box<dyn Error>> {
    match policy {
        "mcp" if !Path::new(policy).exists() => Ok(tower_dcr::mcp()),
        "strict" if !Path::new(policy).exists() => Ok(tower_dcr::strict()),
        file => Ok(Preset::from_file(file).map_err(|error| hinting(file, error))?),
    }
}

/// Adds a hint to the error for a name that may have been meant as that of a preset.
fn hinting(named: &str, mut error: PolicyFileError) -> PolicyFileError {
    let is_name = !named.contains(['.', '/', '\\']) && !Path::new(named).exists();
    let hint = if named.eq_ignore_ascii_case("oauth") {
        "the preset `oauth` needs the grants and methods of your server: write a policy file with `extends = \"oauth\"`, \
             metadata.grants and metadata.token_endpoint_auth_method"
    } else {
        "the presets are `mcp` and `strict`; others are policy files"
    };
    if let Some(mistake) = error.mistakes.first_mut().filter(|_| is_name) {
        mistake.suggestion = Some(Suggestion::Advice(hint.into()));
    }
    error
}

/// Loads a policy without rate limits, so that evaluating documents uses up no budget. Returns it with its fingerprint.
pub(super) fn rules(policy: &str) -> Result<(Preset, String), Box<dyn Error>> {
    let preset = load(policy)?;
    let fingerprint = preset.fingerprint();
    Ok((preset.without_rate_limits(), fingerprint))
}

/// Returns the same rules, with those enforced that the policy only reports (`report_only_rules`).
pub(super) fn enforcing(preset: &Preset) -> Preset {
    // An empty list has no invalid name.
    preset.clone().with_report_only_rules([""; 0]).unwrap_or_else(|_| preset.clone())
}

/// Returns `true` if some of the policy is report-only, so that a server accepts registrations that it rejects or
/// rewrites.
pub(super) fn only_reports(preset: &Preset) -> bool {
    preset.is_report_only() || enforcing(preset).fingerprint() != preset.fingerprint()
}

/// Returns the caller: anonymous without the owner of a token.
pub(super) fn caller(owner: Option<&str>, rules: Option<&str>) -> Caller {
    let Some(owner) = owner else { return Caller::default() };
    let mut caller = Caller::authorized(owner);
    caller.rules = rules.map(Into::into);
    caller
}

pub(super) fn show(policy: &str, json: bool) -> Outcome {
    let preset = load(policy)?;
    match preset.to_toml().filter(|_| !json) {
        Some(toml) => output::line(toml.trim_end())?,
        None => output::line(serde_json::to_string_pretty(&preset).unwrap_or_default())?,
    }
    Ok(OK)
}

pub(super) fn schema() -> Outcome {
    output::json(&Preset::file_schema())?;
    Ok(OK)
}
