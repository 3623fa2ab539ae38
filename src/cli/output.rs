//! What a command says: results on standard output, messages on standard error, plain words or one JSON object a line.

use std::io::BufRead;
use std::io::ErrorKind;
use std::io::IsTerminal;
use std::io::Write;

use comfy_table::Table;
use comfy_table::presets;
use serde_json::Value;

use crate::cli::failure::Failure;

/// The most characters of one table cell; the rest is cut, `--json` has it whole.
const CELL_CHARS_MAX: usize = 72;

/// Where a command's words go.
pub struct Output {
    json: bool,
    results: Box<dyn Write + Send>,
    messages: Box<dyn Write + Send>,
    is_watched: bool,
    can_ask: bool,
}

impl Output {
    /// Standard output and standard error.
    pub fn standard(json: bool) -> Self {
        Self {
            json,
            results: Box::new(std::io::BufWriter::new(std::io::stdout())),
            messages: Box::new(std::io::stderr()),
            is_watched: std::io::stderr().is_terminal(),
            can_ask: std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
        }
    }

    /// Two writers that a test reads; nobody watches and nobody can be asked.
    pub fn captured(json: bool, results: Box<dyn Write + Send>, messages: Box<dyn Write + Send>) -> Self {
        Self { json, results, messages, is_watched: false, can_ask: false }
    }

    /// Whether results are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person watches the messages, so that bars may move.
    pub fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Whether a person can be asked.
    pub fn can_ask(&self) -> bool {
        self.can_ask
    }

    /// The result of a command: the JSON itself, or the words that `told` makes of it.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn result(&mut self, value: &Value, told: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        if self.json { self.object(value) } else { self.line(&told(value)) }
    }

    /// One JSON object on its line, in either mode.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn object(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(&value.to_string())
    }

    /// Text on its line.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.raw(text.as_bytes())?;
        self.raw(b"\n")?;
        self.flush()
    }

    /// Bytes as they are, without a line end; call [`Output::flush`] at the end.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.results.write_all(bytes).map_err(output)
    }

    /// Hands what was written to the reader.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.results.flush().map_err(output)
    }

    /// A message on standard error. One that cannot be written is lost: it never stops what a command does.
    pub fn say(&mut self, message: &str) {
        let _ = writeln!(self.messages, "{message}");
    }

    /// Asks a person a question that only the word `yes` answers with yes; nobody there is no.
    pub fn ask(&mut self, question: &str) -> bool {
        if !self.can_ask {
            return false;
        }
        let _ = write!(self.messages, "{question} [yes/no] ");
        let _ = self.messages.flush();
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).is_ok() && answer.trim() == "yes"
    }
}

fn output(source: std::io::Error) -> Failure {
    if source.kind() == ErrorKind::BrokenPipe { Failure::Closed } else { Failure::Output { source } }
}

/// A table of `items`: each column a heading and the JSON Pointer of its cells.
pub fn table(columns: &[(&str, &str)], items: &[Value]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|(heading, _)| *heading));
    for item in items {
        table.add_row(columns.iter().map(|(_, pointer)| cell(item, pointer)));
    }
    trimmed(&table)
}

/// The members of an object, one a line.
pub fn details(value: &Value) -> String {
    let Some(members) = value.as_object() else { return shown(value) };
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, member) in members {
        table.add_row([name.replace('_', " "), shown(member)]);
    }
    trimmed(&table)
}

/// What stands at `pointer`, cut to fit a cell.
pub fn cell(value: &Value, pointer: &str) -> String {
    let text = value.pointer(pointer).map(shown).unwrap_or_default();
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// A value in plain words: lists with commas, nothing for null.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            items.iter().map(shown).collect::<Vec<_>>().join(", ")
        }
        other => plain(&other.to_string()),
    }
}

/// Text that cannot move the cursor or colour the terminal: control characters come from applications, and are shown escaped.
pub fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_unicode().collect() } else { vec![c] }).collect()
}

fn trimmed(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Text of an application cannot reach the terminal as a command.
    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(shown(&json!("a\u{1b}[2Jb\n")), "a\\u{1b}[2Jb\\u{a}");
        let table = table(&[("name", "/name")], &[json!({"name": "\u{1b}]0;owned\u{7}"})]);
        assert!(!table.contains('\u{1b}') && !table.contains('\u{7}'), "{table}");
    }

    /// Long cells are cut between characters, and absent ones are empty.
    #[test]
    fn cells_are_cut_between_characters() {
        let long = "é".repeat(200);
        assert_eq!(cell(&json!({"a": long}), "/a").chars().count(), CELL_CHARS_MAX + 1);
        assert_eq!(cell(&json!({"a": 1}), "/b/c"), "");
    }
}
