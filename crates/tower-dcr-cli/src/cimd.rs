//! `dcr cimd`.

use std::error::Error;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{Response, header};
use serde_json::{Value, json};
use tokio::runtime::Builder;
use tower_dcr::documents::{
    self, Admission, Admitted, ClientIdUrl, ClientIdUrlOptions, DocumentError, DocumentSettings, Fetch as _,
    FetchRequest,
};
use tower_dcr::registration::{Limits, ParseError};
use tower_dcr::rules::Context;
use tower_dcr::{Preset, Registration};
use tower_dcr_fetch::{HttpsFetcher, classify};

use super::check::{self, Judged};
use super::output::escaped;
use super::{OK, Outcome, PolicyArg, REJECTED, USAGE, broken, input, output, policy};

mod diff;

#[derive(Debug, Subcommand)]
pub(super) enum Cimd {
    /// Evaluates a client metadata document under a policy: accepted, rewritten, held for approval or rejected, and why.
    ///
    /// The steps are those of a server: the URL, its admission, the fetch (of a URL only), the JSON, the `client_id` in it, and the
    /// rules. Exit status: 0 accepted unchanged, 3 accepted with changes or held for approval, 4 rejected at one of the steps; 1 for
    /// an unreadable file. Report-only rules count as enforced, and are marked: "would reject".
    Check(Check),
    /// Compares the client of a document in a ledger with the document that is published now, and names the consequence at a
    /// server.
    ///
    /// The ledger is opened read-only, and the document is fetched and judged as by `check`. The changes are: decoration and
    /// narrowing, in force at once; widening and identity, held for approval; broken, withdrawn and unreachable. Exit status: 0
    /// if the document is the version in force, 3 if it differs, 4 if it is rejected or not fetched; 1 if the ledger has no
    /// such client.
    #[command(allow_missing_positional = true)]
    Diff(diff::Diff),
    /// Checks that a URL can be a `client_id`: `documents.query` and `documents.ports` of the policy apply.
    ///
    /// Exit status: 0 accepted, 4 rejected.
    Url {
        #[command(flatten)]
        policy: PolicyArg,
        /// The URL.
        url: String,
    },
    /// Checks that documents are fetched from addresses: those that are public.
    ///
    /// Parsers disagree about other text, such as `127.1`, `010.0.0.1`, `0x7f.0.0.1`, `fe80::1%eth0` or `[::1]`: it is printed as
    /// `refused invalid`. Exit status: 0 if all are allowed, 4 if one is refused.
    Address {
        /// The addresses: IPv4 or IPv6.
        #[arg(required = true, value_name = "ADDR")]
        addresses: Vec<OsString>,
    },
    /// Checks that a policy admits URLs (`documents.admission`, `documents.allow`), and by which entry. Nothing is fetched.
    ///
    /// Exit status: 0 if all are admitted, 4 if one is rejected.
    Admission {
        #[command(flatten)]
        policy: PolicyArg,
        /// The URLs.
        #[arg(required = true, value_name = "URL")]
        urls: Vec<String>,
    },
}

#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    policy: PolicyArg,
    /// The URL at which the document of a file will be. Without it, it is the `client_id` in the document.
    #[arg(long, value_name = "URL")]
    client_id: Option<String>,
    #[command(flatten)]
    hosts: Hosts,
    /// The document: its URL, from which it is fetched; JSON that begins with { or [, a file that holds it, or - for the standard
    /// input.
    #[arg(value_name = "DOCUMENT")]
    document: PathBuf,
}

/// The hosts of tests.
#[derive(Args, Debug)]
struct Hosts {
    /// Trusts these certificate authorities (PEM) instead of those of the system: for tests.
    #[arg(long, value_name = "FILE", hide = true)]
    cimd_ca: Option<PathBuf>,
    /// Connects to this address for a host, whatever it is: for tests.
    #[arg(long, value_name = "HOST=ADDR:PORT", hide = true, value_parser = mapping)]
    cimd_map: Vec<(String, SocketAddr)>,
}

fn mapping(text: &str) -> Result<(String, SocketAddr), String> {
    let (host, address) = text.split_once('=').ok_or("write HOST=ADDR:PORT")?;
    let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
    Ok((host.to_owned(), address))
}

impl Cimd {
    pub(super) fn run(self, json: bool) -> Outcome {
        match self {
            Self::Check(check) => check.run(json),
            Self::Diff(diff) => diff.run(json),
            Self::Url { policy, url } => check_url(&policy, &url, json),
            Self::Address { addresses } => check_addresses(&addresses, json),
            Self::Admission { policy, urls } => check_admission(&policy, &urls, json),
        }
    }
}

