//! What somebody else says about a client, signed.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::members::is_server_issued;
use super::review::Statement;
use super::{ConfigError, Operation, Policy, Submission, describe_as_json};
use crate::clock::{Clock, SystemClock};
use crate::jwt::{Claims, Fault, Issuer, Trust};
use crate::period::Period;
use crate::registration::{Digest, Field, Registration, Value};
use crate::rejection::{ErrorCode, Rejection};
use crate::sync::lock;

/// Verifies a `software_statement` (RFC 7591 section 2.3), and puts its claims into the registration.
///
/// It runs before every other rule, so that what is judged and forwarded is what the statement says: "the values conveyed in
/// the software statement MUST take precedence over those conveyed using plain JSON elements". The statement itself is not
/// forwarded. A handler that read it once more would find in it what the rules have taken out; the answer has it again, as
/// section 3.2.1 wants ([`AnswerLayer`](crate::AnswerLayer)).
///
/// A statement counts if an issuer of the list has signed it with a pinned algorithm (never `none`, never a shared secret),
/// its `exp` is there and not over, and what else is configured holds. Another issuer's is answered with
/// `unapproved_software_statement`, anything else with `invalid_software_statement`. Without this rule every statement is
/// refused.
///
/// Claims that are client metadata replace members of the same name, their language-tagged variants included, and `jwks`
/// replaces `jwks_uri` and the other way round. Other claims replace only what the client sent under the same name, or what
/// [`with_claims`](Self::with_claims) lists. What only the server issues is never taken from a statement.
///
/// ```
/// use tower_dcr::jwt::Issuer;
/// use tower_dcr::policy::SoftwareStatements;
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
    /// Those that were used, until they expire, by a digest of issuer and `jti`. Clones share it.
    used: Option<Arc<Mutex<HashMap<Digest, Duration>>>>,
    clock: Arc<dyn Clock>,
}

/// The rule as it is written.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "SoftwareStatements"))]
#[serde(deny_unknown_fields)]
struct Written {
    /// Who signs them.
    issuers: Vec<Issuer>,
    /// What has to be among the values of `aud`, any of these; without, it is not looked at.
    #[serde(default)]
    audiences: Vec<String>,
    /// How long after its `iat` a statement counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_age: Option<Period>,
    /// Whether nobody registers without.
    #[serde(default)]
    required: bool,
    /// Claims besides client metadata that are taken over.
    #[serde(default)]
    claims: Vec<String>,
    /// Whether each statement admits one client.
    #[serde(default)]
    single_use: bool,
}

const RULE: &str = "software-statement";
const FIELD: &str = "software_statement";

/// RFC 7519 section 4.1: about the statement, not about the client.
const ABOUT_THE_TOKEN: [&str; 7] = ["aud", "exp", "iat", "iss", "jti", "nbf", "sub"];

/// The longest statement that is read. Those of Open Banking directories have some 4 KiB.
const MAX_BYTES: usize = 12 * 1024;

/// How many used statements are remembered; after that the next one has to wait until one expires.
const MAX_USED: usize = 65_536;

impl SoftwareStatements {
    /// Statements of these issuers.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Zero`] for none.
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

    /// Wants this among the values of `aud`; called again, one more that will do.
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.trust.audiences.push(audience.into());
        self
    }

    /// How long after its `iat` a statement counts, whatever its `exp` says: the time in which one that was stolen can be
    /// used.
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.trust.max_age = Some(age);
        self
    }

    /// Takes each statement once. It then has to have a `jti`, which this process remembers until the statement expires;
    /// updates may repeat it. RFC 7591 section 2.3 has one statement for all instances of an application: this is for
    /// issuers that sign one for each.
    pub fn single_use(mut self) -> Self {
        self.used = Some(Arc::default());
        self
    }

    /// Refuses registrations without a statement.
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Takes these claims over as well, for members of the server's own
    /// ([`Members::add_member`](super::Members::add_member)).
    pub fn with_claims<S: Into<String>>(mut self, claims: impl IntoIterator<Item = S>) -> Self {
        self.claims.extend(claims.into_iter().map(Into::into));
        self
    }

    /// Replaces the clock.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The same with the memory and the clock of `other`, as far as there are both.
    pub(crate) fn remembering(mut self, other: &Self) -> Self {
        if let (Some(used), Some(before)) = (&mut self.used, &other.used) {
            *used = Arc::clone(before);
        }
        self.clock = Arc::clone(&other.clock);
        self
    }

    fn verify(&self, submission: &Submission<'_>, statement: &str) -> Result<Claims, Rejection> {
        let now = self.clock.unix_time();
        let too_long = statement.len() > MAX_BYTES;
        let claims = if too_long { Err(Fault::Malformed) } else { self.trust.verify(statement, now) };
        let claims = claims.map_err(|fault| {
            let (code, detail) = refusal(fault);
            submission.reject(code, detail).with_field(FIELD)
        })?;
        if submission.operation() == Operation::Create {
            self.use_up(submission, &claims, now)?;
        }
        Ok(claims)
    }

    fn use_up(&self, submission: &Submission<'_>, claims: &Claims, now: Duration) -> Result<(), Rejection> {
        let Some(used) = &self.used else { return Ok(()) };
        let refuse = |code, detail| submission.reject(code, detail).with_field(FIELD);
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

    /// Whether a claim goes into the registration.
    fn is_taken(&self, document: &Registration, name: &str, base: Option<Field>) -> bool {
        if ABOUT_THE_TOKEN.contains(&name) {
            return false;
        }
        match base {
            Some(Field::SOFTWARE_STATEMENT) => false,
            Some(field) => !is_server_issued(field),
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

impl Policy for SoftwareStatements {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin(RULE);
        let invalid = |submission: &Submission<'_>, detail: &'static str| {
            Err(submission.reject(ErrorCode::InvalidSoftwareStatement, detail).with_field(FIELD))
        };
        let raw = match submission.registration().at(Field::SOFTWARE_STATEMENT) {
            Some(Value::String(statement)) if !statement.is_empty() => statement.to_owned(),
            None if self.required => return invalid(submission, "is required"),
            None => return Ok(()),
            Some(_) => return invalid(submission, "must be a signed statement"),
        };
        let claims = self.verify(submission, &raw)?;
        for (position, claim) in claims.document.entries().enumerate() {
            let base = claim.kind().base();
            if self.is_taken(submission.registration(), claim.name(), base) {
                submission.assert_from(&claims.document, position);
            }
        }
        submission.discard(FIELD);
        submission.state(Statement { issuer: claims.issuer, raw });
        Ok(())
    }

    fn describe(&self, out: &mut String) {
        describe_as_json(self, out);
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
