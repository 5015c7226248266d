//! Lints of the section `[documents]`.

use std::time::Duration;

use serde_json::Value as Json;

use super::{Linter, blocked};
use crate::documents::{Admission, ClientIdUrl, DocumentSettings, UrlPattern, host_of_issuer};
use crate::policy_file::key::{Key, Setting};
use crate::rate_limit::RateLimit;
use crate::redirect_uri::{is_canonical_dns_name, is_within_domain, public_suffix};

/// Services that publish what their users upload, or that send back what a request asks for, beside those in the private part of
/// the Public Suffix List.
const HOSTS_OF_USERS: [&str; 54] = [
    "amazonaws.com",
    "api.github.com",
    "archive.org",
    "arweave.net",
    "backblazeb2.com",
    "bitbucket.org",
    "cdn.skypack.dev",
    "codeberg.org",
    "codesandbox.io",
    "core.windows.net",
    "csb.app",
    "digitaloceanspaces.com",
    "discordapp.com",
    "discordapp.net",
    "docs.google.com",
    "dpaste.com",
    "drive.google.com",
    "dropbox.com",
    "dropboxusercontent.com",
    "dweb.link",
    "esm.sh",
    "gist.github.com",
    "gitee.com",
    "githack.com",
    "github.com",
    "githubusercontent.com",
    "gitlab.com",
    "googleapis.com",
    "googleusercontent.com",
    "hastebin.com",
    "hf.co",
    "httpbin.org",
    "huggingface.co",
    "ipfs.io",
    "jsdelivr.net",
    "jsonbin.io",
    "linodeobjects.com",
    "npmjs.org",
    "npoint.io",
    "onedrive.live.com",
    "pastebin.com",
    "postman-echo.com",
    "r2.cloudflarestorage.com",
    "r2.dev",
    "replit.com",
    "sharepoint.com",
    "sites.google.com",
    "sourceforge.net",
    "statically.io",
    "supabase.co",
    "translate.goog",
    "unpkg.com",
    "wasabisys.com",
    "webhook.site",
];

impl Linter {
    /// Checks for documents that strangers can publish, and for settings without an effect.
    pub(super) fn documents(&mut self) {
        let Ok(settings) = serde_json::from_value::<DocumentSettings>(self.at(Setting::Documents).clone()) else {
            return;
        };
        for (index, pattern) in settings.allow.iter().enumerate() {
            self.document_pattern(Key::from(Setting::DocumentsAllow).element(index), pattern, &settings);
        }
        self.admission(&settings);
        self.own_hosts(&settings);
        self.issuer(&settings);
        self.no_way_in(&settings);
        self.ages(&settings);
        for message in settings.ports.iter().filter_map(|port| blocked(u64::from(*port))) {
            self.error(Setting::DocumentsPorts, message, "take it out: no client can be meant by it");
        }
        for (key, limit, message) in [
            (Setting::DocumentsFetches, settings.fetches, "nothing limits what strangers make this server fetch"),
            (
                Setting::DocumentsFetchesBySite,
                settings.fetches_by_site,
                "strangers can aim the requests of this server at one site",
            ),
        ] {
            if limit == RateLimit::Off {
                self.warn(key, message, "take it out, to get the default");
            }
        }
    }

    fn document_pattern(&mut self, key: Key, pattern: &UrlPattern, settings: &DocumentSettings) {
        let (example, text) = (pattern.example(), pattern.to_string());
        let host = example.host();
        if let Err(error) = ClientIdUrl::parse_with(example.as_str(), &settings.url_options()) {
            let message = format!("no effect: {error}");
            let suggestion = "documents.query and documents.ports accept more URLs; or take it out";
            return self.note(true, key, Some(&text), message, suggestion);
        }
        if settings.own_hosts.iter().any(|own| own.eq_ignore_ascii_case(host)) {
            let message = format!("no effect: {host} is one of documents.own_hosts");
            return self.note(true, key, Some(&text), message, "take it out");
        }
        if pattern.is_exact() {
            return;
        }
        if belongs_to_users(host) {
            let message = format!("{host} publishes what its users upload: a pattern admits documents of anyone");
            return self.note(true, key, Some(&text), message, "list the documents one by one, without `*`");
        }
        let message = format!("any id is valid there, so the entry proves the host only ({host})");
        self.note(false, key, Some(&text), message, "list the documents one by one, if their number is known");
    }

