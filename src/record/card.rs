//! What a payment card number looks like (ISO/IEC 7812): issuer range, length of the brand, check digit.
//!
//! Three traps are kept in mind. Identifiers of 13 and 14 digits are common in the applications that Headgate reads, so
//! as a bare JSON number or behind a slash they are not taken for cards; the two brands with that length come as text.
//! A long fraction is no card number. And 32 or more hexadecimal characters are a digest.

use std::ops::Range;
use std::ops::RangeInclusive;

/// The lengths that card numbers have.
pub(super) const LENGTHS: RangeInclusive<usize> = 13..=19;

/// How many spaces or dashes may stand between two digits of one number.
pub(super) const SEPARATORS_MAX: usize = 2;

/// The fewest digits that are taken for a card number where identifiers are likely: a bare JSON number, or behind a slash.
const IDENTIFIER_DIGITS_MIN: usize = 15;

/// From this length on, a token of hexadecimal characters with letters among them is a digest.
const DIGEST_LENGTH_MIN: usize = 32;

/// Layouts with groups of unlike size that are printed: American Express, Diners Club, UnionPay.
const UNEVEN_LAYOUTS: [&[usize]; 3] = [&[4, 6, 5], &[4, 6, 4], &[6, 13]];

/// Issuer ranges by their leading digits, first and last included, and the lengths of the brand's numbers.
///
/// From the brands' published ranges. UATP (1…, 15 digits) is left out: it would take every 15-digit number that begins
/// with 1, and identifiers do, while no shop takes the card.
#[rustfmt::skip]
const ISSUERS: [(&str, &str, &[usize]); 29] = [
    ("4", "4", &[13, 16, 19]),                              // Visa
    ("51", "55", &[16]), ("2221", "2720", &[16]),           // Mastercard
    ("34", "34", &[15]), ("37", "37", &[15]),               // American Express
    ("300", "305", &[14, 16, 19]), ("3095", "3095", &[14, 16, 19]),
    ("36", "36", &[14, 16, 19]), ("38", "39", &[14, 16, 19]), // Diners Club
    ("6011", "6011", &[16, 17, 18, 19]), ("644", "649", &[16, 17, 18, 19]), ("65", "65", &[16, 17, 18, 19]), // Discover
    ("3528", "3589", &[16, 17, 18, 19]),                    // JCB
    ("62", "62", &[16, 17, 18, 19]), ("81", "81", &[16, 17, 18, 19]), // UnionPay
    ("5018", "5018", MAESTRO), ("5020", "5020", MAESTRO), ("5038", "5038", MAESTRO), ("5893", "5893", MAESTRO),
    ("6304", "6304", MAESTRO), ("6759", "6759", MAESTRO), ("6761", "6763", MAESTRO),
    ("2200", "2205", &[16, 17, 18, 19]),                    // Mir, Borica
    ("60", "60", &[16]), ("508", "508", &[16]), ("82", "82", &[16]), // RuPay, Hipercard
    ("506", "507", &[16, 18, 19]), ("636", "636", &[16, 17, 18, 19]), // Elo, Verve, InterPayment
    ("9792", "9792", &[16]),                                // Troy
];
const MAESTRO: &[usize] = &[13, 14, 15, 16, 17, 18, 19];

/// The card numbers in `text`, as byte ranges from the first digit to the last, in order and apart.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(skip) = bytes[at..].iter().position(u8::is_ascii_digit) {
        let groups = groups(bytes, at + skip);
        at = groups.last().map_or(bytes.len(), |last| last.end);
        find_in(bytes, &groups, &mut found);
    }
    found
}

/// The digits of a JSON number, when it stands for a card number; of any other text nothing.
pub(super) fn of_number(number: &str) -> Option<String> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let shift = usize::try_from(exponent.parse::<i32>().ok()?).ok()?;
    if shift > *LENGTHS.end() || whole.len() > LENGTHS.end() + 1 {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let padding = shift.checked_sub(fraction.len())?;
    let digits = format!("{}{fraction}{:0<padding$}", whole.trim_start_matches('-'), "");
    let digits = digits.trim_start_matches('0');
    let number = digits.len() >= IDENTIFIER_DIGITS_MIN && digits.bytes().all(|byte| byte.is_ascii_digit());
    (number && is_card(digits.as_bytes())).then(|| digits.to_owned())
}

/// Whether ASCII `digits`, with nothing between them, are a card number.
fn is_card(digits: &[u8]) -> bool {
    LENGTHS.contains(&digits.len())
        && ISSUERS.iter().any(|(first, last, lengths)| {
            let lead = &digits[..first.len()];
            lengths.contains(&digits.len()) && first.as_bytes() <= lead && lead <= last.as_bytes()
        })
        && luhn(digits)
}

/// The check of ISO/IEC 7812-1, annex B.
fn luhn(digits: &[u8]) -> bool {
    let sum = digits.iter().rev().enumerate().fold(0u32, |sum, (index, digit)| {
        let value = u32::from(digit - b'0') << (index % 2);
        sum + if value > 9 { value - 9 } else { value }
    });
    sum.is_multiple_of(10)
}

