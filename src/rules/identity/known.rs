//! Known products whose clients register with many servers: their names, schemes and domains.

/// The date on which the table was last compared with the requests of clients: the version of
/// [`Identities::known`](crate::rules::Identities::known).
pub(crate) const IDENTITIES_VERSION: &str = "2026-11-29";

/// The table of known products: a [`ReservedIdentity`](crate::rules::ReservedIdentity) on each line. The `https` callbacks that
/// prove the identity are in the table of vendor callbacks.
///
/// Names that are everyday words, or names of people, are listed only together with more words. Software that people
/// run on their own hosts is not listed. Hosts with a marketplace or with projects of others (`github.com`,
/// `hub.docker.com`, `apps.microsoft.com`) claim no identity. The domains include relays on which any customer can get a
/// callback (`azure-apim.net`, `botframework.com`, `oauth.pstmn.io`): a domain proves nothing.
///
/// Names in other scripts follow where another script is written, or another word for the product is usual: by sound, as the
/// maker or its users there write them. Sounds that are everyday words there (`カーソル`, `Курсор`: cursor) or another maker's
/// name (`グロック`: Glock) are left out.
pub(super) const TABLE: &str = include_str!("known.jsonl");
