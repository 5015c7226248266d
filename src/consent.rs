//! [`ConsentFacts`]: what a consent page should show a person before an application gets access.
//!
//! The name is the application's own word. Where the code goes is a fact, and so is since when this server knows the
//! application. MCP's specification wants the host of the redirect URI on the page, and a warning for one that leads to the
//! person's own machine; RFC 7591 section 5 wants people warned of clients that were registered only just now.
//!
//! ```
//! use tower_dcr::Registration;
//! use tower_dcr::consent::{ConsentFacts, Destination};
//! use tower_dcr::policy::Identities;
//!
//! let client = Registration::parse(br#"{"client_name":"Claude Code (work)","redirect_uris":["http://localhost/callback"]}"#)?;
//! let facts = ConsentFacts::new(&client, "http://localhost:3118/callback", &Identities::known());
//! assert_eq!(facts.client_name(), Some("Claude Code (work)"));
//! assert_eq!(facts.destination(), &Destination::Loopback);
//! assert_eq!((facts.owner(), facts.identity().claimed()), (None, Some("Claude")));
//! # Ok::<_, tower_dcr::registration::ParseError>(())
//! ```

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::ledger::Client;
use crate::name;
use crate::policy::{Identities, Identity};
use crate::redirect_uri::{RedirectClass, RedirectUri, matches};
use crate::registration::{Limits, Registration};

/// What is known of a client that asks for access. See the [module docs](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentFacts {
    client_name: Option<String>,
    identity: Identity,
    destination: Destination,
    first_seen: Option<SystemTime>,
    last_used: Option<SystemTime>,
    reviewed: bool,
}

/// Where the code goes.
///
/// ```
/// use tower_dcr::consent::Destination;
///
/// assert_eq!(Destination::Host("claude.ai".into()).to_string(), "claude.ai");
/// assert_eq!(Destination::Loopback.to_string(), "a program on this computer");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destination {
    /// To a server, by its name as DNS has it (an internationalised one begins with `xn--`).
    Host(String),
    /// To a program on the person's own computer: whichever listens there.
    Loopback,
    /// To the application that opens links with this scheme on the person's device.
    Application(String),
    /// The client did not register this redirect URI, or nobody can say where it leads. There must be no consent.
    Unregistered,
}

impl ConsentFacts {
    /// Of a client that was registered as `registration`, and now asks to be answered at `redirect_uri`.
    #[must_use]
    pub fn new(registration: &Registration, redirect_uri: &str, identities: &Identities) -> Self {
        Self::with_identity(registration, redirect_uri, identities.identify(registration))
    }

    /// Of a client in a ledger, by the verdict that was written down when it registered.
    #[must_use]
    pub fn of_client(client: &Client, redirect_uri: &str) -> Self {
        let identity = client.identity.clone().unwrap_or_default();
        let facts = match Registration::parse_with(client.registration.as_bytes(), &Limits::GENEROUS) {
            Ok(registration) => Self::with_identity(&registration, redirect_uri, identity),
            Err(_) => Self::unknown(),
        };
        let time = |milliseconds: i64| {
            let since = Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default());
            SystemTime::UNIX_EPOCH.checked_add(since)
        };
        Self {
            first_seen: time(client.created_at),
            last_used: client.proven_at.and_then(time),
            reviewed: client.reviewed_at.is_some(),
            ..facts
        }
    }

    /// Of the records of one `client_id`: of the one that registered the redirect URI. If several did, of one that no
    /// operator reviewed, and of those the newest. `None` if there is no record.
    pub(crate) fn of_records(records: &[Client], redirect_uri: &str) -> Option<Self> {
        let registered =
            records.iter().filter(|client| client.status.is_live() && client.has_redirect_uri(redirect_uri));
        let least_known = registered.max_by_key(|client| (client.reviewed_at.is_none(), client.key));
        least_known.or_else(|| records.first()).map(|client| Self::of_client(client, redirect_uri))
    }

    fn with_identity(registration: &Registration, redirect_uri: &str, identity: Identity) -> Self {
        let is_registered = registration.redirect_uris().any(|known| matches(known, redirect_uri));
        let destination = if is_registered { Destination::of(redirect_uri) } else { Destination::Unregistered };
        let client_name = registration.string("client_name").filter(|name| !name.trim().is_empty());
        Self {
            client_name: client_name.map(|name| name::visible(name).into_owned()),
            identity,
            destination,
            ..Self::unknown()
        }
    }

    /// Of a client of which nothing is known.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            client_name: None,
            identity: Identity::default(),
            destination: Destination::Unregistered,
            first_seen: None,
            last_used: None,
            reviewed: false,
        }
    }

    /// What the client calls itself, with what is not seen spelled out ([`name::visible`]). It has to be escaped for HTML.
    #[must_use]
    pub fn client_name(&self) -> Option<&str> {
        self.client_name.as_deref()
    }

    /// Who it claims to be, and what all of its redirect URIs say to that.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whose all of its redirect URIs are, by the table of reserved identities; nothing is proven without. Also nothing if
    /// this redirect URI is none of its own.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.identity.owner().filter(|_| self.destination != Destination::Unregistered)
    }

    /// Where the code goes.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// When it registered here, if a ledger was asked.
    #[must_use]
    pub fn first_seen(&self) -> Option<SystemTime> {
        self.first_seen
    }

    /// When it last got a token, to within half the time after which it would expire. Nothing if it never has: whoever
    /// consents is the first.
    #[must_use]
    pub fn last_used(&self) -> Option<SystemTime> {
        self.last_used
    }

    /// Whether an operator has approved it or prolonged its life.
    #[must_use]
    pub fn is_reviewed(&self) -> bool {
        self.reviewed
    }
}