pub(super) fn parse(url: &str, settings: &DocumentSettings) -> Result<ClientIdUrl, DocumentError> {
    let options = ClientIdUrlOptions { query: settings.query, ports: settings.ports.clone() };
    ClientIdUrl::parse_with(url, &options).map_err(DocumentError::Url)
}

fn check_url(policy: &PolicyArg, url: &str, json: bool) -> Outcome {
    let parsed = parse(url, &policy::load(&policy.policy)?.document_settings());
    if json {
        let (reason, parsed) = (parsed.as_ref().err().map(ToString::to_string), parsed.as_ref().ok());
        output::json(&json!({
            "url": url, "accepted": parsed.is_some(), "reason": reason, "host": parsed.map(ClientIdUrl::host),
            "site": parsed.map(ClientIdUrl::site),
        }))?;
    } else {
        match &parsed {
            Ok(_) => output::line(format_args!("{} accepted", escaped(url)))?,
            Err(reason) => output::line(format_args!("{} rejected: {reason}", escaped(url)))?,
        }
    }
    Ok(if parsed.is_ok() { OK } else { REJECTED })
}

fn check_addresses(addresses: &[OsString], json: bool) -> Outcome {
    let mut rows = Vec::new();
    let mut status = OK;
    for text in addresses {
        let text = text.to_string_lossy();
        // The standard library reads one spelling of each number, and no zone, port or bracket.
        let address = text.parse::<IpAddr>().ok();
        let class = address.map(classify);
        let (is_allowed, class) = class.map_or((false, "invalid"), |class| (class.is_public(), class.as_str()));
        let shown = address.map_or_else(|| text.clone().into_owned(), |address| address.to_string());
        if json {
            rows.push(json!({ "address": shown, "allowed": is_allowed, "class": class }));
        } else {
            let verdict = if is_allowed { "allowed" } else { "refused" };
            output::line(format_args!("{} {verdict} {class}", escaped(&shown)))?;
        }
        status = if is_allowed { status } else { REJECTED };
    }
    if json {
        output::json(&rows)?;
    }
    Ok(status)
}

fn check_admission(policy: &PolicyArg, urls: &[String], json: bool) -> Outcome {
    let settings = policy::load(&policy.policy)?.document_settings();
    let mut rows = Vec::new();
    let mut status = OK;
    for url in urls {
        let said = parse(url, &settings).map_err(|error| error.to_string()).and_then(|url| admission(&settings, &url));
        if json {
            rows.push(json!({ "url": url, "admitted": said.is_ok(), "by": said.as_ref().ok(), "reason": said.as_ref().err() }));
        } else {
            match &said {
                Ok(by) => output::line(format_args!("{} {by}", escaped(url)))?,
                Err(reason) => output::line(format_args!("{} rejected: {reason}", escaped(url)))?,
            }
        }
        status = if said.is_ok() { status } else { REJECTED };
    }
    if json {
        output::json(&rows)?;
    }
    Ok(status)
}

/// Returns the way in which a URL is admitted, or the reason for which it is not.
pub(super) fn admission(settings: &DocumentSettings, url: &ClientIdUrl) -> Result<String, String> {
    match settings.admit(url) {
        Admitted::ByEntry(entry) => Ok(format!("admitted by {entry}")),
        Admitted::Unlisted => Ok("admitted (open)".to_owned()),
        Admitted::Reported => Ok("reported".to_owned()),
        _ if settings.admission == Admission::Off => Err("documents.admission is \"off\"".to_owned()),
        _ if settings.own_hosts.iter().any(|host| host.eq_ignore_ascii_case(url.host())) => {
            Err("the host is one of this server".to_owned())
        }
        _ => Err("not listed".to_owned()),
    }
}

