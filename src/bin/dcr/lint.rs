//! `dcr lint`.

use std::path::Path;

use annotate_snippets::Level;
use serde_json::json;
use tower_dcr::Preset;
use tower_dcr::preset::{Lint, Severity};

use super::{DIFFERS, OK, Outcome, REFUSED, output};

pub(super) fn run(file: &Path, json: bool) -> Outcome {
    let lints = match Preset::lint_file(file) {
        Ok(lints) => lints,
        Err(error) if json => {
            let place = json!({
                "severity": "error", "line": error.line(), "column": error.column(), "key": error.key(),
                "message": error.message(), "suggestion": error.suggestion(),
            });
            output::json(&[place])?;
            return Ok(REFUSED);
        }
        Err(error) => {
            output::line(output::policy_error(&error))?;
            return Ok(REFUSED);
        }
    };
    let text = std::fs::read_to_string(file)?;
    if json {
        output::json(&lints.iter().map(|lint| as_json(lint, &text)).collect::<Vec<_>>())?;
    } else {
        for lint in &lints {
            output::line(shown(lint, file, &text))?;
        }
    }
    Ok(match lints.iter().map(Lint::severity).max() {
        None => OK,
        Some(Severity::Warning) => DIFFERS,
        Some(_) => REFUSED,
    })
}

fn as_json(lint: &Lint, text: &str) -> serde_json::Value {
    let number = lint.span().and_then(|span| Some(text.get(..span.start)?.matches('\n').count() + 1));
    json!({
        "severity": lint.severity().to_string(), "line": number, "key": lint.key(), "message": lint.message(),
        "suggestion": lint.suggestion(),
    })
}

fn shown(lint: &Lint, file: &Path, text: &str) -> String {
    let level = match lint.severity() {
        Severity::Warning => Level::WARNING,
        _ => Level::ERROR,
    };
    let message = format!("{}: {}", lint.key(), lint.message());
    match lint.span() {
        Some(span) => {
            let path = file.display().to_string();
            output::report(level, &message, (&path, text), span, Some(lint.suggestion()))
        }
        // It is the preset's, or what is missing.
        None => format!("{}: {}: {message}; {}", file.display(), lint.severity(), lint.suggestion()),
    }
}
