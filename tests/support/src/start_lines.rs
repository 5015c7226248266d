//! The lines that a server prints at start: the policy, the ledger and the audit file that it works by. `dcr proxy` and the demo
//! have the same.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use tower_dcr::Preset;

use crate::folder::Folder;
use crate::running::Running;

/// A server and the lines that it prints without flags.
pub struct Server {
    pub command: fn() -> Command,
    /// The flags that it needs in order to start.
    pub base: Vec<String>,
    pub ledger: &'static str,
    pub log: &'static str,
    /// Returns the preset as the server has it without `--audit`.
    pub unwritten: fn(Preset) -> Preset,
}

impl Server {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = (self.command)();
        command.args(&self.base).args(arguments);
        command
    }

    /// Returns the lines about the setup.
    fn lines(&self, arguments: &[&str]) -> Vec<String> {
        let mut command = self.command(arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Running { child, base: String::new(), client: reqwest::Client::new() };
        let lines = BufReader::new(server.child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut setup = Vec::new();
        for line in lines.skip_while(|line| !line.starts_with("policy: ")) {
            let is_last = line.starts_with("audit events: ");
            setup.push(line);
            if is_last {
                break;
            }
        }
        setup
    }

    /// Asserts that the server prints the policy, the ledger and the audit file that it is given.
    pub fn names_its_setup(&self) {
        let folder = Folder::new("start-lines");
        let path = |name: &str| folder.0.join(name).display().to_string();
        let mcp = format!("policy: the preset mcp (fingerprint {})", (self.unwritten)(tower_dcr::mcp()).fingerprint());
        let without = [mcp, format!("ledger: {}", self.ledger), format!("audit events: {}", self.log)];
        assert_eq!(self.lines(&[]), without);

        folder.write("policy.toml", "extends = 'strict'\n");
        let (policy, audit, ledger) =
            (path("policy.toml"), path("audit.jsonl"), format!("sqlite:{}", path("clients.db")));
        let named = [
            format!("policy: {policy} (fingerprint {})", tower_dcr::strict().fingerprint()),
            format!("ledger: {ledger}"),
            format!("audit events: {audit}"),
        ];
        assert_eq!(self.lines(&["--policy", &policy, "--audit", &audit, "--ledger", &ledger]), named);

        folder.write("next.toml", "extends = 'strict'\n").write(
            "trying.toml",
            "report_only_rules = ['redirect-uris', 'identity']\nshadow.policy = 'next.toml'\ngate.report_only = true\n\
             answer.report_only = true\nlifecycle.report_only = true\n",
        );
        let trying = path("trying.toml");
        let tried = (self.unwritten)(Preset::from_file(&trying).unwrap());
        let reported = [
            format!("policy: {trying} (fingerprint {})", tried.fingerprint()),
            format!("shadow: next.toml (fingerprint {})", tried.shadow().unwrap().fingerprint()),
            "report_only_rules: not enforced: redirect-uris, identity".to_owned(),
            "answer.report_only: answers of the handler that break clients, and secrets for public ones, go out"
                .to_owned(),
            "gate.report_only: revoked clients and foreign redirect URIs pass the gates".to_owned(),
            "lifecycle.report_only: revoked clients can be registered again".to_owned(),
        ];
        let expected = [&reported[..], &named[1..2], &without[2..]].concat();
        assert_eq!(self.lines(&["--policy", &trying, "--ledger", &ledger]), expected);

        // The chain, from a flag or the policy.
        folder.write("key", "0123456789abcdef\n").write("chained.toml", "[audit]\nchain_key_file = 'key'\n");
        for (name, flag, value, key) in [
            ("flag", "--audit-key-file", path("key"), path("key")),
            ("file", "--policy", path("chained.toml"), "key".to_owned()),
        ] {
            let audit = path(&format!("{name}.jsonl"));
            let lines = self.lines(&["--audit", &audit, flag, &value]);
            assert_eq!(lines[2], format!("audit events: {audit}, chained with {key}"));
        }
    }

    /// Asserts that the server does not start with a key that chains nothing, or with one that is too short or has no end.
    pub fn rejects_keys_that_chain_nothing(&self) {
        let folder = Folder::new("start-keys");
        folder.write("key", "0123456789abcdef\n").write("policy.toml", "[audit]\nchain_key_file = 'key'\n");
        folder.write("short", "0123456789abcde");
        let path = |name: &str| folder.0.join(name).display().to_string();
        let (audit, key, policy, short) = (path("audit.jsonl"), path("key"), path("policy.toml"), path("short"));
        let mut rows = vec![
            (vec!["--audit-key-file", &key], "--audit <FILE>"),
            (vec!["--policy", &policy], "audit.chain_key_file in the policy"),
            (vec!["--audit", &audit, "--audit-key-file", &short], "less than 16 bytes"),
        ];
        if cfg!(target_os = "linux") {
            let endless = vec!["--audit", &audit, "--audit-key-file", "/dev/zero"];
            rows.push((endless, "/dev/zero: more than 64 KiB"));
        }
        for (arguments, words) in rows {
            let ended = self.command(&arguments).output().unwrap();
            let said = String::from_utf8_lossy(&ended.stderr);
            assert!(!ended.status.success() && said.contains(words), "{arguments:?}: {said}");
        }
    }
}

/// Returns the lines that a server logs, until `enough` of them count.
pub fn logged(server: &mut Running, enough: usize, counts: impl Fn(&str) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    for line in BufReader::new(server.child.stderr.take().unwrap()).lines().map(Result::unwrap) {
        lines.push(line);
        if lines.iter().filter(|line| counts(line)).count() == enough {
            break;
        }
    }
    lines
}
