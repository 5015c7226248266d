//! `dcr replay` over a million audit lines: time and memory.
//!
//! The lines are events of a preset that records documents: registrations of the known clients and of attackers, each
//! with its own version and port, so that no two are equal. Names are the clients' own, every tenth with one of 1,000
//! suffixes (a machine, a server); in the worst case, no name occurs twice.
#![expect(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a bench measures real time, and panics if something is off"
)]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::Value;
use tower::{Layer, Service, service_fn};
use tower_dcr::audit::Event;
use tower_dcr::layers::RegistrationBody;
use tower_dcr::policy_file::KnownClient;

const LINES: usize = 1_000_000;

fn main() {
    let folder = std::env::temp_dir().join(format!("tower-dcr-replay-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the lines");
    let audit = folder.join("audit.jsonl");
    let policy = folder.join("policy.toml");
    fs::write(&policy, "redirect_uris.classes = ['https', 'loopback']\nmetadata.policy.client_name.essential = true\n")
        .expect("a policy");
    for (names, new_names) in [("names that are known", false), ("no name twice", true)] {
        let bytes = generate(&audit, LINES, new_names);
        println!("{names}: {LINES} lines, {} bytes each", bytes / LINES as u64);
        for (what, against) in [("against what is recorded", None), ("against another policy", Some("mcp"))] {
            for _ in 0..3 {
                let (time, peak) = replay(&audit, &policy, against);
                println!(
                    "  {what}: {:.0} lines/s, {} KiB at most",
                    LINES as f64 / time.as_secs_f64(),
                    peak.map_or_else(|| "?".into(), |peak| peak.to_string())
                );
            }
        }
    }
    fs::remove_dir_all(folder).expect("the folder is ours");
}

/// Returns the time, and the peak of resident memory in KiB; `None` if the system does not report it.
fn replay(audit: &Path, policy: &Path, against: Option<&str>) -> (Duration, Option<u64>) {
    let start = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dcr"));
    command.args(["replay", "--json", "--policy"]).arg(policy).arg(audit).stdout(Stdio::null());
    command.args(against.into_iter().flat_map(|against| ["--against", against]));
    let mut child = command.spawn().expect("the program was built");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = None;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak = mark.or(peak);
        if child.try_wait().expect("a child of ours").is_some() {
            return (start.elapsed(), peak);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Writes the events and returns their size.
fn generate(path: &Path, lines: usize, new_names: bool) -> u64 {
    let line = Arc::new(Mutex::new(String::new()));
    let last = Arc::clone(&line);
    let sink = move |event: &Event| *last.lock().expect("no panic") = event.to_string();
    let preset =
        tower_dcr::mcp().without_rate_limits().with_sink(sink).map_audit(tower_dcr::layers::AuditLayer::with_document);
    let mut register = preset.layer(service_fn(async |_: Request<RegistrationBody>| {
        let answer = Response::builder().status(201).header("content-type", "application/json");
        Ok::<_, std::convert::Infallible>(answer.body(Full::<Bytes>::from(r#"{"client_id":"c"}"#)).expect("a response"))
    }));
    let mut bodies: Vec<Value> = KnownClient::all()
        .map(|client| serde_json::from_str(client.registration.source()).expect("a document"))
        .collect();
    bodies.push(serde_json::json!({"redirect_uris": ["javascript:alert(1)"], "client_name": "x"}));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut file = BufWriter::new(File::create(path).expect("a file"));
    for (number, body) in (0..lines).zip(bodies.iter().cycle()) {
        let mut body = body.clone();
        let name = body["client_name"].as_str().unwrap_or("App").to_owned();
        match () {
            () if new_names => body["client_name"] = format!("{name} {number}").into(),
            () if number % 10 == 0 => body["client_name"] = format!("{name} (host-{})", number % 1000).into(),
            () => {}
        }
        body["software_version"] = number.to_string().into();
        let request = Request::post("/register").header("content-type", "application/json");
        let request = request.body(Full::<Bytes>::from(body.to_string())).expect("a request");
        runtime.block_on(register.call(request)).expect("an answer");
        writeln!(file, "{}", line.lock().expect("no panic")).expect("room on the disk");
    }
    file.flush().expect("room on the disk");
    fs::metadata(path).expect("a file").len()
}
