//! The parameters that rules read, as any server may read them.

use std::ops::Range;

use super::names::{self, Name, Reading};
use crate::registration::Value;

/// The place of a parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    #[default]
    Url,
    Body,
    /// A request object (RFC 9101).
    Object,
}

/// The ways in which a client authenticates itself in one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Authentication {
    /// Set for a secret in `Authorization: Basic`. An empty one counts as none: public clients send it.
    pub(super) basic: bool,
    /// Set for a secret in the body that is not empty.
    pub(super) post: bool,
    /// A client assertion; `true` if it has a MAC of the client's secret in place of a signature.
    pub(super) assertion: Option<bool>,
    /// Set for a client attestation.
    pub(super) attestation: bool,
}

impl Authentication {
    /// Returns `true` if the server can reject the credentials.
    pub(super) fn is_any(self) -> bool {
        self.basic || self.post || self.assertion.is_some() || self.attestation
    }
}

/// A parameter that rules read.
#[derive(Clone, Debug)]
struct Parameter {
    name: Name,
    /// Its part of the text of all values. Empty if it was left empty.
    value: Range<usize>,
    place: Place,
    /// Set if it is spelled as the specifications spell it: then every server reads it.
    is_exact: bool,
}

/// The parameters that rules read, from all places.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(super) struct Given {
    parameters: Vec<Parameter>,
    /// The values, in one allocation.
    text: String,
    /// The names of all others, with their places.
    others: Vec<(String, Place)>,
    /// The places that have a name twice, other than `resource` and `audience`.
    repeated: Places,
    /// The places where `audience` is repeated: token exchange may (RFC 8693 section 2.1).
    audiences: Places,
    /// The places where a name is spelled in another way or its value is no string.
    unusual: Places,
    /// Set if a scope stands behind a `;`, where only some servers read it.
    pub(super) has_split_scope: bool,
    /// Set if there is a request object.
    has_object: bool,
    /// The place of the parameters that are added.
    pub(super) place: Place,
    /// Set if the body is JSON.
    pub(super) in_json: bool,
    /// Set while the fields of a form in a browser are added.
    pub(super) in_form: bool,
    /// The places each of which some server reads as the whole request; both if neither is one.
    is_whole: (bool, bool),
    /// Set if parameters of the body are in the URL, too.
    pub(super) is_in_both: bool,
}

/// A set of places.
#[derive(Clone, Copy, Debug, Default)]
struct Places(u8);

impl Places {
    fn add(&mut self, place: Place) {
        self.0 |= 1 << place as u8;
    }

    fn has(self, place: Place) -> bool {
        self.0 & (1 << place as u8) != 0
    }
}

/// The names that decide which flow it is. A step of a consent form has them as they are in the request, or not at all.
const OF_FLOW: [Name; 4] = [Name::CodeChallenge, Name::CodeChallengeMethod, Name::ResponseMode, Name::ResponseType];

/// The other parameters of requests, by the registry of IANA ("OAuth Parameters").
const REGISTERED: [&str; 40] = [
    "acr_values",
    "actor_token",
    "actor_token_type",
    "assertion",
    "aud",
    "audience",
    "authorization_details",
    "claims",
    "claims_locales",
    "client_metadata",
    "dcql_query",
    "display",
    "dpop_jkt",
    "exp",
    "iat",
    "id_token_hint",
    "iss",
    "issuer_state",
    "jti",
    "login_hint",
    "max_age",
    "nbf",
    "nonce",
    "presentation_definition",
    "presentation_definition_uri",
    "prompt",
    "registration",
    "request_uri_method",
    "requested_token_type",
    "sub",
    "subject_token",
    "subject_token_type",
    "transaction_data",
    "trust_chain",
    "ui_locales",
    "user_hint",
    "verifier_info",
    "vtr",
    "wallet_issuer",
    "wallet_nonce",
];

/// Returns the registered parameter that a server may read under this name.
fn registered(name: &str) -> Option<&'static str> {
    let letters = names::letters_of(name);
    REGISTERED.into_iter().find(|known| known.bytes().filter(|byte| *byte != b'_').eq(letters.bytes()))
}

