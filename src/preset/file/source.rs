//! A policy file as a tree that knows where everything stands.

use std::ops::Range;

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions};
use serde_json::{Map, Value as Json};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// Where a value stands, and where those in it do.
#[derive(Debug)]
pub(super) struct Node {
    /// Of the value.
    pub(super) span: Range<usize>,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Scalar,
    List(Vec<Node>),
    /// With the name, and where that stands.
    Table(Vec<(String, Range<usize>, Node)>),
}

/// One step from a value to one in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Element(usize),
    Member(String),
}

/// What is wrong with a text that is no TOML or JSON, and where.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) message: String,
    pub(super) span: Range<usize>,
}

impl Node {
    /// The place of what `path` leads to, or of what comes nearest to it, with the rest of the path. `written` becomes the
    /// path as the file has it: what was added to a list is in it by now, at another place than in the file.
    pub(super) fn locate<'a>(&self, path: &'a [Step], written: &mut Vec<Step>) -> (&Self, &'a [Step]) {
        let Some((step, rest)) = path.split_first() else { return (self, path) };
        let (child, step) = match (&self.inner, step) {
            (Inner::List(elements), Step::Element(index)) => (elements.get(*index), step.clone()),
            (Inner::Table(members), Step::Member(name)) => {
                let find = |wanted: &str| members.iter().find(|(name, ..)| name == wanted).map(|(.., node)| node);
                let added = format!("{}{name}", super::merge::ADD);
                match (find(&added), rest) {
                    (Some(list), [Step::Element(_), ..]) if find(name).is_none() => {
                        written.push(Step::Member(added));
                        return (list, rest);
                    }
                    (list, _) => (find(name).or(list), step.clone()),
                }
            }
            _ => (None, step.clone()),
        };
        match child {
            Some(child) => {
                written.push(step);
                child.locate(rest, written)
            }
            None => (self, path),
        }
    }

    /// The element of this list that `message` is about.
    pub(super) fn element_in(&self, message: &str, text: &str) -> Option<usize> {
        let Inner::List(elements) = &self.inner else { return None };
        elements.iter().position(|element| element.mentioned_in(message, text).is_some())
    }

    /// Where the name of a member stands.
    pub(super) fn name_of(&self, member: &str) -> Option<Range<usize>> {
        let Inner::Table(members) = &self.inner else { return None };
        members.iter().find(|(name, ..)| name == member).map(|(_, span, _)| span.clone())
    }

    /// The innermost scalar in here whose text is in `message`: the one of a list that it is about.
    pub(super) fn mentioned_in(&self, message: &str, text: &str) -> Option<&Self> {
        match &self.inner {
            Inner::Scalar => {
                let written = text.get(self.span.clone())?;
                let bare = written.trim_matches(['"', '\'']);
                (!bare.is_empty() && message.contains(&format!("{bare:?}"))).then_some(self)
            }
            Inner::List(elements) => elements.iter().find_map(|node| node.mentioned_in(message, text)),
            Inner::Table(members) => members.iter().find_map(|(.., node)| node.mentioned_in(message, text)),
        }
    }
}

pub(super) fn read_toml(text: &str) -> Result<(Json, Node), SyntaxError> {
    let table = DeTable::parse(text)
        .map_err(|error| SyntaxError { message: error.message().to_owned(), span: error.span().unwrap_or_default() })?;
    let span = table.span();
    Ok(of_table(table.into_inner(), span))
}

fn of_table(table: DeTable<'_>, span: Range<usize>) -> (Json, Node) {
    let mut json = Map::new();
    let mut members = Vec::new();
    for (name, value) in table {
        let name: Spanned<DeString<'_>> = name;
        let (place, name) = (name.span(), name.into_inner().into_owned());
        let (value, node) = of_toml(value);
        json.insert(name.clone(), value);
        members.push((name, place, node));
    }
    (Json::Object(json), Node { span, inner: Inner::Table(members) })
}

fn of_toml(value: Spanned<DeValue<'_>>) -> (Json, Node) {
    let span = value.span();
    let json = match value.into_inner() {
        DeValue::Table(table) => return of_table(table, span),
        DeValue::Array(array) => {
            let (elements, nodes) = array.into_iter().map(of_toml).unzip();
            return (Json::Array(elements), Node { span, inner: Inner::List(nodes) });
        }
        DeValue::String(text) => Json::String(text.into_owned()),
        DeValue::Boolean(value) => Json::Bool(value),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).map_or_else(
            // Too large for anything here: it is refused as what it is not.
            |_| Json::String(number.as_str().to_owned()),
            Json::from,
        ),
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Json::Null, Json::from),
        DeValue::Datetime(time) => Json::String(time.to_string()),
    };
    (json, Node { span, inner: Inner::Scalar })
}

pub(super) fn read_json(text: &str) -> Result<(Json, Node), SyntaxError> {
    let comments = CollectOptions { comments: CommentCollectionStrategy::Off, tokens: false };
    let parsed = jsonc_parser::parse_to_ast(text, &comments, &strict()).map_err(|error| {
        let range = error.range();
        SyntaxError { message: error.kind().to_string(), span: range.start..range.end }
    })?;
    match parsed.value {
        Some(value) => of_json(value),
        None => Err(SyntaxError { message: "the file is empty".into(), span: 0..0 }),
    }
}

/// RFC 8259, nothing else.
fn strict() -> ParseOptions {
    ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

fn of_json(value: ast::Value<'_>) -> Result<(Json, Node), SyntaxError> {
    let range = value.range();
    let span = range.start..range.end;
    let json = match value {
        ast::Value::Object(object) => {
            let mut json = Map::new();
            let mut members = Vec::new();
            for property in object.properties {
                let range = property.name.range();
                let (place, name) = (range.start..range.end, property.name.into_string());
                if json.contains_key(&name) {
                    return Err(SyntaxError { message: format!("{name:?} is there twice"), span: place });
                }
                let (value, node) = of_json(property.value)?;
                json.insert(name.clone(), value);
                members.push((name, place, node));
            }
            return Ok((Json::Object(json), Node { span, inner: Inner::Table(members) }));
        }
        ast::Value::Array(array) => {
            let read: Vec<(Json, Node)> = array.elements.into_iter().map(of_json).collect::<Result<_, _>>()?;
            let (elements, nodes) = read.into_iter().unzip();
            return Ok((Json::Array(elements), Node { span, inner: Inner::List(nodes) }));
        }
        ast::Value::StringLit(text) => Json::String(text.value.into_owned()),
        ast::Value::NumberLit(number) => serde_json::from_str(number.value).unwrap_or_default(),
        ast::Value::BooleanLit(value) => Json::Bool(value.value),
        ast::Value::NullKeyword(_) => Json::Null,
    };
    Ok((json, Node { span, inner: Inner::Scalar }))
}
