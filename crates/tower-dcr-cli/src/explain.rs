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
                let meant = nearest(name).map_or_else(
                    || "; the rules are".to_owned(),
                    |meant| format!(": did you mean {meant:?}? The rules are"),
                );
                return Err(format!("unknown rule or setting {name:?}{meant} {known}").into());
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
    let pointer = format!("/{}", key.replace('.', "/"));
    let value = |preset| serde_json::to_value::<Preset>(preset).ok()?.pointer(&pointer).cloned();
    let members = target["properties"].as_object().map(|members| members.keys().collect::<Vec<_>>());
    Some(json!({
        "setting": key, "description": description, "mcp": value(tower_dcr::mcp()),
        "strict": value(tower_dcr::strict()), "members": members, "values": values(found).or_else(|| values(target)),
    }))
}

/// Returns the schema behind a reference, if `schema` is one or a choice that contains one.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let choices = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|choice| schema[choice].as_array()).flatten();
    let reference = std::iter::once(schema).chain(choices).find_map(|schema| schema["$ref"].as_str());
    reference.and_then(|path| root.pointer(path.trim_start_matches('#'))).unwrap_or(schema)
}

/// Returns the words that a setting accepts, if it accepts nothing else.
fn values(schema: &Value) -> Option<Vec<&str>> {
    let all = schema["enum"].as_array().or_else(|| schema["oneOf"].as_array())?;
    let words = all.iter().filter(|word| !word.is_null());
    words
        .map(|word| word.as_str().or_else(|| word["const"].as_str()).or_else(|| word.pointer("/enum/0")?.as_str()))
        .collect()
}

/// Returns the rule or the setting whose name is most like `wrong`; `None` if none is.
fn nearest(wrong: &str) -> Option<String> {
    let schema = Preset::file_schema();
    let mut names = Vec::new();
    keys(&schema, &schema, "", &mut names);
    // Of two that are equally alike, the last one: a rule.
    names.extend(Preset::rule_docs().map(|docs| docs.id.to_owned()));
    let plain = |name: &str| name.to_lowercase().replace(['_', '.', ' '], "-");
    let wrong = plain(wrong);
    let alike = |name: &str| {
        let name = plain(name);
        strsim::jaro_winkler(&wrong, &name).max(strsim::normalized_damerau_levenshtein(&wrong, &name) + 0.1)
    };
    let likeness = |name: &String| {
        let end = name.rsplit_once('.').map(|(_, end)| end).or_else(|| name.strip_prefix("gate-"));
        end.map_or(0.0, alike).max(alike(name))
    };
    let best = names.into_iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))?;
    (likeness(&best) > 0.75).then_some(best)
}

/// Collects the keys of all settings that can be explained.
fn keys(root: &Value, schema: &Value, prefix: &str, found: &mut Vec<String>) {
    for (name, schema) in resolved(root, schema)["properties"].as_object().into_iter().flatten() {
        let key = format!("{prefix}{name}");
        keys(root, schema, &format!("{key}."), found);
        found.push(key);
    }
}

fn print_setting(key: &str, setting: &Value) -> std::io::Result<()> {
    output::line(painted(key, &Paint::Strong))?;
    let text = setting["description"].as_str().unwrap_or_default().replace('\n', " ");
    output::line(format_args!("\n  {}\n    {text}", painted("Description", &Paint::Strong)))?;
    if let Some(members) = setting["members"].as_array() {
        let members: Vec<&str> = members.iter().filter_map(Value::as_str).collect();
        return output::line(format_args!("\n  {}\n    {}", painted("Settings", &Paint::Strong), members.join(", ")));
    }
    if let Some(values) = setting["values"].as_array() {
        let values: Vec<String> = values.iter().map(Value::to_string).collect();
        output::line(format_args!("\n  {}\n    {}", painted("Values", &Paint::Strong), values.join(", ")))?;
    }
    for (preset, title) in [("mcp", "Value in mcp"), ("strict", "Value in strict")] {
        let value = &setting[preset];
        if !value.is_null() && (preset == "mcp" || *value != setting["mcp"]) {
            output::line(format_args!("\n  {}\n    {value}", painted(title, &Paint::Strong)))?;
        }
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
