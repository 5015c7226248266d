//! `dcr lint`.

use std::path::Path;
use std::time::{Duration, SystemTime};

use annotate_snippets::Level;
use serde_json::json;
use tower_dcr::Preset;
use tower_dcr::policy_file::{Lint, PolicyFileError};

use super::{DIFFERS, OK, Outcome, REJECTED, output};

pub(super) fn run(file: &Path, json: bool) -> Outcome {
    let mut lints = match Preset::lint_file(file, Some(today())) {
        Ok(lints) => lints,
        // An unreadable file has no result. An empty file is readable: as JSON it is an error.
        Err(error) if is_empty(&error) && !file.metadata().is_ok_and(|file| file.is_file() && file.len() == 0) => {
            return Err(error.into());
        }
        Err(PolicyFileError { mistakes, lints, .. }) => [mistakes, lints].concat(),
    };
    // The file itself first, then that of the shadow; lints without a place come last.
    lints.sort_by_key(|lint| {
        (lint.file.as_deref() != Some(file), lint.span.as_ref().map_or(usize::MAX, |span| span.start))
    });
    if json {
        output::json(&lints.iter().map(|lint| as_json(lint, file)).collect::<Vec<_>>())?;
    } else {
        lints.iter().try_for_each(|lint| output::line(shown(lint, file)))?;
    }
    Ok(match lints.iter().map(|lint| lint.is_error).max() {
        None => OK,
        Some(false) => DIFFERS,
        Some(true) => REJECTED,
    })
}

/// Returns `true` if the first mistake has no text around it.
fn is_empty(error: &PolicyFileError) -> bool {
    error.mistakes.first().is_none_or(|mistake| mistake.text.as_deref().is_none_or(str::is_empty))
}

fn severity(lint: &Lint) -> &'static str {
    if lint.is_error { "error" } else { "warning" }
}

fn as_json(lint: &Lint, file: &Path) -> serde_json::Value {
    json!({
        "severity": severity(lint), "file": lint.file.as_deref().unwrap_or(file), "line": lint.line,
        "column": lint.column, "key": lint.key, "message": lint.message,
        "suggestion": lint.suggestion.as_ref().map(ToString::to_string),
    })
}

fn shown(lint: &Lint, file: &Path) -> String {
    let level = if lint.is_error { Level::ERROR } else { Level::WARNING };
    output::excerpt(level, lint).unwrap_or_else(|| {
        // The lint is about the preset, or about a missing setting.
        let path = lint.file.as_deref().unwrap_or(file).display();
        let suggestion = lint.suggestion.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{path}: {}: {}; {suggestion}", severity(lint), output::titled(lint))
    })
}

/// Returns today, or the day of `SOURCE_DATE_EPOCH` (seconds since 1970), for reproducible builds.
fn today() -> SystemTime {
    let set = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let since = set.map_or_else(|| SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(), Duration::from_secs);
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}
