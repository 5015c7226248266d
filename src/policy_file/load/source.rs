//! A policy file as a tree with the place of each value.

use std::ops::Range;

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions};
use serde_json::{Map, Value as Json};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::policy_file::key::Step;

/// The place of a value and of its children.
#[derive(Debug)]
pub(super) struct Node {
    /// The bytes of the value.
    pub(super) span: Range<usize>,
    inner: Inner,
    /// True after the value was reported as a mistake and taken out: the rest is read as if it were not there.
    is_out: bool,
}

#[derive(Debug)]
enum Inner {
    Scalar,
    List(Vec<Node>),
    /// The members: name, place of the name, value.
    Table(Vec<(String, Range<usize>, Node)>),
}

/// A mistake in the syntax of TOML or JSON, and its place.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) message: String,
    pub(super) span: Range<usize>,
}

impl Node {
    /// Returns the node at `path`, or the nearest one above it, with the rest of the path. `written` becomes the path
    /// as the file has it: an element that was added to a list has another place in the merged policy than in the file.
    pub(super) fn locate<'a>(&self, path: &'a [Step], written: &mut Vec<Step>) -> (&Self, &'a [Step]) {
        let Some((step, rest)) = path.split_first() else { return (self, path) };
        let (child, step) = match (&self.inner, step) {
            (Inner::List(elements), Step::Element(index)) => {
                let mut left = elements.iter().enumerate().filter(|(_, element)| !element.is_out);
                match left.nth(*index) {
                    Some((index, element)) => (Some(element), Step::Element(index)),
                    None => (None, step.clone()),
                }
            }
            (Inner::Table(members), Step::Member(name)) => {
                let left = |wanted: &str| members.iter().find(|(name, _, node)| name == wanted && !node.is_out);
                let find = |wanted: &str| left(wanted).map(|(.., node)| node);
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

    /// Returns the element `input` of the list at `path`, or of the one that is added to it, with its path as the file has it.
    pub(super) fn element_in(&self, path: &[Step], input: &str, text: &str) -> Option<(Vec<Step>, &Self)> {
        let (Step::Member(list), table) = path.split_last()? else { return None };
        let mut key = Vec::new();
        let (Self { inner: Inner::Table(members), .. }, []) = self.locate(table, &mut key) else { return None };
        let added = format!("{}{list}", super::merge::ADD);
        let mut lists = members.iter().filter(|(name, _, node)| (name == list || *name == added) && !node.is_out);
        let (name, index, element) = lists.find_map(|(name, _, node)| {
            let Inner::List(elements) = &node.inner else { return None };
            let index = node.element_of(input, text)?;
            let element = elements.get(index).filter(|element| matches!(element.inner, Inner::Scalar))?;
            Some((name, index, element))
        })?;
        key.extend([Step::Member(name.clone()), Step::Element(index)]);
        Some((key, element))
    }

    /// Returns the index of the element of this list that is `input` or contains it; `None` if there is none.
    pub(super) fn element_of(&self, input: &str, text: &str) -> Option<usize> {
        let Inner::List(elements) = &self.inner else { return None };
        elements.iter().position(|element| !element.is_out && element.scalar_of(input, text, &mut Vec::new()).is_some())
    }

    /// Returns the member of this table whose name is `input`, with the place of the name; `None` if there is none.
    pub(super) fn member_of(&self, input: &str) -> Option<(&str, Range<usize>)> {
        let Inner::Table(members) = &self.inner else { return None };
        let is_named = |(name, _, node): &&(String, Range<usize>, Self)| !node.is_out && name == input;
        members.iter().find(is_named).map(|(name, span, _)| (&**name, span.clone()))
    }

    /// Returns the place of the name of a member; `None` if there is none.
    pub(super) fn name_of(&self, member: &str) -> Option<Range<usize>> {
        let Inner::Table(members) = &self.inner else { return None };
        members.iter().find(|(name, ..)| name == member).map(|(_, span, _)| span.clone())
    }

    /// Returns the first scalar in this node that is `input`; `None` if there is none. Appends the path to it to
    /// `path`.
    pub(super) fn scalar_of(&self, input: &str, text: &str, path: &mut Vec<Step>) -> Option<&Self> {
        if self.is_out {
            return None;
        }
        match &self.inner {
            Inner::Scalar => {
                let written = text.get(self.span.clone())?;
                (!input.is_empty() && written.trim_matches(['"', '\'']) == input).then_some(self)
            }
            Inner::List(elements) => elements
                .iter()
                .enumerate()
                .find_map(|(index, node)| node.scalar_below(Step::Element(index), input, text, path)),
            Inner::Table(members) => members
                .iter()
                .find_map(|(name, _, node)| node.scalar_below(Step::Member(name.clone()), input, text, path)),
        }
    }

    fn scalar_below(&self, step: Step, input: &str, text: &str, path: &mut Vec<Step>) -> Option<&Self> {
        path.push(step);
        let found = self.scalar_of(input, text, path);
        if found.is_none() {
            path.pop();
        }
        found
    }

    /// Takes out the node at `path`, a path as the file has it. Returns whether the node was there.
    pub(super) fn take_out(&mut self, path: &[Step]) -> bool {
        let Some((step, rest)) = path.split_first() else { return !std::mem::replace(&mut self.is_out, true) };
        let child = match (&mut self.inner, step) {
            (Inner::List(elements), Step::Element(index)) => elements.get_mut(*index),
            (Inner::Table(members), Step::Member(wanted)) => {
                members.iter_mut().find(|(name, ..)| name == wanted).map(|(.., node)| node)
            }
            _ => None,
        };
        child.is_some_and(|child| child.take_out(rest))
    }

    /// Returns `value`, which was read from this node, without the values that were taken out.
    pub(super) fn rest_of(&self, value: &Json) -> Json {
        match (&self.inner, value) {
            (Inner::List(nodes), Json::Array(values)) => {
                let left = nodes.iter().zip(values).filter(|(node, _)| !node.is_out);
                left.map(|(node, value)| node.rest_of(value)).collect()
            }
            (Inner::Table(members), Json::Object(values)) => {
                let left = members.iter().filter(|(.., node)| !node.is_out);
                let rest = left.filter_map(|(name, _, node)| Some((name.clone(), node.rest_of(values.get(name)?))));
                Json::Object(rest.collect())
            }
            _ => value.clone(),
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
    (Json::Object(json), Node { span, inner: Inner::Table(members), is_out: false })
}

fn of_toml(value: Spanned<DeValue<'_>>) -> (Json, Node) {
    let span = value.span();
    let json = match value.into_inner() {
        DeValue::Table(table) => return of_table(table, span),
        DeValue::Array(array) => {
            let (elements, nodes) = array.into_iter().map(of_toml).unzip();
            return (Json::Array(elements), Node { span, inner: Inner::List(nodes), is_out: false });
        }
        DeValue::String(text) => Json::String(text.into_owned()),
        DeValue::Boolean(value) => Json::Bool(value),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).map_or_else(
            // Too large for any setting: a text is rejected as the wrong type.
            |_| Json::String(number.as_str().to_owned()),
            Json::from,
        ),
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Json::Null, Json::from),
        DeValue::Datetime(time) => Json::String(time.to_string()),
    };
    (json, Node { span, inner: Inner::Scalar, is_out: false })
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

/// Returns options for RFC 8259, without extensions.
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
            return Ok((Json::Object(json), Node { span, inner: Inner::Table(members), is_out: false }));
        }
        ast::Value::Array(array) => {
            let read: Vec<(Json, Node)> = array.elements.into_iter().map(of_json).collect::<Result<_, _>>()?;
            let (elements, nodes) = read.into_iter().unzip();
            return Ok((Json::Array(elements), Node { span, inner: Inner::List(nodes), is_out: false }));
        }
        ast::Value::StringLit(text) => Json::String(text.value.into_owned()),
        ast::Value::NumberLit(number) => serde_json::from_str(number.value).unwrap_or_default(),
        ast::Value::BooleanLit(value) => Json::Bool(value.value),
        ast::Value::NullKeyword(_) => Json::Null,
    };
    Ok((json, Node { span, inner: Inner::Scalar, is_out: false }))
}
