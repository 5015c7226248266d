//! A policy is read, or rejected with a place in it; a policy that was read is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_dcr::Preset;
use tower_dcr::policy_file::PolicyFileError;

fn look(text: &str, read: Result<Preset, PolicyFileError>) {
    match read {
        Ok(preset) => {
            let again = Preset::from_json(&preset.to_json()).expect("what was written can be read");
            assert_eq!(again.fingerprint(), preset.fingerprint());
            if let Some(toml) = preset.to_toml() {
                let again = Preset::from_toml(&toml).expect("in TOML, too");
                assert_eq!(again.fingerprint(), preset.fingerprint());
            }
        }
        Err(error) => {
            assert!(error.line() <= text.matches('\n').count() + 1 && error.column() >= 1);
            assert!(!error.message().is_empty() && !error.to_string().is_empty());
            assert!(error.span().end <= text.len());
        }
    }
}

fuzz_target!(|text: &str| {
    look(text, Preset::from_toml(text));
    look(text, Preset::from_json(text));
});
