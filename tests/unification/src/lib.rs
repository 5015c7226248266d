//! The verdicts and digests of `tests/data/digests.txt`, in a build where `serde_json` has other features on.

#[cfg(test)]
#[test]
fn digests_do_not_depend_on_the_features_of_serde_json() {
    assert_eq!(serde_json::to_string(&serde_json::json!({ "b": 1, "a": 2 })).unwrap(), r#"{"b":1,"a":2}"#);
    for line in include_str!("../../data/digests.txt").lines() {
        let (expected, body) = line.split_once(' ').unwrap();
        let digest =
            tower_dcr::Registration::parse(body.as_bytes()).map(|registration| registration.digest().to_string());
        assert_eq!(digest.unwrap_or_else(|error| format!("{error:?}")), expected, "{body}");
    }
}