impl Destination {
    fn of(redirect_uri: &str) -> Self {
        let Ok(uri) = RedirectUri::parse(redirect_uri) else { return Self::Unregistered };
        match (uri.class(), uri.host()) {
            (RedirectClass::Loopback, _) => Self::Loopback,
            (RedirectClass::PrivateUse, _) => Self::Application(uri.scheme().to_owned()),
            (RedirectClass::Https | RedirectClass::PlainHttp, Some(host)) => Self::Host(host.to_owned()),
            (RedirectClass::Https | RedirectClass::PlainHttp, None) => Self::Unregistered,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => f.write_str(host),
            Self::Loopback => f.write_str("a program on this computer"),
            Self::Application(scheme) => write!(f, "the application that opens {scheme}: links"),
            Self::Unregistered => f.write_str("an address that the application did not register"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Fingerprints, Status};

    fn parse(json: &str) -> Registration {
        Registration::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn where_the_code_goes_is_a_fact() {
        let client = parse(
            r#"{"client_name":"Cl\u202eaude","redirect_uris":["https://a.example.com/cb","http://127.0.0.1/cb","com.example.a:/cb"]}"#,
        );
        let destination = |uri| ConsentFacts::new(&client, uri, &Identities::known()).destination;
        assert_eq!(destination("https://a.example.com/cb"), Destination::Host("a.example.com".into()));
        assert_eq!(destination("http://127.0.0.1:9/cb"), Destination::Loopback);
        assert_eq!(destination("com.example.a:/cb"), Destination::Application("com.example.a".into()));
        for other in ["https://a.example.com/other", "https://b.example.com/cb", "http://localhost/cb", "javascript:x"]
        {
            assert_eq!(destination(other), Destination::Unregistered, "{other}");
        }
        let facts = ConsentFacts::new(&client, "com.example.a:/cb", &Identities::known());
        assert_eq!(facts.client_name(), Some("Cl⟨U+202E⟩aude"));
    }

    #[test]
    fn a_record_has_more_to_say() {
        let json = r#"{"client_name":"Claude","redirect_uris":["https://claude.ai/cb"]}"#;
        let mut client = Client::draft(json, Fingerprints::of(&parse(json), false), 1_767_225_600_000);
        client.identity = Some(Identities::known().identify(&parse(json)));
        client.status = Status::Active;
        let facts = ConsentFacts::of_client(&client, "https://claude.ai/cb");
        assert_eq!((facts.owner(), facts.last_used(), facts.is_reviewed()), (Some("Claude"), None, false));
        assert_eq!(facts.first_seen(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)));
        assert_eq!(ConsentFacts::of_client(&client, "https://evil.example.com/cb").owner(), None);
        client.registration = "not JSON".into();
        assert_eq!(ConsentFacts::of_client(&client, "https://claude.ai/cb").destination(), &Destination::Unregistered);
    }
}
