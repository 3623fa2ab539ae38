//! What the demo says: a numbered step, what is seen in it, and whether it held.

use std::fmt::Display;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::output::Output;

/// The column in which the values of a list of facts begin.
const VALUE_COLUMN: usize = 18;

/// What a line of a step begins with.
const INDENT: &str = "     ";

/// How many characters a line of prose has at most, unless one word is longer.
const LINE_CHARS: usize = 100;

/// Tells the story in words, or one JSON object for each step.
pub struct Narrator<'a> {
    output: &'a mut Output,
    began: Instant,
    step: Option<Step>,
    told: u32,
}

/// The step that is being told.
struct Step {
    number: u32,
    name: &'static str,
    began: Instant,
    checks: u32,
    facts: Map<String, Value>,
}

impl<'a> Narrator<'a> {
    /// A narrator who has said nothing yet.
    pub fn new(output: &'a mut Output) -> Self {
        Self { output, began: Instant::now(), step: None, told: 0 }
    }

    /// Where the words go.
    pub fn output(&mut self) -> &mut Output {
        self.output
    }

    /// Begins a step: its name for programs, and what happens in it in a sentence or two.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn begin(&mut self, name: &'static str, words: &str) -> Result<(), Failure> {
        let number = self.told + 1;
        self.step = Some(Step { number, name, began: Instant::now(), checks: 0, facts: Map::new() });
        self.line(&format!("\n{number:>2}.  {words}"))
    }

    /// Says a sentence or two, broken into lines.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn say(&mut self, words: &str) -> Result<(), Failure> {
        let mut line = String::from(INDENT);
        for word in words.split(' ') {
            if line.trim_start() != "" && line.chars().count() + word.chars().count() > LINE_CHARS {
                self.line(line.trim_end())?;
                line = INDENT.into();
            }
            line.push_str(word);
            line.push(' ');
        }
        self.line(line.trim_end())
    }

    /// Shows a table as it is.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn table(&mut self, table: &str) -> Result<(), Failure> {
        table.lines().try_for_each(|line| self.line(&format!("{INDENT} {line}")))
    }

    /// Shows facts, a label and a value on each line.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn show(&mut self, facts: &[(&str, String)]) -> Result<(), Failure> {
        for (label, value) in facts {
            self.line(&format!("{INDENT}  {label:<VALUE_COLUMN$}{}", output::plain(value)))?;
        }
        Ok(())
    }

    /// Keeps a fact for the step's JSON.
    pub fn note(&mut self, name: &str, fact: impl Into<Value>) {
        if let Some(step) = &mut self.step {
            step.facts.insert(name.into(), fact.into());
        }
    }

    /// Sees that two values are equal.
    ///
    /// # Errors
    /// When they are not: what was expected, and what was seen.
    pub fn equal<T: PartialEq + Display>(&mut self, what: &str, seen: T, expected: T) -> Result<(), Failure> {
        let holds = seen == expected;
        self.holds(holds, what, &expected.to_string(), || seen.to_string())
    }

    /// Sees that something holds.
    ///
    /// # Errors
    /// When it does not: what was expected, and what was seen.
    pub fn holds<S: Display>(&mut self, holds: bool, what: &str, expected: &str, seen: impl FnOnce() -> S) -> Result<(), Failure> {
        if let Some(step) = &mut self.step {
            step.checks += 1;
        }
        if holds { Ok(()) } else { Err(Failure::outcome(format!("{what}: expected {expected}, saw {}", seen()))) }
    }

    /// Ends a step in which everything held.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn held(&mut self) -> Result<(), Failure> {
        let Some(step) = self.step.take() else { return Ok(()) };
        self.told = step.number;
        let milliseconds = millis(step.began);
        if self.output.is_json() {
            let Step { number, name, checks, facts, .. } = step;
            let event = json!({
                "event": "step", "step": number, "name": name, "held": true,
                "checks": checks, "milliseconds": milliseconds, "facts": facts,
            });
            return self.output.object(&event);
        }
        let checks = if step.checks == 1 { "1 check".to_owned() } else { format!("{} checks", step.checks) };
        self.line(&format!("{INDENT}✓ held: {checks}, {}", seconds(milliseconds)))
    }

    /// Ends the story at a step that did not hold; the failure with the step's name.
    pub fn broken(&mut self, failure: Failure) -> Failure {
        let Some(step) = self.step.take() else { return failure };
        if matches!(failure, Failure::Closed | Failure::Output { .. }) {
            return failure;
        }
        let told = failure.told();
        if self.output.is_json() {
            let event = json!({"event": "step", "step": step.number, "name": step.name, "held": false, "error": told});
            // The failure itself is told on standard error, whatever becomes of this line.
            let _ = self.output.object(&event);
        }
        Failure::outcome(format!("step {} ({}) did not hold: {told}", step.number, step.name))
    }

    /// How many steps held, and how long they took together in milliseconds.
    pub fn sum(&self) -> (u32, u64) {
        (self.told, millis(self.began))
    }

    /// Says a line for people; programs get events instead.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        if self.output.is_json() { Ok(()) } else { self.output.line(text) }
    }
}

/// `1.3 s`.
pub fn seconds(milliseconds: u64) -> String {
    format!("{}.{} s", milliseconds / 1_000, milliseconds % 1_000 / 100)
}

/// A number with its thousands apart: `100,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thousands are set apart, at every length.
    #[test]
    fn thousands_are_set_apart() {
        for (number, told) in [(0, "0"), (12, "12"), (999, "999"), (1_000, "1,000"), (2_000_123, "2,000,123"), (123_456, "123,456")] {
            assert_eq!(grouped(number), told);
        }
    }
}
