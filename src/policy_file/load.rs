//! Presets from policy files, in TOML and JSON.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize as _;
use serde_json::Value as Json;
use serde_path_to_error::Segment;

use crate::bounds;
use crate::policy_file::document::{Base, Document};
use crate::policy_file::key::{Key, Step};
use crate::policy_file::lint::Lint;
use crate::preset::Preset;
use crate::preset::shadow::{Shadow, ShadowSettings};
use crate::rules::{AuthMethod, ConfigError, Grants, Suggestion};

mod merge;
mod problem;
mod source;
mod suggest;
mod value;

use problem::Problem;
use source::{Node, SyntaxError};
use value::Value;

/// The syntax of a policy file.
#[derive(Clone, Copy)]
enum Format {
    Json,
    Toml,
}

/// An invalid policy file.
///
/// ```
/// use tower_dcr::Preset;
///
/// let text = "[redirect_uris]\nadd_private_use_schemes = [\"javascript\"]\nlocalhots = true\n";
/// let error = text.parse::<Preset>().unwrap_err();
/// let [scheme, name] = &error.mistakes[..] else { panic!("{error}") };
/// assert_eq!((scheme.line, scheme.column), (Some(2), Some(28)));
/// assert_eq!(scheme.key, "redirect_uris.add_private_use_schemes[0]");
/// assert!(scheme.message.starts_with("the scheme \"javascript\" is never allowed"));
/// assert_eq!(name.suggestion.as_ref().unwrap().to_string(), "did you mean `localhost`?");
/// ```
///
/// [`Display`](fmt::Display) writes a line for each mistake. [`Debug`](fmt::Debug), which a `main` that returns
/// `Result<(), Box<dyn Error>>` prints, adds the piece of the file below each line.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyFileError {
    /// The mistakes, at least one, in the order of the file; those in the file of the [shadow](Preset::with_shadow) follow.
    pub mistakes: Vec<Lint>,
    /// Probable mistakes in the rest of the file: empty unless the error came from [`Preset::lint_file`].
    pub lints: Vec<Lint>,
}

impl Preset {
    /// Reads a policy file: TOML, or JSON if its name ends in `.json`. Settings that only code has (sinks, ledgers,
    /// rules of your own, the source of peer addresses) are added to the preset that this returns.
    ///
    /// # Errors
    ///
    /// Returns [`PolicyFileError`] if the file can't be read or is invalid.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, PolicyFileError> {
        let path = path.as_ref();
        Self::from_read_file(path, read_policy(path))
    }

    /// Reads a policy from text that was read from `path` before.
    pub(crate) fn from_read_file(path: &Path, read: io::Result<String>) -> Result<Self, PolicyFileError> {
        let text = read.map_err(|error| PolicyFileError::unreadable(path, &error))?;
        of_text(&text, Format::of(path), Some(path), false)
    }

    /// Reads a policy file, and returns probable mistakes in it: those of [`lint`](Self::lint), with places, in the order
    /// of the file. Those in the file of a [shadow](Self::with_shadow) follow.
    ///
    /// # Errors
    ///
    /// Returns [`PolicyFileError`] if the file can't be read or is invalid; the error has the
    /// [lints](PolicyFileError::lints) of the rest of the file.
    pub fn lint_file(path: impl AsRef<Path>, today: Option<SystemTime>) -> Result<Vec<Lint>, PolicyFileError> {
        let path = path.as_ref();
        let text = read_policy(path).map_err(|error| PolicyFileError::unreadable(path, &error))?;
        let mut reader = Reader::new(&text, Format::of(path), Some(path), false)?;
        let preset = reader.read();
        if reader.is_broken() {
            // A missing setting may be one that was taken out as a mistake.
            let mut lints = preset.map(|preset| reader.placed(preset.lint_settings())).unwrap_or_default();
            lints.retain(|lint| lint.span.is_some());
            return Err(PolicyFileError { lints, ..reader.failure() });
        }
        let Some(preset) = preset else { return Err(reader.failure()) };
        let mut lints = reader.placed(preset.lint(today));
        if let Some((shadow, path)) = preset.shadow_of_file()
            && let Ok(text) = read_policy(path)
            && let Ok(reader) = Reader::new(&text, Format::of(path), Some(path), true)
        {
            let of_both = |found: &Lint| {
                let is_same = |lint: &Lint| lint.key == found.key && lint.message == found.message;
                found.span.is_none() && lints.iter().any(is_same)
            };
            let found: Vec<Lint> =
                reader.placed(shadow.lint(today)).into_iter().filter(|lint| !of_both(lint)).collect();
            lints.extend(found);
        }
        Ok(lints)
    }

    /// Returns the whole effective policy in TOML, without secrets and settings that only code has; `None` if it has a
    /// `null` in it, which TOML can't write. For JSON, serialize the preset with `serde_json`.
    #[must_use]
    pub fn to_toml(&self) -> Option<String> {
        toml::to_string_pretty(&self.document()).ok()
    }

    /// Returns the JSON Schema (draft 2020-12) of policy files, for editors; it holds for TOML, too.
    #[cfg(feature = "schema")]
    #[must_use]
    pub fn file_schema() -> serde_json::Value {
        let mut schema =
            schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Document>();
        offer_additions(&mut schema);
        let mut schema = schema.to_value();
        edit_descriptions(&mut schema);
        if let Some(properties) = schema.pointer_mut("/properties").and_then(Json::as_object_mut) {
            properties.insert(
                "$schema".into(),
                serde_json::json!({"description": "Where this schema is.", "type": "string"}),
            );
        }
        schema
    }
}

