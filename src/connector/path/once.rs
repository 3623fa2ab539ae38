//! The common path, plain names only, in one pass over the body: its records, and fields that are wanted of each.

use std::ops::Range;

use super::extract::Extracted;
use super::extract::Found;
use super::extract::falsy;
use crate::record::scan::JsonError;
use crate::record::scan::Scanner;

/// One pass under way.
pub(super) struct Pass<'a> {
    body: &'a [u8],
    names: &'a [&'a str],
    fields: &'a [&'a str],
    found: Found,
}

impl<'a> Pass<'a> {
    /// The records at `names`, and the members `fields` of each.
    ///
    /// # Errors
    /// When the body is not one JSON value, or nests too deep.
    pub fn over(body: &'a [u8], names: &'a [&'a str], fields: &'a [&'a str]) -> Result<Found, JsonError> {
        let mut pass = Pass { body, names, fields, found: Found::default() };
        let mut scanner = Scanner::new(body)?;
        if scanner.peek() == Some(b'[') {
            // The elements of a top-level list are bodies of their own.
            scanner.elements(|scanner, position| pass.descend(scanner, 0, &format!("/{position}")))?;
        } else {
            pass.descend(&mut scanner, 0, "")?;
        }
        scanner.finish()?;
        Ok(pass.found)
    }

    fn descend(&mut self, scanner: &mut Scanner<'_>, depth: usize, pointer: &str) -> Result<(), JsonError> {
        let Some(name) = self.names.get(depth) else { return self.records(scanner, pointer) };
        if scanner.peek() != Some(b'{') {
            return scanner.value().map(drop);
        }
        let (records, fields) = (self.found.records.len(), self.found.fields.len());
        let below = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        scanner.members(|scanner, member| {
            if !member.is(self.body, name) {
                return scanner.value().map(drop);
            }
            // Of members with the same name the last counts.
            self.found.records.truncate(records);
            self.found.fields.truncate(fields);
            self.descend(scanner, depth + 1, &below)
        })
    }

    /// A list's elements, or the value itself unless it is one of those that count as nothing.
    fn records(&mut self, scanner: &mut Scanner<'_>, pointer: &str) -> Result<(), JsonError> {
        if scanner.peek() == Some(b'[') {
            return scanner.elements(|scanner, position| {
                let range = self.record(scanner)?;
                self.found.records.push(Extracted { range, pointer: format!("{pointer}/{position}") });
                Ok(())
            });
        }
        let before = self.found.fields.len();
        let range = self.record(scanner)?;
        if falsy(&self.body[range.clone()]) {
            self.found.fields.truncate(before);
        } else {
            self.found.records.push(Extracted { range, pointer: pointer.to_owned() });
        }
        Ok(())
    }

    /// Reads a record and notes where its wanted fields lie.
    fn record(&mut self, scanner: &mut Scanner<'_>) -> Result<Range<usize>, JsonError> {
        let first = self.found.fields.len();
        self.found.fields.resize(first + self.fields.len(), None);
        if self.fields.is_empty() || scanner.peek() != Some(b'{') {
            return scanner.value();
        }
        let start = scanner.at();
        scanner.members(|scanner, member| {
            let wanted = self.fields.iter().position(|field| member.is(self.body, field));
            let value = scanner.value()?;
            if let Some(wanted) = wanted {
                self.found.fields[first + wanted] = Some(value);
            }
            Ok(())
        })?;
        Ok(start..scanner.at())
    }
}
