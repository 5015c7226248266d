//! Groups of clients with a property in common.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::Client;

/// By key: a name, the number of clients, and the values in which they differ.
#[derive(Default)]
pub(super) struct Groups(HashMap<String, (Option<String>, u64, BTreeSet<String>)>);

impl Groups {
    pub(super) fn add_client(&mut self, by: Grouping, client: &Client) {
        let prints = &client.fingerprints;
        let hosts = || Some(prints.redirect_hosts.join(" "));
        match by {
            Grouping::Duplicates => self.add(&prints.digest, client, None),
            Grouping::Families => self.add(&prints.family, client, None),
            Grouping::NamesAcrossHosts if prints.name.is_empty() => {}
            Grouping::NamesAcrossHosts => self.add(&prints.name, client, hosts()),
            Grouping::SoftwareAcrossHosts => {
                if let Some(software_id) = &prints.software_id {
                    self.add(software_id, client, hosts());
                }
            }
            Grouping::HostsAcrossNames => {
                let hosts = prints.redirect_hosts.iter().filter(|host| *host != "loopback");
                hosts.for_each(|host| self.add(host, client, Some(prints.name.clone())));
            }
        }
    }

    fn add(&mut self, key: &str, client: &Client, value: Option<String>) {
        let name = &client.fingerprints.client_name;
        let (first_name, clients, values) = self.0.entry(key.to_owned()).or_default();
        if first_name.is_none() || name.as_ref().is_some_and(|name| Some(name) < first_name.as_ref()) {
            first_name.clone_from(name);
        }
        *clients += 1;
        values.extend(value);
    }

    pub(super) fn largest(self, by: Grouping, limit: u32) -> Vec<Group> {
        let by_value = !matches!(by, Grouping::Duplicates | Grouping::Families);
        let groups = self.0.into_iter();
        let mut groups: Vec<Group> = groups
            .filter(|(_, (_, clients, values))| if by_value { values.len() > 1 } else { *clients > 1 })
            .map(|(key, (name, clients, values))| Group {
                key,
                client_name: name,
                clients,
                values: values.into_iter().take(Group::MAX_VALUES).collect(),
            })
            .collect();
        groups.sort_by(|one, other| other.clients.cmp(&one.clients).then_with(|| one.key.cmp(&other.key)));
        groups.truncate(limit as usize);
        groups
    }
}

/// A property that clients are grouped by.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::clients::{Client, Fingerprints, Grouping, Ledger, MemoryLedger};
///
/// let ledger = MemoryLedger::default();
/// for _ in 0..2 {
///     ledger.insert(&Client::draft("{}", Fingerprints::default(), 0), None).await?;
/// }
/// assert_eq!(ledger.groups(Grouping::Duplicates, 10).await?[0].clients, 2);
/// # Ok::<_, tower_dcr::clients::LedgerError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "a ledger handles every one of them")]
pub enum Grouping {
    /// Equal registrations.
    Duplicates,
    /// Registrations with one name and one shape of redirect URIs.
    Families,
    /// Registrations with one name and different sets of redirect hosts.
    NamesAcrossHosts,
    /// Registrations with one redirect host, loopback excepted, and different names.
    HostsAcrossNames,
    /// Registrations with one `software_id` and different sets of redirect hosts.
    SoftwareAcrossHosts,
}

/// A group of live clients with one property in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "made by ledgers, and complete")]
pub struct Group {
    /// The common property: a digest, a family, a name, a host, a `software_id`.
    pub key: String,
    /// The name of one of them; `None` if none has a name.
    pub client_name: Option<String>,
    /// The number of clients.
    pub clients: u64,
    /// The values that they differ in, up to eight: sets of redirect hosts, or names. Empty for duplicates and families.
    pub values: Vec<String>,
}

impl Group {
    /// The largest number of [`values`](Self::values).
    pub const MAX_VALUES: usize = 8;
}