/// Removes examples in Rust from the descriptions, and the targets of links to Rust items.
#[cfg(feature = "schema")]
fn edit_descriptions(schema: &mut Json) {
    match schema {
        Json::Object(members) => {
            if let Some(Json::String(text)) = members.get_mut("description") {
                let prose: Vec<&str> =
                    text.split("```").step_by(2).map(str::trim).filter(|part| !part.is_empty()).collect();
                *text = without_links(&prose.join("\n\n"));
            }
            members.values_mut().for_each(edit_descriptions);
        }
        Json::Array(elements) => elements.iter_mut().for_each(edit_descriptions),
        _ => {}
    }
}

/// Returns the text with each link in Markdown as its words: `[words](target)`, or ``[`Item`]``. Links to the Web stay.
#[cfg(feature = "schema")]
fn without_links(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        let (words, behind) = after.split_once(']').unwrap_or_default();
        let target = behind.strip_prefix('(').and_then(|target| target.split_once(')'));
        rest = match target {
            Some((target, behind)) if !words.contains(['[', '\n']) && !target.contains("//") => {
                out.push_str(words);
                behind
            }
            None if words.len() > 2 && words.starts_with('`') && words.ends_with('`') => {
                out.push_str(words);
                behind
            }
            _ => {
                out.push('[');
                after
            }
        };
    }
    out + rest
}

/// Reads a policy in TOML, or in JSON if the text begins with `{`. A blank text is the `mcp` preset, as an empty file is.
///
/// ```
/// use tower_dcr::Preset;
///
/// let preset: Preset = r#"
///     extends = "mcp"
///
///     [rate_limit]
///     address = "120/minute, burst 600"
///
///     [redirect_uris]
///     add_private_use_schemes = ["com.example.app"]
///
///     [metadata.policy.tenant]
///     one_of = ["blue", "green"]
///     essential = true
/// "#.parse()?;
/// let same: Preset = preset.to_toml().unwrap().parse()?;
/// assert_eq!(same.fingerprint(), preset.fingerprint());
/// let same: Preset = serde_json::to_string(&preset).unwrap().parse()?;
/// assert_eq!(same.fingerprint(), preset.fingerprint());
/// # Ok::<_, tower_dcr::policy_file::PolicyFileError>(())
/// ```
impl FromStr for Preset {
    type Err = PolicyFileError;

