//! Presets from policy files, in TOML and JSON.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use serde_path_to_error::Segment;

use super::document::{Base, Document};
use super::lint::Lint;
use super::{AuthMethod, ConfigError, Grants, Preset};

mod merge;
mod source;
mod suggest;

use source::{Node, Step, SyntaxError};

/// How a policy file is written.
#[derive(Clone, Copy)]
enum Format {
    Json,
    Toml,
}

/// A policy file that can't be meant: where, what is there, and what to write instead.
///
/// ```
/// use tower_dcr::Preset;
///
/// let error = Preset::from_toml("[redirect_uris]\nadd_private_use_schemes = [\"javascript\"]\n").unwrap_err();
/// assert_eq!((error.line(), error.column(), error.value()), (2, 28, Some("\"javascript\"")));
/// assert_eq!(error.key(), "redirect_uris.add_private_use_schemes[0]");
/// assert!(error.message().starts_with("the scheme \"javascript\" is never allowed"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFileError(Box<Details>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Details {
    file: Option<PathBuf>,
    text: String,
    span: Range<usize>,
    key: String,
    message: String,
    suggestion: Option<String>,
}

impl Preset {
    /// Reads a policy file: TOML, or JSON if its name ends in `.json`. What only code can say (sinks, ledgers, rules of your
    /// own, where the server keeps the address of a connection) is added to the preset that this gives.
    ///
    /// # Errors
    ///
    /// [`PolicyFileError`] if the file can't be read, or not be meant.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, PolicyFileError> {
        let path = path.as_ref();
        let text = match read(path) {
            Ok(text) => text,
            Err(error) => return Err(PolicyFileError::unreadable(path, &error)),
        };
        of_text(&text, Format::of(path), Some(path))
    }

    /// Reads a policy file, and says what in it is probably not meant: [`lint`](Self::lint), with places.
    ///
    /// # Errors
    ///
    /// [`PolicyFileError`] if the file can't be read, or not be meant.
    pub fn lint_file(path: impl AsRef<Path>) -> Result<Vec<Lint>, PolicyFileError> {
        let path = path.as_ref();
        let preset = Self::from_file(path)?;
        let text = read(path).map_err(|error| PolicyFileError::unreadable(path, &error))?;
        let Ok((_, root)) = read_as(&text, Format::of(path)) else { return Ok(preset.lint()) };
        let place = |lint: Lint| {
            let path = read_key_path(lint.key());
            // Of a setting that the file does not have, as much as it has.
            let (node, rest) = root.locate(&path, &mut Vec::new());
            let span = (rest.len() < path.len()).then(|| node.span.clone());
            lint.at(span)
        };
        Ok(preset.lint().into_iter().map(place).collect())
    }

    /// Reads a policy in TOML.
    ///
    /// ```
    /// use tower_dcr::Preset;
    ///
    /// let guard = Preset::from_toml(r#"
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
    /// "#)?;
    /// let same = Preset::from_toml(&guard.to_toml().unwrap())?;
    /// assert_eq!(same.fingerprint(), guard.fingerprint());
    /// # Ok::<_, tower_dcr::preset::PolicyFileError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PolicyFileError`] if it can't be meant.
    pub fn from_toml(text: &str) -> Result<Self, PolicyFileError> {
        of_text(text, Format::Toml, None)
    }

    /// Reads a policy in JSON.
    ///
    /// # Errors
    ///
    /// [`PolicyFileError`] if it can't be meant.
    pub fn from_json(text: &str) -> Result<Self, PolicyFileError> {
        of_text(text, Format::Json, None)
    }

    /// The whole effective policy in TOML, without secrets and without what only code can say. Nothing if it has a `null`
    /// in it, which only JSON can write.
    #[must_use]
    pub fn to_toml(&self) -> Option<String> {
        toml::to_string_pretty(&self.document()).ok()
    }

    /// The whole effective policy in JSON, likewise.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.document()).unwrap_or_default()
    }

    /// The JSON Schema (draft 2020-12) of policy files, for editors; it holds for TOML, too.
    #[cfg(feature = "schema")]
    #[must_use]
    pub fn file_schema() -> serde_json::Value {
        let mut schema =
            schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Document>();
        offer_additions(&mut schema);
        let mut schema = schema.to_value();
        if let Some(properties) = schema.pointer_mut("/properties").and_then(Json::as_object_mut) {
            properties.insert(
                "$schema".into(),
                serde_json::json!({"description": "Where this schema is.", "type": "string"}),
            );
        }
        schema
    }
}

