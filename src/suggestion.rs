//! Suggestions: the ways out of a mistake in a configuration.

use std::borrow::Cow;
use std::fmt;

/// A way to correct a mistake in a configuration. `Display` has it as a sentence for people.
///
/// ```
/// use tower_dcr::rules::{Jwks, Suggestion};
///
/// let error = Jwks::default().with_limits(1000, 4096).unwrap_err();
/// let suggestion = error.suggestion().unwrap();
/// assert_eq!(suggestion, Suggestion::AtMost("100".into()));
/// assert_eq!(suggestion.to_string(), "write 100 or less");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suggestion {
    /// Adds this line.
    Add(String),
    /// Anything else, in words.
    Advice(Cow<'static, str>),
    /// Writes this value, which is the least that is accepted, or a larger one.
    AtLeast(String),
    /// Writes this value, which is the largest that is accepted, or a smaller one.
    AtMost(String),
    /// Uses the known name that is most like the one given.
    DidYouMean(String),
    /// Writes a value like this one.
    Example(String),
    /// Uses one of these names.
    OneOf(Vec<String>),
    /// Removes the value, for this reason.
    Remove(Option<&'static str>),
    /// Writes this value.
    Write(String),
}

impl Suggestion {
    pub(crate) const fn advice(text: &'static str) -> Self {
        Self::Advice(Cow::Borrowed(text))
    }

    /// Returns a bound in words, for the middle of a sentence: `at least 30 days`.
    pub(crate) fn as_demand(&self) -> String {
        match self {
            Self::AtLeast(bound) => format!("at least {bound}"),
            Self::AtMost(bound) => format!("at most {bound}"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Numbers stand for themselves; times are text in a policy file.
        let is_number = |bound: &str| bound.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            Self::Add(line) => write!(f, "add `{line}`"),
            Self::Advice(text) => f.write_str(text),
            Self::AtLeast(bound) if is_number(bound) => write!(f, "write {bound} or more"),
            Self::AtLeast(bound) => write!(f, "write {bound:?} or more: a shorter time breaks honest clients"),
            Self::AtMost(bound) if is_number(bound) => write!(f, "write {bound} or less"),
            Self::AtMost(bound) => write!(f, "write {bound:?} or less"),
            Self::DidYouMean(name) => write!(f, "did you mean `{name}`?"),
            Self::Example(value) => write!(f, "write, for example, {value}"),
            Self::OneOf(names) => {
                f.write_str("known here are ")?;
                names.iter().enumerate().try_for_each(|(index, name)| {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}`{name}`")
                })
            }
            Self::Remove(None) => f.write_str("take it out"),
            Self::Remove(Some(reason)) => write!(f, "take it out: {reason}"),
            Self::Write(value) => write!(f, "write {value}"),
        }
    }
}

/// The typed part of an error on its way through serde, which hands on nothing but text.
#[cfg(feature = "policy-file")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hint {
    /// The value or the name that the error is about.
    pub(crate) input: Option<String>,
    pub(crate) suggestion: Option<Suggestion>,
}

#[cfg(feature = "policy-file")]
mod hint {
    use std::cell::RefCell;
    use std::fmt::Display;

    use super::Hint;

    thread_local! {
        /// The hint of the error that is being written; `None` while none is asked for.
        static CAUGHT: RefCell<Option<Hint>> = const { RefCell::new(None) };
    }

    impl Hint {
        /// Leaves a hint for [`catch`](Self::catch). `Display` of an error calls this.
        pub(crate) fn leave(hint: impl FnOnce() -> Self) {
            if CAUGHT.with_borrow(Option::is_some) {
                CAUGHT.set(Some(hint()));
            }
        }

        /// Returns the text of an error with the hint that its `Display` leaves. `serde::de::Error::custom` is told no more
        /// about an error than that it can be displayed.
        pub(crate) fn catch(error: impl Display) -> (String, Self) {
            CAUGHT.set(Some(Self::default()));
            let text = error.to_string();
            (text, CAUGHT.take().unwrap_or_default())
        }
    }
}
