//! [`ConsentFacts`]: facts about a client for a consent page.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::clients::ledger::Client;
use crate::redirect_uri::{RedirectClass, RedirectUri, matches};
use crate::registration::{Limits, Registration};
use crate::rules::identity::name;
use crate::rules::{Identities, Identity};

/// Facts about a client, for a consent page to show before an application gets access.
///
/// The name is chosen by the application, even if a vendor [gets the codes](Self::owner). The destination of the
/// code is a fact, and so is the time since which this server knows the application. The specification of MCP wants the host of the redirect URI on the page, and a warning for one that leads to the
/// person's own machine; RFC 7591 section 5 wants people warned of clients that were registered only just now.
///
/// The client of a metadata document has a publisher: [`document_host`](Self::document_host) belongs first on the page, then the
/// destination. The publisher of a document with a loopback redirect has proven that it wrote the document, and nothing about
/// the program that listens there: [`warning`](Self::warning) says so.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::clients::{ConsentFacts, Destination};
/// use tower_dcr::rules::Identities;
///
/// let client = Registration::parse(br#"{"client_name":"Claude Code (work)","redirect_uris":["http://localhost/callback"]}"#)?;
/// let facts = ConsentFacts::new(&client, "http://localhost:3118/callback", &Identities::known());
/// assert_eq!(facts.client_name.as_deref(), Some("Claude Code (work)"));
/// assert_eq!(facts.destination, Destination::Loopback);
/// assert_eq!((facts.owner, facts.identity.claimed.as_deref()), (None, Some("Claude")));
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsentFacts {
    /// The name that the client chose, with invisible characters spelled out ([`visible`](crate::rules::visible)). Escape it
    /// for HTML. `None` if it has none.
    pub client_name: Option<String>,
    /// The host that publishes its metadata document, whose URL is its `client_id`; `None` if it has none.
    pub document_host: Option<String>,
    /// The identity that it claims, checked against all of its redirect URIs.
    pub identity: Identity,
    /// The reserved identity that alone gets the code: every redirect URI is an `https` callback of the vendor, and the code
    /// goes to one of them. `None` for every other destination, including the product's own scheme, which any program can
    /// claim. The client's name can be another one: a page should say that the client chose it.
    pub owner: Option<String>,
    /// The destination of the code.
    pub destination: Destination,
    /// A description of a destination that is known to hand codes on, as the second half of a sentence: a page that passes
    /// them to an editor, a scheme whose links extensions get. `None` for every other destination, which may hand them on all
    /// the same.
    pub relay: Option<&'static str>,
    /// The time of its registration here; `None` without a ledger.
    pub first_seen: Option<SystemTime>,
    /// The time of its last token, to within half an idle limit. `None` if it never got one: this consent would be the first.
    pub last_used: Option<SystemTime>,
    /// `true` if an operator approved or extended it.
    pub reviewed: bool,
    /// The issuer that vouches for it: of the software statement whose claims are in the registration. RFC 7591 section 5:
    /// everything else is self-asserted, and a statement may leave the name out. `None` without a ledger or a statement.
    pub statement_issuer: Option<String>,
}

/// The destination of an authorization code.
///
/// ```
/// use tower_dcr::clients::Destination;
///
/// assert_eq!(Destination::Host("claude.ai".into()).to_string(), "claude.ai");
/// assert_eq!(Destination::Loopback.to_string(), "a program on this computer");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destination {
    /// A server, by its DNS name (an internationalised one begins with `xn--`).
    Host(String),
    /// A program on the person's own computer: any that listens there.
    Loopback,
    /// The program that opens links with this scheme on the person's device. Any program can claim a scheme: the operating
    /// system does not check its owner (RFC 8252 section 8.6).
    Application(String),
    /// An unknown place: the client did not register this redirect URI, or it has no host. The page must not offer consent.
    #[default]
    Unregistered,
}

impl ConsentFacts {
    /// Returns the facts about a client that was registered as `registration`, and now asks for a code at `redirect_uri`.
    #[must_use]
    pub fn new(registration: &Registration, redirect_uri: &str, identities: &Identities) -> Self {
        Self::with_identity(registration, redirect_uri, identities.identify(registration), identities)
    }

