//! XML as JSON: an element is its text, or an object of its attributes (`@` before their names), the elements within it and its text
//! (`#text`). Elements of one name make a list. Surrounding white space is no text; an element with nothing is null.
//!
//! The conventions are those of the library behind the reference engine's decoder (measured). Namespaces stay part of names.

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::BytesRef;
use quick_xml::events::BytesStart;
use quick_xml::events::Event;
use serde_json::Map;
use serde_json::Value;
use serde_json::map::Entry;

use super::DecodeError;
use super::Form;
use super::lines::write_text;
use crate::connector::reading::Compat;

/// How deep the elements of a document may nest.
pub const XML_DEPTH_MAX: usize = 60;

/// The most elements and attributes of a document.
pub const XML_NODES_MAX: usize = 2_000_000;

/// The member that holds an element's text beside others.
const TEXT: &str = "#text";

/// An element that is open.
#[derive(Default)]
struct Open {
    name: String,
    members: Option<Map<String, Value>>,
    text: String,
}

/// The walk over a document.
#[derive(Default)]
struct Walk {
    open: Vec<Open>,
    root: Option<(String, Value)>,
    nodes: usize,
}

/// Adds the document to the form. What is no XML is an empty page in strict readings, as in the reference engine; so is nothing.
pub(super) fn document(body: &[u8], compat: Compat, form: &mut Form) -> Result<(), DecodeError> {
    let text = std::str::from_utf8(body).map_err(|_| DecodeError::Encoding { encoding: "utf-8" })?;
    if text.trim().is_empty() {
        return Ok(());
    }
    match Walk::default().over(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        Ok((name, value)) => form.element(|out| {
            out.push(b'{');
            write_text(out, &name);
            out.push(b':');
            // Writing to a Vec cannot fail.
            let _ = serde_json::to_writer(&mut *out, &value);
            out.push(b'}');
        }),
        Err(DecodeError::NotXml { offset, .. }) if compat == Compat::Strict => {
            tracing::warn!(offset, "the answer is no XML and counts as an empty page");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

impl Walk {
    fn over(mut self, text: &str) -> Result<(String, Value), DecodeError> {
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_comments = true;
        loop {
            let before = reader.buffer_position();
            let wrong = |detail: String| DecodeError::NotXml { offset: before, detail };
            let event = reader.read_event().map_err(|error| wrong(error.to_string()))?;
            match event {
                Event::Start(start) => self.start(&start, before)?,
                Event::Empty(start) => {
                    self.start(&start, before)?;
                    self.end();
                }
                // Whether it closes what is open was checked by the reader.
                Event::End(_) => self.end(),
                Event::Text(text) => self.text(&text.xml10_content(), before)?,
                Event::CData(text) if !self.open.is_empty() => self.append(&text.xml10_content()),
                Event::CData(_) => return Err(wrong("text stands outside the document's element".to_owned())),
                Event::GeneralRef(reference) => self.reference(&reference, before)?,
                Event::DocType(kind) if kind.contains('[') => {
                    return Err(wrong("a document that declares entities of its own is not read".to_owned()));
                }
                Event::Decl(_) if before > 0 => return Err(wrong("the XML declaration is not at the beginning".to_owned())),
                Event::Decl(_) | Event::DocType(_) | Event::Comment(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        let end = text.len() as u64;
        match self.root {
            _ if !self.open.is_empty() => Err(DecodeError::NotXml { offset: end, detail: "an element is not closed".to_owned() }),
            None => Err(DecodeError::NotXml { offset: end, detail: "there is no element".to_owned() }),
            Some(root) => Ok(root),
        }
    }

    fn start(&mut self, start: &BytesStart<'_>, offset: u64) -> Result<(), DecodeError> {
        let wrong = |detail: String| DecodeError::NotXml { offset, detail };
        if self.open.is_empty() && self.root.is_some() {
            return Err(wrong("there is a second element beside the document's own".to_owned()));
        }
        if self.open.len() == XML_DEPTH_MAX {
            return Err(DecodeError::XmlTooLarge { what: "levels", max: XML_DEPTH_MAX });
        }
        let mut open = Open { name: start.name().0.to_owned(), ..Open::default() };
        self.count()?;
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|error| wrong(error.to_string()))?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| wrong(error.to_string()))?;
            self.count()?;
            open.members.get_or_insert_default().insert(format!("@{}", attribute.key.0), Value::from(value.into_owned()));
        }
        self.open.push(open);
        Ok(())
    }

    fn count(&mut self) -> Result<(), DecodeError> {
        self.nodes += 1;
        if self.nodes > XML_NODES_MAX {
            Err(DecodeError::XmlTooLarge { what: "elements and attributes", max: XML_NODES_MAX })
        } else {
            Ok(())
        }
    }

    fn end(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let text = open.text.trim();
        let value = match open.members {
            Some(mut members) => {
                if !text.is_empty() {
                    push(&mut members, TEXT.to_owned(), Value::from(text));
                }
                Value::Object(members)
            }
            None if text.is_empty() => Value::Null,
            None => Value::from(text),
        };
        match self.open.last_mut() {
            Some(around) => push(around.members.get_or_insert_default(), open.name, value),
            None => self.root = Some((open.name, value)),
        }
    }

    fn text(&mut self, text: &str, offset: u64) -> Result<(), DecodeError> {
        let wrong = |detail: &str| Err(DecodeError::NotXml { offset, detail: detail.to_owned() });
        if self.open.is_empty() {
            return if text.trim().is_empty() { Ok(()) } else { wrong("text stands outside the document's element") };
        }
        if text.contains("]]>") {
            return wrong("`]]>` stands in a text");
        }
        if text.contains(|character: char| character < ' ' && !matches!(character, '\t' | '\n' | '\r')) {
            return wrong("a control character stands in a text");
        }
        self.append(text);
        Ok(())
    }

    fn append(&mut self, text: &str) {
        if let Some(open) = self.open.last_mut() {
            open.text.push_str(text);
        }
    }

    fn reference(&mut self, reference: &BytesRef<'_>, offset: u64) -> Result<(), DecodeError> {
        let character = match reference.resolve_char_ref() {
            Ok(Some(character)) => Some(character),
            Ok(None) => match &**reference {
                "lt" => Some('<'),
                "gt" => Some('>'),
                "amp" => Some('&'),
                "apos" => Some('\''),
                "quot" => Some('"'),
                _ => None,
            },
            Err(_) => None,
        };
        match character {
            Some(character) if !self.open.is_empty() => {
                self.append(character.encode_utf8(&mut [0; 4]));
                Ok(())
            }
            _ => Err(DecodeError::NotXml { offset, detail: format!("`&{};` stands for nothing", crate::ids::cut(reference)) }),
        }
    }
}

/// Adds a member; of one name several make a list.
fn push(members: &mut Map<String, Value>, name: String, value: Value) {
    match members.entry(name) {
        Entry::Vacant(place) => drop(place.insert(value)),
        Entry::Occupied(mut place) => match place.get_mut() {
            Value::Array(items) => items.push(value),
            first => {
                let before = first.take();
                *first = Value::Array(vec![before, value]);
            }
        },
    }
}
