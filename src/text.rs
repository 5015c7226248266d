//! Small helpers over text.

use std::error::Error;

/// The longest prefix of `text` that is at most `bytes` long and ends between two characters.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|value| value + if value < 10 { b'0' } else { b'a' - 10 });
    String::from_utf8(digits.collect()).unwrap_or_default()
}

/// The bytes that so many hexadecimal digits stand for.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes: Vec<u8> =
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect::<Option<_>>()?;
    <[u8; N]>::try_from(bytes).ok().filter(|_| rest.is_empty())
}

/// Splits at the first `byte`, which is ASCII.
pub(crate) fn split_at_byte(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = memchr::memchr(byte, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Returns `true` if there is a control character. Reads every byte, in a form that vectorises; C1 controls are two bytes.
pub(crate) fn has_control(text: &str) -> bool {
    let ascii = text.bytes().fold(0, |found, byte| found | u8::from(byte < 0x20 || byte == 0x7F)) != 0;
    ascii || (!text.is_ascii() && text.chars().any(char::is_control))
}

/// Has `Debug` of an error say what people read: it is what a `main` that returns the error prints.
macro_rules! debug_for_people {
    ($error:ty) => {
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&crate::text::causes(self))
            }
        }
    };
}
pub(crate) use debug_for_people;

/// Has `Display` of an enum write the names that it is serialized with.
macro_rules! display_serialized {
    ($($name:ty),*) => {
        $(impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                serde::Serialize::serialize(self, f)
            }
        })*
    };
}
pub(crate) use display_serialized;

/// Gives an enum's values their names, which `as_str` returns and `Display` and `Serialize` write.
macro_rules! named {
    ($enum:ident { $($value:ident => $name:literal),+ $(,)? }) => {
        impl $enum {
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $name),+
                }
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $enum {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}
pub(crate) use named;

/// Has `Debug` write the names of types and these of their fields: the others are long, secret or functions.
macro_rules! debug_fields {
    ($($name:ident { $($field:ident),* }),*) => {
        $(impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))$(.field(stringify!($field), &self.$field))*.finish_non_exhaustive()
            }
        })*
    };
}
pub(crate) use debug_fields;

/// An error and what it comes from, in one line.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Databases say the same in each layer.
        if !text.contains(&said) {
            text.extend([": ", &said]);
        }
        source = cause.source();
    }
    text
}