/// Every list `x` can be extended by `add_x`.
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

/// How large a policy file may be: no honest one comes near.
const MAX_BYTES: u64 = 4 << 20;

fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large for a policy"));
    }
    fs::read_to_string(path)
}

fn of_text(text: &str, format: Format, path: Option<&Path>) -> Result<Preset, PolicyFileError> {
    let error = |span, key: String, message: String, suggestion| {
        let file = path.map(Path::to_path_buf);
        PolicyFileError(Box::new(Details { file, text: text.to_owned(), span, key, message, suggestion }))
    };
    let (mut over, root) =
        read_as(text, format).map_err(|SyntaxError { message, span }| error(span, String::new(), message, None))?;
    if let Some(over) = over.as_object_mut() {
        // Editors look there for the schema.
        over.remove("$schema");
    }
    let fault = |fault: Fault, valid: &Json| {
        let Fault { path, message } = fault;
        let (span, node, key) = place(&root, &path, &message, text);
        let value = node.and_then(|node| text.get(node.span.clone())).map(|text| text.trim_matches(['"', '\'']).into());
        let suggestion = suggest::suggestion(&message, &path, value.as_ref(), at(valid, &path));
        error(span, written(&key), without_choices(message), Some(suggestion))
    };
    let base = base(&over).map_err(|found| fault(found, &Json::Null))?;
    let under = serde_json::to_value(base.document()).unwrap_or_default();
    let mut policy = merge::merge(under.clone(), over);
    merge::complete_callers(&mut policy);
    let document: Document =
        serde_path_to_error::deserialize(policy).map_err(|error| fault(Fault::of(&error), &under))?;
    let key = match &document.audit.requester_key_file {
        None => None,
        Some(file) => Some(
            read_key(file, path)
                .map_err(|message| fault(Fault { path: steps(&["audit", "requester_key_file"]), message }, &under))?,
        ),
    };
    let mut settings = base.settings;
    settings
        .adopt(document, key)
        .map_err(|found| fault(Fault { path: steps(&["audit", "requester"]), message: found.to_string() }, &under))?;
    Ok(Preset { settings, layers: std::sync::OnceLock::new() })
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

/// What is wrong, and with what.
struct Fault {
    path: Vec<Step>,
    message: String,
}

impl Fault {
    fn of(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let step = |segment: &Segment| match segment {
            Segment::Seq { index } => Some(Step::Element(*index)),
            Segment::Map { key } => Some(Step::Member(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        Self { path: error.path().iter().filter_map(step).collect(), message: error.inner().to_string() }
    }
}

fn steps(names: &[&str]) -> Vec<Step> {
    names.iter().map(|name| Step::Member((*name).to_owned())).collect()
}

/// The preset that a policy extends.
fn base(over: &Json) -> Result<Preset, Fault> {
    let fault = |names: &[&str], message: String| Err(Fault { path: steps(names), message });
    if !over.is_object() {
        return fault(&[], "a policy is a table".into());
    }
    match over.get("extends").map(|name| serde_json::from_value::<Base>(name.clone())) {
        None | Some(Ok(Base::Mcp)) => Ok(Preset::mcp()),
        Some(Ok(Base::Strict)) => Ok(Preset::strict()),
        Some(Ok(Base::Oauth)) => {
            for needed in ["/metadata/grants/grant_types", "/metadata/token_endpoint_auth_method/one_of"] {
                if over.pointer(needed).is_none() {
                    let needed = needed.trim_start_matches('/').replace('/', ".");
                    return fault(&["extends"], format!("\"oauth\" needs {needed}: every server has its own"));
                }
            }
            Ok(Preset::oauth(Grants::default(), AuthMethod::only_none()))
        }
        Some(Err(error)) => fault(&["extends"], error.to_string()),
    }
}

/// The key in a file, without white space around it.
fn read_key(file: &Path, policy: Option<&Path>) -> Result<Vec<u8>, String> {
    let beside = policy.and_then(Path::parent).map(|folder| folder.join(file));
    let key = fs::read(beside.as_deref().unwrap_or(file)).map_err(|error| format!("{}: {error}", file.display()))?;
    match key.trim_ascii() {
        key if key.len() < 16 => Err(format!("the key in {} has less than 16 bytes", file.display())),
        key => Ok(key.to_vec()),
    }
}

/// Where to point to, the value there if it is about one, and the path to it as the file has it.
fn place<'a>(root: &'a Node, path: &[Step], message: &str, text: &str) -> (Range<usize>, Option<&'a Node>, Vec<Step>) {
    let mut key = Vec::new();
    if let Some((Step::Member(name), table)) = path.split_last().filter(|_| message.starts_with("unknown field")) {
        let (node, _) = root.locate(table, &mut key);
        let written = node.name_of(name).or_else(|| node.name_of(&format!("{}{name}", merge::ADD)));
        return (written.unwrap_or_else(|| node.span.clone()), None, path.to_vec());
    }
    let (node, rest) = root.locate(path, &mut key);
    // The path is into the merged policy: of a list that was added to, the text tells which element it is.
    key.extend(node.element_in(message, text).filter(|_| matches!(rest, [Step::Element(_), ..])).map(Step::Element));
    let key = if rest.is_empty() || key.len() > path.len() - rest.len() { key } else { path.to_vec() };
    if let Some(element) = node.mentioned_in(message, text) {
        return (element.span.clone(), Some(element), key);
    }
    (node.span.clone(), Some(node).filter(|_| rest.is_empty()), key)
}

/// The suggestion says what would have been right.
fn without_choices(message: String) -> String {
    match message.split_once("`, expected") {
        Some((unknown, _)) if message.starts_with("unknown ") => format!("{unknown}`"),
        _ => message,
    }
}

fn at<'a>(value: &'a Json, path: &[Step]) -> Option<&'a Json> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Element(index) => value.get(index),
        Step::Member(name) => value.get(name),
    })
}

