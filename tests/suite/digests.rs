//! Digests are for ever: ledgers and logs hold them. `tests/unification` checks the same file in another build.

use tower_dcr::Registration;

#[test]
fn digests_do_not_change() {
    let mut checked = 0;
    for line in include_str!("../data/digests.txt").lines() {
        let (expected, body) = line.split_once(' ').unwrap();
        let digest = Registration::parse(body.as_bytes()).map(|registration| registration.digest().to_string());
        assert_eq!(digest.unwrap_or_else(|error| format!("{error:?}")), expected, "{body}");
        checked += 1;
    }
    assert!(checked > 8);
}
