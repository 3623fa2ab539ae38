//! Tables: comma-separated values with a header line.

use std::borrow::Cow;
use std::collections::HashMap;

use csv::ByteRecord;
use csv::ReaderBuilder;

use super::DecodeError;
use super::Form;
use super::lines::write_text;
use super::packed;
use super::text::Characters;
use crate::connector::component::records::CsvDecoder;
use crate::connector::component::records::Encoding;
use crate::connector::reading::Compat;

/// The words that the reference engine's table reader takes for a missing value.
const MISSING: [&str; 18] = [
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None",
    "n/a", "nan", "null",
];

/// The byte order mark, which some applications put before UTF-8.
const MARK: &str = "\u{feff}";

/// How a table is read.
#[derive(Debug)]
pub(super) struct Table {
    characters: Characters,
    delimiter: u8,
    /// Cells with one of these texts are null.
    nulls: Vec<String>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An answer, with or without a mark at its beginning as part of the first name.
    Answer { keeps_mark: bool },
    /// The result of a job, which another reader reads in the reference engine.
    Download,
}

/// A column: its name as JSON, and the cell that counts.
struct Column {
    name: Vec<u8>,
    cell: usize,
}

impl Table {
    pub fn new(decoder: &CsvDecoder, compat: Compat) -> Self {
        Table {
            characters: Characters(decoder.encoding),
            delimiter: decoder.delimiter.0,
            nulls: decoder.set_values_to_none.clone(),
            kind: Kind::Answer { keeps_mark: compat == Compat::Strict },
        }
    }

    pub fn download(preserve_na_values: bool) -> Self {
        let words = MISSING.iter().filter(|_| !preserve_na_values).map(|word| (*word).to_owned());
        Table {
            characters: Characters(Encoding::Utf8),
            delimiter: b',',
            nulls: words.chain([String::new()]).collect(),
            kind: Kind::Download,
        }
    }

    /// Adds every row below the header. A row that is short has nulls; what is beyond the header goes to a member `null`, which is how
    /// the reference engine writes a name that is none, or is an error in the result of a job.
    pub fn rows(&self, body: &[u8], form: &mut Form) -> Result<(), DecodeError> {
        let body = match self.kind {
            Kind::Download => match packed::inflated_if_packed(body, &mut form.room)? {
                Some(inflated) => Cow::Owned(inflated),
                None => Cow::Owned(body.iter().copied().filter(|byte| *byte != 0).collect()),
            },
            Kind::Answer { .. } => Cow::Borrowed(body),
        };
        let text = self.characters.read(&body)?;
        let text = match self.kind {
            // The reader takes one mark for itself.
            Kind::Answer { keeps_mark: true } if text.starts_with(MARK) => Cow::Owned(format!("{MARK}{text}")),
            _ => text,
        };
        let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).delimiter(self.delimiter).from_reader(text.as_bytes());
        let mut row = ByteRecord::new();
        // Text in memory that may have rows of any length has no error to tell.
        let mut next = |row: &mut ByteRecord| reader.read_byte_record(row).unwrap_or(false);
        if !next(&mut row) {
            return Ok(());
        }
        let (columns, width) = (self.columns(&row), row.len());
        for number in 1.. {
            if !next(&mut row) {
                break;
            }
            if row.len() > width && self.kind == Kind::Download {
                return Err(DecodeError::Ragged { row: number });
            }
            form.element(|out| self.write_row(out, &columns, width, &row))?;
        }
        Ok(())
    }

    /// The columns of a header. Of two with one name the later counts, in the earlier's place; the result of a job has both, numbered.
    fn columns(&self, header: &ByteRecord) -> Vec<Column> {
        let mut columns: Vec<Column> = Vec::with_capacity(header.len());
        let mut places: HashMap<String, usize> = HashMap::with_capacity(header.len());
        for (cell, name) in header.iter().enumerate() {
            let mut name = cell_text(name).into_owned();
            if self.kind == Kind::Download {
                if name.is_empty() {
                    name = format!("Unnamed: {cell}");
                }
                let plain = name.clone();
                for number in 1.. {
                    if !places.contains_key(&name) {
                        break;
                    }
                    name = format!("{plain}.{number}");
                }
            }
            match places.get(&name) {
                Some(known) => columns[*known].cell = cell,
                None => {
                    let mut text = Vec::new();
                    write_text(&mut text, &name);
                    places.insert(name, columns.len());
                    columns.push(Column { name: text, cell });
                }
            }
        }
        columns
    }

    fn write_row(&self, out: &mut Vec<u8>, columns: &[Column], width: usize, row: &ByteRecord) {
        out.push(b'{');
        for (number, column) in columns.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&column.name);
            out.push(b':');
            match row.get(column.cell).map(cell_text) {
                Some(text) if !self.nulls.iter().any(|null| *null == *text) => write_text(out, &text),
                _ => out.extend_from_slice(b"null"),
            }
        }
        if row.len() > width {
            out.extend_from_slice(if columns.is_empty() { b"\"null\":[" } else { b",\"null\":[" });
            for (number, cell) in row.iter().skip(width).enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                write_text(out, &cell_text(cell));
            }
            out.push(b']');
        }
        out.push(b'}');
    }
}

/// The text of a cell, with every end of line within it as one line feed.
fn cell_text(cell: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(cell);
    if text.contains('\r') { Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n")) } else { text }
}