/// The steps that were taken, each with its result.
#[derive(Default)]
struct Steps(Vec<(&'static str, String)>);

impl Steps {
    fn pass(&mut self, step: &'static str, said: impl Into<String>) {
        self.0.push((step, said.into()));
    }

    fn admission(&mut self, settings: &DocumentSettings, url: &ClientIdUrl) -> Result<(), String> {
        match admission(settings, url) {
            Ok(by) => {
                self.pass("admission", by);
                Ok(())
            }
            Err(reason) => {
                self.pass("admission", format!("rejected: {reason}"));
                Err(reason)
            }
        }
    }

    /// Ends with a rejection at a step.
    fn fail(&mut self, step: &'static str, reason: &DocumentError) -> Judged {
        self.fail_with(step, output::causes(reason))
    }

    fn fail_with(&mut self, step: &'static str, reason: String) -> Judged {
        self.pass(step, format!("rejected: {reason}"));
        let mut judged = Judged::default();
        judged.stop(step, reason);
        judged
    }
}

/// A document, as far as the steps went.
#[derive(Default)]
struct Examined {
    body: Vec<u8>,
    url: Option<ClientIdUrl>,
    judged: Judged,
}

impl Check {
    fn run(self, json: bool) -> Outcome {
        let (preset, fingerprint) = policy::rules(&self.policy.policy)?;
        let settings = preset.document_settings();
        let mut steps = Steps::default();
        let target = self.document.to_str().filter(|document| is_url(document));
        let examined = match target {
            Some(_) if self.client_id.is_some() => {
                let mistake = "--client-id is for files: a document that is fetched has its URL";
                output::complain(&*Box::<dyn Error>::from(mistake), json);
                return Ok(USAGE);
            }
            Some(url) => self.examine_url(url, &preset, &settings, &mut steps)?,
            None => self.examine_file(&preset, &settings, &mut steps)?,
        };
        if json {
            output::json(&as_json(&examined, &fingerprint, &steps))?;
        } else {
            print(&examined, target.map(|_| &steps))?;
        }
        Ok(examined.judged.status())
    }

    fn examine_file(
        &self,
        preset: &Preset,
        settings: &DocumentSettings,
        steps: &mut Steps,
    ) -> Result<Examined, Box<dyn Error>> {
        let body = match self.document.to_str() {
            Some(json) if json.trim_start().starts_with(['{', '[']) => json.as_bytes().to_vec(),
            // More than a document may have, so that its size is what rejects it.
            _ => input::read(&self.document, Limits::default().max_bytes)?,
        };
        let (url, judged) = judge_file(self.client_id.as_deref(), &body, preset, settings, steps);
        Ok(Examined { body, url, judged })
    }

    fn examine_url(
        &self,
        url: &str,
        preset: &Preset,
        settings: &DocumentSettings,
        steps: &mut Steps,
    ) -> Result<Examined, Box<dyn Error>> {
        let url = match parse(url, settings) {
            Ok(url) => url,
            Err(error) => return Ok(Examined { judged: steps.fail("url", &error), ..Examined::default() }),
        };
        steps.pass("url", "accepted");
        let examined = Examined { url: Some(url.clone()), ..Examined::default() };
        if let Err(reason) = steps.admission(settings, &url) {
            let mut judged = Judged::default();
            judged.stop("admission", reason);
            return Ok(Examined { judged, ..examined });
        }
        let fetcher = self.hosts.fetcher()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let response = match runtime.block_on(fetcher.fetch(FetchRequest::new(url.clone()))) {
            Ok(response) => response,
            Err(error) => {
                return Ok(Examined { judged: steps.fail("fetch", &DocumentError::Fetch(error)), ..examined });
            }
        };
        steps.pass("fetch", described(&response));
        let body = response.into_body().to_vec();
        let judged = judge(preset, &url, &body, steps);
        Ok(Examined { body, judged, ..examined })
    }
}

impl Hosts {
    fn fetcher(&self) -> Result<HttpsFetcher, Box<dyn Error>> {
        let fetcher = match &self.cimd_ca {
            Some(file) => {
                HttpsFetcher::danger_with_roots(std::fs::read(file).map_err(|error| input::named(file, &error))?)?
            }
            None => HttpsFetcher::new()?,
        };
        let mut mappings = self.cimd_map.iter();
        Ok(mappings.try_fold(fetcher, |fetcher, (host, address)| fetcher.danger_map_host(host, *address))?)
    }
}

/// Takes the steps for a file that will be at `client_id`, or at the URL that it names itself.
fn judge_file(
    client_id: Option<&str>,
    body: &[u8],
    preset: &Preset,
    settings: &DocumentSettings,
    steps: &mut Steps,
) -> (Option<ClientIdUrl>, Judged) {
    let url = match (client_id, Registration::parse(body)) {
        (Some(url), _) => url.to_owned(),
        (None, Err(error)) => return (None, unreadable(body, error, steps)),
        (None, Ok(document)) => {
            let Some(url) = document.string("client_id") else {
                let reason = format!("{}; name its URL with --client-id", no_client_id(&document));
                return (None, steps.fail_with("client_id", reason));
            };
            url.to_owned()
        }
    };
    let url = match parse(&url, settings) {
        Ok(url) => url,
        Err(error) => return (None, steps.fail("url", &error)),
    };
    steps.pass("url", "accepted");
    let admitted = steps.admission(settings, &url);
    let mut judged = judge(preset, &url, body, steps);
    // The findings of the rules are of interest to an author whose client this server does not know.
    if let Err(reason) = admitted {
        judged.stop("admission", reason);
    }
    (Some(url), judged)
}

/// Returns `true` if an argument is meant as a URL.
fn is_url(document: &str) -> bool {
    let scheme = document.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)))
        || document.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
}

