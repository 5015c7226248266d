//! Software statements: signed claims of a third party about a client.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{ConfigError, Draft, Operation, Rule, RuleDocs, settings};
use crate::clock::{Clock, SystemClock};
use crate::period::Period;
use crate::registration::{Acceptance, Digest, Field, Registration, Value};
use crate::rules::Statement;
use crate::rules::jwt::{Claims, Fault, Issuer, Trust};
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
/// that [`with_claims`](Self::with_claims) lists. Members that only the server issues are never taken from a statement.
///
/// ```
/// use tower_dcr::rules::Issuer;
/// use tower_dcr::rules::SoftwareStatements;
/// # let keys = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
///
/// let directory = Issuer::new("https://directory.example.com", keys, ["ES256"])?;
/// let statements = SoftwareStatements::new([directory])?.with_audience("https://auth.example.com");
/// let guard = tower_dcr::mcp().with_software_statements(statements);
/// # let _ = guard;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "Written"))]
#[serde(try_from = "Written", into = "Written")]
#[must_use]
pub struct SoftwareStatements {
    trust: Trust,
    required: bool,
    claims: Vec<String>,
    /// The used statements, until they expire, by a digest of issuer and `jti`. Clones share it.
    used: Option<Arc<Mutex<HashMap<Digest, Duration>>>>,
    clock: Arc<dyn Clock>,
}

/// The rule as it is written in a file.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "SoftwareStatements"))]
#[serde(deny_unknown_fields)]
struct Written {
    /// The issuers of statements.
    issuers: Vec<Issuer>,
    /// The accepted values of `aud`, one of which is required. Without any, `aud` is not checked.
    #[serde(default)]
    audiences: Vec<String>,
    /// The maximum age of a statement, counted from its `iat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_age: Option<Period>,
    /// Requires a statement for every registration.
    #[serde(default)]
    required: bool,
    /// Claims that are used in addition to client metadata.
    #[serde(default)]
    claims: Vec<String>,
    /// Accepts each statement for one client only.
    #[serde(default)]
    single_use: bool,
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
        let issuers: Vec<Issuer> = issuers.into_iter().collect();
        if issuers.is_empty() {
            return Err(ConfigError::Zero { what: "the number of issuers of software statements" });
        }
        Ok(Self {
            trust: Trust { issuers, audiences: Vec::new(), max_age: None },
            required: false,
            claims: Vec::new(),
            used: None,
            clock: Arc::new(SystemClock::new()),
        })
    }

    /// Requires this value in `aud`. Called again, it adds an alternative.
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.trust.audiences.push(audience.into());
        self
    }

    /// Sets the maximum age of a statement, counted from its `iat`, regardless of its `exp`: the time in which a stolen
    /// one can be used.
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.trust.max_age = Some(age);
        self
    }

    /// Accepts each statement once. It then needs a `jti`, which this process remembers until the statement expires.
    /// Updates may repeat it. In RFC 7591 section 2.3 all instances of an application share one statement: this is for
    /// issuers that sign one for each.
    pub fn single_use(mut self) -> Self {
        self.used = Some(Arc::default());
        self
    }

    /// Rejects registrations without a statement.
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Also uses these claims, for members of the server's own
    /// ([`Members::add_member`](crate::rules::Members::add_member)).
    pub fn with_claims<S: Into<String>>(mut self, claims: impl IntoIterator<Item = S>) -> Self {
        self.claims.extend(claims.into_iter().map(Into::into));
        self
    }

    /// Replaces the clock.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the same rule with the clock of `other`, and with its memory if both have one.
    pub(crate) fn remembering(mut self, other: &Self) -> Self {
        if let (Some(used), Some(before)) = (&mut self.used, &other.used) {
            *used = Arc::clone(before);
        }
        self.clock = Arc::clone(&other.clock);
        self
    }

    fn verify(&self, draft: &Draft<'_>, statement: &str) -> Result<Claims, Rejection> {
        let now = self.clock.unix_time();
        let too_long = statement.len() > MAX_BYTES;
        let claims = if too_long { Err(Fault::Malformed) } else { self.trust.verify(statement, now) };
        let claims = claims.map_err(|fault| {
            let (code, detail) = refusal(fault);
            draft.reject(code, detail).with_field(FIELD)
        })?;
        if draft.operation() == Operation::Create && !draft.is_shadow() {
            self.use_up(draft, &claims, now)?;
        }
        Ok(claims)
    }

    fn use_up(&self, draft: &Draft<'_>, claims: &Claims, now: Duration) -> Result<(), Rejection> {
        let Some(used) = &self.used else { return Ok(()) };
        let refuse = |code, detail| draft.reject(code, detail).with_field(FIELD);
        let Some(id) = claims.token_id() else {
            return Err(refuse(ErrorCode::InvalidSoftwareStatement, "has no jti"));
        };
        let mut used = lock(used);
        if used.len() >= MAX_USED {
            used.retain(|_, end| *end > now);
        }
        match used.get(&id) {
            Some(end) if *end > now => {
                return Err(refuse(ErrorCode::InvalidSoftwareStatement, "was used before"));
            }
            _ if used.len() >= MAX_USED => {
                let rejection = refuse(ErrorCode::TemporarilyUnavailable, "can't be taken now");
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
                Acceptance::Always | Acceptance::Openid | Acceptance::OptIn => true,
                Acceptance::Verified | Acceptance::Updates | Acceptance::Never => false,
            },
            None => document.contains(name) || self.claims.iter().any(|claim| claim == name),
        }
    }
}

fn refusal(fault: Fault) -> (ErrorCode, &'static str) {
    let invalid = |detail| (ErrorCode::InvalidSoftwareStatement, detail);
    match fault {
        Fault::UnknownIssuer => (ErrorCode::UnapprovedSoftwareStatement, "is by an issuer that is not approved here"),
        Fault::Malformed => invalid("is no signed statement that can be read"),
        Fault::Signature => invalid("has no signature of its issuer"),
        Fault::Expired => invalid("is out of date"),
        Fault::NotYet => invalid("is not valid yet"),
        Fault::Audience => invalid("is for another server"),
    }
}

impl Rule for SoftwareStatements {
    fn id(&self) -> &'static str {
        DOCS.id
    }

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
        draft.state(Statement { issuer: claims.issuer, raw });
        Ok(())
    }

    fn config(&self) -> Json {
        settings(self)
    }

    fn docs(&self) -> Option<&'static RuleDocs> {
        Some(&DOCS)
    }
}

impl TryFrom<Written> for SoftwareStatements {
    type Error = ConfigError;

    fn try_from(written: Written) -> Result<Self, ConfigError> {
        let Written { issuers, audiences, max_age, required, claims, single_use } = written;
        let mut statements = Self { required, claims, ..Self::new(issuers)? };
        (statements.trust.audiences, statements.trust.max_age) = (audiences, max_age.map(|age| age.0));
        Ok(if single_use { statements.single_use() } else { statements })
    }
}

impl From<SoftwareStatements> for Written {
    fn from(statements: SoftwareStatements) -> Self {
        let SoftwareStatements { trust, required, claims, used, .. } = statements;
        let Trust { issuers, audiences, max_age } = trust;
        Self { issuers, audiences, max_age: max_age.map(Period), required, claims, single_use: used.is_some() }
    }
}

impl fmt::Debug for SoftwareStatements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftwareStatements")
            .field("trust", &self.trust)
            .field("required", &self.required)
            .field("claims", &self.claims)
            .field("single_use", &self.used.is_some())
            .finish_non_exhaustive()
    }
}
