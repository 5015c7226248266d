//! Suggestions: the value to write in place of a mistake.

use serde_json::Value as Json;

use super::problem::{Found, Problem, Wanted, official, official_name};
use crate::policy_file::key::Key;
use crate::policy_file::key::Step;
use crate::preset::Preset;
use crate::rules::Suggestion;

/// Returns the way to correct `problem`; `value` is the value that was written there, `valid` is a valid one, if known.
pub(super) fn suggestion(problem: &Problem, path: &[Step], value: Option<&Json>, valid: Option<&Json>) -> Suggestion {
    let text = value.and_then(Json::as_str);
    match problem {
        Problem::UnknownWord { word, .. } if is_never_report_only(word, path) => {
            Suggestion::Remove(Some("what it would let through, no other rule can judge"))
        }
        Problem::UnknownKey { name: wrong, known } | Problem::UnknownWord { word: wrong, known } => {
            match added_to(wrong, known) {
                Some(list) => Suggestion::Advice(
                    format!("write `{wrong} = […]` to add to a list, or `{list} = …` to replace a value").into(),
                ),
                None => nearest(wrong, known),
            }
        }
        Problem::MissingKey(name) => Suggestion::Add(format!("{name} = {}", example(name).unwrap_or("…"))),
        Problem::NoTable { is_list } => as_table(*is_list, path, text),
        Problem::WrongType { wanted: Wanted::Table, .. } => as_table(false, path, text),
        Problem::WrongType { wanted: Wanted::List, found } => as_list(*found, path, text, valid),
        Problem::WrongType { wanted: Wanted::WordWithValue, .. } => with_value(text.unwrap_or_default()),
        Problem::WrongType { wanted: Wanted::Boolean, .. } => {
            Suggestion::advice("write true or false, without quotation marks")
        }
        Problem::WrongType { wanted: Wanted::Other(_), .. } | Problem::NoWord { .. } => by_example(path, valid),
        Problem::Other { hint, .. } => match &hint.suggestion {
            Some(Suggestion::OneOf(known)) => nearest(hint.input.as_deref().unwrap_or_default(), known),
            Some(suggestion) => suggestion.clone(),
            None => by_example(path, valid),
        },
    }
}

/// Returns the message for people: that of the problem, except where the path tells more.
pub(super) fn message(problem: &Problem, path: &[Step]) -> String {
    match problem {
        Problem::UnknownWord { word, .. } if is_never_report_only(word, path) => {
            format!("the rule `{word}` can't be report-only")
        }
        Problem::UnknownKey { name, known } => added_to(name, known)
            .map_or_else(|| problem.to_string(), |list| format!("`{name}` must be a list, and so must `{list}`")),
        _ => problem.to_string(),
    }
}

/// Returns the known key that `add_…` was written for, in vain: one of the two is not a list.
fn added_to<'a>(name: &'a str, known: &[&str]) -> Option<&'a str> {
    name.strip_prefix(super::merge::ADD).filter(|bare| known.contains(bare))
}

/// Returns whether a name is a rule that can't be report-only, because no other rule does its work.
fn is_never_report_only(name: &str, path: &[Step]) -> bool {
    matches!(path.first(), Some(Step::Member(setting)) if setting == "report_only_rules")
        && Preset::rule_docs().any(|docs| docs.id == name)
}

fn as_table(is_list: bool, path: &[Step], text: Option<&str>) -> Suggestion {
    if path.iter().any(|step| matches!(step, Step::Element(_))) {
        return Suggestion::advice("write it in braces, with the names of its keys: `{ name = …, … }`");
    }
    let header = Key(path.to_vec()).to_string();
    let shape = if is_list {
        format!("write `[{header}]` once, in single brackets")
    } else {
        format!("write `[{header}]`, in brackets")
    };
    let below = match &*header {
        "shadow" => Some(format!(
            "policy = {:?}",
            text.filter(|text| text.ends_with("ml") || text.ends_with("json")).unwrap_or("next.toml")
        )),
        "client_url" => Some("in_query = true".to_owned()),
        "initial_access_tokens" => Some("required = true".to_owned()),
        "lifecycle" => Some("never_used = \"7days\"".to_owned()),
        _ => None,
    };
    let advice = match below {
        Some(below) => format!("{shape}, and its keys below: `{below}`"),
        None => format!("{shape}, and its keys below"),
    };
    Suggestion::Advice(advice.into())
}