    /// Returns the facts about a client in a ledger, with the identity that was recorded when it registered. Knows the
    /// [relays](Self::relay) of [`Identities::known`].
    #[must_use]
    pub fn of_client(client: &Client, redirect_uri: &str) -> Self {
        let identity = client.identity.clone().unwrap_or_default();
        let facts = match Registration::parse_with(client.registration.as_bytes(), &Limits::GENEROUS) {
            Ok(registration) => Self::with_identity(&registration, redirect_uri, identity, &Identities::known()),
            Err(_) => Self::default(),
        };
        let time = |milliseconds: i64| {
            let since = Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default());
            SystemTime::UNIX_EPOCH.checked_add(since)
        };
        Self {
            first_seen: time(client.created_at),
            last_used: client.last_used_at.and_then(time),
            document_host: client.document_host().map(str::to_owned),
            reviewed: client.reviewed_at.is_some(),
            statement_issuer: client.statement_issuer.clone(),
            ..facts
        }
    }

    /// Returns a warning for a code that goes to a program on the person's device: no one checks which program that is. `None`
    /// for a code that goes to a host.
    ///
    /// ```
    /// use tower_dcr::clients::{Client, ConsentFacts, Fingerprints, Origin, Status};
    ///
    /// let mut client = Client::draft(r#"{"redirect_uris":["http://localhost/callback"]}"#, Fingerprints::default(), 0);
    /// client.origin = Origin::Document;
    /// client.client_id = Some("https://claude.ai/oauth/claude-code-client-metadata".into());
    /// let facts = ConsentFacts::of_client(&client, "http://localhost:3118/callback");
    /// assert_eq!(facts.document_host.as_deref(), Some("claude.ai"));
    /// assert!(facts.warning().unwrap().starts_with("claude.ai has published the description of this application"));
    /// ```
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let program = match &self.destination {
            Destination::Loopback => "the program on this computer that receives the answer".to_owned(),
            Destination::Application(scheme) => format!("the program that opens {scheme}: links on this device"),
            Destination::Host(_) | Destination::Unregistered => return None,
        };
        Some(match &self.document_host {
            Some(host) => format!(
                "{host} has published the description of this application; that {program} is that application is not proven"
            ),
            None => format!("that {program} is the application that it says is not proven"),
        })
    }

    /// Returns the facts about the record of a `client_id` that registered the redirect URI. If several did, one that no
    /// operator reviewed comes first, and of those the newest. `None` if there is no record.
    pub(crate) fn of_records(records: &[Client], redirect_uri: &str) -> Option<Self> {
        let registered =
            records.iter().filter(|client| client.status.is_live() && client.has_redirect_uri(redirect_uri));
        let least_known = registered.max_by_key(|client| (client.reviewed_at.is_none(), client.key));
        least_known.or_else(|| records.first()).map(|client| Self::of_client(client, redirect_uri))
    }

    fn with_identity(
        registration: &Registration,
        redirect_uri: &str,
        identity: Identity,
        identities: &Identities,
    ) -> Self {
        let is_registered = registration.redirect_uris().any(|known| matches(known, redirect_uri));
        let uri = RedirectUri::parse_with_address(redirect_uri).ok().filter(|_| is_registered);
        let destination = uri.as_ref().map_or(Destination::Unregistered, Destination::of);
        let client_name = registration.string("client_name").filter(|name| !name.trim().is_empty());
        Self {
            client_name: client_name.map(|name| name::visible(name).into_owned()),
            owner: identity.owner().filter(|_| matches!(destination, Destination::Host(_))).map(str::to_owned),
            identity,
            destination,
            relay: uri.as_ref().and_then(|uri| identities.relay(uri)),
            ..Self::default()
        }
    }
}

