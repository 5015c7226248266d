//! `dcr explain`.

use serde_json::json;
use tower_dcr::explain::{self, Explanation};

use super::output::{Paint, painted};
use super::{OK, Outcome, output};

pub(super) fn run(rule: Option<&str>, json: bool) -> Outcome {
    match rule {
        Some(name) => {
            let known = || explain::RULES.iter().map(|rule| rule.name).collect::<Vec<_>>().join(", ");
            let rule =
                explain::rule(name).ok_or_else(|| format!("there is no rule {name:?}; there are {}", known()))?;
            if json { output::json(&as_json(rule))? } else { print(rule)? }
        }
        None if json => output::json(&explain::RULES.iter().map(as_json).collect::<Vec<_>>())?,
        None => {
            let mut table = output::table(&["RULE", "PROTECTS"]);
            for rule in explain::RULES {
                table.add_row([rule.name, rule.protects]);
            }
            output::print_table(&table)?;
        }
    }
    Ok(OK)
}

fn as_json(rule: &Explanation) -> serde_json::Value {
    json!({
        "rule": rule.name, "protects": rule.protects, "reference": rule.reference, "attack": rule.attack,
        "loosen": rule.loosen, "opens": rule.opens,
    })
}

fn print(rule: &Explanation) -> std::io::Result<()> {
    output::line(painted(rule.name, &Paint::Strong))?;
    for (title, text) in [
        ("Protects", rule.protects),
        ("Written in", rule.reference),
        ("An attack", rule.attack),
        ("To loosen it", rule.loosen),
        ("That opens", rule.opens),
    ] {
        output::line(format_args!("\n  {}\n    {text}", painted(title, &Paint::Strong)))?;
    }
    Ok(())
}
