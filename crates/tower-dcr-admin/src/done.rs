//! The result of an action, carried through a redirect.

use std::fmt;

/// The result of an action. The URL carries a code and no sentence, so that a link can't put an attacker's words on the
/// page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Approved,
    Extended { days: u32 },
    Nothing,
    Revoked { clients: u64, untold: u64 },
    Unblocked,
}

impl Done {
    pub(super) fn code(self) -> String {
        match self {
            Self::Approved => "approved".to_owned(),
            Self::Extended { days } => format!("extended-{days}"),
            Self::Nothing => "nothing".to_owned(),
            Self::Revoked { clients, untold } => format!("revoked-{clients}-{untold}"),
            Self::Unblocked => "unblocked".to_owned(),
        }
    }

    pub(super) fn read(code: &str) -> Option<Self> {
        let mut parts = code.split('-');
        let name = parts.next()?;
        let mut number = || parts.next()?.parse::<u64>().ok();
        Some(match name {
            "approved" => Self::Approved,
            "extended" => Self::Extended { days: u32::try_from(number()?).ok()? },
            "nothing" => Self::Nothing,
            "revoked" => Self::Revoked { clients: number()?, untold: number()? },
            "unblocked" => Self::Unblocked,
            _ => return None,
        })
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approved => f.write_str("Approved."),
            Self::Extended { days } => write!(f, "Extended by {days} days."),
            Self::Nothing => f.write_str("Not blocked."),
            Self::Revoked { clients, untold: 0 } => write!(f, "Revoked: {clients}."),
            Self::Revoked { clients, untold } => {
                write!(f, "Revoked: {clients}. Not deprovisioned yet: {untold}; this is retried.")
            }
            Self::Unblocked => f.write_str("Unblocked."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Done;

    #[test]
    fn codes_are_read_back() {
        for done in [
            Done::Approved,
            Done::Extended { days: 90 },
            Done::Nothing,
            Done::Revoked { clients: 3, untold: 1 },
            Done::Unblocked,
        ] {
            assert_eq!(Done::read(&done.code()), Some(done));
        }
        assert_eq!(Done::read("Call 0800-FRAUD"), None);
    }
}
