//! Software statements: signed claims of a third party about a client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::{ConfigError, Draft, Operation, Rule, RuleDocs, documented};
use crate::clock::{self, Clock};
use crate::period;
use crate::registration::{Acceptance, Digest, Field, Registration, Value};
use crate::rules::Statement;
use crate::rules::jwt::{self, Claims, Fault, Issuer, Trust};
use crate::rules::{ErrorCode, Rejection};
use crate::sync::lock;

/// Verifies a `software_statement` (RFC 7591 section 2.3), and puts its claims into the registration.
///
/// Runs before every other rule, so that the other rules check the statement's claims: "the values conveyed in the
/// software statement MUST take precedence over those conveyed using plain JSON elements". The statement itself is not
/// forwarded. A handler that read it again would find the values that the rules have removed. The response contains it,
/// as section 3.2.1 requires ([`ResponseLayer`](crate::layers::ResponseLayer)).
///
/// A statement is valid if a listed issuer has signed it with a pinned algorithm (never `none`, never a shared secret),
/// its `exp` is present and not over, and the other configured requirements are met. A statement of another issuer is
/// rejected with `unapproved_software_statement`, any other invalid statement with `invalid_software_statement`.
/// Without this rule every statement is rejected.
///
/// Claims that are client metadata replace members of the same name, including their language-tagged variants. `jwks`
/// replaces `jwks_uri`, and the reverse. Other claims replace only members that the client sent under the same name, or
/// that [`claims`](Self::claims) lists. Members that only the server issues are never taken from a statement.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Context, Issuer, Policy, SoftwareStatements};
/// # let keys = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
///
/// let directory = Issuer::new("https://directory.example.com", keys, ["ES256"])?;
/// let mut statements = SoftwareStatements::new([directory])?;
/// statements.required = true;
/// let evaluation = Policy::new(statements).evaluate(Registration::parse(b"{}")?, &Context::registration());
/// assert_eq!(evaluation.rejection.unwrap().field.as_deref(), Some("software_statement"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SoftwareStatements {
    /// The issuers of statements.
    #[serde(deserialize_with = "some_issuers")]
    issuers: Vec<Issuer>,
    /// The accepted values of `aud`, one of which is required. Without any, `aud` is not checked.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// The maximum age of a statement, counted from its `iat`, regardless of its `exp`: the time in which a stolen one can be
    /// used.
    #[serde(default, with = "period::if_any", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<period::Period>"))]
    pub max_age: Option<Duration>,
    /// Requires a statement for every registration.
    #[serde(default)]
    pub required: bool,
    /// Claims that are used in addition to client metadata, for members of the server's own.
    #[serde(default)]
    pub claims: Vec<String>,
    /// Accepts each statement for one client only. It then needs a `jti`, which this process remembers until the statement
    /// expires. Updates may repeat it. In RFC 7591 section 2.3 all instances of an application share one statement: this is for
    /// issuers that sign one for each.
    #[serde(default)]
    pub single_use: bool,
    /// The used statements, until they expire, by a digest of issuer and `jti`. Clones share it.
    #[serde(skip)]
    used: Arc<Mutex<HashMap<Digest, Duration>>>,
    #[serde(skip, default = "clock::system")]
    clock: Arc<dyn Clock>,
}

const FIELD: &str = Field::SOFTWARE_STATEMENT.name();

/// Claims about the statement, not about the client (RFC 7519 section 4.1).
const ABOUT_THE_TOKEN: [&str; 7] = ["aud", "exp", "iat", "iss", "jti", "nbf", "sub"];

/// The maximum length of a statement. Those of Open Banking directories have about 4 KiB.
const MAX_BYTES: usize = 12 * 1024;

/// The maximum number of used statements in memory. At the limit, new ones are rejected until one expires.
const MAX_USED: usize = 65_536;

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "software-statement",
    protects: "Claims that take precedence over the request from being forged.",
    reference: "RFC 7591 sections 2.3 and 3.2.2, RFC 8725 section 3.1",
    attack: "A statement that is signed with `none`, or with the public key as an HMAC secret.",
    loosen: "[software_statements] with issuers = [{ name, jwks, algorithms }]",
    opens: "All claims that those issuers sign.",
    replayable: false,
};

impl SoftwareStatements {
    /// Creates the rule for statements of these issuers.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Zero`] if there are none.
    pub fn new(issuers: impl IntoIterator<Item = Issuer>) -> Result<Self, ConfigError> {
        Ok(Self {
            issuers: jwt::some_issuers(issuers.into_iter().collect(), ISSUERS)?,
            audiences: Vec::new(),
            max_age: None,
            required: false,
            claims: Vec::new(),
            single_use: false,
            used: Arc::default(),
            clock: clock::system(),
        })
    }

    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the same rule with the clock and the memory of `other`.
    pub(crate) fn remembering(mut self, other: &Self) -> Self {
        self.used = Arc::clone(&other.used);
        self.clock = Arc::clone(&other.clock);
        self
    }