impl Destination {
    fn of(uri: &RedirectUri<'_>) -> Self {
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
            Self::Application(scheme) => write!(f, "the program that opens {scheme}: links on this device"),
            Self::Unregistered => f.write_str("an address that the application did not register"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::ledger::{Fingerprints, Origin, Status};

    fn parse(json: &str) -> Registration {
        Registration::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn facts_name_the_destination_of_the_code() {
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
        assert_eq!(facts.client_name.as_deref(), Some("Cl⟨U+202E⟩aude"));
    }

    #[test]
    fn facts_name_relays() {
        let mut acme = crate::rules::ReservedIdentity::new("Acme Editor");
        acme.relayed_schemes.insert("acme-editor".into());
        let own = Identities::new("1").reserve(acme).unwrap();
        let rows = [
            ("https://vscode.dev/redirect", Some("extension")),
            ("https://mcp.docker.com/oauth/callback?from=a", Some("port")),
            ("https://global.consent.azure-apim.net/redirect/acme", Some("Power Platform")),
            ("https://mcp.docker.com/oauth/callback", Some("port")),
            ("vscode://vscode.github-authentication/did-authenticate", Some("extension")),
            ("acme-editor://auth", Some("extension")),
            ("https://vscode.dev/other", None),
            ("https://claude.ai/api/mcp/auth_callback", None),
            ("com.example.app:/cb", None),
            ("http://127.0.0.1/cb", None),
        ];
        for (uri, relay) in rows {
            let json = serde_json::json!({ "redirect_uris": [uri] }).to_string();
            let client = parse(&json);
            let facts = ConsentFacts::new(&client, uri, &own);
            assert_eq!(facts.relay.is_some(), relay.is_some(), "{uri}");
            assert!(relay.is_none_or(|part| facts.relay.unwrap().contains(part)), "{uri}: {facts:?}");
            assert_eq!(ConsentFacts::new(&client, "https://other.example.com/cb", &own).relay, None, "not registered");
            let record = Client::draft(json, Fingerprints::of(&client, false), 0);
            let is_known = relay.is_some() && !uri.starts_with("acme");
            assert_eq!(ConsentFacts::of_client(&record, uri).relay.is_some(), is_known, "{uri}");
        }
    }

    #[test]
    fn facts_of_a_document_name_its_publisher() {
        let json = r#"{"client_name":"Claude Code","redirect_uris":["http://localhost/cb","https://claude.ai/cb","claude://cb"]}"#;
        let mut client = Client::draft(json, Fingerprints::of(&parse(json), false), 0);
        client.status = Status::Active;
        let rows = [
            ("http://localhost:1/cb", Some("the program on this computer that receives the answer")),
            ("claude://cb", Some("the program that opens claude: links on this device")),
            ("https://claude.ai/cb", None),
            ("https://evil.example.com/cb", None),
        ];
        for (origin, host) in [(Origin::Registered, None), (Origin::Document, Some("claude.ai"))] {
            client.origin = origin;
            client.client_id = Some("https://claude.ai/oauth/client.json".into());
            for (uri, program) in rows {
                let facts = ConsentFacts::of_client(&client, uri);
                assert_eq!(facts.document_host.as_deref(), host, "{uri}");
                let warning = facts.warning();
                assert_eq!(warning.is_some(), program.is_some(), "{uri}");
                let says = |part: &str| warning.as_ref().is_none_or(|warning| warning.contains(part));
                assert!(
                    says(program.unwrap_or_default()) && says(host.unwrap_or_default()) && says("not proven"),
                    "{warning:?}"
                );
            }
        }
    }

    #[test]
    fn facts_of_a_record_have_age_and_last_use() {
        let json = r#"{"client_name":"Claude","redirect_uris":["https://claude.ai/api/mcp/auth_callback"]}"#;
        let mut client = Client::draft(json, Fingerprints::of(&parse(json), false), 1_767_225_600_000);
        client.identity = Some(Identities::known().identify(&parse(json)));
        client.status = Status::Active;
        let facts = ConsentFacts::of_client(&client, "https://claude.ai/api/mcp/auth_callback");
        assert_eq!((facts.owner.as_deref(), facts.last_used, facts.reviewed), (Some("Claude"), None, false));
        assert_eq!(facts.statement_issuer, None);
        client.statement_issuer = Some("https://directory.example.com".into());
        let vouched = ConsentFacts::of_client(&client, "https://claude.ai/api/mcp/auth_callback");
        assert_eq!(vouched.statement_issuer.as_deref(), Some("https://directory.example.com"));
        assert_eq!(facts.first_seen, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)));
        assert_eq!(ConsentFacts::of_client(&client, "https://evil.example.com/cb").owner, None);
        // A record from a version that took schemes for proof.
        let by_scheme = r#"{"standing":"verified","claimed":"Cursor","claim":"name","proof":["cursor:"]}"#;
        client.registration = r#"{"client_name":"Cursor","redirect_uris":["cursor://anysphere.cursor-mcp/cb"]}"#.into();
        client.identity = serde_json::from_str(by_scheme).ok();
        assert_eq!(ConsentFacts::of_client(&client, "cursor://anysphere.cursor-mcp/cb").owner, None);
        client.registration = "not JSON".into();
        assert_eq!(
            ConsentFacts::of_client(&client, "https://claude.ai/api/mcp/auth_callback").destination,
            Destination::Unregistered
        );
    }
}
