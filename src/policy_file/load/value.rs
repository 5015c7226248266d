//! A deserializer that reads tables only from tables.

use serde::Deserializer;
use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{IntoDeserializer, Visitor};
use serde_json::Value as Json;

use super::problem::Problem;

/// JSON that gives no table from a list. Derived readers would take the elements for the fields, in their order, and
/// `lifecycle = ["365days"]` would set a lifetime without naming it.
pub(super) struct Value(pub(super) Json);

impl IntoDeserializer<'_, Problem> for Value {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

type Members = MapDeserializer<'static, std::vec::IntoIter<(Value, Value)>, Problem>;

fn members(table: serde_json::Map<String, Json>) -> Members {
    let members: Vec<(Value, Value)> =
        table.into_iter().map(|(name, value)| (Value(Json::String(name)), Value(value))).collect();
    MapDeserializer::new(members.into_iter())
}

impl<'de> Deserializer<'de> for Value {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Json::Null => visitor.visit_unit(),
            Json::Bool(value) => visitor.visit_bool(value),
            Json::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => visitor.visit_string(text),
            Json::Array(elements) => visitor.visit_seq(SeqDeserializer::new(elements.into_iter().map(Value))),
            Json::Object(table) => visitor.visit_map(members(table)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match self.0 {
            Json::Object(table) => visitor.visit_map(members(table)),
            Json::Array(_) => Err(Problem::NoTable { is_list: true }),
            _ => Err(Problem::NoTable { is_list: false }),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match self.0 {
            Json::String(name) => visitor.visit_enum(name.into_deserializer()),
            Json::Object(table) if table.len() == 1 => visitor.visit_enum(MapAccessDeserializer::new(members(table))),
            _ => Err(Problem::NoWord { known: variants }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}
