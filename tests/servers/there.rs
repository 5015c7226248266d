//! What a test needs that is not on every machine.

/// Whether a program is `there`. If not, that is said, and fails where all programs have to be.
pub(crate) fn is_there(program: &str, there: bool) -> bool {
    if !there {
        assert!(std::env::var_os("TOWER_DCR_ALL_SERVERS").is_none(), "{program} is not installed");
        eprintln!("skipped: {program} is not installed");
    }
    there
}
