//! `examples/policy-reference.toml`: every key of a policy file with its default, made from the schema and the preset.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};
use tower_dcr::Preset;
use tower_dcr::policy_file::Lint;

const HEAD: &str = "#:schema ../schema/policy.json
# Every key of a policy file, with its value in the preset \"mcp\". A key behind \"#\" is not set by the preset: its value here is an
# example, and the comment states the default. The defaults of `lifecycle` and `gate` are those of the registrar and of the gate in
# code. For a policy of your own, write a file with the keys that you change: `dcr show --policy FILE` prints the whole policy that
# results.
";

struct Reference<'a> {
    schema: &'a Value,
    out: String,
    /// The types that were written: rules for callers have the same keys as those for everybody.
    written: BTreeSet<&'a str>,
}

impl<'a> Reference<'a> {
    /// The type of a setting, and its name.
    fn resolve(&self, setting: &'a Value) -> (&'a Value, Option<&'a str>) {
        let of = |setting: &'a Value| setting["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/"));
        let any = setting["anyOf"].as_array().and_then(|any| any.iter().find_map(of));
        match of(setting).or(any) {
            Some(name) => (&self.schema["$defs"][name], Some(name)),
            None => (setting, None),
        }
    }

    fn comment(&mut self, text: &str) {
        let paragraph = text.split("\n\n").next().unwrap_or_default();
        self.out.extend(paragraph.lines().map(|line| format!("# {line}\n")));
    }

    /// The values that a setting can have, if they are few.
    fn choices(&mut self, kind: &Value) {
        let one =
            |choice: &Value| choice["const"].as_str().or(choice["enum"][0].as_str()).map(|text| format!("{text:?}"));
        let choices: Vec<String> = match (&kind["enum"], &kind["oneOf"]) {
            (Value::Array(all), _) => all.iter().filter_map(Value::as_str).map(|text| format!("{text:?}")).collect(),
            (_, Value::Array(all)) => all.iter().filter_map(one).collect(),
            _ => Vec::new(),
        };
        if choices.len() > 1 {
            self.comment(&format!("One of {}.", choices.join(", ")));
        }
    }

    fn table(&mut self, path: &str, kind: &'a Value, value: Option<&Value>) {
        let settings = kind["properties"].as_object().unwrap();
        let is_key =
            |name: &&String| !(name.starts_with('$') || name.starts_with("add_") && settings.contains_key(&name[4..]));
        let (tables, scalars): (Vec<_>, Vec<_>) =
            settings.keys().filter(is_key).partition(|name| self.is_table(&settings[*name]));
        for name in scalars {
            if is_required(kind, name, value) {
                self.comment(REQUIRED);
            }
            self.scalar(name, &settings[name], value.and_then(|value| value.get(name)));
        }
        for name in tables {
            let is_required = is_required(kind, name, value);
            let value = value.and_then(|value| value.get(name));
            self.subtable(&format!("{path}{name}"), &settings[name], value, is_required);
        }
    }

    fn is_table(&self, setting: &'a Value) -> bool {
        let (kind, _) = self.resolve(setting);
        let (items, _) = self.resolve(&kind["items"]);
        kind["properties"].is_object() || kind["additionalProperties"].is_object() || items["properties"].is_object()
    }

    fn scalar(&mut self, name: &str, setting: &'a Value, value: Option<&Value>) {
        let (kind, type_name) = self.resolve(setting);
        self.comment(setting["description"].as_str().or(kind["description"].as_str()).unwrap_or_default());
        self.choices(kind);
        let line = match value {
            Some(value) => format!("{name} = {}\n", toml_of(value)),
            None => format!("# {name} = {}\n", example(name, kind, type_name)),
        };
        self.out.push_str(&line);
    }

    fn subtable(&mut self, path: &str, setting: &'a Value, value: Option<&Value>, is_required: bool) {
        let (kind, type_name) = self.resolve(setting);
        let (items, item_name) = self.resolve(&kind["items"]);
        let (members, member_name) = self.resolve(&kind["additionalProperties"]);
        self.out.push('\n');
        self.comment(setting["description"].as_str().or(kind["description"].as_str()).unwrap_or_default());
        if is_required {
            self.comment(REQUIRED);
        }
        if !(kind["properties"].is_object() || items["properties"].is_object() || members["properties"].is_object()) {
            self.choices(members);
            let (name, value) = if path.ends_with("by_redirect_uri") {
                ("\"https://app.example.com/cb\"", "\"none\"".to_owned())
            } else {
                ("NAME", example("", members, member_name))
            };
            self.out.extend(["# [", path, "]\n# ", name, " = ", &value, "\n"]);
            return;
        }
        let (header, kind, name) = match () {
            () if kind["properties"].is_object() => (format!("[{path}]"), kind, type_name),
            () if items["properties"].is_object() => (format!("[[{path}]]"), items, item_name),
            () => (format!("[{path}.NAME]"), members, member_name),
        };
        let is_there = header.starts_with(&format!("[{path}]")) && value.is_some();
        self.out.extend([if is_there { "" } else { "# " }, &header, "\n"]);
        if !kind["properties"].is_object()
            || name.is_some_and(|name| !is_there && !is_required && !self.written.insert(name))
        {
            return;
        }
        if let Some(name) = name {
            self.written.insert(name);
        }
        if path == "callers" {
            self.comment(
                "One of \"token\", \"anonymous\", \"statement\", { rules = \"NAME\" }, { redirects = [\"https\"] }, { not = … }, \
                          { all = […] }, { any = […] }.",
            );
            self.comment(REQUIRED);
            self.comment("when = \"token\"");
            self.comment(
                "The tables metadata, redirect_uris, identity and redirect_host_quota follow, with the keys of the tables \
                          below.",
            );
            self.comment("redirect_uris.only_https = [\"https://*.example.com/cb\"]");
            return;
        }
        self.table(&format!("{path}."), kind, value.filter(|_| is_there));
    }
}

