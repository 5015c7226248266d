//! The limits of [`serve`](crate::serve()).

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// The limits on connections, each with a default for a server that faces the Internet.
///
/// | setting | default |
/// | --- | --- |
/// | [`with_total`](Self::with_total) | 2000 connections |
/// | [`with_per_source`](Self::with_per_source) | 200 connections |
/// | [`with_header_timeout`](Self::with_header_timeout) | 10 seconds |
/// | [`with_header_bytes`](Self::with_header_bytes) | 65,536 bytes |
/// | [`with_streams`](Self::with_streams) | 32 requests of one HTTP/2 connection |
/// | [`with_write_timeout`](Self::with_write_timeout) | 30 seconds |
/// | [`with_grace`](Self::with_grace) | 10 seconds |
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub(crate) total: NonZeroUsize,
    pub(crate) per_source: NonZeroUsize,
    pub(crate) header_timeout: Duration,
    pub(crate) header_bytes: u32,
    pub(crate) streams: NonZeroU32,
    pub(crate) write_timeout: Duration,
    pub(crate) grace: Duration,
}

/// The least buffer with which hyper reads a head.
const LEAST_HEADER_BYTES: u32 = 8192;

/// The longest time that a timer has to measure.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl Limits {
    /// Creates the limits with their defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            total: const { NonZeroUsize::new(2000).unwrap() },
            per_source: const { NonZeroUsize::new(200).unwrap() },
            header_timeout: Duration::from_secs(10),
            header_bytes: 64 * 1024,
            streams: const { NonZeroU32::new(32).unwrap() },
            write_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }

    /// Sets the maximum number of open connections. Each takes a file descriptor: the limit of the process
    /// (`ulimit -n`) has to be larger.
    #[must_use]
    pub fn with_total(mut self, connections: NonZeroUsize) -> Self {
        self.total = connections;
        self
    }

    /// Sets the maximum number of open connections from one IPv4 address, or from one IPv6 network of 64 bits. Behind
    /// a proxy all clients have its address: set the maximum of [`with_total`](Self::with_total) there.
    #[must_use]
    pub fn with_per_source(mut self, connections: NonZeroUsize) -> Self {
        self.per_source = connections;
        self
    }

    /// Sets the time limit for the head of a request, which is also how long a connection without requests stays open
    /// (one of HTTP/2 for up to three times as long). A response that is still being sent, such as server-sent events,
    /// is not limited by it.
    ///
    /// # Errors
    ///
    /// Returns an error for zero and for more than a day.
    pub fn with_header_timeout(mut self, time: Duration) -> Result<Self, InvalidLimit> {
        self.header_timeout = timeout("header_timeout", time)?;
        Ok(self)
    }

    /// Sets the maximum size of a request's head in bytes. A longer one is answered with 431.
    ///
    /// # Errors
    ///
    /// Returns an error for less than 8192 bytes.
    pub fn with_header_bytes(mut self, bytes: u32) -> Result<Self, InvalidLimit> {
        if bytes < LEAST_HEADER_BYTES {
            return Err(InvalidLimit {
                name: "header_bytes",
                value: bytes.to_string(),
                expected: "at least 8192 bytes, since clients send cookies and long authorization requests",
            });
        }
        self.header_bytes = bytes;
        Ok(self)
    }

    /// Sets the maximum number of simultaneous requests of one HTTP/2 connection.
    #[must_use]
    pub fn with_streams(mut self, requests: NonZeroU32) -> Self {
        self.streams = requests;
        self
    }

    /// Sets how long a client may take none of the bytes that it is sent. A response of any length may take longer.
    ///
    /// # Errors
    ///
    /// Returns an error for zero and for more than a day.
    pub fn with_write_timeout(mut self, time: Duration) -> Result<Self, InvalidLimit> {
        self.write_timeout = timeout("write_timeout", time)?;
        Ok(self)
    }

    /// Sets how long open requests may take after the server was stopped. Then their connections are closed.
    ///
    /// # Errors
    ///
    /// Returns an error for more than a day.
    pub fn with_grace(mut self, time: Duration) -> Result<Self, InvalidLimit> {
        // No grace is a sensible choice.
        self.grace = if time.is_zero() { time } else { timeout("grace", time)? };
        Ok(self)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

fn timeout(name: &'static str, time: Duration) -> Result<Duration, InvalidLimit> {
    if time.is_zero() || time > LONGEST {
        return Err(InvalidLimit { name, value: format!("{time:?}"), expected: "more than zero and at most a day" });
    }
    Ok(time)
}

/// A limit that no server can work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidLimit {
    name: &'static str,
    value: String,
    expected: &'static str,
}

impl fmt::Display for InvalidLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: expected {}", self.name, self.value, self.expected)
    }
}

impl std::error::Error for InvalidLimit {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_no_server_can_work_with_are_rejected() {
        let limits = Limits::new();
        let said = |result: Result<Limits, InvalidLimit>| result.unwrap_err().to_string();
        assert!(said(limits.with_header_bytes(8191)).starts_with("header_bytes 8191: expected at least 8192 bytes"));
        assert_eq!(
            said(limits.with_header_timeout(Duration::ZERO)),
            "header_timeout 0ns: expected more than zero and at most a day"
        );
        assert!(said(limits.with_write_timeout(Duration::MAX)).starts_with("write_timeout"));
        assert!(said(limits.with_grace(Duration::MAX)).starts_with("grace"));
        assert!(limits.with_header_bytes(8192).unwrap().with_grace(Duration::ZERO).is_ok());
    }
}
