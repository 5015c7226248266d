//! A policy is read, or rejected with a place in it; a policy that was read is written and read again.
#![no_main]

use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use tower_dcr::Preset;
use tower_dcr::policy_file::PolicyFileError;

fn look(text: &str, read: Result<Preset, PolicyFileError>) {
    match read {
        Ok(preset) => {
            let again =
                Preset::from_str(&serde_json::to_string(&preset).unwrap()).expect("what was written can be read");
            assert_eq!(again.fingerprint(), preset.fingerprint());
            if let Some(toml) = preset.to_toml() {
                let again = Preset::from_str(&toml).expect("in TOML, too");
                assert_eq!(again.fingerprint(), preset.fingerprint());
            }
        }
        Err(error) => {
            let mistake = error.mistakes.first().expect("a mistake");
            assert!(mistake.line <= Some(text.matches('\n').count() + 1) && mistake.column >= Some(1));
            assert!(!mistake.message.is_empty() && !error.to_string().is_empty());
            assert!(mistake.span.as_ref().is_some_and(|span| span.end <= text.len()));
        }
    }
}

fuzz_target!(|text: &str| {
    look(text, Preset::from_str(text));
    look(text, Preset::from_str(text));
});
