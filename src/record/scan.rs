//! A scanner over JSON text (RFC 8259): where strings, numbers, members and elements lie, with no tree and no copies.

use std::borrow::Cow;
use std::ops::Range;

/// How deep arrays and objects may nest in a record; the same as `serde_json` allows.
pub const DEPTH_MAX: usize = 128;

/// Why a text is not taken as one JSON value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The bytes are not UTF-8.
    #[error("byte {offset} of the record is not UTF-8; JSON between systems is (RFC 8259, section 8.1)")]
    NotUtf8 {
        /// Where, from 0.
        offset: usize,
    },
    /// The grammar is broken.
    #[error("byte {offset} of the record: expected {expected}; the text is not one JSON value")]
    Malformed {
        /// Where, from 0.
        offset: usize,
        /// What may stand there.
        expected: &'static str,
    },
    /// Arrays and objects nest too deep.
    #[error("byte {offset} of the record opens more than {DEPTH_MAX} nested arrays and objects; such records are refused")]
    TooDeep {
        /// Where, from 0.
        offset: usize,
    },
}

/// A string of the text: the range between its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) inner: Range<usize>,
    /// Whether a backslash is in it; without one the bytes are the string.
    pub(crate) escaped: bool,
}

/// Reads one JSON value from left to right. Every method leaves it behind what it read.
pub(crate) struct Scanner<'a> {
    raw: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(raw: &'a [u8]) -> Result<Self, JsonError> {
        std::str::from_utf8(raw).map_err(|error| JsonError::NotUtf8 { offset: error.valid_up_to() })?;
        let mut scanner = Self { raw, at: 0, depth: 0 };
        scanner.skip_space();
        Ok(scanner)
    }

    /// The offset of what comes next.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.raw.get(self.at).copied()
    }

    /// Refuses anything but white space behind the value.
    pub(crate) fn finish(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        if self.at == self.raw.len() { Ok(()) } else { self.expected("the end") }
    }

    /// Reads an object, calling `each` with a member's name when the scanner stands at its value, which `each` must read.
    pub(crate) fn members(&mut self, mut each: impl FnMut(&mut Self, Text) -> Result<(), JsonError>) -> Result<(), JsonError> {
        if self.open(b'}')? {
            return Ok(());
        }
        loop {
            self.skip_space();
            let name = self.string()?;
            self.skip_space();
            self.take(b':', "`:`")?;
            self.skip_space();
            each(self, name)?;
            if self.close(b'}', "`,` or `}`")? {
                return Ok(());
            }
        }
    }

    /// Reads an array, calling `each` with an element's index when the scanner stands at it; `each` must read it.
    pub(crate) fn elements(&mut self, mut each: impl FnMut(&mut Self, usize) -> Result<(), JsonError>) -> Result<(), JsonError> {
        if self.open(b']')? {
            return Ok(());
        }
        for index in 0.. {
            self.skip_space();
            each(self, index)?;
            if self.close(b']', "`,` or `]`")? {
                break;
            }
        }
        Ok(())
    }

    /// Reads any value and returns where it lay.
    pub(crate) fn value(&mut self) -> Result<Range<usize>, JsonError> {
        let start = self.at;
        match self.peek() {
            Some(b'{') => self.members(|scanner, _| scanner.value().map(drop))?,
            Some(b'[') => self.elements(|scanner, _| scanner.value().map(drop))?,
            Some(b'"') => {
                self.string()?;
            }
            _ => {
                self.bare()?;
            }
        }
        Ok(start..self.at)
    }

    /// Reads a string.
    pub(crate) fn string(&mut self) -> Result<Text, JsonError> {
        self.take(b'"', "a string")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_length(&self.raw[self.at..]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return self.expected("the end of a string, or an escape for a control character"),
            }
        }
        let inner = start..self.at;
        self.at += 1;
        Ok(Text { inner, escaped })
    }

    /// Reads a number, `true`, `false` or `null`.
    pub(crate) fn bare(&mut self) -> Result<Range<usize>, JsonError> {
        let start = self.at;
        match self.peek() {
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            Some(b'n') => self.word(b"null")?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => return self.expected("a value"),
        }
        Ok(start..self.at)
    }

    fn open(&mut self, end: u8) -> Result<bool, JsonError> {
        if self.depth == DEPTH_MAX {
            return Err(JsonError::TooDeep { offset: self.at });
        }
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(true);
        }
        self.depth += 1;
        Ok(false)
    }

    fn close(&mut self, end: u8, expected: &'static str) -> Result<bool, JsonError> {
        self.skip_space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(byte) if byte == end => {
                self.at += 1;
                self.depth -= 1;
                Ok(true)
            }
            _ => self.expected(expected),
        }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    match self.peek() {
                        Some(byte) if byte.is_ascii_hexdigit() => self.at += 1,
                        _ => return self.expected("four hexadecimal digits"),
                    }
                }
            }
            _ => return self.expected("an escape such as `\\n`"),
        }
        Ok(())
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), JsonError> {
        if !self.raw[self.at..].starts_with(word) {
            return self.expected("true, false or null");
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { self.expected("a digit") } else { Ok(()) }
    }

    fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return self.expected(expected);
        }
        self.at += 1;
        Ok(())
    }

    fn expected<T>(&self, expected: &'static str) -> Result<T, JsonError> {
        Err(JsonError::Malformed { offset: self.at, expected })
    }
}