fn described(response: &Response<Bytes>) -> String {
    let field = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let mut said = format!("{}, {} bytes", response.status().as_u16(), response.body().len());
    for (name, field) in [
        ("", field(header::CONTENT_TYPE)),
        ("cache-control ", field(header::CACHE_CONTROL)),
        ("etag ", field(header::ETAG)),
    ] {
        said.extend(field.map(|field| format!(", {name}{field}")));
    }
    said
}

/// Takes the steps that follow the bytes.
fn judge(preset: &Preset, url: &ClientIdUrl, body: &[u8], steps: &mut Steps) -> Judged {
    let document = match documents::read(url, body) {
        Ok(document) => document,
        Err(DocumentError::Json(error)) => return unreadable(body, error, steps),
        Err(error) => {
            steps.pass("json", "accepted");
            return steps.fail_with("client_id", other_client_id(url, body).unwrap_or_else(|| output::causes(&error)));
        }
    };
    steps.pass("json", "accepted");
    steps.pass("client_id", "the URL of the document");
    let context = Context::document(url);
    let mut judged = check::judge_all(preset, |preset| {
        Judged::of(preset, preset.document_policy().evaluate(document.clone(), &context), body)
    });
    // A verified client has its name.
    judged.after = judged.after.and_then(|after| with_client_id(&after, url.as_str()));
    let rejection = judged.rejection.as_ref().map(|rejection| format!("rejected: {}", rejection.description()));
    steps.pass("rules", rejection.unwrap_or_else(|| check::verdict(&judged).to_owned()));
    judged
}

/// Compares the `client_id` of a document with its URL.
fn other_client_id(url: &ClientIdUrl, body: &[u8]) -> Option<String> {
    let document = Registration::parse(body).ok()?;
    Some(match document.string("client_id") {
        Some(other) => format!("client_id in the document is {other:?}, and its URL is {:?}", url.as_str()),
        None => format!("{}; its URL is {:?}", no_client_id(&document), url.as_str()),
    })
}

/// Says that a document has no string as its `client_id`.
fn no_client_id(document: &Registration) -> &'static str {
    if document.contains("client_id") {
        "client_id in the document is not a string"
    } else {
        "the document has no client_id"
    }
}

fn with_client_id(after: &[u8], url: &str) -> Option<Vec<u8>> {
    let mut after: Value = serde_json::from_slice(after).ok()?;
    after.as_object_mut()?.insert("client_id".to_owned(), url.into());
    serde_json::to_vec(&after).ok()
}

fn unreadable(body: &[u8], error: ParseError, steps: &mut Steps) -> Judged {
    let mut judged = steps.fail("json", &DocumentError::Json(error));
    judged.place = broken::find(body, error);
    judged
}

fn as_json(examined: &Examined, fingerprint: &str, steps: &Steps) -> Value {
    let Examined { body, url, judged } = examined;
    let url = url.as_ref();
    let mut printed = check::as_json(judged, fingerprint, body);
    // The step at which the document is rejected.
    let rules = || judged.rejection.as_ref().map(|_| "rules");
    let step = judged.stopped.as_ref().map(|(step, _)| *step).or_else(rules);
    let steps = steps.0.iter().map(|(step, said)| json!({ "step": step, "result": said }));
    let of_document = [
        ("client_id", json!(url)),
        ("host", json!(url.map(ClientIdUrl::host))),
        ("site", json!(url.map(ClientIdUrl::site))),
        ("step", json!(step)),
        ("steps", steps.collect()),
    ];
    if let Some(members) = printed.as_object_mut() {
        members.extend(of_document.map(|(name, value)| (name.to_owned(), value)));
    }
    printed
}

fn print(examined: &Examined, steps: Option<&Steps>) -> Result<(), Box<dyn Error>> {
    for (step, said) in steps.iter().flat_map(|steps| &steps.0) {
        output::line(format_args!("{step:<9}  {}", escaped(said)))?;
    }
    if steps.is_some() {
        output::line("")?;
    }
    let url = examined.url.as_ref();
    let facts = url.map(|url| [format!("client_id: {url}"), format!("host: {} (site {})", url.host(), url.site())]);
    check::print(&examined.judged, &examined.body, facts.as_ref().map_or(&[], <[String; 2]>::as_slice))
}
