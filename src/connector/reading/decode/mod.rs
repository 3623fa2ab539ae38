//! From the body of an answer to the JSON that extraction walks.
//!
//! An answer that is JSON is taken as it is. Any other becomes its *decoded form*, a JSON array with one element for each of the answers
//! that the reference engine's decoder makes of it: a line, a row, a file of an archive. Records are ranges of that form and their
//! pointers lead into it: the record of a table's first row below the header is `/0`. The digest of the exchange stays that of the
//! body as it came, and decoding is a function of the body and the manifest alone, so whoever has both can find every record again.
//!
//! Everything here is bounded: what a packed body inflates to, how large a decoded form gets, how many files an archive holds, and how
//! deep and large an XML document is. What goes beyond is an error, never a shorter page.
//!
//! Source: the decoders and parsers of airbyte-cdk (read there, measured).

use bytes::Bytes;

use crate::connector::component::records::Decoder;
use crate::connector::component::records::InnerDecoder;
use crate::connector::reading::Compat;
use crate::record::JsonError;
use crate::record::scan::Scanner;

mod items;
mod lines;
mod packed;
mod table;
mod text;
mod xml;

pub use packed::FILES_MAX;
pub use packed::INFLATED_BYTES_MAX;
pub use xml::XML_DEPTH_MAX;
pub use xml::XML_NODES_MAX;

use table::Table;
use text::Characters;

/// The largest decoded form, in bytes.
pub const FORM_BYTES_MAX: usize = 512 << 20;

