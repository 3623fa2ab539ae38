//! The tokens of Python's literals: numbers and strings.

use super::Literal;
use super::Reader;

/// The most digits of an integer with another base than ten, or of a decimal one: CPython refuses longer decimals.
const DIGITS_MAX: usize = 4300;

impl Reader<'_> {
    pub(super) fn number(&mut self) -> Option<Literal> {
        if self.peek() == Some(b'0') {
            let radix = match self.text.get(self.at + 1) {
                Some(b'x' | b'X') => 16,
                Some(b'o' | b'O') => 8,
                Some(b'b' | b'B') => 2,
                _ => 10,
            };
            if radix != 10 {
                self.at += 2;
                self.take(b'_');
                let digits = self.digits(|byte| char::from(byte).is_digit(radix))?;
                self.ends_number()?;
                return Some(Literal::Integer(decimal(&digits, radix)?));
            }
        }
        self.decimal_number()
    }

    fn decimal_number(&mut self) -> Option<Literal> {
        let whole = if self.peek() == Some(b'.') { String::new() } else { self.digits(|byte| byte.is_ascii_digit())? };
        let mut number = whole.clone();
        let mut float = false;
        if self.take(b'.') {
            float = true;
            number.push('.');
            if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                number.push_str(&self.digits(|byte| byte.is_ascii_digit())?);
            } else if whole.is_empty() {
                return None;
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.text.get(self.at + 1), Some(b'+' | b'-')));
            if !self.text.get(self.at + 1 + sign).is_some_and(u8::is_ascii_digit) {
                return None;
            }
            float = true;
            number.push('e');
            if sign == 1 {
                number.push(char::from(self.text[self.at + 1]));
            }
            self.at += 1 + sign;
            number.push_str(&self.digits(|byte| byte.is_ascii_digit())?);
        }
        if matches!(self.peek(), Some(b'j' | b'J')) {
            self.at += 1;
            self.ends_number()?;
            return Some(Literal::Complex);
        }
        self.ends_number()?;
        if float {
            return number.parse().ok().map(Literal::Float);
        }
        // Leading zeros are allowed for zero alone.
        if number.len() > 1 && number.starts_with('0') {
            return number.bytes().all(|byte| byte == b'0').then(|| Literal::Integer("0".to_owned()));
        }
        (number.len() <= DIGITS_MAX).then_some(Literal::Integer(number))
    }

    /// Digits with single underscores between them.
    fn digits(&mut self, accepted: impl Fn(u8) -> bool) -> Option<String> {
        let mut digits = String::new();
        loop {
            let start = self.at;
            while let Some(byte) = self.peek().filter(|byte| accepted(*byte)) {
                digits.push(char::from(byte));
                self.at += 1;
            }
            if self.at == start {
                return None;
            }
            if !self.take(b'_') {
                return Some(digits);
            }
        }
    }

    /// A number is not followed by a name or another number.
    fn ends_number(&self) -> Option<()> {
        match self.peek() {
            Some(byte) if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.' || byte >= 0x80 => None,
            _ => Some(()),
        }
    }

    /// One or more string literals; neighbours are joined.
    pub(super) fn texts(&mut self) -> Option<Literal> {
        let mut joined = self.string()?;
        loop {
            self.space();
            let rest = &self.text[self.at..];
            let quote = rest.iter().position(|byte| !byte.is_ascii_alphabetic());
            let more = quote.is_some_and(|at| at <= 2 && matches!(rest[at], b'\'' | b'"'));
            if !more {
                return Some(joined);
            }
            joined = match (joined, self.string()?) {
                (Literal::Text(left), Literal::Text(right)) => Literal::Text(left + &right),
                (Literal::Bytes(left), Literal::Bytes(right)) => Literal::Bytes([left, right].concat()),
                _ => return None,
            };
        }
    }

    fn string(&mut self) -> Option<Literal> {
        let prefix_length = self.text[self.at..].iter().position(|byte| matches!(byte, b'\'' | b'"'))?;
        let prefix = self.text[self.at..self.at + prefix_length].to_ascii_lowercase();
        let (raw, bytes) = match prefix.as_slice() {
            b"" | b"u" => (false, false),
            b"r" => (true, false),
            b"b" => (false, true),
            b"br" | b"rb" => (true, true),
            _ => return None,
        };
        self.at += prefix_length;
        let quote = self.peek()?;
        let triple = self.text[self.at..].starts_with(&[quote; 3]);
        self.at += if triple { 3 } else { 1 };
        let start = self.at;
        let end = loop {
            match self.peek()? {
                b'\\' => self.at += 2,
                b'\n' if !triple => return None,
                byte if byte == quote && !triple => break self.at,
                byte if byte == quote && self.text[self.at..].starts_with(&[quote; 3]) => break self.at,
                _ => self.at += 1,
            }
        };
        self.at = end + if triple { 3 } else { 1 };
        let body = std::str::from_utf8(&self.text[start..end]).ok()?.replace("\r\n", "\n").replace('\r', "\n");
        if bytes && !body.is_ascii() {
            return None;
        }
        let characters = if raw { body } else { unescape(&body, bytes)? };
        Some(match bytes {
            true => Literal::Bytes(characters.chars().map(|character| u32::from(character) as u8).collect()),
            false => Literal::Text(characters),
        })
    }
}

/// The decimal digits of a number written in another base.
fn decimal(digits: &str, radix: u32) -> Option<String> {
    if let Ok(small) = u128::from_str_radix(digits, radix) {
        return Some(small.to_string());
    }
    if digits.len() > DIGITS_MAX {
        return None;
    }
    // Little-endian groups of nine decimal digits, multiplied up digit by digit.
    let mut groups: Vec<u64> = vec![0];
    for digit in digits.chars() {
        let mut carry = u64::from(digit.to_digit(radix)?);
        for group in &mut groups {
            let value = *group * u64::from(radix) + carry;
            *group = value % 1_000_000_000;
            carry = value / 1_000_000_000;
        }
        if carry > 0 {
            groups.push(carry);
        }
    }
    let mut out = groups.pop().unwrap_or_default().to_string();
    groups.iter().rev().for_each(|group| out.push_str(&format!("{group:09}")));
    Some(out)
}

/// Python's escapes. Unknown ones stay as they are; a lone surrogate or a character by name makes the text no literal.
fn unescape(body: &str, bytes: bool) -> Option<String> {
    let mut out = String::with_capacity(body.len());
    let mut rest = body.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        let escape = rest.next()?;
        let mut hex = |count: usize| {
            let digits: String = rest.by_ref().take(count).collect();
            (digits.len() == count && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .then(|| u32::from_str_radix(&digits, 16).ok())
                .flatten()
        };
        match escape {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(escape),
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\x0b'),
            'x' => out.push(char::from_u32(hex(2)?)?),
            'u' if !bytes => out.push(char::from_u32(hex(4)?)?),
            'U' if !bytes => out.push(char::from_u32(hex(8)?)?),
            'N' if !bytes => return None,
            '0'..='7' => {
                let mut code = escape.to_digit(8)?;
                for _ in 0..2 {
                    let mut ahead = rest.clone();
                    let Some(digit) = ahead.next().and_then(|next| next.to_digit(8)) else { break };
                    code = code * 8 + digit;
                    rest = ahead;
                }
                out.push(char::from_u32(if bytes { code & 0xff } else { code })?);
            }
            other => {
                out.push('\\');
                out.push(other);
            }
        }
    }
    Some(out)
}