    fn from_str(text: &str) -> Result<Self, PolicyFileError> {
        // No document in TOML begins so.
        let format = if text.trim_start().starts_with('{') { Format::Json } else { Format::Toml };
        of_text(text, format, None, false)
    }
}

/// Adds `add_x` for every list `x`.
#[cfg(feature = "schema")]
fn offer_additions(schema: &mut schemars::Schema) {
    schemars::transform::transform_subschemas(&mut offer_additions, schema);
    let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) else { return };
    let is_list = |schema: &Json| match schema.get("type") {
        Some(Json::String(kind)) => kind == "array",
        Some(Json::Array(kinds)) => kinds.iter().any(|kind| kind == "array"),
        _ => false,
    };
    let lists: Vec<(String, Json)> = properties
        .iter()
        .filter(|(_, schema)| is_list(schema))
        .map(|(name, list)| (name.clone(), list.clone()))
        .collect();
    for (name, mut list) in lists {
        if let Some(list) = list.as_object_mut() {
            list.remove("default");
            list.insert("description".into(), format!("Goes to the end of `{name}`.").into());
        }
        properties.insert(format!("{}{name}", merge::ADD), list);
    }
}

/// The size limit of a policy file, far above any honest one.
const MAX_BYTES: u64 = 4 << 20;

pub(crate) fn read_policy(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    // A device reports no length, so the limit is on reading.
    fs::File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large for a policy"));
    }
    Ok(text)
}

fn of_text(text: &str, format: Format, path: Option<&Path>, is_shadow: bool) -> Result<Preset, PolicyFileError> {
    let mut reader = Reader::new(text, format, path, is_shadow)?;
    match reader.read() {
        Some(preset) if !reader.is_broken() => Ok(preset),
        _ => Err(reader.failure()),
    }
}

/// The most mistakes of one file that are reported at once.
const MAX_MISTAKES: usize = 50;

#[derive(Clone)]
struct File<'a> {
    path: Option<&'a Path>,
    text: Arc<str>,
}

impl File<'_> {
    fn mistake(&self, span: Range<usize>, path: Vec<Step>, message: String, suggestion: Option<Suggestion>) -> Lint {
        Lint::new(true, Key(path), message, suggestion).at(self.path, &self.text, Some(span))
    }
}

/// Reads a policy to its end: mistakes are taken out, and the rest is read again.
struct Reader<'a> {
    file: File<'a>,
    over: Json,
    root: Node,
    is_shadow: bool,
    found: Vec<Mistake>,
    /// The mistakes in the file of the shadow policy.
    in_shadow: Vec<Lint>,
}

struct Mistake {
    /// The path as the file has it.
    path: Vec<Step>,
    lint: Lint,
}

impl<'a> Reader<'a> {
    fn new(text: &str, format: Format, path: Option<&'a Path>, is_shadow: bool) -> Result<Self, PolicyFileError> {
        let file = File { path, text: text.into() };
        match read_as(text, format) {
            Ok((over, root)) => Ok(Self { file, over, root, is_shadow, found: Vec::new(), in_shadow: Vec::new() }),
            Err(SyntaxError { message, span }) => Err(file.mistake(span, Vec::new(), message, None).into()),
        }
    }

    /// Reads the policy; `None` if nothing could be read.
    fn read(&mut self) -> Option<Preset> {
        // Editors find the schema there.
        self.root.take_out(&steps(&["$schema"]));
        let base = match base(&self.over) {
            Ok(base) => base,
            Err(fault) => {
                if !self.note(fault, &Json::Null) {
                    return None;
                }
                Preset::mcp()
            }
        };
        let under = serde_json::to_value(base.document()).unwrap_or_default();
        // A mistake in the general rules is reported once, not again for callers, which inherit them.
        self.document(&under, false)?;
        let document = self.document(&under, true)?;
        self.check_needs(&under);
        let mut settings = Arc::unwrap_or_clone(base.settings);
        settings.shadow = document.shadow.as_ref().and_then(|shadow| self.shadow(shadow, &under)).map(Arc::new);
        let audit = document.audit.clone();
        let chain_key = audit.chain_key_file.and_then(|file| Some((self.key(&file, "chain_key_file", &under)?, file)));
        settings.chain_key = chain_key.map(|(key, file)| (file, key));
        let key = audit.requester_key_file.as_deref().map(|file| self.key(file, "requester_key_file", &under));
        // If the key could not be read, that was reported, and other mistakes about the requester would follow from it.
        if !matches!(key, Some(None))
            && let Err(found) = settings.adopt(document, key.flatten())
        {
            self.note(Fault { path: steps(&["audit", "requester"]), problem: Problem::from(&found) }, &under);
        }
        Some(Preset::of(settings))
    }

