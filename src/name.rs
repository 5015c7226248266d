//! Names that a stranger chose: which of them can be shown, and what they can be mistaken for.
//!
//! ```
//! use tower_dcr::name::{is_confusable, visible};
//!
//! assert!(is_confusable("Claude", "Сlаude"), "with two Cyrillic letters");
//! assert!(!is_confusable("Claude", "Cloud"));
//! assert_eq!(visible("Cla\u{200B}ude"), "Cla\u{27E8}U+200B\u{27E9}ude");
//! ```

mod characters;
mod forms;
mod normal;

pub use characters::visible;
pub(crate) use characters::{Fault, fault, is_odd};
pub(crate) use forms::Readings;
pub use forms::is_confusable;
pub(crate) use normal::normal;

/// The name without any trailing "(…)", unless it is all there is. Clients put there which of a person's servers they
/// talk to: `Claude Code (filesystem)`.
pub(crate) fn without_parentheticals(mut name: &str) -> &str {
    loop {
        name = name.trim_end();
        let Some(inner) = name.strip_suffix([')', '）']) else { return name };
        match inner.rsplit_once(['(', '（']) {
            Some((head, _)) if !head.trim_end().is_empty() => name = head,
            _ => return name,
        }
    }
}