fn as_list(found: Found, path: &[Step], text: Option<&str>, valid: Option<&Json>) -> Suggestion {
    let has_tables = ["callers", "tokens", "issuers", "reserve"];
    let is_of_tables = matches!(path.last(), Some(Step::Member(name)) if has_tables.contains(&&**name));
    match (found, text) {
        (Found::Table, _) if is_of_tables => {
            Suggestion::Advice(format!("write `[[{}]]`, in double brackets", Key(path.to_vec())).into())
        }
        (Found::Text, Some(text)) => Suggestion::Advice(format!("write it in brackets: [{text:?}]").into()),
        _ => by_example(path, valid),
    }
}

/// Returns a suggestion for a word that needs a value.
fn with_value(word: &str) -> Suggestion {
    let value = match word {
        "all" | "any" => "[\"token\", { redirects = [\"https\"] }]",
        "allow" => "[\"client_secret_basic\"]",
        "not" => "\"token\"",
        "redirects" => "[\"https\"]",
        "rules" => "\"partner\"",
        "statement_by" => "\"https://directory.example.com\"",
        _ => return Suggestion::advice(SEE),
    };
    Suggestion::Write(format!("{{ {word} = {value} }}"))
}

fn nearest(wrong: &str, known: &[impl AsRef<str>]) -> Suggestion {
    let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    let bare = wrong.strip_prefix(super::merge::ADD).unwrap_or(wrong);
    let by_likeness = |name: &&&str| {
        // Short names with letters in the wrong order are only alike by edit distance.
        let alike =
            |wrong| strsim::jaro_winkler(wrong, name).max(strsim::normalized_damerau_levenshtein(wrong, name) + 0.1);
        let alike = alike(bare).max(alike(wrong));
        #[expect(clippy::cast_possible_truncation, reason = "a number between 0 and 1000")]
        let thousandths = (alike * 1000.0) as i64;
        thousandths
    };
    match known.iter().max_by_key(by_likeness).filter(|name| by_likeness(name) > 750) {
        Some(name) => Suggestion::DidYouMean(official_name(name).to_owned()),
        None if known.is_empty() => Suggestion::Remove(None),
        None => Suggestion::OneOf(official(&known).map(str::to_owned).collect()),
    }
}

const SEE: &str = "see the schema, or `dcr explain`";

fn by_example(path: &[Step], valid: Option<&Json>) -> Suggestion {
    let name = path.iter().rev().find_map(|step| match step {
        Step::Member(name) => Some(name.as_str()),
        Step::Element(_) => None,
    });
    let example = match (path.first(), name) {
        (Some(Step::Member(section)), Some(name)) if section == "documents" => example_of_documents(name),
        _ => name.and_then(example),
    };
    let shown = match (example, valid) {
        (Some(example), _) => Some(example.to_owned()),
        (None, Some(Json::Array(elements))) => elements.first().map(|element| format!("[{element}]")),
        (None, Some(value)) if !value.is_object() => Some(value.to_string()),
        _ => None,
    };
    match shown {
        Some(shown) => Suggestion::Example(shown),
        None => Suggestion::advice(SEE),
    }
}

/// Returns an example for settings of documents that the presets leave empty.
fn example_of_documents(name: &str) -> Option<&'static str> {
    match name {
        "allow" => Some("[\"https://app.example.com/oauth/*/client.json\"]"),
        "own_hosts" => Some("[\"as.example.com\"]"),
        "ports" => Some("[8443]"),
        _ => None,
    }
}

/// Returns an example for settings that the presets leave empty; `None` if there is none.
fn example(name: &str) -> Option<&'static str> {
    Some(match name {
        "add" | "subset_of" | "superset_of" | "one_of" => "[\"a\", \"b\"]",
        "approval" => "\"24h\"",
        "idle" => "\"90days\"",
        "never_used" => "\"7days\"",
        "grace" => "\"1h\"",
        "max_age" => "\"5s\"",
        "retention" => "\"30days\"",
        "algorithms" => "[\"ES256\"]",
        "allow" | "reserved_words" | "also_called" => "[\"acme\"]",
        "allowed_origins" => "[\"https://app.example.com\"]",
        "ceiling" | "default" => "[\"read\", \"write\"]",
        "jwks" => "{ keys = [] }",
        "max_clients" => "50000",
        "name" | "owner" => "\"acme\"",
        "only_https" | "patterns" | "https" | "exempt" => "[\"https://app.example.com/oauth/*\"]",
        "sha256" => "\"2bb80d53…\", 64 hexadecimal digits",
        "trusted_proxies" => "[\"10.0.0.0/8\"]",
        "when" => "{ rules = \"partner\" }",
        _ => return None,
    })
}
