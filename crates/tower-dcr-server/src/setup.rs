//! Opens the audit file, and describes the policy, ledger and audit file of a server at start.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tower_dcr::Preset;
use tower_dcr::audit::{ChainKey, JsonLines, JsonLinesSettings, Sink};

/// The destination of a server's audit events: a file, or the log.
#[derive(Clone)]
pub struct Audit {
    sink: Arc<dyn Sink>,
    file: Option<PathBuf>,
    /// The file with the key that chains the lines of the audit file.
    key_file: Option<PathBuf>,
}

impl Audit {
    /// Opens `file`, or uses `log` without one. Lines are chained with the key in `key_file`, or else that of the
    /// policy.
    ///
    /// # Errors
    ///
    /// Returns an error if a file can't be opened or read, or if the policy has a key to chain an audit file and there
    /// is none.
    pub fn open(
        file: Option<&Path>,
        key_file: Option<&Path>,
        preset: &Preset,
        log: impl Sink + 'static,
    ) -> io::Result<Self> {
        let Some(file) = file else {
            return match preset.chain_key() {
                // The operator expects a chained file, and there would be none.
                Some(_) => {
                    Err(io::Error::other("audit file missing: audit.chain_key_file in the policy chains it (--audit)"))
                }
                None => Ok(Self { sink: Arc::new(log), file: None, key_file: None }),
            };
        };
        let (key_file, chain) = match key_file {
            Some(file) => (Some(file), Some(ChainKey::from_file(file)?)),
            None => preset.chain_key().unzip(),
        };
        let settings = JsonLinesSettings { chain, ..Default::default() };
        let lines = JsonLines::open(file, settings).map_err(io::Error::other)?;
        Ok(Self { sink: Arc::new(lines), file: Some(file.to_path_buf()), key_file: key_file.map(Path::to_path_buf) })
    }

    /// Returns the sink of the events, for a preset and a registrar.
    #[must_use]
    pub fn sink(&self) -> Arc<dyn Sink> {
        Arc::clone(&self.sink)
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").field("file", &self.file).field("key_file", &self.key_file).finish_non_exhaustive()
    }
}

/// The policy, ledger and audit file of a server, to print at its start: a line each, and one for each setting that is
/// not enforced.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    policy: &'a str,
    preset: &'a Preset,
    ledger: &'a str,
    audit: &'a Audit,
    log: &'a str,
}

impl<'a> Setup<'a> {
    /// Creates the description. `policy` is the policy file or the name of the preset, and `ledger` the URL of the
    /// database, whose user, password and parameters are left out, or another description.
    #[must_use]
    pub fn new(policy: &'a str, preset: &'a Preset, ledger: &'a str, audit: &'a Audit) -> Self {
        Self { policy, preset, ledger, audit, log: "the log" }
    }

    /// Sets the description of audit events without a file.
    #[must_use]
    pub fn with_log(mut self, log: &'a str) -> Self {
        self.log = log;
        self
    }
}

impl fmt::Display for Setup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "policy: {} (fingerprint {})", self.policy, self.preset.fingerprint())?;
        if let Some(shadow) = self.preset.shadow() {
            writeln!(f, "shadow: {} (fingerprint {})", shadow_file(self.preset), shadow.fingerprint())?;
        }
        for remark in not_enforced(self.preset) {
            writeln!(f, "{remark}")?;
        }
        writeln!(f, "ledger: {}", without_secrets(self.ledger))?;
        match (&self.audit.file, &self.audit.key_file) {
            (Some(file), Some(key)) => {
                write!(f, "audit events: {}, chained with {}", file.display(), key.display())
            }
            (Some(file), None) => write!(f, "audit events: {}", file.display()),
            (None, _) => write!(f, "audit events: {}", self.log),
        }
    }
}

/// Returns the name of the shadow policy in the policy file.
fn shadow_file(preset: &Preset) -> String {
    let document = serde_json::to_value(preset).unwrap_or_default();
    document.pointer("/shadow/policy").and_then(Value::as_str).unwrap_or("in code").to_owned()
}

/// Returns the report-only settings, each with the effect that is not enforced.
fn not_enforced(preset: &Preset) -> Vec<String> {
    let lints = preset.lint(None);
    let only_reports = |key: &str| key == "report_only_rules" || key.rsplit('.').next() == Some("report_only");
    let reports = lints.iter().filter(|lint| only_reports(&lint.key));
    reports.map(|lint| format!("{}: {}", lint.key, lint.message)).collect()
}

/// Returns the URL of a database without user, password and parameters.
fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let rest = rest.split('?').next().unwrap_or_default();
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    format!("{scheme}://{place}")
}
