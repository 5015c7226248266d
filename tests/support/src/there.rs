//! Programs that are not on every machine.

use std::io::{Write, stderr};

/// Returns whether a program is `there`. Fails the test if not, unless `TOWER_DCR_SKIP_MISSING` is set: then the test is
/// named on standard error, past the harness, which hides the output of passing tests.
pub fn is_there(program: &str, there: bool) -> bool {
    if !there {
        let may_skip = std::env::var_os("TOWER_DCR_SKIP_MISSING").is_some();
        assert!(may_skip, "{program} is not installed; TOWER_DCR_SKIP_MISSING=1 skips what needs it");
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        // An error here means that the output is closed.
        let _told = writeln!(stderr(), "SKIPPED {test}: {program} is not installed");
    }
    there
}