/// `callers[0].redirect_uris`.
fn written(path: &[Step]) -> String {
    path.iter().fold(String::new(), |mut written, step| {
        match step {
            Step::Element(index) => written.extend(["[", &index.to_string(), "]"]),
            Step::Member(name) if written.is_empty() => written.push_str(name),
            Step::Member(name) => written.extend([".", name]),
        }
        written
    })
}

/// The path that [`written`] has written.
fn read_key_path(key: &str) -> Vec<Step> {
    let step = |part: &str| match part.strip_suffix(']').map(str::parse) {
        Some(Ok(index)) => Step::Element(index),
        _ => Step::Member(part.to_owned()),
    };
    key.split(['.', '[']).map(step).collect()
}

impl PolicyFileError {
    fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::of_file(path, format!("can't be read: {error}"))
    }

    /// What is wrong with a policy only where it is to be used.
    pub(crate) fn of_config(path: &Path, error: &ConfigError) -> Self {
        Self::of_file(path, error.to_string())
    }

    fn of_file(path: &Path, message: String) -> Self {
        let (file, text, key) = (Some(path.to_path_buf()), String::new(), String::new());
        Self(Box::new(Details { file, text, span: 0..0, key, message, suggestion: None }))
    }

    /// The file, if the policy came from one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// The line, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.before().matches('\n').count() + 1
    }

    /// The column in characters, counted from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.before().rsplit('\n').next().unwrap_or_default().chars().count() + 1
    }

    /// The bytes of the text that it is about.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.0.span.clone()
    }

    /// The whole text of the policy.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The setting: `redirect_uris.patterns[2]`. Empty for what is no TOML or JSON.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.0.key
    }

    /// What is written there, on one line and cut to 80 characters.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        let written = self.0.text.get(self.0.span.clone())?.lines().next()?;
        Some(written.char_indices().nth(80).map_or(written, |(end, _)| written.get(..end).unwrap_or_default()))
            .filter(|written| !written.is_empty())
    }

    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to write instead.
    #[must_use]
    pub fn suggestion(&self) -> Option<&str> {
        self.0.suggestion.as_deref()
    }

    fn before(&self) -> &str {
        self.0.text.get(..self.0.span.start).unwrap_or(&self.0.text)
    }
}

impl fmt::Display for PolicyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.file {
            Some(file) => write!(f, "{}:", file.display())?,
            None => f.write_str("policy:")?,
        }
        if !self.0.text.is_empty() {
            write!(f, "{}:{}:", self.line(), self.column())?;
        }
        f.write_str(" ")?;
        if !self.0.key.is_empty() {
            write!(f, "{}: ", self.0.key)?;
        }
        f.write_str(&self.0.message)?;
        if let Some(value) = self.value() {
            write!(f, " (found {value})")?;
        }
        match &self.0.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PolicyFileError {}
