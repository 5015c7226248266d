//! A list of tokens.

use std::fmt;
use std::sync::Arc;

use ctutils::{Choice, CtAssign, CtEq};

use super::{InitialAccess, InitialAccessTokens, TokenError, is_b64token};
use crate::clock::{Clock, SystemClock};
use crate::registration::Digest;
use crate::rules::ConfigError;

/// A list of initial access tokens. Only their SHA-256 is stored, and every one of them is compared with the sent
/// token, in constant time, so that timing discloses nothing.
///
/// ```
/// use std::num::NonZeroU64;
/// use tower_dcr::layers::{InitialAccess, StaticTokens};
///
/// let tokens = StaticTokens::new()
///     .add("Vq3s8nR1xW7tB0yKd5Lc", InitialAccess { rules: Some("partner".into()), ..InitialAccess::of("partner-portal") })?
///     .add_sha256(
///         "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
///         InitialAccess { max_uses: Some(NonZeroU64::MIN), ..InitialAccess::of("support") },
///     )?;
/// assert!(tokens.add("Vq3s8nR1xW7tB0yKd5Lc", InitialAccess::of("another-portal")).is_err());
/// # Ok::<_, tower_dcr::rules::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct StaticTokens {
    entries: Vec<Entry>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
struct Entry {
    digest: [u8; 32],
    access: InitialAccess,
}

/// The minimum length of a token, so that it can't be guessed: 16 random characters of base64 are 96 bits.
const LEAST_BYTES: usize = 16;

impl StaticTokens {
    /// Creates an empty list.
    pub fn new() -> Self {
        Self { entries: Vec::new(), clock: Arc::new(SystemClock::default()) }
    }

    /// Adds a token.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::InitialAccessToken`] if it is shorter than 16 bytes, has characters that no bearer token
    /// may have (RFC 6750 section 2.1), or is there already. The error names its owner, not the token.
    pub fn add(self, token: &str, access: InitialAccess) -> Result<Self, ConfigError> {
        let reject = |reason| Err(ConfigError::InitialAccessToken { owner: access.owner.clone(), reason });
        if token.len() < LEAST_BYTES {
            return reject("has less than 16 bytes");
        }
        if !is_b64token(token) {
            return reject("has characters that no bearer token may have");
        }
        self.push(Digest::of(token.as_bytes()), access)
    }

    /// Adds the token with this SHA-256, in 64 hexadecimal digits: configuration then holds no secret.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::InitialAccessToken`] if `digest` is not 64 such digits, or is there already.
    pub fn add_sha256(self, digest: &str, access: InitialAccess) -> Result<Self, ConfigError> {
        if let Some(digest) = Digest::parse(digest) {
            return self.push(digest, access);
        }
        Err(ConfigError::InitialAccessToken { owner: access.owner, reason: "is no SHA-256 in hexadecimal" })
    }

    fn push(mut self, digest: Digest, mut access: InitialAccess) -> Result<Self, ConfigError> {
        let bytes = *digest.as_bytes();
        if self.entries.iter().any(|entry| entry.digest == bytes) {
            return Err(ConfigError::InitialAccessToken { owner: access.owner, reason: "is there twice" });
        }
        access.token_id = format!("sha256:{digest}");
        self.entries.push(Entry { digest: bytes, access });
        Ok(self)
    }

    /// Replaces the clock, by which tokens expire.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the entry of the token, found without a branch on its value.
    fn find(&self, token: &str) -> Option<&Entry> {
        let given = *Digest::of(token.as_bytes()).as_bytes();
        let (mut found, mut place) = (Choice::FALSE, 0_u64);
        for (index, entry) in (0_u64..).zip(&self.entries) {
            let same = given.ct_eq(&entry.digest);
            place.ct_assign(&index, same);
            found |= same;
        }
        if bool::from(found) { self.entries.get(usize::try_from(place).ok()?) } else { None }
    }
}

impl Default for StaticTokens {
    fn default() -> Self {
        Self::new()
    }
}

impl InitialAccessTokens for StaticTokens {
    async fn verify(&self, token: &str) -> Result<InitialAccess, TokenError> {
        match self.find(token) {
            Some(entry) if !entry.access.is_over(self.clock.unix_time()) => Ok(entry.access.clone()),
            _ => Err(TokenError::Invalid),
        }
    }
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owners: Vec<&str> = self.entries.iter().map(|entry| entry.access.owner.as_str()).collect();
        f.debug_struct("StaticTokens").field("owners", &owners).finish_non_exhaustive()
    }
}
