//! The recorded registrations of clients and attackers, as requests.

use base64::Engine;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::Full;
use serde_json::Value;

/// One of them.
pub struct Row {
    pub id: String,
    pub row: Value,
}

fn rows(data: &str) -> Vec<Row> {
    let rows = data.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| Row { id: row["id"].as_str().unwrap().to_owned(), row }).collect()
}

pub fn attacks() -> Vec<Row> {
    rows(include_str!("../../data/attacks.jsonl"))
}

pub fn clients() -> Vec<Row> {
    rows(include_str!("../../data/clients.jsonl"))
}

pub fn openid() -> Vec<Row> {
    rows(include_str!("../../data/openid.jsonl"))
}

fn decode(base64: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(base64.as_str().unwrap()).unwrap()
}

impl Row {
    pub fn text(&self, field: &str) -> Option<&str> {
        self.row[field].as_str()
    }

    pub fn body(&self) -> Vec<u8> {
        let row = &self.row;
        if let Some(raw) = row["raw"].as_str() {
            return raw.into();
        }
        if row["raw_b64"].is_string() {
            return decode(&row["raw_b64"]);
        }
        if let Some(parts) = row["raw_gen"]["parts"].as_array() {
            let repeat = |part: &Value| usize::try_from(part["repeat"].as_u64().unwrap()).unwrap();
            return parts.iter().flat_map(|part| decode(&part["b64"]).repeat(repeat(part))).collect();
        }
        if row["body"].is_null() { Vec::new() } else { serde_json::to_vec(&row["body"]).unwrap() }
    }

    /// The request; `None` for one that no HTTP library can build.
    pub fn request(&self) -> Option<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(self.text("method").unwrap_or("POST"))
            .uri(format!("/register{}", self.text("query").unwrap_or_default()));
        for (name, value) in headers(&self.row["headers"])? {
            request = request.header(name, value);
        }
        if self.row["headers"].is_null() {
            request = request.header("content-type", "application/json");
        }
        request.body(Full::from(self.body())).ok()
    }

    /// The same document, sent to `/register/CLIENT_ID` as an update. An object without a `client_id` gets it, as its first
    /// member: RFC 7592 section 2.2 wants one, and the label is about the rest.
    pub fn update(&self, client_id: &str) -> Option<Request<Full<Bytes>>> {
        let (mut parts, _) = self.request()?.into_parts();
        parts.method = Method::PUT;
        parts.uri = format!("/register/{client_id}{}", self.text("query").unwrap_or_default()).parse().ok()?;
        Some(Request::from_parts(parts, Full::from(self.body_of(client_id))))
    }

    fn body_of(&self, client_id: &str) -> Vec<u8> {
        let mut body = self.body();
        let is_space = |byte: &u8| b" \t\r\n".contains(byte);
        let Some(start) = body.iter().position(|byte| !is_space(byte)).filter(|at| body[*at] == b'{') else {
            return body;
        };
        if serde_json::from_slice::<Value>(&body).is_ok_and(|read| !read["client_id"].is_null()) {
            return body;
        }
        let is_empty = body[start + 1..].iter().find(|byte| !is_space(byte)).is_none_or(|byte| *byte == b'}');
        let member = format!("\"client_id\":\"{client_id}\"{}", if is_empty { "" } else { "," });
        body.splice(start + 1..=start, member.into_bytes());
        body
    }

    /// Returns `true` for a single registration request. Sequences are for the rate limiter, bytes for a socket (`listener.rs`),
    /// scopes for their rule; and methods that don't register are for the handler to answer.
    pub fn registers(&self) -> bool {
        self.row["steps"].is_null()
            && self.row["wire_b64"].is_null()
            && self.text("needs") != Some("scopes")
            && !matches!(self.text("method"), Some("GET" | "OPTIONS"))
            // A whole HTTP/1.1 request in parts.
            && self.id != "http-framing-016"
    }
}

pub fn headers(headers: &Value) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let pairs: Vec<(&str, &Value)> = match headers {
        Value::Object(object) => object.iter().map(|(name, value)| (name.as_str(), value)).collect(),
        Value::Array(pairs) => pairs.iter().map(|pair| (pair[0].as_str().unwrap(), &pair[1])).collect(),
        _ => Vec::new(),
    };
    let read = |(name, value): (&str, &Value)| {
        let value = match value.as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => decode(&value["b64"]),
        };
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    };
    pairs.into_iter().map(read).collect()
}
