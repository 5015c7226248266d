//! `dcr lint`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use annotate_snippets::Level;
use serde_json::json;
use tower_dcr::Preset;
use tower_dcr::clock::{Clock, SystemClock};
use tower_dcr::policy_file::{Lint, PolicyFileError, Severity};

use super::{DIFFERS, OK, Outcome, REJECTED, input, output};

pub(super) fn run(file: &Path, json: bool) -> Outcome {
    let mut findings: Vec<Finding> = match Preset::lint_file_at(file, today()) {
        Ok(lints) => lints.iter().map(|lint| Finding::of_lint(lint, file)).collect(),
        // An unreadable file has no result. An empty file is readable: as JSON it is an error.
        Err(error)
            if error.text().is_empty() && !file.metadata().is_ok_and(|file| file.is_file() && file.len() == 0) =>
        {
            return Err(error.into());
        }
        Err(error) => {
            let errors = std::iter::once(&error).chain(error.others()).map(|error| Finding::of_error(error, file));
            errors.chain(error.lints().iter().map(|lint| Finding::of_lint(lint, file))).collect()
        }
    };
    // The file itself first, then that of the shadow; findings without a place come last.
    findings.sort_by_key(|found| (found.file != file, found.span.as_ref().map_or(usize::MAX, |span| span.start)));
    if json {
        output::json(&findings.iter().map(Finding::as_json).collect::<Vec<_>>())?;
    } else {
        let mut texts = BTreeMap::new();
        for found in &findings {
            if !texts.contains_key(&found.file) {
                let text = std::fs::read_to_string(&found.file).map_err(|error| input::named(&found.file, &error))?;
                texts.insert(found.file.clone(), text);
            }
            output::line(found.shown(texts.get(&found.file).map_or("", String::as_str)))?;
        }
    }
    Ok(match findings.iter().map(|found| found.severity).max() {
        None => OK,
        Some(Severity::Warning) => DIFFERS,
        Some(_) => REJECTED,
    })
}

/// An error or a lint of a policy.
struct Finding {
    severity: Severity,
    file: PathBuf,
    span: Option<Range<usize>>,
    line: Option<usize>,
    column: Option<usize>,
    key: String,
    message: String,
    suggestion: Option<String>,
}

impl Finding {
    fn of_lint(lint: &Lint, file: &Path) -> Self {
        Self {
            severity: lint.severity(),
            file: lint.file().unwrap_or(file).to_path_buf(),
            span: lint.span(),
            line: lint.line(),
            column: lint.column(),
            key: lint.key().to_owned(),
            message: lint.message().to_owned(),
            suggestion: Some(lint.suggestion().to_owned()),
        }
    }

    fn of_error(error: &PolicyFileError, file: &Path) -> Self {
        Self {
            severity: Severity::Error,
            file: error.file().unwrap_or(file).to_path_buf(),
            span: Some(error.span()).filter(|_| !error.text().is_empty()),
            line: Some(error.line()),
            column: Some(error.column()),
            key: error.key().to_owned(),
            message: error.message().to_owned(),
            suggestion: error.suggestion().map(ToString::to_string),
        }
    }

    fn as_json(&self) -> serde_json::Value {
        json!({
            "severity": self.severity.to_string(), "file": self.file, "line": self.line, "column": self.column,
            "key": self.key, "message": self.message, "suggestion": self.suggestion,
        })
    }

    fn shown(&self, text: &str) -> String {
        let level = match self.severity {
            Severity::Warning => Level::WARNING,
            _ => Level::ERROR,
        };
        // A file that is no TOML or JSON has no key.
        let message =
            if self.key.is_empty() { self.message.clone() } else { format!("{}: {}", self.key, self.message) };
        let (path, suggestion) = (self.file.display().to_string(), self.suggestion.as_deref());
        match &self.span {
            Some(span) => output::report(level, &message, (&path, text), span.clone(), suggestion),
            // The finding is the preset's, or about a missing setting.
            None => format!("{path}: {}: {message}; {}", self.severity, suggestion.unwrap_or_default()),
        }
    }
}

/// Returns today, or the day of `SOURCE_DATE_EPOCH` (seconds since 1970), for reproducible builds.
fn today() -> SystemTime {
    let set = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let since = set.map_or_else(|| SystemClock::new().unix_time(), Duration::from_secs);
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}
