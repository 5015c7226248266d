//! Merging a policy over the one that it extends.

use serde_json::{Map, Value as Json};

/// The prefix of the name of a list that is added to the one below.
pub(super) const ADD: &str = "add_";

/// The tables that can differ from caller to caller.
pub(super) const RULES: [&str; 4] = ["metadata", "redirect_uris", "identity", "redirect_host_quota"];

/// Returns `over` on top of `under`: tables are merged, everything else is replaced, and a list `add_x` goes to the end
/// of `x`.
pub(super) fn merge(under: Json, over: Json) -> Json {
    let (mut below, over) = match (under, over) {
        (Json::Object(below), Json::Object(over)) => (below, over),
        (_, over) => return over,
    };
    // A list is replaced before elements are added to it.
    let (additions, others): (Vec<_>, Vec<_>) = over.into_iter().partition(|(name, _)| name.starts_with(ADD));
    for (name, value) in others {
        let merged = match below.remove(&name) {
            Some(under) => merge(under, value),
            None => value,
        };
        below.insert(name, merged);
    }
    for (name, value) in additions {
        add(&mut below, name, value);
    }
    Json::Object(below)
}

fn add(below: &mut Map<String, Json>, name: String, value: Json) {
    let list = name.strip_prefix(ADD).unwrap_or_default();
    match (value, below.get_mut(list)) {
        (Json::Array(more), Some(Json::Array(elements))) => {
            let new: Vec<Json> = more.into_iter().filter(|element| !elements.contains(element)).collect();
            elements.extend(new);
        }
        (Json::Array(more), None) => _ = below.insert(list.to_owned(), Json::Array(more)),
        // Not a list: it is rejected under its own name.
        (value, _) => _ = below.insert(name, value),
    }
}

/// Completes the rules of each caller from the general rules.
pub(super) fn complete_callers(policy: &mut Json) {
    let Some(policy) = policy.as_object_mut() else { return };
    let everybody: Map<String, Json> =
        RULES.iter().filter_map(|name| Some(((*name).to_owned(), policy.get(*name)?.clone()))).collect();
    let Some(Json::Array(callers)) = policy.get_mut("callers") else { return };
    for case in callers.iter_mut().filter(|case| case.is_object()) {
        *case = merge(Json::Object(everybody.clone()), case.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_merge_lists_are_replaced_or_added_to() {
        let rows = [
            (r#"{"a":{"x":1,"y":2}}"#, r#"{"a":{"y":3}}"#, r#"{"a":{"x":1,"y":3}}"#, "tables merge"),
            (r#"{"a":[1,2]}"#, r#"{"a":[3]}"#, r#"{"a":[3]}"#, "lists are replaced"),
            (r#"{"a":[1,2]}"#, r#"{"add_a":[3,1]}"#, r#"{"a":[1,2,3]}"#, "and added to, each once"),
            (r#"{"a":[1,2]}"#, r#"{"add_a":[3],"a":[9]}"#, r#"{"a":[9,3]}"#, "or both"),
            (r"{}", r#"{"add_a":[3]}"#, r#"{"a":[3]}"#, "also to none"),
            (r#"{"a":1}"#, r#"{"add_a":[3]}"#, r#"{"a":1,"add_a":[3]}"#, "but not to what is no list"),
            (r#"{"a":"strip"}"#, r#"{"a":{"allow":["x"]}}"#, r#"{"a":{"allow":["x"]}}"#, "another kind replaces"),
        ];
        for (under, over, expected, reason) in rows {
            let json = |text| serde_json::from_str::<Json>(text).unwrap();
            assert_eq!(merge(json(under), json(over)), json(expected), "{reason}");
        }
    }
}