    fn is_broken(&self) -> bool {
        !self.found.is_empty() || !self.in_shadow.is_empty()
    }

    /// Returns `lints` in the order of the file; those without a place in it come last.
    fn placed(&self, lints: Vec<Lint>) -> Vec<Lint> {
        let under = base(&self.over).unwrap_or_else(|_| Preset::mcp()).document();
        let under = serde_json::to_value(under).unwrap_or_default();
        let mut policy = merge::merge(under, self.root.rest_of(&self.over));
        merge::complete_callers(&mut policy);
        let mut placed: Vec<Lint> = lints.into_iter().map(|lint| self.place_of(lint, &policy)).collect();
        placed.sort_by_key(|lint| lint.span.as_ref().map_or(usize::MAX, |span| span.start));
        placed
    }

    /// Places a lint, which names its setting as `policy` has it. Elements have another number in the file if others were taken
    /// out before them, added to a list, or sorted.
    fn place_of(&self, lint: Lint, policy: &Json) -> Lint {
        let (text, path) = (&self.file.text, lint.path());
        let subject = lint.subject().or_else(|| at(policy, path)?.as_str());
        if let (Some((Step::Element(_), list)), Some(subject)) = (path.split_last(), subject)
            && let Some((key, element)) = self.root.element_in(list, subject, text)
        {
            return lint.at(self.file.path, text, Some(element.span.clone())).under_key(Key(key));
        }
        let mut key = Vec::new();
        // For a setting that is not in the file, the nearest one above it.
        let (node, rest) = self.root.locate(path, &mut key);
        // The element of a list that the lint is about.
        let is_list = rest.iter().all(|step| matches!(step, Step::Element(_)));
        let element = lint.subject().and_then(|subject| node.scalar_of(subject, text, &mut Vec::new()));
        let node = element.filter(|_| is_list).unwrap_or(node);
        let span = (rest.len() < path.len()).then(|| node.span.clone());
        let is_there = rest.is_empty();
        let lint = lint.at(self.file.path, text, span);
        if is_there { lint.under_key(Key(key)) } else { lint }
    }

    /// Returns the rest of the file merged over `under`; `None` if there is nothing left to take out.
    fn document(&mut self, under: &Json, with_callers: bool) -> Option<Document> {
        loop {
            let mut policy = merge::merge(under.clone(), self.root.rest_of(&self.over));
            if with_callers {
                merge::complete_callers(&mut policy);
            } else if let Some(policy) = policy.as_object_mut() {
                policy.remove("callers");
            }
            match serde_path_to_error::deserialize(Value(policy)) {
                Ok(document) => return Some(document),
                Err(error) => {
                    if !self.note(Fault::of(error), under) {
                        return None;
                    }
                }
            }
        }
    }

    /// Checks for settings that the `oauth` preset leaves to the file.
    fn check_needs(&mut self, under: &Json) {
        if self.over.get("extends").and_then(Json::as_str) != Some("oauth") {
            return;
        }
        let needed = [["metadata", "grants", "grant_types"], ["metadata", "token_endpoint_auth_method", "one_of"]];
        let is_missing = |needed: &&[&str; 3]| {
            let is_known = |mistake: &Mistake| mistake.path.starts_with(&steps(&needed[..2]));
            let is_there = self.over.pointer(&format!("/{}", needed.join("/"))).is_some();
            !is_there && !self.found.iter().any(is_known)
        };
        let missing: Vec<String> = needed.iter().filter(is_missing).map(|needed| needed.join(".")).collect();
        if !missing.is_empty() {
            let message = format!("\"oauth\" needs {}: every server has its own", missing.join(" and "));
            let problem = Problem::with_suggestion(message, Suggestion::advice(OAUTH));
            self.note(Fault { path: steps(&["extends"]), problem }, under);
        }
    }