/// Why an answer cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It inflates to too much.
    #[error("it inflates to more than {INFLATED_BYTES_MAX} bytes; ask for smaller parts")]
    Inflates,
    /// Its decoded form is too large.
    #[error("as JSON it would have more than {max} bytes; ask for smaller parts")]
    FormTooLarge {
        /// The limit.
        max: usize,
    },
    /// It is packed, and the packing is damaged.
    #[error("it is no {kind} that can be unpacked; look whether the transfer was cut short")]
    Damaged {
        /// The kind of packing.
        kind: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// An archive holds too many files.
    #[error("the archive holds {found} files, and at most {max} are read; ask for smaller parts")]
    TooManyFiles {
        /// How many.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A text is not in the encoding that the manifest names.
    #[error("it is not text in the encoding {encoding}; name the right one as the decoder's `encoding`")]
    Encoding {
        /// The encoding.
        encoding: &'static str,
    },
    /// A part is no JSON.
    #[error("its {part} {number} is no JSON")]
    NotJson {
        /// What kind of part.
        part: &'static str,
        /// Which, from 1.
        number: usize,
        /// Why.
        source: JsonError,
    },
    /// It is no XML.
    #[error("it is no XML at byte {offset}: {detail}")]
    NotXml {
        /// Where.
        offset: u64,
        /// Why.
        detail: String,
    },
    /// An XML document is too large or too deep.
    #[error("the XML document has more than {max} {what}; ask for smaller parts")]
    XmlTooLarge {
        /// Elements or levels.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// A table's row has more cells than its header.
    #[error("row {row} of the table has more cells than the header; look whether the application quotes its cells")]
    Ragged {
        /// Which row, from 1 below the header.
        row: usize,
    },
}

/// How the answers of a stream are read.
#[derive(Debug)]
pub struct Decoding {
    kind: Kind,
    compat: Compat,
}

#[derive(Debug)]
enum Kind {
    Json,
    Items { path: Vec<String>, characters: Characters },
    JsonLines,
    Table(Table),
    Xml,
    Gzip(Box<Kind>),
    Zip(Box<Kind>),
    Lines,
}

impl Decoding {
    /// How `decoder` reads; without one, as JSON.
    pub fn new(decoder: Option<&Decoder>, compat: Compat) -> Self {
        let kind = match decoder {
            None | Some(Decoder::JsonDecoder(_)) => Kind::Json,
            Some(Decoder::JsonItemsDecoder(items)) => Kind::items(items),
            Some(Decoder::JsonlDecoder(_)) => Kind::JsonLines,
            Some(Decoder::CsvDecoder(table)) => Kind::Table(Table::new(table, compat)),
            Some(Decoder::XmlDecoder(_)) => Kind::Xml,
            Some(Decoder::GzipDecoder(gzip)) => Kind::Gzip(Box::new(Kind::inner(&gzip.decoder, compat))),
            Some(Decoder::ZipfileDecoder(zip)) => Kind::Zip(Box::new(Kind::inner(&zip.decoder, compat))),
            Some(Decoder::IterableDecoder(_)) => Kind::Lines,
        };
        Decoding { kind, compat }
    }

    /// How the result of an asynchronous job is read as a table: packed or not, with a header line. Without `preserve_na_values` cells
    /// with one of the words for a missing value are null; an empty cell always is.
    pub fn download(preserve_na_values: bool, compat: Compat) -> Self {
        Decoding { kind: Kind::Table(Table::download(preserve_na_values)), compat }
    }

    /// The decoded form of `body`; JSON as it is.
    ///
    /// # Errors
    /// When the body is not what the decoder reads, or goes beyond a limit. JSON is not looked at: extraction does that.
    pub fn decode(&self, body: &Bytes) -> Result<Bytes, DecodeError> {
        if let Kind::Json = self.kind {
            return Ok(lines::without_constants(body).map_or_else(|| body.clone(), Bytes::from));
        }
        let mut form = Form::new(FORM_BYTES_MAX, INFLATED_BYTES_MAX);
        self.kind.read(body, self.compat, &mut form)?;
        Ok(form.finish())
    }
}

impl Kind {
    fn inner(decoder: &InnerDecoder, compat: Compat) -> Self {
        match decoder {
            InnerDecoder::JsonDecoder(_) => Kind::Json,
            InnerDecoder::JsonItemsDecoder(items) => Kind::items(items),
            InnerDecoder::JsonlDecoder(_) => Kind::JsonLines,
            InnerDecoder::CsvDecoder(table) => Kind::Table(Table::new(table, compat)),
            InnerDecoder::GzipDecoder(gzip) => Kind::Gzip(Box::new(Kind::inner(&gzip.decoder, compat))),
        }
    }

    fn items(items: &crate::connector::component::records::JsonItemsDecoder) -> Self {
        Kind::Items { path: items.items_path.split('.').map(str::to_owned).collect(), characters: Characters(items.encoding) }
    }

    /// Adds what `body` holds to the form.
    fn read(&self, body: &[u8], compat: Compat, form: &mut Form) -> Result<(), DecodeError> {
        match self {
            Kind::Json => lines::document(body, form),
            Kind::Items { path, characters } => items::items(characters.read(body)?.as_bytes(), path, form),
            Kind::JsonLines => lines::json_lines(body, compat, form),
            Kind::Table(table) => table.rows(body, form),
            Kind::Xml => xml::document(body, compat, form),
            Kind::Gzip(inner) => match packed::gunzipped(body, &mut form.room)? {
                Some(inflated) => inner.read(&inflated, compat, form),
                None => inner.read(body, compat, form),
            },
            Kind::Zip(inner) => packed::each_file(body, form, |file, form| inner.read(file, compat, form)),
            Kind::Lines => lines::lines(body, form),
        }
    }
}

/// A decoded form being written.
struct Form {
    text: Vec<u8>,
    bytes_max: usize,
    /// How much more the answer may inflate to.
    room: u64,
}

impl Form {
    fn new(bytes_max: usize, inflated_bytes_max: u64) -> Self {
        Form { text: vec![b'['], bytes_max, room: inflated_bytes_max }
    }

    /// Adds an element, which `write` writes as JSON.
    fn element(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), DecodeError> {
        if self.text.len() > 1 {
            self.text.push(b',');
        }
        write(&mut self.text);
        if self.text.len() > self.bytes_max { Err(DecodeError::FormTooLarge { max: self.bytes_max }) } else { Ok(()) }
    }

    /// Adds the elements of a list, or another value as one element, as the reference engine takes a JSON document apart.
    fn value(&mut self, text: &[u8]) -> Result<(), JsonOrLimit> {
        let mut scanner = Scanner::new(text)?;
        if scanner.peek() == Some(b'[') {
            let mut elements = Vec::new();
            scanner.elements(|scanner, _| {
                elements.push(scanner.value()?);
                Ok(())
            })?;
            scanner.finish()?;
            for element in elements {
                self.element(|out| out.extend_from_slice(&text[element]))?;
            }
            return Ok(());
        }
        let value = scanner.value()?;
        scanner.finish()?;
        Ok(self.element(|out| out.extend_from_slice(&text[value]))?)
    }

    fn finish(mut self) -> Bytes {
        self.text.push(b']');
        Bytes::from(self.text)
    }
}

/// A text that is no JSON, or a form that grew too large.
enum JsonOrLimit {
    Json(JsonError),
    Limit(DecodeError),
}

impl From<JsonError> for JsonOrLimit {
    fn from(error: JsonError) -> Self {
        JsonOrLimit::Json(error)
    }
}

impl From<DecodeError> for JsonOrLimit {
    fn from(error: DecodeError) -> Self {
        JsonOrLimit::Limit(error)
    }
}

impl JsonOrLimit {
    fn of(self, part: &'static str, number: usize) -> DecodeError {
        match self {
            JsonOrLimit::Json(source) => DecodeError::NotJson { part, number, source },
            JsonOrLimit::Limit(error) => error,
        }
    }
}

#[cfg(test)]
mod tests;
