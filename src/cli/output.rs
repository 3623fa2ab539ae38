//! What a command says: results on standard output, messages on standard error, plain words or one JSON object a line.

use std::io::BufRead;
use std::io::ErrorKind;
use std::io::IsTerminal;
use std::io::Write;

use comfy_table::Table;
use comfy_table::presets;
use serde_json::Value;

use crate::cli::failure::Failure;
use crate::clock::Timestamp;

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

/// The members of an object, one a line: an object's own members below its name, a list of objects one a line.
pub fn details(value: &Value) -> String {
    let Some(members) = value.as_object() else { return shown(value) };
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, member) in members {
        let name = name.replace('_', " ");
        match member {
            Value::Object(inner) if !inner.is_empty() => {
                table.add_row([name.as_str(), ""]);
                for (inner_name, inner_member) in inner {
                    table.add_row([format!("  {}", inner_name.replace('_', " ")), shown(inner_member)]);
                }
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                let lines = items.iter().map(in_one_line).collect::<Vec<_>>();
                table.add_row([name, lines.join("\n")]);
            }
            _ => {
                table.add_row([name, shown(member)]);
            }
        }
    }
    trimmed(&table)
}

/// `first: second, third`: the members of an object that belong together.
fn in_one_line(item: &Value) -> String {
    let Some(members) = item.as_object() else { return shown(item) };
    let mut texts = members.values().map(shown).filter(|text| !text.is_empty());
    let first = texts.next().unwrap_or_default();
    let rest = texts.collect::<Vec<_>>().join(", ");
    if rest.is_empty() { first } else { format!("{first}: {rest}") }
}

/// What stands at `pointer`, cut to fit a cell.
pub fn cell(value: &Value, pointer: &str) -> String {
    let text = value.pointer(pointer).map(shown).unwrap_or_default();
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// A value in plain words: lists with commas, times to the second, nothing for null.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => to_the_second(text).unwrap_or_else(|| plain(text)),
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            items.iter().map(shown).collect::<Vec<_>>().join(", ")
        }
        other => plain(&other.to_string()),
    }
}

/// A time of Headgate's own, which has nanoseconds, without them; `--json` has it whole.
fn to_the_second(text: &str) -> Option<String> {
    let (seconds, fraction) = text.split_once('.')?;
    let is_time = seconds.len() == "2026-01-01T00:00:00".len() && fraction.ends_with('Z') && text.parse::<Timestamp>().is_ok();
    is_time.then(|| format!("{seconds}Z"))
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

    /// Times are told to the second; what only looks like one stays.
    #[test]
    fn times_are_told_to_the_second() {
        assert_eq!(shown(&json!("2026-11-24T08:14:26.612291224Z")), "2026-11-24T08:14:26Z");
        for text in ["2026-11-24T08:14:26Z", "2026-13-24T08:14:26.6Z", "1.5Z", "v1.2"] {
            assert_eq!(shown(&json!(text)), text);
        }
    }

    /// Nested members stand below their name, and lists of objects one a line: no JSON for a person.
    #[test]
    fn details_hold_no_json() {
        let told = details(&json!({"id": "x_1", "counts": {"new_records": 3}, "kept": [{"what": "a", "why": "b"}, {"what": "c"}]}));
        let words: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words, [vec!["id", "x_1"], vec!["counts"], vec!["new", "records", "3"], vec!["kept", "a:", "b"], vec!["c"]]);
    }

    /// Long cells are cut between characters, and absent ones are empty.
    #[test]
    fn cells_are_cut_between_characters() {
        let long = "é".repeat(200);
        assert_eq!(cell(&json!({"a": long}), "/a").chars().count(), CELL_CHARS_MAX + 1);
        assert_eq!(cell(&json!({"a": 1}), "/b/c"), "");
    }
}