    /// Reads the key from a file that `audit` names.
    fn key(&mut self, file: &Path, setting: &str, under: &Json) -> Option<Vec<u8>> {
        match read_key(file, self.file.path) {
            Ok(key) => Some(key),
            Err(message) => {
                self.note(Fault { path: steps(&["audit", setting]), problem: Problem::new(message) }, under);
                None
            }
        }
    }

    /// Reads the shadow policy. Mistakes in it are reported for its own file.
    fn shadow(&mut self, named: &ShadowSettings, under: &Json) -> Option<Shadow> {
        if self.is_shadow {
            let suggestion = Suggestion::advice("take `[shadow]` out of it");
            let problem = Problem::with_suggestion("a shadow policy has no shadow of its own", suggestion);
            self.note(Fault { path: steps(&["shadow"]), problem }, under);
            return None;
        }
        let path = beside(self.file.path, &named.policy);
        let text = match read_policy(&path) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("the shadow policy {} can't be read: {error}", path.display());
                let suggestion = Suggestion::advice("name a file; the path begins where this one is");
                let problem = Problem::with_suggestion(message, suggestion);
                self.note(Fault { path: steps(&["shadow", "policy"]), problem }, under);
                return None;
            }
        };
        match of_text(&text, Format::of(&path), Some(&path), true) {
            Ok(preset) => Some(Shadow::of_file(preset, named.policy.clone(), path)),
            Err(error) => {
                self.in_shadow.extend(error.mistakes);
                None
            }
        }
    }

    /// Takes out a mistake and records it, unless it follows from one that was taken out before. Returns whether
    /// anything was left to take out.
    fn note(&mut self, fault: Fault, valid: &Json) -> bool {
        let Fault { path, problem } = fault;
        let text = Arc::clone(&self.file.text);
        let Place { span, value, key, cause } = place(&self.root, &path, &problem, &text);
        let follows = self.found.iter().any(|earlier| {
            let below = earlier.path.strip_prefix(&*cause).filter(|below| !below.is_empty());
            // A missing field is a mistake of its own, unless it is the one that was taken out.
            below.is_some_and(|below| match &problem {
                Problem::MissingKey(name) => below == steps(&[name]),
                _ => true,
            })
        });
        if !follows {
            let value = value.and_then(|span| text.get(span)).map(|text| text.trim_matches(['"', '\'']).into());
            let suggestion = suggest::suggestion(&problem, &path, value.as_ref(), at(valid, &path));
            let lint = self.file.mistake(span, key, suggest::message(&problem, &path), Some(suggestion));
            self.found.push(Mistake { path: cause.clone(), lint });
        }
        !cause.is_empty() && self.found.len() < MAX_MISTAKES && self.root.take_out(&cause)
    }

    /// Returns the mistakes.
    fn failure(self) -> PolicyFileError {
        let mut mistakes: Vec<Lint> = self.found.into_iter().map(|mistake| mistake.lint).collect();
        mistakes.sort_by_key(|lint| lint.span.as_ref().map(|span| span.start));
        mistakes.extend(self.in_shadow);
        if mistakes.is_empty() {
            mistakes.push(self.file.mistake(0..0, Vec::new(), "the policy can't be read".into(), None));
        }
        PolicyFileError { mistakes, lints: Vec::new() }
    }
}

impl Format {
    fn of(path: &Path) -> Self {
        if path.extension().is_some_and(|kind| kind == "json") { Self::Json } else { Self::Toml }
    }
}

