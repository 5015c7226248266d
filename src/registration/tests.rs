use super::*;

fn kind(body: &[u8]) -> ParseError {
    Registration::parse(body).unwrap_err()
}

#[test]
fn rejects_documents_that_readers_disagree_on() {
    for (body, expected) in [
        (r#"{"a":1,"a":2}"#, ParseError::DuplicateMember),
        (r#"{"a":1,"\u0061":2}"#, ParseError::DuplicateMember),
        (r#"{"x":[{"a":{"b":1,"b":1}}]}"#, ParseError::DuplicateMember),
        (r#"{"x":{"\u0061":1,"a":1}}"#, ParseError::DuplicateMember),
        ("[]", ParseError::NotAnObject),
        ("null", ParseError::NotAnObject),
        ("", ParseError::Syntax),
        ("{\"a\":1}x", ParseError::Syntax),
        ("\u{feff}{}", ParseError::Syntax),
        (r#"{"a":"\ud800"}"#, ParseError::Syntax),
        (r#"{"a":"\x"}"#, ParseError::Syntax),
        ("{\"a\":\"\u{1}\"}", ParseError::Syntax),
        (r#"{"a":01}"#, ParseError::Syntax),
        (r#"{"a":1.}"#, ParseError::Syntax),
        (r#"{"a":+1}"#, ParseError::Syntax),
        (r#"{"a":tru}"#, ParseError::Syntax),
        (r#"{"a":1,}"#, ParseError::Syntax),
        (r#"{"a":[1,]}"#, ParseError::Syntax),
        (r#"{"a":"\"#, ParseError::Syntax),
        (r#"{"a":1e400}"#, ParseError::NumberOutOfRange),
        (r#"{"a":[-1e400]}"#, ParseError::NumberOutOfRange),
    ] {
        assert_eq!(kind(body.as_bytes()), expected, "{body}");
    }
    assert_eq!(kind(b"{\"a\":\"\xff\"}"), ParseError::NotUtf8);
}

#[test]
fn limits_are_exact() {
    let parse = |body: &str, limits: Limits| Registration::parse_with(body.as_bytes(), &limits);
    let fails = |body: &str, limits: Limits| parse(body, limits).unwrap_err();
    assert!(parse("{ }", Limits { max_bytes: 3, ..Limits::default() }).is_ok());
    assert_eq!(fails("{  }", Limits { max_bytes: 3, ..Limits::default() }), ParseError::TooLarge);
    assert!(parse(r#"{"a":[[]]}"#, Limits { max_depth: 3, ..Limits::default() }).is_ok());
    assert_eq!(fails(r#"{"a":[[{}]]}"#, Limits { max_depth: 3, ..Limits::default() }), ParseError::TooDeep);
    assert!(parse(r#"{"a":1,"b":2}"#, Limits { max_members: 2, ..Limits::default() }).is_ok());
    assert_eq!(
        fails(r#"{"a":1,"b":2,"c":3}"#, Limits { max_members: 2, ..Limits::default() }),
        ParseError::TooManyMembers
    );
    assert_eq!(
        fails(r#"{"x":{"a":1,"b":2}}"#, Limits { max_members: 1, ..Limits::default() }),
        ParseError::TooManyMembers
    );
    assert!(parse(r#"{"a":[1,2]}"#, Limits { max_array: 2, ..Limits::default() }).is_ok());
    assert_eq!(fails(r#"{"a":[1,2,3]}"#, Limits { max_array: 2, ..Limits::default() }), ParseError::ArrayTooLong);
    assert!(parse(r#"{"a":"\u00e4b"}"#, Limits { max_string: 3, ..Limits::default() }).is_ok());
    assert_eq!(fails(r#"{"a":"abcd"}"#, Limits { max_string: 3, ..Limits::default() }), ParseError::StringTooLong);
    assert_eq!(fails(r#"{"abcd":1}"#, Limits { max_string: 3, ..Limits::default() }), ParseError::StringTooLong);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(7000), "]".repeat(7000));
    assert_eq!(fails(&deep, Limits::default()), ParseError::TooDeep);
}

#[test]
fn canonical_bytes_are_sorted_and_escape_no_more_than_they_must() {
    let body = r#" { "b" : [ 1.0 , {"z":1, "a\/b":"\u00e4\n"} ], "\u0061" : "x\/y\u0022" , "c": ["\u0041", "b"], "B": -0, "d": null } "#;
    let registration = Registration::parse(body.as_bytes()).unwrap();
    let expected = r#"{"B":-0,"a":"x/y\"","b":[1.0,{"a/b":"ä\n","z":1}],"c":["A","b"],"d":null}"#;
    assert_eq!(String::from_utf8(registration.canonical_bytes()).unwrap(), expected);
}

#[test]
fn edits_narrow() {
    let mut registration =
        Registration::parse(br#"{"list":["a","b","a"],"scope":"x y z","other":1,"mixed":["a",1]}"#).unwrap();
    assert_eq!(registration.narrow_strings("list", |element| element == "a"), 1);
    assert_eq!(registration.strings("list").unwrap().collect::<Vec<_>>(), ["a", "a"]);
    assert_eq!(registration.narrow_tokens("scope", |token| token != "y"), 1);
    assert_eq!(registration.string("scope"), Some("x z"));
    assert_eq!(registration.narrow_tokens("scope", |_| false), 2);
    assert_eq!(registration.string("scope"), Some(""));
    assert_eq!(registration.narrow_strings("mixed", |_| false) + registration.narrow_tokens("list", |_| false), 0);
    assert!(!registration.insert_default("other", "x") && registration.insert_default("new", "x"));
    assert!(registration.insert_default_strings("nothing", [] as [&str; 0]));
    assert!(registration.remove("mixed") && !registration.remove("mixed"));
    registration.retain(|name, _| name != "list");
    assert_eq!(
        String::from_utf8(registration.canonical_bytes()).unwrap(),
        r#"{"new":"x","nothing":[],"other":1,"scope":""}"#
    );
}

#[test]
fn variants_are_the_name_and_its_tags() {
    let registration = Registration::parse(
        br#"{"client_name#fr":"F","client_name":"N","client_names":"x","client_nam":"y","client_name#":"E","client_name!":"b"}"#,
    )
    .unwrap();
    let names: Vec<&str> = registration.variants("client_name").map(|(name, _)| name).collect();
    assert_eq!(names, ["client_name", "client_name#", "client_name#fr"]);
    assert_eq!(registration.variants("scope").count(), 0);
}

#[test]
fn debug_shows_names_only() {
    let registration = Registration::parse(br#"{"client_secret":"hush"}"#).unwrap();
    assert_eq!(format!("{registration:?}"), r#"{"client_secret"}"#);
}

#[test]
fn escapes_are_decoded_as_serde_json_decodes_them() {
    for escaped in [
        r#"\"\\/\b\f\n\r\t"#,
        r"\u0041\u00e4\u20AC",
        r"\ud83d\ude00\uDBFF\uDFFF",
        r"a\u0000b",
        r"\u003",
        r"\u00g0",
        r"\u+041",
        r"\ud83d",
        r"\ud83dx",
        r"\ud83d\n",
        r"\ud83d\u0041",
        r"\ude00\ud83d",
        r"\a",
        r"\",
    ] {
        let body = format!(r#"{{"x":"{escaped}","y":["<{escaped}>"],"{escaped}":1}}"#);
        let ours = Registration::parse(body.as_bytes());
        match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&body) {
            Ok(theirs) => {
                let ours = ours.unwrap_or_else(|error| panic!("{body}: {error}"));
                assert_eq!(ours.string("x"), theirs["x"].as_str(), "{body}");
                assert_eq!(ours.strings("y").unwrap().next(), theirs["y"][0].as_str(), "{body}");
                assert!(theirs.keys().all(|name| ours.contains(name)), "{body}");
            }
            Err(_) => assert_eq!(ours.unwrap_err(), ParseError::Syntax, "{body}"),
        }
    }
}

#[test]
fn only_non_canonical_values_are_rewritten() {
    for (body, expected) in [
        (r#"{"b":"x","a":["y","z"],"c":1.50,"d":null}"#, r#"{"a":["y","z"],"b":"x","c":1.50,"d":null}"#),
        (
            r#"{"b" :"x","a":["y" ,"z"],"c":{"z":1,"a":[{"y":1,"b":2}]}}"#,
            r#"{"a":["y","z"],"b":"x","c":{"a":[{"b":2,"y":1}],"z":1}}"#,
        ),
        (r#"{"\u0062":"x","a":["\u0079"],"c":[1,{"b":1,"a":2}]}"#, r#"{"a":["y"],"b":"x","c":[1,{"a":2,"b":1}]}"#),
    ] {
        let registration = Registration::parse(body.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(registration.canonical_bytes()).unwrap(), expected);
    }
}

/// A body of small nested members must not take its length squared; that it is found is shown here, how fast is for
/// the benchmarks.
#[test]
fn duplicates_among_many_nested_members_are_found() {
    let members: Vec<String> = (0..99).map(|index| format!(r#""m{index}":0"#)).collect();
    let body = |last: &str| format!(r#"{{"x":{{{},{last}}}}}"#, members.join(","));
    assert!(Registration::parse(body(r#""other":0"#).as_bytes()).is_ok());
    assert_eq!(kind(body(r#""m\u0037":0"#).as_bytes()), ParseError::DuplicateMember);
}

/// The index of known members counts to 254.
#[test]
fn known_members_are_found_wherever_they_are() {
    for unknown in [0, 252, 253, 254, 255, 300] {
        let mut body = (0..unknown).fold("{".to_owned(), |body, index| format!("{body}\"a{index:03}\":1,"));
        body.push_str(r#""grant_types":["x"],"scope":"y"}"#);
        let mut registration =
            Registration::parse_with(body.as_bytes(), &Limits { max_members: 1000, ..Limits::default() }).unwrap();
        let found = |registration: &Registration| {
            let grants = registration.strings_at(Field::GRANT_TYPES).map(|mut grants| grants.next() == Some("x"));
            (grants, registration.string_at(Field::SCOPE) == Some("y"), registration.at(Field::JWKS).is_none())
        };
        assert_eq!(found(&registration), (Some(true), true, true), "{unknown}");
        registration.insert_default("contacts", "z");
        assert_eq!(found(&registration), (Some(true), true, true), "{unknown}");
        assert_eq!(registration.string_at(Field::CONTACTS), Some("z"), "{unknown}");
        registration.remove("grant_types");
        assert_eq!(found(&registration), (None, true, true), "{unknown}");
        registration.retain(|name, _| !name.starts_with('a'));
        assert_eq!(found(&registration), (None, true, true), "{unknown}");
    }
}

/// The deepest document that any limits let through leaves most of a thread's 2 MiB to what called the parser.
#[test]
fn no_depth_overflows_the_stack() {
    let limits = Limits { max_bytes: usize::MAX, max_depth: usize::MAX, max_string: usize::MAX, ..Limits::default() };
    let walk = move || {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"a":"#, "}]")] {
            let levels = open.matches(['[', '{']).count();
            let nested = |depth: usize| {
                let times = depth / levels;
                format!(r#"{{"x":{}1{}}}"#, open.repeat(times), close.repeat(times))
            };
            let deepest = Registration::parse_with(nested(62).as_bytes(), &limits).unwrap();
            let canonical = deepest.canonical_bytes();
            assert!(serde_json::from_slice::<serde_json::Value>(&canonical).is_ok());
            assert!(Registration::parse_with(&canonical, &Limits::GENEROUS).is_ok());
            for depth in [66, 20_000, 500_000] {
                let error = Registration::parse_with(nested(depth).as_bytes(), &limits).unwrap_err();
                assert!(matches!(error, ParseError::TooDeep | ParseError::TooLarge), "{depth}");
            }
        }
    };
    std::thread::Builder::new().stack_size(512 * 1024).spawn(walk).unwrap().join().unwrap();
}
