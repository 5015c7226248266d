//! What goes to the terminal.

use std::error::Error;
use std::io::{self, IsTerminal, Write};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tower_dcr::preset::PolicyFileError;

/// A line of text on the standard output; who reads may have gone.
pub(super) fn line(text: impl std::fmt::Display) -> io::Result<()> {
    writeln!(anstream::stdout(), "{text}")
}

/// JSON on the standard output, in printable ASCII: it may be a terminal, and strings may be a stranger's.
pub(super) fn json(value: &impl Serialize) -> Result<(), Box<dyn Error>> {
    let pretty = serde_json::to_string_pretty(value)?;
    let mut ascii = String::with_capacity(pretty.len());
    for c in pretty.chars() {
        match c {
            ' '..='~' | '\n' => ascii.push(c),
            // Outside of strings JSON is ASCII.
            _ => ascii.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
        }
    }
    line(ascii)?;
    Ok(())
}

/// Text that a stranger chose: nothing in it steers the terminal, or reads as something else.
pub(super) fn escaped(text: &str) -> String {
    tower_dcr::name::visible(text).into_owned()
}

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(header.to_vec());
    if !io::stdout().is_terminal() {
        // One row, one line: for grep, and for `cut`.
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.column_iter_mut().for_each(|column| _ = column.set_padding((0, 2)));
    table
}

/// A table without white space at the ends of lines.
pub(super) fn print_table(table: &Table) -> io::Result<()> {
    table.lines().try_for_each(|row| line(row.trim_end()))
}

/// Bold, red, yellow, green: where the standard output shows them.
pub(super) enum Paint {
    Bad,
    Good,
    Mild,
    Strong,
}

pub(super) fn painted(text: &str, paint: &Paint) -> String {
    let code = match paint {
        Paint::Bad => 31,
        Paint::Good => 32,
        Paint::Mild => 33,
        Paint::Strong => 1,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// How far it is, on a terminal; `total` in bytes or records.
pub(super) fn progress(total: Option<u64>, unit: &str) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template = match (total, unit) {
        (Some(_), "bytes") => "{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}",
        (Some(_), _) => "{bar:30} {human_pos}/{human_len} {per_sec} {eta}",
        (None, _) => "{spinner} {human_pos} {per_sec}",
    };
    // A template of ours, which is one.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// An error on the standard error, with what caused it.
pub(super) fn complain(error: &(dyn Error + 'static)) {
    let text = if let Some(error) = error.downcast_ref::<PolicyFileError>() {
        policy_error(error)
    } else {
        let mut text = format!("error: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            text.extend([": ", &error.to_string()]);
            cause = error.source();
        }
        text
    };
    // There is nobody to tell that it can't be told.
    let _gone = writeln!(anstream::stderr(), "{text}");
}

/// What is wrong with a policy file, with the place if there is one.
pub(super) fn policy_error(error: &PolicyFileError) -> String {
    if error.text().is_empty() {
        return format!("error: {error}");
    }
    let path = error.file().map_or_else(|| "policy".to_owned(), |file| file.display().to_string());
    let message = match error.key() {
        "" => error.message().to_owned(),
        key => format!("{key}: {}", error.message()),
    };
    report(Level::ERROR, &message, (&path, error.text()), error.span(), error.suggestion())
}

/// A piece of a policy file, with what is wrong below it.
pub(super) fn report(
    level: Level<'_>,
    message: &str,
    (path, text): (&str, &str),
    span: std::ops::Range<usize>,
    help: Option<&str>,
) -> String {
    let snippet = Snippet::source(text).path(path).annotation(AnnotationKind::Primary.span(span));
    let mut group = level.primary_title(message).element(snippet);
    if let Some(help) = help {
        group = group.element(Level::HELP.message(help));
    }
    Renderer::styled().render(&[group])
}