fn read_as(text: &str, format: Format) -> Result<(Json, Node), SyntaxError> {
    match format {
        Format::Json => source::read_json(text),
        Format::Toml => source::read_toml(text),
    }
}

/// A mistake, and the path of the value that has it.
struct Fault {
    path: Vec<Step>,
    problem: Problem,
}

const OAUTH: &str = "say what your server has: grant_types = [\"authorization_code\"], one_of = [\"none\"]";

impl Fault {
    fn of(error: serde_path_to_error::Error<Problem>) -> Self {
        let step = |segment: &Segment| match segment {
            Segment::Seq { index } => Some(Step::Element(*index)),
            Segment::Map { key } => Some(Step::Member(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        Self { path: error.path().iter().filter_map(step).collect(), problem: error.into_inner() }
    }
}

fn steps(names: &[&str]) -> Vec<Step> {
    names.iter().map(|name| Step::Member((*name).to_owned())).collect()
}

/// Returns the preset that a policy extends.
fn base(over: &Json) -> Result<Preset, Fault> {
    let fault = |names: &[&str], problem| Err(Fault { path: steps(names), problem });
    if !over.is_object() {
        return fault(&[], Problem::new("a policy is a table"));
    }
    match over.get("extends").map(|name| Base::deserialize(Value(name.clone()))) {
        None | Some(Ok(Base::Mcp)) => Ok(Preset::mcp()),
        Some(Ok(Base::Strict)) => Ok(Preset::strict()),
        Some(Ok(Base::Oauth)) => Ok(Preset::oauth(Grants::default(), AuthMethod::one_of(["none"]))),
        Some(Err(error)) => fault(&["extends"], error),
    }
}

/// Returns the path of a file that a policy names: relative paths begin at the policy's folder.
fn beside(policy: Option<&Path>, file: &Path) -> PathBuf {
    policy.and_then(Path::parent).map_or_else(|| file.to_path_buf(), |folder| folder.join(file))
}

/// Reads the key in a file, without white space around it.
fn read_key(file: &Path, policy: Option<&Path>) -> Result<Vec<u8>, String> {
    let key = bounds::read_small(&beside(policy, file)).map_err(|error| format!("{}: {error}", file.display()))?;
    match key.trim_ascii() {
        key if key.len() < 16 => Err(format!("the key in {} has less than 16 bytes", file.display())),
        key => Ok(key.to_vec()),
    }
}

/// Returns the line, and the column in characters, of a byte: both counted from 1.
pub(crate) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

struct Place {
    /// The bytes to point to.
    span: Range<usize>,
    /// The bytes of the value that has the mistake.
    value: Option<Range<usize>>,
    /// The setting, as the file has it.
    key: Vec<Step>,
    /// The path to take out of the file so that the rest can be read.
    cause: Vec<Step>,
}

/// Returns the place of a problem; `path` is a path in the merged policy.
fn place(root: &Node, path: &[Step], problem: &Problem, text: &str) -> Place {
    let mut key = Vec::new();
    if let Some((Step::Member(name), table)) =
        path.split_last().filter(|_| matches!(problem, Problem::UnknownKey { .. }))
    {
        let (node, _) = root.locate(table, &mut key);
        let added = format!("{}{name}", merge::ADD);
        let cause = |name: &str| [&*key, &steps(&[name])].concat();
        let (span, cause) = match (node.name_of(name), node.name_of(&added)) {
            (Some(span), _) => (span, cause(name)),
            (None, Some(span)) => (span, cause(&added)),
            (None, None) => (node.span.clone(), key.clone()),
        };
        key.push(Step::Member(name.clone()));
        return Place { span, value: None, key, cause };
    }
    let (node, rest) = root.locate(path, &mut key);
    let mut cause = key.clone();
    let input = problem.input().unwrap_or_default();
    let mentioned = node.scalar_of(input, text, &mut cause);
    // One element of a list can be left out by itself, as can one member that is named; others belong together.
    if !matches!(cause.last(), Some(Step::Element(_))) {
        cause.truncate(key.len());
    }
    let named = node.member_of(input).filter(|_| rest.is_empty() && mentioned.is_none());
    // In a list that was added to, the text tells which element it is.
    key.extend(node.element_of(input, text).filter(|_| matches!(rest, [Step::Element(_), ..])).map(Step::Element));
    let is_added = matches!((key.last(), rest), (Some(Step::Member(name)), [Step::Element(_), ..]) if name.starts_with(merge::ADD));
    let is_there = rest.is_empty() || is_added || key.len() > path.len() - rest.len();
    let key = if is_there { key } else { path.to_vec() };
    if let Some((name, span)) = named {
        cause.push(Step::Member(name.to_owned()));
        return Place { span, value: None, key, cause };
    }
    match mentioned {
        Some(element) => Place { span: element.span.clone(), value: Some(element.span.clone()), key, cause },
        None => Place { span: node.span.clone(), value: rest.is_empty().then(|| node.span.clone()), key, cause },
    }
}

fn at<'a>(value: &'a Json, path: &[Step]) -> Option<&'a Json> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Element(index) => value.get(index),
        Step::Member(name) => value.get(name),
    })
}

