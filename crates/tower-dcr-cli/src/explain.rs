//! `dcr explain`.

use serde_json::{Value, json};
use tower_dcr::Preset;
use tower_dcr::rules::RuleDocs;

use super::output::{Paint, painted};
use super::{OK, Outcome, output};

pub(super) fn run(rule: Option<&str>, json: bool) -> Outcome {
    match rule {
        Some(name) => {
            if let Some(rule) = Preset::rule_docs().find(|docs| docs.id == name) {
                if json { output::json(&as_json(rule))? } else { print(rule)? }
            } else if let Some(setting) = setting(name) {
                if json { output::json(&setting)? } else { print_setting(name, &setting)? }
            } else {
                let known = Preset::rule_docs().map(|rule| rule.id).collect::<Vec<_>>().join(", ");
                return Err(format!("unknown rule or setting {name:?}; the rules are {known}").into());
            }
        }
        None if json => output::json(&Preset::rule_docs().map(as_json).collect::<Vec<_>>())?,
        None => {
            let mut table = output::table(&["RULE", "PROTECTS"]);
            for rule in Preset::rule_docs() {
                table.add_row([rule.id, rule.protects]);
            }
            output::print_table(&table)?;
        }
    }
    Ok(OK)
}

fn as_json(rule: &RuleDocs) -> Value {
    json!({
        "rule": rule.id, "protects": rule.protects, "reference": rule.reference, "attack": rule.attack,
        "loosen": rule.loosen, "opens": rule.opens,
    })
}

/// Returns the description of a policy file setting from the schema, by its key, such as `gate.grace`; `None` if there
/// is no such setting.
fn setting(key: &str) -> Option<Value> {
    let schema = Preset::file_schema();
    let mut found = &schema;
    for step in key.split('.') {
        found = resolved(&schema, found)["properties"].get(step)?;
    }
    let target = resolved(&schema, found);
    let description = found.get("description").or_else(|| target.get("description"))?;
    let mcp: Value = serde_json::to_value(tower_dcr::mcp()).ok()?;
    let members = target["properties"].as_object().map(|members| members.keys().collect::<Vec<_>>());
    Some(json!({
        "setting": key, "description": description, "mcp": mcp.pointer(&format!("/{}", key.replace('.', "/"))),
        "members": members,
    }))
}

/// Returns the schema behind a reference, if `schema` is one or a choice that contains one.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let choices = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|choice| schema[choice].as_array()).flatten();
    let reference = std::iter::once(schema).chain(choices).find_map(|schema| schema["$ref"].as_str());
    reference.and_then(|path| root.pointer(path.trim_start_matches('#'))).unwrap_or(schema)
}

fn print_setting(key: &str, setting: &Value) -> std::io::Result<()> {
    output::line(painted(key, &Paint::Strong))?;
    let text = setting["description"].as_str().unwrap_or_default().replace('\n', " ");
    output::line(format_args!("\n  {}\n    {text}", painted("Description", &Paint::Strong)))?;
    if let Some(members) = setting["members"].as_array() {
        let members: Vec<&str> = members.iter().filter_map(Value::as_str).collect();
        return output::line(format_args!("\n  {}\n    {}", painted("Settings", &Paint::Strong), members.join(", ")));
    }
    if !setting["mcp"].is_null() {
        output::line(format_args!("\n  {}\n    {}", painted("Value in mcp", &Paint::Strong), setting["mcp"]))?;
    }
    Ok(())
}

fn print(rule: &RuleDocs) -> std::io::Result<()> {
    output::line(painted(rule.id, &Paint::Strong))?;
    for (title, text) in [
        ("Protects", rule.protects),
        ("References", rule.reference),
        ("Attack", rule.attack),
        ("Loosen with", rule.loosen),
        ("Risk", rule.opens),
    ] {
        output::line(format_args!("\n  {}\n    {text}", painted(title, &Paint::Strong)))?;
    }
    Ok(())
}