impl Given {
    /// Adds a parameter that is not reserved.
    pub(super) fn add(&mut self, reading: Reading, spelling: &str, value: &str) {
        let place = self.place;
        match reading {
            Reading::Exact(name) | Reading::Folded(name) => {
                let is_exact = matches!(reading, Reading::Exact(_));
                let is_again = |known: &Parameter| known.name == name && known.place == place && known.is_exact;
                if !is_exact {
                    self.unusual.add(place);
                    self.has_split_scope |= name == Name::Scope && spelling.starts_with(';');
                } else if name != Name::Resource && self.parameters.iter().any(is_again) {
                    // RFC 8707 section 2: "Multiple resource parameters MAY be used".
                    self.repeated.add(place);
                }
                self.push(name, value, is_exact);
            }
            Reading::Other => self.add_other(spelling),
        }
    }

    /// Adds a parameter that no rule reads, for the repetitions of its name.
    fn add_other(&mut self, spelling: &str) {
        let (place, registered) = (self.place, registered(spelling));
        let name = registered.unwrap_or(spelling);
        let at = |place| move |(known, at): &(String, Place)| known == name && *at == place;
        let is_again = self.others.iter().any(at(place));
        // Zones of honest servers are in the URL of their token endpoint, but no parameters of a request are.
        self.is_in_both |= place == Place::Body && self.others.iter().any(at(Place::Url));
        self.is_in_both |= place == Place::Url && registered.is_some();
        if !is_again {
            self.others.push((name.to_owned(), place));
        } else if name == "audience" && spelling == name {
            self.audiences.add(place);
        } else if registered.is_some() || !(self.in_form || spelling.starts_with(';')) {
            // HTML sends a field for each checked box of a group, and pages put the parameters of the request into
            // hidden fields beside them. A name that no specification knows means nothing to an OAuth server:
            // RFC 6749 section 3.1: "The authorization server MUST ignore unrecognized request parameters." A text behind
            // a `;` is one to old parsers only.
            self.repeated.add(place);
        }
    }

    /// Adds a parameter whose value is no string: each element of an array, or the JSON text.
    pub(super) fn add_other_type(&mut self, reading: Reading, value: &Value<'_>) {
        let place = self.place;
        let (Reading::Exact(name) | Reading::Folded(name)) = reading else { return };
        // RFC 8707 section 2.1: in a request object, "multiple values are represented as an array of strings".
        let is_exact = reading == Reading::Exact(Name::Resource) && place == Place::Object;
        if !is_exact {
            self.unusual.add(place);
        }
        match value {
            Value::Strings(elements) if elements.len() == 0 => self.push(name, "", is_exact),
            Value::Strings(elements) => elements.clone().for_each(|element| self.push(name, element, is_exact)),
            Value::String(text) | Value::Number(text) | Value::Array(text) | Value::Object(text) => {
                self.push(name, text, is_exact);
            }
            Value::Bool(value) => self.push(name, &value.to_string(), is_exact),
            Value::Null => {}
        }
    }

    fn push(&mut self, name: Name, value: &str, is_exact: bool) {
        if self.parameters.is_empty() {
            // Enough for most requests.
            self.parameters.reserve(8);
            self.text.reserve(256);
        }
        let start = self.text.len();
        self.text.push_str(value);
        self.parameters.push(Parameter { name, value: start..self.text.len(), place: self.place, is_exact });
    }

    fn value(&self, parameter: &Parameter) -> &str {
        self.text.get(parameter.value.clone()).unwrap_or_default()
    }

    /// Adds the parameters outside of the request object.
    pub(super) fn extend(&mut self, plain: Self, is_post: bool, is_for_clients: bool, has_object: bool) {
        let has_type = |at| plain.parameters.iter().any(|it| it.name == Name::ResponseType && it.place == at);
        self.is_whole = match (is_post, is_for_clients) {
            (false, _) => (true, false),
            (true, true) => (false, true),
            // A consent form is often sent to the URL of the request. Servers read the URL, the body or both.
            (true, false) => (has_type(Place::Url), has_type(Place::Body)),
        };
        let in_url = |parameter: &Parameter| parameter.place == Place::Url;
        self.is_in_both = is_post && is_for_clients && (plain.is_in_both || plain.parameters.iter().any(in_url));
        self.has_object = has_object;
        self.repeated = plain.repeated;
        self.unusual = Places(self.unusual.0 | plain.unusual.0);
        self.has_split_scope = plain.has_split_scope;
        self.audiences = Places(self.audiences.0 | plain.audiences.0);
        self.in_json = plain.in_json;
        if self.parameters.is_empty() {
            (self.parameters, self.text) = (plain.parameters, plain.text);
            return;
        }
        let before = self.text.len();
        self.text.push_str(&plain.text);
        let shifted = |range: &Range<usize>| range.start + before..range.end + before;
        self.parameters.extend(plain.parameters.iter().map(|it| Parameter { value: shifted(&it.value), ..it.clone() }));
    }