impl From<Lint> for PolicyFileError {
    fn from(mistake: Lint) -> Self {
        Self { mistakes: vec![mistake], lints: Vec::new() }
    }
}

impl PolicyFileError {
    fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::of_file(path, format!("can't be read: {error}"))
    }

    /// Creates the error for a policy that is invalid only in its use.
    pub(crate) fn of_config(path: &Path, error: &ConfigError) -> Self {
        Self::of_file(path, error.to_string())
    }

    fn of_file(path: &Path, message: String) -> Self {
        let mut mistake = Lint::new(true, Key::default(), message, None);
        mistake.file = Some(path.to_path_buf());
        mistake.into()
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, separator: &str, with_snippets: bool) -> fmt::Result {
        self.mistakes.iter().enumerate().try_for_each(|(index, mistake)| {
            if index > 0 {
                f.write_str(separator)?;
            }
            mistake.write_line(f)?;
            if with_snippets { mistake.write_snippet(f) } else { Ok(()) }
        })
    }
}

impl Lint {
    /// Returns the text at the mistake, on one line and cut to 80 characters; `None` if it is empty.
    fn found(&self) -> Option<&str> {
        let written = self.text.as_deref()?.get(self.span.clone()?)?.lines().next()?;
        Some(written.char_indices().nth(80).map_or(written, |(end, _)| written.get(..end).unwrap_or_default()))
            .filter(|written| !written.is_empty())
    }

    fn write_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}:", file.display())?,
            None => f.write_str("policy:")?,
        }
        if let (Some(line), Some(column), false) = (self.line, self.column, self.is_empty()) {
            write!(f, "{line}:{column}:")?;
        }
        f.write_str(" ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if let Some(found) = self.found() {
            write!(f, " (found {found})")?;
        }
        self.suggestion.iter().try_for_each(|suggestion| write!(f, "; {suggestion}"))
    }

    fn is_empty(&self) -> bool {
        self.text.as_deref().is_none_or(str::is_empty)
    }

    /// Writes the line of the file, with the mistake marked below it.
    fn write_snippet(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(text), Some(number), Some(column)) = (&self.text, self.line, self.column) else { return Ok(()) };
        let Some(line) = text.lines().nth(number - 1) else { return Ok(()) };
        let (number, before) = (number.to_string(), column - 1);
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        let line: String = line.chars().map(shown).collect();
        let marked = self.found().map_or(1, |found| found.chars().count()).max(1);
        let gutter = " ".repeat(number.len());
        write!(f, "\n{gutter} |\n{number} | {line}\n{gutter} | {}{}", " ".repeat(before), "^".repeat(marked))
    }
}

/// Writes a line for each mistake.
impl fmt::Display for PolicyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "\n", false)
    }
}

/// Writes each mistake with its line of the file: a `main` that returns this error prints it like that.
impl fmt::Debug for PolicyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "\n\n", true)
    }
}

impl std::error::Error for PolicyFileError {}
