//! The tables of `docs/failure-modes.md`, which the tests compare with what happens.

/// Asserts that the row which begins with `day` goes on with these cells. Times are not compared.
pub(crate) fn assert_row(day: &str, cells: &[String]) {
    let page = include_str!("../../../docs/failure-modes.md");
    let row = page.lines().find(|line| line.starts_with(&format!("| {day} |")));
    let row = row.unwrap_or_else(|| panic!("docs/failure-modes.md has no row {day:?}; it would go on {cells:?}"));
    let shown: Vec<&str> = row.split('|').map(str::trim).skip(2).take(cells.len()).collect();
    assert_eq!(shown, cells, "docs/failure-modes.md, {day:?}");
}

/// The time below which 99 in 100 are.
pub(crate) fn p99(mut times: Vec<std::time::Duration>) -> std::time::Duration {
    times.sort_unstable();
    times[(times.len() * 99).div_ceil(100) - 1]
}