/// The groups of digits from `start` on with no more than a separator between them.
fn groups(bytes: &[u8], start: usize) -> Vec<Range<usize>> {
    let run = |at: usize, of: fn(&u8) -> bool| bytes[at..].iter().take_while(|byte| of(byte)).count();
    let mut groups = Vec::new();
    let mut at = start;
    loop {
        let digits = run(at, u8::is_ascii_digit);
        if digits == 0 {
            return groups;
        }
        groups.push(at..at + digits);
        at += digits;
        let separators = run(at, |byte| matches!(byte, b' ' | b'-'));
        if separators > SEPARATORS_MAX {
            return groups;
        }
        at += separators;
    }
}

/// Tries every sequence of whole groups, the longest first: a number may stand beside an expiry date or another number.
fn find_in(bytes: &[u8], groups: &[Range<usize>], found: &mut Vec<Range<usize>>) {
    let mut first = 0;
    while first < groups.len() {
        let mut digits = Vec::new();
        let mut best = None;
        for (index, group) in groups.iter().enumerate().skip(first) {
            if digits.len() + group.len() > *LENGTHS.end() {
                break;
            }
            digits.extend_from_slice(&bytes[group.clone()]);
            if is_layout(&groups[first..=index]) && is_card(&digits) && !is_other(bytes, &groups[first..=index]) {
                best = Some(index);
            }
        }
        if let Some(last) = best {
            found.push(groups[first].start..groups[last].end);
        }
        first = best.unwrap_or(first) + 1;
    }
}

/// Whether card numbers are written in groups of these sizes: all the same but for a shorter last one, or a printed layout.
fn is_layout(groups: &[Range<usize>]) -> bool {
    let size = groups[0].len();
    let (last, before) = (&groups[groups.len() - 1], &groups[..groups.len() - 1]);
    let even = before.iter().all(|group| group.len() == size) && last.len() <= size;
    even || UNEVEN_LAYOUTS.iter().any(|layout| layout.iter().copied().eq(groups.iter().map(Range::len)))
}

/// Whether the digits are part of something else: a fraction, a digest, or an identifier behind a slash.
fn is_other(bytes: &[u8], groups: &[Range<usize>]) -> bool {
    let [only] = groups else {
        return false;
    };
    let (before, after) = (&bytes[..only.start], &bytes[only.end..]);
    let fraction = matches!(before, [.., b'0'..=b'9', b'.']);
    let identifier = before.last() == Some(&b'/') && only.len() < IDENTIFIER_DIGITS_MIN;
    let left = before.iter().rev().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let right = after.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    fraction || identifier || left + only.len() + right >= DIGEST_LENGTH_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> Option<&str> {
        find(text).first().map(|range| &text[range.clone()])
    }

    /// Numbers that the brands and payment companies publish for tests, in the ways people write them.
    #[test]
    fn finds_cards() {
        let cards = [
            "4111111111111111",
            "4222222222222",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "30569309025904",
            "38520000023237",
            "6011111111111117",
            "3530111333300000",
            "6200000000000005",
            "6304000000000000",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "3782 822463 10005",
            "3056 930902 5904",
            "41111111 11111111",
        ];
        for card in cards {
            for (before, after) in [("", ""), ("card ", " 12/27"), ("%B", "^DOE"), ("x-", "."), ("1 ", " 1227")] {
                assert_eq!(first(&format!("{before}{card}{after}")), Some(card), "{before}|{card}|{after}");
            }
        }
        let two = "4111111111111111, 5555 5555 5555 4444";
        assert_eq!(find(two), [0..16, 18..37]);
    }

    /// Times, phone numbers, identifiers, fractions and digests are left alone.
    #[test]
    fn leaves_other_numbers() {
        let others = [
            "4111111111111112",
            "1732435200000",
            "1732435200000000000",
            "2026-11-24 10-20-30",
            "+49 30 901820 11 22",
            "503-1234567-1234560",
            "gid://shopify/Order/4222222222222",
            "12.4111111111111111",
            "da39a3ee4111111111111111afd80709",
            "550e8400-e29b-4123-4123-412341234123",
            "411111111111111100004111111111111111",
            "000000000000000000",
        ];
        for other in others {
            assert_eq!(first(other), None, "{other}");
        }
    }

    /// A number is a card number however its writer printed it; one of 13 digits is an identifier.
    #[test]
    fn reads_numbers() {
        for number in ["4111111111111111", "4111111111111111.0", "4.111111111111111E15", "4.111111111111111e+15", "-4111111111111111"] {
            assert_eq!(of_number(number).as_deref(), Some("4111111111111111"), "{number}");
        }
        for number in
            ["4222222222222", "0.4111111111111111", "4111111111111111e-2", "4111111111111111.5", "1e999", "41", "1e-9999999999999"]
        {
            assert_eq!(of_number(number), None, "{number}");
        }
    }
}
