//! `dcr clients compat`.

use std::error::Error;

use serde_json::{Value, json};
use tower_dcr::Preset;
use tower_dcr::documents::{self, Admission, DocumentError, DocumentSettings};
use tower_dcr::policy_file::KnownClient;
use tower_dcr::rules::{Context, Decision, Evaluation, Rejection};

use super::output::{Paint, painted};
use super::{OK, Outcome, REJECTED, check, cimd, output, policy};

/// A known client under a policy.
struct Row {
    name: String,
    /// The URL of its document.
    url: Option<String>,
    fate: Decision,
    why: String,
    /// `true` if the fate is that of the rules, and not of the closed server.
    by_rules: bool,
    /// `true` if a server accepts it although the policy rejects it: the policy only reports.
    is_taken: bool,
}

/// The known clients of one kind: with a registration, or with a document.
struct Judged(Vec<Row>);

pub(super) fn run(named: &str, all: bool, json: bool) -> Outcome {
    let (served, fingerprint) = policy::rules(named)?;
    let enforced = policy::enforcing(&served);
    let is_closed = check::is_closed(&served);
    let registrations = Judged(KnownClient::all().map(|client| registration(client, &served, &enforced)).collect());
    let settings = served.document_settings();
    // A server without documents announces none, and clients register.
    let has_documents = settings.admission != Admission::Off;
    let known = KnownClient::documents().filter(|_| has_documents);
    let documents: Result<Vec<Row>, DocumentError> =
        known.map(|client| document(client, &served, &enforced, &settings)).collect();
    let documents = Judged(documents?);
    if json {
        let mut printed = json!({ "version": KnownClient::VERSION, "policy": fingerprint, "closed": is_closed });
        if let (Some(printed), Value::Object(of_registrations)) = (printed.as_object_mut(), registrations.as_json()) {
            printed.extend(of_registrations);
            printed.insert("documents".to_owned(), json!(has_documents.then(|| documents.as_json())));
        }
        output::json(&printed)?;
    } else {
        registrations.print("known clients", all)?;
        if is_closed {
            output::line(check::CLOSED)?;
        }
        if has_documents {
            documents.print("documents of known clients", all)?;
        } else {
            output::line("documents.admission is \"off\": known clients with a document register")?;
        }
    }
    Ok(if registrations.rejected() + documents.rejected() > 0 { REJECTED } else { OK })
}

fn registration(client: KnownClient, served: &Preset, enforced: &Preset) -> Row {
    let evaluate = |preset: &Preset| preset.policy().evaluate(client.registration.clone(), &Context::registration());
    let evaluation = evaluate(enforced);
    let (mut fate, mut why) = (evaluation.decision(), reason(&evaluation));
    let by_rules = fate == Decision::Reject || !check::is_closed(served);
    if !by_rules {
        (fate, why) = (Decision::Reject, check::closed().description());
    }
    let is_accepted = || served.is_report_only() || evaluate(served).decision() != Decision::Reject;
    let is_taken = !check::is_closed(served) && is_accepted();
    Row { name: client.name, url: None, fate, why, by_rules, is_taken }
}

fn document(
    client: KnownClient,
    served: &Preset,
    enforced: &Preset,
    settings: &DocumentSettings,
) -> Result<Row, DocumentError> {
    let text = client.registration.string("client_id").unwrap_or_default();
    let url = cimd::parse(text, settings)?;
    let read = documents::read(&url, client.registration.source().as_bytes())?;
    let evaluate = |preset: &Preset| preset.document_policy().evaluate(read.clone(), &Context::document(&url));
    let evaluation = evaluate(enforced);
    let admission = cimd::admission(settings, &url).err();
    let fate = if admission.is_some() { Decision::Reject } else { evaluation.decision() };
    // Both are shown, so that an operator who lists the URL knows what comes next.
    let by_rules = Some(reason(&evaluation)).filter(|_| admission.is_none() || evaluation.rejection.is_some());
    let why: Vec<String> = admission.iter().map(|reason| format!("admission: {reason}")).chain(by_rules).collect();
    let is_accepted = || served.is_report_only() || evaluate(served).decision() != Decision::Reject;
    let is_taken = admission.is_none() && is_accepted();
    Ok(Row { name: client.name, url: Some(text.to_owned()), fate, why: why.join("; "), by_rules: true, is_taken })
}

/// Returns the reason of a rejection, or the changes.
fn reason(evaluation: &Evaluation) -> String {
    if let Some(rejection) = &evaluation.rejection {
        return Rejection::description(rejection);
    }
    let changes = evaluation.findings.iter().filter(|finding| finding.disposition.rewrites());
    changes.map(|finding| format!("{} {}", finding.rule, finding.field)).collect::<Vec<_>>().join(", ")
}

impl Judged {
    fn count(&self, fate: Decision) -> usize {
        self.0.iter().filter(|row| row.fate == fate).count()
    }

    fn rejected(&self) -> usize {
        self.count(Decision::Reject)
    }

    /// Returns the number of rejected ones that a server accepts.
    fn taken(&self) -> usize {
        self.0.iter().filter(|row| row.fate == Decision::Reject && row.is_taken).count()
    }

    fn as_json(&self) -> Value {
        let clients = self.0.iter().map(|row| {
            let mut client = json!({ "client": row.name, "fate": name(row.fate), "why": row.why });
            if let (Some(client), Some(url)) = (client.as_object_mut(), &row.url) {
                client.insert("url".to_owned(), url.clone().into());
            }
            client
        });
        json!({
            "accepted": self.count(Decision::Accept), "rewritten": self.count(Decision::Rewrite), "refused": self.rejected(),
            "not_enforced": self.taken(), "clients": clients.collect::<Vec<_>>(),
        })
    }

    fn print(&self, title: &str, all: bool) -> Result<(), Box<dyn Error>> {
        let has_urls = self.0.iter().any(|row| row.url.is_some());
        let mut titles = vec!["CLIENT", "", "WHY"];
        if has_urls {
            titles.insert(1, "DOCUMENT");
        }
        let mut table = output::table(&titles);
        let mut is_empty = true;
        for row in self.0.iter().filter(|row| all || (row.fate == Decision::Reject && row.by_rules)) {
            let url = row.url.as_deref();
            table.add_row([Some(&*row.name), url, Some(shown(row.fate)), Some(&row.why)].into_iter().flatten());
            is_empty = false;
        }
        if !is_empty {
            output::print_table(&table)?;
        }
        let rejected = self.rejected();
        let summary = format!(
            "{} {title}: {} accepted, {} rewritten, {rejected} rejected",
            self.0.len(),
            self.count(Decision::Accept),
            self.count(Decision::Rewrite)
        );
        output::line(painted(&summary, if rejected > 0 { &Paint::Bad } else { &Paint::Good }))?;
        let taken = self.taken();
        if taken > 0 {
            output::line(format_args!("report-only: a server under this policy accepts {taken} of the rejected"))?;
        }
        Ok(())
    }
}

/// Returns the fate in the JSON.
const fn name(fate: Decision) -> &'static str {
    match fate {
        Decision::Accept => "accepted",
        Decision::Rewrite => "rewritten",
        _ => "refused",
    }
}

/// Returns the fate in the text.
const fn shown(fate: Decision) -> &'static str {
    match fate {
        Decision::Accept | Decision::Rewrite => name(fate),
        _ => "rejected",
    }
}
