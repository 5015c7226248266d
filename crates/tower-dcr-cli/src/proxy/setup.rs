//! Opens the audit file, and prints the policy, ledger and audit file of a server at start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tower_dcr::Preset;
use tower_dcr::audit::{ChainKey, JsonLines, JsonLinesSettings, Sink};

/// The destination of audit events.
pub(crate) struct Audit {
    pub(crate) sink: Arc<dyn Sink>,
    /// The file with the key that chains the lines of the audit file.
    pub(crate) key_file: Option<PathBuf>,
}

impl Audit {
    /// Opens `file`, or uses `log` without one. Lines are chained with the key in `key_file`, or else that of the
    /// policy.
    pub(crate) fn open(
        file: Option<&Path>,
        key_file: Option<&Path>,
        rules: &Preset,
        log: impl Sink,
    ) -> io::Result<Self> {
        let Some(file) = file else {
            return match rules.chain_key() {
                // The operator expects a chained file, and there would be none.
                Some(_) => {
                    Err(io::Error::other("--audit missing: audit.chain_key_file in the policy chains the audit file"))
                }
                None => Ok(Self { sink: Arc::new(log), key_file: None }),
            };
        };
        let (key_file, chain) = match key_file {
            Some(file) => (Some(file), Some(ChainKey::from_file(file)?)),
            None => rules.chain_key().unzip(),
        };
        let settings = JsonLinesSettings { chain, ..Default::default() };
        let lines = JsonLines::open(file, settings).map_err(io::Error::other)?;
        Ok(Self { sink: Arc::new(lines), key_file: key_file.map(Path::to_path_buf) })
    }
}

/// The policy, ledger and audit file of a server.
pub(crate) struct Setup<'a> {
    /// The policy file, or the name of the preset.
    pub(crate) policy: &'a str,
    pub(crate) preset: &'a Preset,
    pub(crate) ledger: &'a str,
    pub(crate) audit: Option<&'a Path>,
    /// The file with the key of the chain.
    pub(crate) key_file: Option<&'a Path>,
    /// The description of audit events in the log.
    pub(crate) log: &'a str,
}

impl Setup<'_> {
    pub(crate) fn say(&self) {
        println!("policy: {} (fingerprint {})", self.policy, self.preset.fingerprint());
        if let Some(shadow) = self.preset.shadow() {
            println!("shadow: {} (fingerprint {})", shadow_file(self.preset), shadow.fingerprint());
        }
        for remark in not_enforced(self.preset) {
            println!("{remark}");
        }
        println!("ledger: {}", without_secrets(self.ledger));
        match (self.audit, self.key_file) {
            (Some(file), Some(key)) => println!("audit events: {}, chained with {}", file.display(), key.display()),
            (Some(file), None) => println!("audit events: {}", file.display()),
            (None, _) => println!("audit events: {}", self.log),
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
