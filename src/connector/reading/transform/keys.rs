//! Names of members made anew: `KeysToSnakeCase` and `KeysReplace` also within maps, though not within lists.

use serde_json::Map;
use serde_json::Value;

/// The map with other names, and so the maps within it; of members that get the same name the later value stays, in the earlier place.
pub(super) fn renamed(value: Value, name: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::Object(map) => {
            let mut renamed = Map::with_capacity(map.len());
            for (key, value) in map {
                renamed.insert(name(&key), self::renamed(value, name));
            }
            Value::Object(renamed)
        }
        other => other,
    }
}

/// A name in snake case: transliterated to ASCII, cut where lower case, upper case and digits meet, and joined with underscores. One
/// that begins with a digit gets an underscore in front; other characters are underscores, several together one.
pub(super) fn snake_case(name: &str) -> String {
    let ascii = any_ascii::any_ascii(name);
    let mut tokens = tokens(ascii.as_bytes());
    if tokens.len() >= 3 {
        let last = tokens.len() - 1;
        let mut at = 0;
        tokens.retain(|token| {
            at += 1;
            !token.is_empty() || at == 1 || at == last + 1
        });
    }
    if tokens.first().is_some_and(|token| token.as_bytes().first().is_some_and(u8::is_ascii_digit)) {
        tokens.insert(0, "");
    }
    tokens.join("_").to_ascii_lowercase()
}

/// The words and numbers of a name; what stands between them is an empty token.
fn tokens(name: &[u8]) -> Vec<&str> {
    let run = |rest: &[u8], of: fn(&u8) -> bool| rest.iter().take_while(|byte| of(byte)).count();
    let mut tokens = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.first() {
        let length = match first {
            b'A'..=b'Z' => {
                let upper = run(rest, u8::is_ascii_uppercase);
                upper + run(&rest[upper..], u8::is_ascii_lowercase)
            }
            b'a'..=b'z' => run(rest, u8::is_ascii_lowercase),
            b'0'..=b'9' => run(rest, u8::is_ascii_digit),
            _ => run(rest, |byte| !byte.is_ascii_alphanumeric()),
        };
        let token = if first.is_ascii_alphanumeric() { std::str::from_utf8(&rest[..length]).unwrap_or_default() } else { "" };
        tokens.push(token);
        rest = &rest[length..];
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    /// Names as the reference engine writes them (each was run there).
    #[test]
    fn names_in_snake_case() {
        for (name, expected) in [
            ("camelCase", "camel_case"),
            ("HTTPServer", "httpserver"),
            ("firstNAME", "first_name"),
            ("a1b2", "a_1_b_2"),
            ("1st", "_1_st"),
            ("123", "_123"),
            ("Ünïcode Key", "unicode_key"),
            ("日本", "ri_ben"),
            ("--x--", "_x_"),
            ("a  b", "a_b"),
            ("a_", "a_"),
            ("_a", "_a"),
            ("orderID2", "order_id_2"),
            ("", ""),
            ("___", ""),
            ("%", ""),
        ] {
            assert_eq!(snake_case(name), expected, "{name}");
        }
    }
}