impl Text {
    /// Whether the string is `text`.
    pub(crate) fn is(&self, raw: &[u8], text: &str) -> bool {
        if self.escaped { self.decode(raw) == text } else { &raw[self.inner.clone()] == text.as_bytes() }
    }

    /// The string, with a lone surrogate read as U+FFFD; copied only when an escape is in it.
    pub(crate) fn decode<'a>(&self, raw: &'a [u8]) -> Cow<'a, str> {
        let inner = &raw[self.inner.clone()];
        if self.escaped {
            Cow::Owned(code_points(inner).map(|point| char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
        } else {
            String::from_utf8_lossy(inner)
        }
    }
}

/// How many bytes of a string's rest need no look: up to a quote, a backslash or a control character. Eight bytes at a time,
/// because most of a record is text.
fn plain_length(rest: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // The lowest byte that is marked is marked rightly; borrows spoil only those above it.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let mut chunks = rest.chunks_exact(8);
    for (number, chunk) in chunks.by_ref().enumerate() {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let marked = (quote | backslash | below(word, b' ')) & HIGH;
        if marked != 0 {
            return number * 8 + marked.trailing_zeros() as usize / 8;
        }
    }
    let tail = chunks.remainder();
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
    rest.len() - tail.len() + tail.iter().position(ends).unwrap_or(tail.len())
}

/// The code points of a string that the scanner has read, given the bytes between its quotes.
///
/// A surrogate that stands alone, which only an escape can write, comes out as its own number.
pub(super) fn code_points(inner: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let text = std::str::from_utf8(inner).unwrap_or_default();
    let mut chars = text.chars();
    std::iter::from_fn(move || {
        let first = chars.next()?;
        if first != '\\' {
            return Some(u32::from(first));
        }
        Some(match chars.next()? {
            'b' => 0x08,
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'u' => {
                let high = four(&mut chars);
                let mut ahead = chars.clone();
                let pair = (0xd800..0xdc00).contains(&high) && ahead.next() == Some('\\') && ahead.next() == Some('u');
                let low = if pair { four(&mut ahead) } else { 0 };
                if (0xdc00..0xe000).contains(&low) {
                    chars = ahead;
                    0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)
                } else {
                    high
                }
            }
            itself => u32::from(itself),
        })
    })
}

fn four(chars: &mut std::str::Chars<'_>) -> u32 {
    (0..4).fold(0, |sum, _| sum * 16 + chars.next().and_then(|digit| digit.to_digit(16)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn scan(raw: &[u8]) -> Result<(), JsonError> {
        let mut scanner = Scanner::new(raw)?;
        scanner.value()?;
        scanner.finish()
    }

    /// Takes and refuses the same texts as serde_json's own scanner.
    #[test]
    fn agrees_with_serde_json_on_what_is_json() {
        let texts = [
            "",
            " ",
            "nul",
            "null",
            " null ",
            "true",
            "tru",
            "false1",
            "0",
            "-0",
            "01",
            "-",
            "1.",
            "1.0",
            ".5",
            "1e5",
            "1E+5",
            "1e",
            "1e+",
            "\"\"",
            "\"a",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u1234\"",
            "\"\\ud800\"",
            "\"\t\"",
            "[]",
            "[ ]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1,2]",
            "{}",
            "{ }",
            "{\"a\":1}",
            "{\"a\" : 1 , \"b\":[{}]}",
            "{\"a\"}",
            "{a:1}",
            "{\"a\":1,}",
            "{\"a\":}",
            "[}",
            "{]",
            "\u{feff}1",
            "\"\u{7f}\"",
        ];
        for text in texts {
            assert_eq!(scan(text.as_bytes()).is_ok(), serde_json::from_str::<&RawValue>(text).is_ok(), "{text:?}");
        }
        assert_eq!(scan(b"\"\xff\""), Err(JsonError::NotUtf8 { offset: 1 }));
    }

    /// Eight bytes at a time end where one byte at a time does, whatever stands before and after.
    #[test]
    fn plain_text_ends_where_it_ends() {
        for end in [b'"', b'\\', b'\n', 0, 0x1f] {
            for before in 0..20 {
                for filler in [b'a', b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff] {
                    let text = [vec![filler; before], vec![end], vec![b'"'; 9]].concat();
                    assert_eq!(plain_length(&text), before, "{before} of {filler:#x}, then {end:#x}");
                    assert_eq!(plain_length(&text[..before]), before);
                }
            }
        }
    }

    /// The limit is 128 and no less.
    #[test]
    fn refuses_what_nests_too_deep() {
        let nested = |depth: usize| "[".repeat(depth) + "1" + &"]".repeat(depth);
        assert_eq!(scan(nested(DEPTH_MAX).as_bytes()), Ok(()));
        assert_eq!(scan(nested(DEPTH_MAX + 1).as_bytes()), Err(JsonError::TooDeep { offset: DEPTH_MAX }));
    }

    /// Escapes, pairs and lone surrogates are read as RFC 8259 section 7 says.
    #[test]
    fn reads_escapes() {
        let points = |text: &str| code_points(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(points(r#"\"\\\/\b\f\n\r\té\u00e9"#), [0x22, 0x5c, 0x2f, 8, 12, 10, 13, 9, 0xe9, 0xe9]);
        assert_eq!(points(r"\ud83d\ude00\ud83d\u0041\ude00"), [0x1f600, 0xd83d, 0x41, 0xde00]);
    }
}
