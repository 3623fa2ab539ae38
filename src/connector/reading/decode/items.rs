//! The elements of one list within a JSON document.

use super::DecodeError;
use super::Form;
use super::JsonOrLimit;
use crate::record::JsonError;
use crate::record::scan::Scanner;

/// What a step into a list is called in a path.
const ITEM: &str = "item";

/// Adds the elements of every list at `path`; a member that is repeated counts every time, as in the reference engine's reader.
pub(super) fn items(document: &[u8], path: &[String], form: &mut Form) -> Result<(), DecodeError> {
    let mut found = Vec::new();
    let whole = Scanner::new(document).and_then(|mut scanner| {
        descend(&mut scanner, document, path, &mut found)?;
        scanner.finish()
    });
    whole.map_err(|source| JsonOrLimit::Json(source).of("document", 1))?;
    found.into_iter().try_for_each(|range| form.element(|out| out.extend_from_slice(&document[range])))
}

fn descend(scanner: &mut Scanner<'_>, document: &[u8], path: &[String], found: &mut Vec<std::ops::Range<usize>>) -> Result<(), JsonError> {
    match (scanner.peek(), path.split_first()) {
        (Some(b'['), None) => scanner.elements(|scanner, _| {
            found.push(scanner.value()?);
            Ok(())
        }),
        (Some(b'['), Some((first, rest))) if first == ITEM => scanner.elements(|scanner, _| descend(scanner, document, rest, found)),
        (Some(b'{'), Some((first, rest))) => {
            scanner.members(
                |scanner, name| {
                    if name.is(document, first) { descend(scanner, document, rest, found) } else { scanner.value().map(drop) }
                },
            )
        }
        _ => scanner.value().map(drop),
    }
}
