//! Output to the terminal.

use std::error::Error;
use std::io::{self, IsTerminal, Write};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};
use tower_dcr::policy_file::{Lint, PolicyFileError};

/// Writes a line of text to the standard output.
pub(super) fn line(text: impl std::fmt::Display) -> io::Result<()> {
    unless_closed(writeln!(anstream::stdout(), "{text}"))
}

/// Writes bytes unchanged to the standard output.
pub(super) fn raw(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout();
    unless_closed(out.write_all(bytes).and_then(|()| out.flush()))
}

/// Ignores a closed pipe, as in `dcr … | head`: the exit status is still that of the results.
fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Formats a count: "1 client", "2 clients".
pub(super) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Writes JSON in printable ASCII to the standard output: it may be a terminal, and strings may be an attacker's.
pub(super) fn json(value: &impl Serialize) -> Result<(), Box<dyn Error>> {
    line(ascii(value)?)?;
    Ok(())
}

fn ascii(value: &impl Serialize) -> serde_json::Result<String> {
    let pretty = serde_json::to_string_pretty(value)?;
    let mut ascii = String::with_capacity(pretty.len());
    for c in pretty.chars() {
        match c {
            ' '..='~' | '\n' => ascii.push(c),
            // JSON is ASCII outside of strings.
            _ => ascii.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
        }
    }
    Ok(ascii)
}

/// Escapes untrusted text: nothing in it controls the terminal, or reads as something else.
pub(super) fn escaped(text: &str) -> String {
    tower_dcr::rules::visible(text).into_owned()
}

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(header.to_vec());
    if !io::stdout().is_terminal() {
        // One line per row, for grep and `cut`.
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.column_iter_mut().for_each(|column| _ = column.set_padding((0, 2)));
    table
}

/// Prints a table without white space at the ends of lines.
pub(super) fn print_table(table: &Table) -> io::Result<()> {
    table.lines().try_for_each(|row| line(row.trim_end()))
}

/// Bold, red, yellow or green text, if the standard output supports it.
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

/// Returns a progress bar, visible on a terminal; `total` in bytes or records.
pub(super) fn progress(total: Option<u64>, unit: &str) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template = match (total, unit) {
        (Some(_), "bytes") => "{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}",
        (Some(_), _) => "{bar:30} {human_pos}/{human_len} {per_sec} {eta}",
        (None, _) => "{spinner} {human_pos} {per_sec}",
    };
    // The template is valid.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Writes an error and its causes to the standard error: as text, or as one JSON object with `error` in it.
pub(super) fn complain(error: &(dyn Error + 'static), json: bool) {
    let text = match error.downcast_ref::<PolicyFileError>() {
        Some(error) if json => ascii(&policy_error_json(error)).unwrap_or_default(),
        Some(error) => policy_error(error),
        None if json => ascii(&json!({"error": causes(error)})).unwrap_or_default(),
        None => format!("error: {}", causes(error)),
    };
    // A failure to write to the standard error can't be reported.
    let _gone = writeln!(anstream::stderr(), "{text}");
}

/// Returns an error and its causes, each once: databases repeat theirs in every layer.
pub(super) fn causes(error: &(dyn Error + 'static)) -> String {
    // clap's text already begins with the word.
    let said = error.to_string();
    let mut text = said.trim_end().trim_start_matches("error: ").to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.extend([": ", &said]);
        }
        cause = error.source();
    }
    text
}

/// Returns the first mistake of a policy file as JSON.
pub(super) fn policy_error_json(error: &PolicyFileError) -> Value {
    let Some(mistake) = error.mistakes.first() else { return Value::Null };
    let is_placed = text_of(mistake).is_some();
    json!({
        "error": mistake.message, "file": mistake.file, "key": Some(&mistake.key).filter(|key| !key.is_empty()),
        "line": mistake.line.filter(|_| is_placed), "column": mistake.column.filter(|_| is_placed),
        "suggestion": mistake.suggestion.as_ref().map(ToString::to_string),
    })
}

/// Returns all mistakes of a policy file as text, with places if there are any.
pub(super) fn policy_error(error: &PolicyFileError) -> String {
    let of_file = || format!("error: {error}");
    let all: Vec<String> =
        error.mistakes.iter().map(|mistake| excerpt(Level::ERROR, mistake).unwrap_or_else(of_file)).collect();
    all.join("\n")
}

fn text_of(lint: &Lint) -> Option<&str> {
    lint.text.as_deref().filter(|text| !text.is_empty())
}

/// Returns an excerpt of the policy file with the mistake below it; `None` if it has no place.
pub(super) fn excerpt(level: Level<'_>, lint: &Lint) -> Option<String> {
    let (text, span) = (text_of(lint)?, lint.span.clone()?);
    let path = lint.file.as_ref().map_or_else(|| "policy".to_owned(), |file| file.display().to_string());
    let (title, help) = (titled(lint), lint.suggestion.as_ref().map(ToString::to_string));
    let snippet = Snippet::source(text).path(&path).annotation(AnnotationKind::Primary.span(span));
    let mut group = level.primary_title(&title).element(snippet);
    if let Some(help) = &help {
        group = group.element(Level::HELP.message(help));
    }
    Some(Renderer::styled().render(&[group]))
}

/// Returns the key and the message. A file that is no TOML or JSON has no key.
pub(super) fn titled(lint: &Lint) -> String {
    if lint.key.is_empty() { lint.message.clone() } else { format!("{}: {}", lint.key, lint.message) }
}