fn toml_of(value: &Value) -> String {
    let list = |elements: &[Value], between: &str| elements.iter().map(toml_of).collect::<Vec<_>>().join(between);
    match value {
        Value::Array(elements) if list(elements, ", ").len() > 80 => {
            format!("[\n    {},\n]", list(elements, ",\n    "))
        }
        Value::Array(elements) => format!("[{}]", list(elements, ", ")),
        other => other.to_string(),
    }
}

/// Says that a table can't be without a key.
const REQUIRED: &str = "Required.";

fn is_required(kind: &Value, name: &str, value: Option<&Value>) -> bool {
    value.is_none() && kind["required"].as_array().is_some_and(|required| required.iter().any(|key| key == name))
}

/// A valid value.
fn example(name: &str, kind: &Value, type_name: Option<&str>) -> String {
    let is = |wanted: &str| {
        let named = |kind: &Value| kind.as_str() == Some(wanted);
        named(&kind["type"]) || kind["type"].as_array().is_some_and(|kinds| kinds.iter().any(named))
    };
    let choice = || {
        kind["enum"][0]
            .as_str()
            .or_else(|| kind["oneOf"][0]["const"].as_str())
            .or_else(|| kind["oneOf"][0]["enum"][0].as_str())
    };
    let text = match name {
        "add" | "one_of" | "subset_of" | "superset_of" => return "[\"a\", \"b\"]".into(),
        "otherwise" => "reject",
        "additional_characters" => ":",
        "algorithms" => return "[\"ES256\"]".into(),
        "approval" => "24h",
        "audience" | "issuer" | "public_url" => "https://as.example.com",
        "chain_key_file" => "chain.key",
        "checked" => "2026-11-30",
        "expires_at" => "2027-01-31T00:00:00Z",
        "failed_authentication" => "12/minute",
        "grace" => "1min",
        "idle" => "90days",
        "max_age" => "5s",
        "resources" => return "[\"https://mcp.example.com/mcp\"]".into(),
        "jwks" => {
            return "{ keys = [{ kty = \"EC\", crv = \"P-256\", kid = \"1\", alg = \"ES256\", \
                     x = \"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\", \
                     y = \"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\" }] }"
                .into();
        }
        "never_used" => "7days",
        "policy" => "next.toml",
        "newcomers" | "prefix" | "proven" | "proven_global" | "deduplication" | "requests" | "software_id"
        | "unreadable" | "wide_prefix" | "fetches" | "fetches_by_address" | "fetches_by_site" | "refreshes"
            if is("string") =>
        {
            "600/minute"
        }
        "request_id_header" => "x-request-id",
        "requester_key_file" => "requester.key",
        "sha256" => "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
        "source" => "https://www.example.com/docs",
        _ if type_name == Some("Period") => "1day",
        _ if is("boolean") => return "true".into(),
        _ if is("integer") => return "1".into(),
        _ if is("array") => return "[]".into(),
        _ if is("object") => return "{}".into(),
        // The first choice, `mark`, would read as the default.
        _ if is_gate_rule(kind) => "reject",
        _ => choice().unwrap_or("acme"),
    };
    format!("{text:?}")
}

fn is_gate_rule(kind: &Value) -> bool {
    let choices = kind["enum"].as_array().map(Vec::as_slice).unwrap_or_default();
    ["mark", "pass", "reject"].iter().all(|action| choices.iter().any(|choice| choice == action))
}

fn reference() -> String {
    let schema = Preset::file_schema();
    let policy: Map<String, Value> = serde_json::from_value(serde_json::to_value(tower_dcr::mcp()).unwrap()).unwrap();
    let mut reference = Reference { schema: &schema, out: HEAD.to_owned() + "\n", written: BTreeSet::new() };
    reference.table("", &schema, Some(&Value::Object(policy)));
    reference.out
}

