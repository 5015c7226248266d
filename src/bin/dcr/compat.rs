//! `dcr clients compat`.

use serde_json::json;
use tower_dcr::compat::{self, Fate, KnownClient};

use super::output::{Paint, painted};
use super::{OK, Outcome, REFUSED, output, policy};

pub(super) fn run(named: &str, all: bool, json: bool) -> Outcome {
    let (preset, fingerprint) = policy::rules(named)?;
    let judged: Vec<(KnownClient, Fate, String)> = compat::clients()
        .map(|client| {
            let verdict = client.judge(preset.policy());
            let why = match &verdict {
                Err(refused) => refused.description(),
                Ok(review) => review
                    .findings()
                    .iter()
                    .filter(|finding| finding.disposition.rewrites())
                    .map(|f| format!("{} {}", f.rule, f.field))
                    .collect::<Vec<_>>()
                    .join(", "),
            };
            (client.clone(), client.fate(preset.policy()), why)
        })
        .collect();
    let count = |wanted: Fate| judged.iter().filter(|(_, fate, _)| *fate == wanted).count();
    let broken = count(Fate::Refused);
    if json {
        let clients: Vec<_> = judged
            .iter()
            .map(|(client, fate, why)| json!({"client": client.name(), "fate": name(*fate), "why": why}))
            .collect();
        output::json(&json!({
            "version": compat::CLIENTS_VERSION, "policy": fingerprint, "accepted": count(Fate::Accepted),
            "rewritten": count(Fate::Rewritten), "refused": broken, "clients": clients,
        }))?;
    } else {
        let mut table = output::table(&["CLIENT", "", "WHY"]);
        for (client, fate, why) in judged.iter().filter(|(_, fate, _)| all || *fate == Fate::Refused) {
            table.add_row([client.name(), name(*fate), why]);
        }
        if broken > 0 || all {
            output::print_table(&table)?;
        }
        let summary = format!(
            "{} known clients: {} accepted, {} rewritten, {broken} refused",
            judged.len(),
            count(Fate::Accepted),
            count(Fate::Rewritten)
        );
        output::line(painted(&summary, if broken > 0 { &Paint::Bad } else { &Paint::Good }))?;
    }
    Ok(if broken > 0 { REFUSED } else { OK })
}

const fn name(fate: Fate) -> &'static str {
    match fate {
        Fate::Accepted => "accepted",
        Fate::Rewritten => "rewritten",
        _ => "refused",
    }
}