    fn verify(&self, draft: &Draft<'_>, statement: &str) -> Result<Claims, Rejection> {
        let now = self.clock.unix_time();
        if statement.len() > MAX_BYTES {
            let detail = format!("has {} bytes, and at most {MAX_BYTES} are allowed", statement.len());
            return Err(draft.reject(ErrorCode::InvalidSoftwareStatement, detail).with_field(FIELD));
        }
        let trust = Trust { issuers: &self.issuers, audiences: &self.audiences, max_age: self.max_age };
        let claims = trust.verify(statement, now).map_err(|fault| {
            let (code, detail) = rejection(fault);
            draft.reject(code, detail).with_field(FIELD)
        })?;
        if draft.operation() == Operation::Create && !draft.is_shadow() {
            self.use_up(draft, &claims, now)?;
        }
        Ok(claims)
    }

    fn use_up(&self, draft: &Draft<'_>, claims: &Claims, now: Duration) -> Result<(), Rejection> {
        if !self.single_use {
            return Ok(());
        }
        let reject = |code, detail| draft.reject(code, detail).with_field(FIELD);
        let Some(id) = claims.token_id() else {
            return Err(reject(ErrorCode::InvalidSoftwareStatement, "has no jti"));
        };
        let mut used = lock(&self.used);
        if used.len() >= MAX_USED {
            used.retain(|_, end| *end > now);
        }
        match used.get(&id) {
            Some(end) if *end > now => {
                return Err(reject(ErrorCode::InvalidSoftwareStatement, "was used before"));
            }
            _ if used.len() >= MAX_USED => {
                let rejection = reject(ErrorCode::TemporarilyUnavailable, "can't be taken now");
                return Err(rejection.with_retry_after(Duration::from_secs(60)));
            }
            _ => {}
        }
        used.insert(id, claims.end());
        Ok(())
    }

    /// Returns `true` if a claim replaces a member of the registration.
    fn is_taken(&self, document: &Registration, name: &str, base: Option<Field>) -> bool {
        if ABOUT_THE_TOKEN.contains(&name) {
            return false;
        }
        match base {
            Some(field) => match field.acceptance() {
                Acceptance::Always
                | Acceptance::Openid
                | Acceptance::WithGrant(_)
                | Acceptance::WithMethod(_)
                | Acceptance::OptIn => true,
                Acceptance::Verified | Acceptance::Updates | Acceptance::Never => false,
            },
            None => document.contains(name) || self.claims.iter().any(|claim| claim == name),
        }
    }
}

fn rejection(fault: Fault) -> (ErrorCode, &'static str) {
    let invalid = |detail| (ErrorCode::InvalidSoftwareStatement, detail);
    match fault {
        Fault::UnknownIssuer => (ErrorCode::UnapprovedSoftwareStatement, "is by an issuer that is not approved here"),
        Fault::Malformed => invalid("is not a readable signed statement"),
        Fault::Signature => invalid("has no signature of its issuer"),
        Fault::Expired => invalid("is out of date"),
        Fault::NotYet => invalid("is not valid yet"),
        Fault::Audience => invalid("is for another server"),
    }
}

impl Rule for SoftwareStatements {
    documented!(DOCS);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let invalid = |draft: &Draft<'_>, detail: &'static str| {
            Err(draft.reject(ErrorCode::InvalidSoftwareStatement, detail).with_field(FIELD))
        };
        let raw = match draft.registration().at(Field::SOFTWARE_STATEMENT) {
            Some(Value::String(statement)) if !statement.is_empty() => statement.to_owned(),
            None if self.required => return invalid(draft, "is required"),
            None => return Ok(()),
            Some(_) => return invalid(draft, "must be a signed statement"),
        };
        let claims = self.verify(draft, &raw)?;
        for (position, claim) in claims.document.entries().enumerate() {
            let base = claim.kind().base();
            if self.is_taken(draft.registration(), claim.name(), base) {
                draft.assert_from(&claims.document, position);
            }
        }
        draft.discard(FIELD);
        let has_software_id = claims.document.string_at(Field::SOFTWARE_ID).is_some();
        draft.state(Statement { issuer: claims.issuer, raw, has_software_id });
        Ok(())
    }
}

const ISSUERS: &str = "the number of issuers of software statements";

fn some_issuers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Issuer>, D::Error> {
    jwt::some_issuers(Vec::deserialize(deserializer)?, ISSUERS).map_err(D::Error::custom)
}

crate::text::debug_fields!(SoftwareStatements { issuers, required, claims, single_use });
