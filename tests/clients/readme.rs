//! The figures of these tests in `docs`.

use std::path::Path;

/// Asserts that `docs/compatibility.md` has `found` between the two marks of `part`. With `UPDATE_README`, it is written
/// there.
pub(crate) fn check(part: &str, found: &str) {
    check_in("compatibility.md", part, found);
}

/// Does the same for another page.
pub(crate) fn check_in(page: &str, part: &str, found: &str) {
    println!("{found}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let readme = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {part}: tests/clients/run --update -->\n"), format!("\n<!-- end of {part} -->"));
    let (before, rest) = readme.split_once(&begin).unwrap();
    let (written, after) = rest.split_once(&end).unwrap();
    if std::env::var_os("UPDATE_README").is_some() {
        // A file that has changed fails once more.
        std::fs::write(path, [before, &begin, found, &end, after].concat()).unwrap();
    }
    assert_eq!(written, found, "docs/{page} is behind: tests/clients/run --update");
}
