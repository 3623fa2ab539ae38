//! One segment of a path: a name, or a shell pattern.

/// A segment of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    text: String,
    pattern: bool,
}

impl Segment {
    pub(crate) fn new(text: String) -> Self {
        let pattern = text.contains(['*', '?', '[']);
        Segment { text, pattern }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The name, when it is no pattern.
    pub(crate) fn name(&self) -> Option<&str> {
        (!self.pattern).then_some(self.text.as_str())
    }

    pub(crate) fn is_deep(&self) -> bool {
        self.text == "**"
    }

    pub(crate) fn matches_key(&self, key: &str) -> bool {
        if self.pattern { matches(&self.text, key) } else { self.text == key && !is_position(key) }
    }

    pub(crate) fn matches_position(&self, at: usize, length: usize) -> bool {
        match self.name() {
            Some(name) => position(name, length) == Some(at),
            None => matches(&self.text, &at.to_string()),
        }
    }
}

/// Whether a segment is a number: it names positions of lists, and no key that is written like it (measured).
pub(crate) fn is_position(text: &str) -> bool {
    text.parse::<i64>().is_ok()
}

/// The position that `text` names in a list of `length` elements; negative ones count from its end.
pub(crate) fn position(text: &str, length: usize) -> Option<usize> {
    let number: i64 = text.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    let at = if number < 0 { number.checked_add(length)? } else { number };
    if (0..length).contains(&at) { usize::try_from(at).ok() } else { None }
}

/// Whether `text` matches the shell pattern: `*` any text, `?` one character, `[…]` one of a set, `[!…]` one outside it.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut in_pattern, mut in_text) = (0, 0);
    // Where to go back to: behind the last star, and the text it would have to swallow.
    let mut star: Option<(usize, usize)> = None;
    while in_text < text.len() {
        match one(&pattern[in_pattern..], text[in_text]) {
            Some(One::Star) => {
                star = Some((in_pattern + 1, in_text));
                in_pattern += 1;
            }
            Some(One::Matched(length)) => {
                in_pattern += length;
                in_text += 1;
            }
            None => match star {
                Some((behind, swallowed)) => {
                    star = Some((behind, swallowed + 1));
                    (in_pattern, in_text) = (behind, swallowed + 1);
                }
                None => return false,
            },
        }
    }
    pattern[in_pattern..].iter().all(|rest| *rest == '*')
}

enum One {
    Star,
    /// The pattern's next element, this long, matches the character.
    Matched(usize),
}

fn one(pattern: &[char], character: char) -> Option<One> {
    match pattern.first()? {
        '*' => Some(One::Star),
        '?' => Some(One::Matched(1)),
        '[' => match set(pattern) {
            Some((negated, members, length)) => (contains(members, character) != negated).then_some(One::Matched(length)),
            None => (character == '[').then_some(One::Matched(1)),
        },
        literal => (*literal == character).then_some(One::Matched(1)),
    }
}

/// The set that the pattern begins with: whether it is negated, its members, its length in the pattern.
fn set(pattern: &[char]) -> Option<(bool, &[char], usize)> {
    let negated = pattern.get(1) == Some(&'!');
    let start = 1 + usize::from(negated);
    // A bracket right behind the opening is a member.
    let close = pattern.iter().skip(start + 1).position(|character| *character == ']')? + start + 1;
    Some((negated, &pattern[start..close], close + 1))
}

fn contains(members: &[char], character: char) -> bool {
    let mut at = 0;
    while let Some(low) = members.get(at) {
        match (members.get(at + 1), members.get(at + 2)) {
            (Some('-'), Some(high)) => {
                if (*low..=*high).contains(&character) {
                    return true;
                }
                at += 3;
            }
            _ => {
                if *low == character {
                    return true;
                }
                at += 1;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::matches;

    /// Goal: shell patterns, with the cases that differ between readers.
    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("a?", "a", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[", "[", true),
            ("*a*b*", "xxaxxbxx", true),
            ("Ä?", "Äö", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }
}
