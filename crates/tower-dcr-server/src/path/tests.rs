//! Paths against models of servers.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use proptest::prelude::*;

use super::{Scripts, all_readings, check_canonical, is_plain, plain, readings};

/// Returns the usual scripts, and `front`.
fn with_front() -> Scripts {
    let mut scripts = Scripts::default();
    scripts.add("front");
    scripts
}

/// Known transformations of a path by servers, each in its order.
fn models(path: &str) -> Vec<Vec<String>> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let split = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (once, twice) = (decode(path), decode(&decode(path)));
    let each = path.split('/').map(decode).collect();
    let resolved = |segments: Vec<String>| {
        let mut found: Vec<String> = Vec::new();
        for segment in segments {
            match segment.as_str() {
                "." => {}
                ".." => _ = found.pop(),
                _ => found.push(segment),
            }
        }
        found
    };
    let parameters = |text: &str| split(text).iter().map(|s| s.split(';').next().unwrap().to_owned()).collect();
    vec![
        split(path).iter().map(|segment| decode(segment)).collect(),
        each,
        split(&once),
        split(&twice),
        resolved(split(path)).iter().map(|segment| decode(segment)).collect(),
        resolved(split(&once)),
        resolved(split(&twice)),
        resolved(split(&once.replace('\\', "/"))),
        parameters(&once),
        resolved(parameters(path)).iter().map(|segment| decode(segment)).collect(),
        split(once.split(['?', '#', '\0']).next().unwrap()),
    ]
}

/// Compares like a server: without empty segments and case.
fn compared(segments: &[String]) -> Vec<String> {
    segments.iter().filter(|segment| !segment.is_empty()).map(|segment| segment.to_lowercase()).collect()
}

const PIECES: [&str; 30] = [
    "/", "/", "/", "oauth", "clients", "OAUTH", "cl", "ients", "%63", "%2563", "%2f", "%2F", "%5c", "\\", ".", "..",
    "%2e", ";", ";v=1", "%3b", "%25", "%00", "%3f", "%23", "x", "%c3%a9", "%e9", "%", "%zz", "%20",
];

/// The characters that are escaped in a path: all except the unreserved ones.
const NEEDED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_path_that_passes_has_one_reading(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..8)) {
        let path = format!("/{}", pieces.concat());
        if check_canonical(&path).is_ok() {
            let models: Vec<_> = models(&path).into_iter().take(10).collect();
            prop_assert!(models.iter().all(|model| *model == models[0]), "{}: {:?}", path, models);
        }
    }

    #[test]
    fn no_server_finds_the_endpoint_that_is_not_read_here(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..9),
    ) {
        let path = format!("/{}", pieces.concat());
        let endpoint = plain("/oauth/clients");
        let finds = models(&path).iter().any(|model| compared(model) == endpoint);
        // An error is a rejection.
        if let (true, Ok(readings)) = (finds, readings(&path, &Scripts::default())) {
            prop_assert!(readings.contains(&endpoint), "{}: {:?}", path, readings);
        }
    }

    #[test]
    fn names_of_pages_and_files_pass(names in prop::collection::vec("[a-zA-Z0-9éß中 ()\\[\\]{}<>\"'!@#$^&*+=:,?|~_-]{1,12}", 1..5)) {
        let names: Vec<String> = names.iter().map(|name| utf8_percent_encode(name, NEEDED).to_string()).collect();
        let path = format!("/{}", names.join("/"));
        prop_assert_eq!(check_canonical(&path), Ok(()), "{}", path);
    }

    #[test]
    fn a_plain_path_is_read_as_any_other(path in "(/|//)?(([a-cA-CiIkKsS09~_-]|\\.|\\.php|front|FRONT|index\\.cgi){0,3}(/|//)){0,4}[a-cI.]{0,3}") {
        prop_assert_eq!(readings(&path, &with_front()), all_readings(&path, &with_front()));
        prop_assert!(is_plain(&path) || path.contains("./") || path.ends_with('.'));
    }

    #[test]
    fn any_text_is_read(text in "(?s).{0,40}") {
        let _checked = check_canonical(&text);
        let _read = readings(&text, &with_front());
    }

    #[test]
    fn the_number_of_readings_does_not_grow_with_the_path(
        pieces in prop::collection::vec(prop::sample::select([&PIECES[..], &["/()", "/a.php", "/front"]].concat()), 0..200),
    ) {
        let path = format!("/{}", pieces.concat());
        if let Ok(readings) = readings(&path, &with_front()) {
            prop_assert!(readings.len() <= READINGS, "{}: {}", path, readings.len());
        }
    }
}

/// Four rounds of decoding, cut at the query or not, two ways to cut parameters or none, three ways to resolve, with or
/// without scripts.
const READINGS: usize = 4 * 2 * 3 * 3 * 2;

/// Paths that the search above has found.
#[test]
fn path_parameters_end_before_a_backslash() {
    for path in ["/OAUTH%2fclients;%5cx", "/oauth/clients;\\x", "/oauth/clients;a%5c..%5cb"] {
        let readings = readings(path, &Scripts::default()).unwrap();
        assert!(readings.contains(&plain("/oauth/clients")), "{path}: {readings:?}");
    }
}

/// The part behind a script is a slice of its reading, not a copy.
#[test]
fn thousands_of_scripts_are_copied_once() {
    let scripts = with_front();
    for (segment, count) in [("()", 7000), ("a.php", 7000), ("front", 7000), ("(S(x))", 7000)] {
        let path = format!("/{segment}").repeat(count) + "/oauth/clients";
        let readings = readings(&path, &scripts).unwrap();
        let endpoint = plain("/oauth/clients");
        assert_eq!(readings.iter().map(Vec::len).collect::<Vec<_>>(), [2, count + 2], "{segment}");
        assert_eq!(readings[0], endpoint, "{segment}");
        let reading = &readings[1];
        let tails: Vec<&[String]> = scripts.tails(reading).collect();
        assert_eq!((tails.len(), tails[count]), (count + 1, &*endpoint), "{segment}");
        assert!(tails.iter().all(|tail| reading.as_ptr_range().end == tail.as_ptr_range().end), "{segment}");
    }
    let path = "/x".repeat(7000);
    assert_eq!(readings(&path, &scripts).map(|readings| readings.len()), Ok(1), "no scripts");
}