    /// Returns `true` if the place has the parameters of a request, and not those of a consent form.
    fn is_of_request(&self, place: Place) -> bool {
        match place {
            Place::Url => self.is_whole.0,
            Place::Body => self.is_whole.1,
            Place::Object => true,
        }
    }

    /// Returns `true` if a parameter of the request is repeated.
    pub(super) fn is_repeated(&self) -> bool {
        self.holds_in_request(self.repeated) || OF_FLOW.into_iter().any(|name| self.differs(name))
    }

    /// Returns `true` if there is a parameter.
    pub(super) fn has_any(&self) -> bool {
        !self.parameters.is_empty()
    }

    /// Returns `true` if `audience` is repeated in the request.
    pub(super) fn repeats_audience(&self) -> bool {
        self.holds_in_request(self.audiences)
    }

    /// Returns `true` if the value of a parameter has the text in it.
    pub(super) fn contains(&self, text: &str) -> bool {
        self.parameters.iter().any(|parameter| self.value(parameter).contains(text))
    }

    fn holds_in_request(&self, places: Places) -> bool {
        [Place::Url, Place::Body, Place::Object].into_iter().any(|place| places.has(place) && self.is_of_request(place))
    }

    /// Returns `true` if URL and body have another value: a server that merges the two takes one of them.
    fn differs(&self, name: Name) -> bool {
        let values = |place| self.parameters.iter().filter(move |it| it.name == name && it.place == place);
        values(Place::Url).any(|one| values(Place::Body).any(|other| self.value(one) != self.value(other)))
    }

    /// Returns `true` if the parameter is there without a value: a server may take that for its value.
    pub(super) fn has_empty(&self, name: Name) -> bool {
        self.parameters.iter().any(|parameter| parameter.name == name && parameter.value.is_empty())
    }

    /// Returns `true` if a parameter of the request is spelled in a way that some servers read as its name.
    pub(super) fn is_unusual(&self) -> bool {
        let is_of_flow = |it: &Parameter| !it.is_exact && OF_FLOW.contains(&it.name);
        self.holds_in_request(self.unusual) || self.parameters.iter().any(is_of_flow)
    }

    /// Returns every value that some server may take for that of the parameter, except for empty ones.
    pub(super) fn values(&self, name: Name) -> impl Iterator<Item = &str> {
        let is_it = move |parameter: &&Parameter| parameter.name == name && !parameter.value.is_empty();
        self.parameters.iter().filter(is_it).map(|parameter| self.value(parameter))
    }

    /// Returns the value of the parameter if it has exactly one.
    pub(super) fn only(&self, name: Name) -> Option<&str> {
        let mut values = self.values(name);
        values.next().filter(|first| values.all(|other| other == *first))
    }

    /// Returns `true` if the parameter has a value in this place.
    pub(super) fn is_at(&self, name: Name, place: Place) -> bool {
        self.parameters.iter().any(|it| it.name == name && it.place == place && !it.value.is_empty())
    }

    /// Returns `true` if some server finds no value of the parameter: it is not in a part that a server may take for the
    /// whole request. `reads_object` says that the server reads request objects; a server that should not may do so, too.
    pub(super) fn lacks(&self, name: Name, reads_object: bool) -> bool {
        let has = |is_read: &dyn Fn(Place) -> bool| {
            let is_it = |it: &Parameter| it.name == name && it.is_exact && !it.value.is_empty() && is_read(it.place);
            self.parameters.iter().any(is_it)
        };
        // RFC 9101 section 6.3: the server "MUST only use the parameters in the Request Object".
        let is_inside = has(&|place| place == Place::Object);
        if self.has_object && (reads_object || !is_inside) {
            return !is_inside;
        }
        match self.is_whole {
            (false, false) => !has(&|place| place != Place::Object),
            (in_url, in_body) => {
                (in_url && !has(&|place| place == Place::Url)) || (in_body && !has(&|place| place == Place::Body))
            }
        }
    }
}