    fn admission(&mut self, settings: &DocumentSettings) {
        let (is_empty, admission) = (settings.allow.is_empty(), settings.admission);
        match admission {
            Admission::Listed if is_empty => {
                let message = "no document is admitted: documents.allow is empty";
                let suggestion = "list URLs in documents.allow; or write \"off\", which also takes documents out of the \
                                  metadata of the server";
                self.warn(Setting::DocumentsAdmission, message, suggestion);
            }
            Admission::Off if !is_empty => {
                let message = "no effect: no URL is admitted";
                self.warn(Setting::DocumentsAllow, message, "documents.admission = \"listed\", or take it out");
            }
            Admission::Reporting => {
                let message = "not enforced: documents that are not listed are admitted";
                let suggestion = "\"listed\" once the audit events show no surprises";
                self.warn(Setting::DocumentsAdmission, message, suggestion);
            }
            _ => {}
        }
    }

    fn own_hosts(&mut self, settings: &DocumentSettings) {
        // Sorted, so that an index is not the one in the file.
        for host in &settings.own_hosts {
            if !is_canonical_dns_name(&host.to_ascii_lowercase()) {
                let message = format!("no effect: {host:?} is not the name of a host");
                let suggestion = "write the name alone: \"as.example.com\", without scheme, port and path";
                self.note(true, Setting::DocumentsOwnHosts, Some(host), message, suggestion);
            }
        }
    }

    /// Checks for entries that list the server itself: the host of `gate.issuer` is one of its own.
    fn issuer(&mut self, settings: &DocumentSettings) {
        let Some(own) = host_of_issuer(self.text(Setting::Issuer)) else { return };
        for (index, pattern) in settings.allow.iter().enumerate() {
            let host = pattern.example().host();
            let is_said = settings.own_hosts.iter().any(|listed| listed.eq_ignore_ascii_case(host));
            if host.eq_ignore_ascii_case(&own) && !is_said {
                let message =
                    format!("no effect: {host} is the host of gate.issuer, whose documents are never fetched");
                let key = Key::from(Setting::DocumentsAllow).element(index);
                self.note(true, key, Some(&pattern.to_string()), message, "take it out");
            }
        }
    }

    /// Checks for a server that takes neither registrations nor documents.
    fn no_way_in(&mut self, settings: &DocumentSettings) {
        let is_reported = self.at(Setting::ReportOnly) == &Json::Bool(true);
        if self.text(Setting::Registration) == "closed" && !is_reported && !settings.admits_any() {
            let message = "no new client is possible: registration is closed, and no document is admitted";
            let suggestion =
                "list documents in documents.allow, or open registration; or leave it, if the clients of today are all";
            self.warn(Setting::Registration, message, suggestion);
        }
    }

    fn ages(&mut self, settings: &DocumentSettings) {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let (min, default, max) = (settings.min_age, settings.default_age, settings.max_age);
        if min > max {
            let message = "longer than documents.max_age: a document would be too new and too old at once";
            self.error(Setting::DocumentsMinAge, message, "at most documents.max_age");
        } else if !(min..=max).contains(&default) {
            let message = "no effect: not between documents.min_age and documents.max_age, which bound it";
            self.warn(Setting::DocumentsDefaultAge, message, "choose a time between the two");
        }
        if settings.max_stale > DAY {
            let message = "more than one day: redirect URIs that a document no longer has stay in force while its host is kept down";
            self.warn(Setting::DocumentsMaxStale, message, "1h is the default");
        }
    }
}

/// Returns `true` if strangers have pages on a host, or on hosts beside it.
fn belongs_to_users(host: &str) -> bool {
    let of_a_suffix = public_suffix(host).is_some_and(|suffix| suffix.typ() == Some(psl::Type::Private));
    of_a_suffix || HOSTS_OF_USERS.iter().any(|domain| is_within_domain(host, domain))
}
