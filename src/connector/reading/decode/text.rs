//! Bytes as text, by the encodings that Python's codecs know.

use std::borrow::Cow;

use encoding_rs::UTF_16BE;
use encoding_rs::UTF_16LE;

use super::DecodeError;
use crate::connector::component::records::Encoding;

/// How bytes are read as text. What is not in the encoding is an error, never a replacement character.
#[derive(Debug, Clone, Copy)]
pub(super) struct Characters(pub Encoding);

impl Characters {
    pub fn read<'b>(self, body: &'b [u8]) -> Result<Cow<'b, str>, DecodeError> {
        let utf8 = |body: &'b [u8]| std::str::from_utf8(body).map(Cow::Borrowed).map_err(|_| self.refusal());
        match self.0 {
            Encoding::Utf8 => utf8(body),
            Encoding::Utf8Signed => utf8(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)),
            Encoding::Ascii if body.is_ascii() => utf8(body),
            Encoding::Ascii => Err(self.refusal()),
            Encoding::Latin1 => Ok(encoding_rs::mem::decode_latin1(body)),
            Encoding::Utf16 => match body {
                [0xfe, 0xff, rest @ ..] => self.decoded(UTF_16BE, rest),
                [0xff, 0xfe, rest @ ..] => self.decoded(UTF_16LE, rest),
                _ => self.decoded(UTF_16LE, body),
            },
            Encoding::Legacy(encoding) => self.decoded(encoding, body),
        }
    }

    fn decoded<'b>(self, encoding: &'static encoding_rs::Encoding, body: &'b [u8]) -> Result<Cow<'b, str>, DecodeError> {
        let (text, had_errors) = encoding.decode_without_bom_handling(body);
        if had_errors { Err(self.refusal()) } else { Ok(text) }
    }

    fn refusal(self) -> DecodeError {
        DecodeError::Encoding {
            encoding: match self.0 {
                Encoding::Utf8 | Encoding::Utf8Signed => "utf-8",
                Encoding::Utf16 => "utf-16",
                Encoding::Latin1 => "iso-8859-1",
                Encoding::Ascii => "ascii",
                Encoding::Legacy(encoding) => encoding.name(),
            },
        }
    }
}
