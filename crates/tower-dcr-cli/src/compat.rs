//! `dcr clients compat`.

use serde_json::json;
use tower_dcr::Preset;
use tower_dcr::policy_file::KnownClient;
use tower_dcr::rules::{Context, Decision, Evaluation};

use super::output::{Paint, painted};
use super::{OK, Outcome, REJECTED, output, policy};

pub(super) fn run(named: &str, all: bool, json: bool) -> Outcome {
    let (preset, fingerprint) = policy::rules(named)?;
    let served = preset;
    let preset = policy::enforcing(&served);
    // Clients that a server accepts although its policy rejects them.
    let is_taken =
        |client: &KnownClient| served.is_report_only() || evaluate(&served, client).decision() != Decision::Reject;
    let judged: Vec<(KnownClient, Decision, String)> = KnownClient::all()
        .map(|client| {
            let evaluation = evaluate(&preset, &client);
            let why = match &evaluation.rejection {
                Some(rejection) => rejection.description(),
                None => evaluation
                    .findings
                    .iter()
                    .filter(|finding| finding.disposition.rewrites())
                    .map(|f| format!("{} {}", f.rule, f.field))
                    .collect::<Vec<_>>()
                    .join(", "),
            };
            (client, evaluation.decision(), why)
        })
        .collect();
    let count = |wanted: Decision| judged.iter().filter(|(_, fate, _)| *fate == wanted).count();
    let broken = count(Decision::Reject);
    let taken = judged.iter().filter(|(client, fate, _)| *fate == Decision::Reject && is_taken(client)).count();
    if json {
        let clients: Vec<_> = judged
            .iter()
            .map(|(client, fate, why)| json!({"client": &client.name, "fate": name(*fate), "why": why}))
            .collect();
        output::json(&json!({
            "version": KnownClient::VERSION, "policy": fingerprint, "accepted": count(Decision::Accept),
            "rewritten": count(Decision::Rewrite), "refused": broken,
            "not_enforced": taken, "clients": clients,
        }))?;
    } else {
        let mut table = output::table(&["CLIENT", "", "WHY"]);
        for (client, fate, why) in judged.iter().filter(|(_, fate, _)| all || *fate == Decision::Reject) {
            table.add_row([&*client.name, shown(*fate), why]);
        }
        if broken > 0 || all {
            output::print_table(&table)?;
        }
        let summary = format!(
            "{} known clients: {} accepted, {} rewritten, {broken} rejected",
            judged.len(),
            count(Decision::Accept),
            count(Decision::Rewrite)
        );
        output::line(painted(&summary, if broken > 0 { &Paint::Bad } else { &Paint::Good }))?;
        if taken > 0 {
            output::line(format_args!("report-only: a server under this policy accepts {taken} of the rejected"))?;
        }
    }
    Ok(if broken > 0 { REJECTED } else { OK })
}

fn evaluate(preset: &Preset, client: &KnownClient) -> Evaluation {
    preset.policy().evaluate(client.registration.clone(), &Context::registration())
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
