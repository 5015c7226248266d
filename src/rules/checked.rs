//! The source of a table's row, and the date of the last comparison with it.

/// A row of a table, with its source and the date on which it was last compared with that source.
#[derive(Clone, Copy)]
pub(crate) struct Checked<'a> {
    /// The name of an identity, the pattern of a callback, or a scheme.
    pub(crate) subject: &'a str,
    /// The date of the last comparison with the source: `YYYY-MM-DD`.
    pub(crate) date: &'a str,
}

impl Checked<'_> {
    /// Returns `true` if the row was checked more than a year before `today` (`YYYY-MM-DD`). `false` if `today` is not
    /// a date.
    pub(crate) fn is_older_than_a_year(&self, today: &str) -> bool {
        let Some((year, day)) = today.split_at_checked(4).filter(|_| Self::is_date(today)) else { return false };
        let Ok(year) = year.parse::<u16>() else { return false };
        // Dates of this form are in order as text.
        format!("{:04}{day}", year.saturating_sub(1)).as_str() > self.date
    }

    /// Returns `true` if `text` is a date as `YYYY-MM-DD`.
    pub(super) fn is_date(text: &str) -> bool {
        let parts: Vec<&str> = text.split('-').collect();
        let [year, month, day] = parts[..] else { return false };
        let in_range = |text: &str, length: usize, most: u16| {
            text.len() == length
                && text.bytes().all(|byte| byte.is_ascii_digit())
                && text.parse().is_ok_and(|number: u16| (1..=most).contains(&number))
        };
        in_range(year, 4, 9999) && in_range(month, 2, 12) && in_range(day, 2, 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_is_a_year() {
        let row = |date| Checked { subject: "x", date };
        for (checked, today, old) in [
            ("2026-11-29", "2026-11-29", false),
            ("2026-11-29", "2027-11-29", false),
            ("2026-11-29", "2027-11-30", true),
            ("2024-02-29", "2025-02-28", false),
            ("2024-02-29", "2025-03-01", true),
            ("2026-11-29", "2020-01-01", false),
            ("2026-11-29", "tomorrow", false),
            ("2026-11-29", "é026-11-29", false),
        ] {
            assert_eq!(row(checked).is_older_than_a_year(today), old, "{checked} {today}");
        }
        for text in ["", "2026", "2026-1-1", "2026-13-01", "2026-00-01", "2026-01-32", "2026-01-01x", "+026-01-01"] {
            assert!(!Checked::is_date(text), "{text}");
        }
    }
}