/// To bring it up to date: `UPDATE_REFERENCE=1 cargo test policy_reference`.
#[test]
fn the_reference_has_every_key_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/policy-reference.toml");
    let expected = reference();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    assert!(std::fs::read_to_string(&path).unwrap() == expected, "run: UPDATE_REFERENCE=1 cargo test policy_reference");
    let read = Preset::from_file(&path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(read.fingerprint(), tower_dcr::mcp().fingerprint(), "it changes nothing");
    let schema = Preset::file_schema();
    let names = schema["$defs"]
        .as_object()
        .unwrap()
        .values()
        .chain([&schema])
        .filter_map(|kind| kind["properties"].as_object());
    for name in names.flat_map(Map::keys).filter(|name| !name.starts_with("add_") && !name.starts_with('$')) {
        assert!(expected.contains(&**name), "{name} is not in it");
    }
}

/// A table of the reference, with its keys: lines, without the "#" before them, and whether they have to be there.
struct Block {
    header: String,
    path: String,
    is_required: bool,
    keys: Vec<(String, bool)>,
}

fn blocks(reference: &str) -> Vec<Block> {
    let mut blocks = vec![Block { header: String::new(), path: String::new(), is_required: false, keys: Vec::new() }];
    let mut is_required = false;
    for line in reference.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let is_key = |(name, _): (&str, &str)| name.chars().all(|c| c.is_ascii_alphanumeric() || "_./:\"".contains(c));
        if bare.starts_with('[') && bare.ends_with(']') {
            let path = bare.trim_matches(['[', ']']).to_owned();
            blocks.push(Block { header: bare.to_owned(), path, is_required, keys: Vec::new() });
        } else if line.starts_with("# ") && bare.split_once(" = ").is_some_and(is_key) {
            blocks.last_mut().unwrap().keys.push((bare.to_owned(), is_required));
        } else {
            // The comment belongs to the following key.
            is_required = bare == REQUIRED || is_required && line.starts_with("# ");
            continue;
        }
        is_required = false;
    }
    blocks
}

/// Every example behind a "#" can be written as it stands, with what has to be there.
#[test]
fn commented_out_settings_of_the_reference_are_valid() {
    let folder = crate::folder::Folder::new("reference");
    folder.write("next.toml", "").write("chain.key", "0123456789abcdef").write("requester.key", "0123456789abcdef");
    let blocks = blocks(&reference());
    let mut wrong = Vec::new();
    let mut tried = 0;
    for (index, block) in blocks.iter().enumerate() {
        for (key, _) in &block.keys {
            let is_above =
                |other: &Block| !other.path.is_empty() && block.path.starts_with(&format!("{}.", other.path));
            let mut text = String::new();
            let mut included: Vec<&str> = Vec::new();
            for (at, other) in blocks.iter().enumerate() {
                let parent = other.path.rsplit_once('.').map_or("", |(parent, _)| parent);
                let is_demanded = other.is_required && included.contains(&parent);
                if at != index && !is_above(other) && !is_demanded {
                    continue;
                }
                included.push(&other.path);
                text.extend([&other.header, "\n"]);
                let demanded = other.keys.iter().filter(|(_, is_required)| *is_required).map(|(key, _)| key);
                let keys: BTreeSet<&String> = demanded.chain(Some(key).filter(|_| at == index)).collect();
                if at == index && block.path == "metadata.policy.NAME" && key.starts_with("otherwise") {
                    text.push_str("one_of = [\"a\", \"b\"]\n");
                }
                text.extend(keys.iter().flat_map(|key| [key.as_str(), "\n"]));
            }
            tried += 1;
            folder.write("policy.toml", &text);
            match Preset::from_file(folder.0.join("policy.toml")) {
                Err(error) => wrong.push(format!("{text}{error}")),
                Ok(preset) => {
                    // The rules of a token are in another table.
                    let is_wrong = |lint: &Lint| {
                        lint.key.starts_with("gate.res") || lint.is_error && !lint.key.ends_with("].rules")
                    };
                    let lints = preset.lint(None).into_iter().filter(is_wrong);
                    wrong.extend(lints.map(|lint| format!("{text}{lint}")));
                }
            }
        }
    }
    assert!(wrong.is_empty() && tried > 60, "{tried}\n{}", wrong.join("\n\n"));
}

/// Links to Rust items lead nowhere in a policy file or an editor.
#[test]
fn descriptions_have_no_links_to_items() {
    fn descriptions<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("description").and_then(Value::as_str));
                members.values().for_each(|value| descriptions(value, found));
            }
            Value::Array(elements) => elements.iter().for_each(|value| descriptions(value, found)),
            _ => {}
        }
    }
    let schema = Preset::file_schema();
    let mut all = Vec::new();
    descriptions(&schema, &mut all);
    let linked: Vec<&&str> = all.iter().filter(|text| text.contains("](") || text.contains("[`")).collect();
    assert!(linked.is_empty() && all.len() > 100, "{linked:#?}");
    assert!(all.iter().any(|text| text.contains("that\n`additional_scopes` lists")), "the words stay");
    assert!(all.iter().any(|text| text.contains("`[::1]`")), "brackets that are no links stay");
}
