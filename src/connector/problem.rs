//! What is wrong with a manifest or a treatment: every problem at once, each with a code that never changes its meaning.

use std::fmt;

use serde::Serialize;

/// One thing that stops a connector, or a stream of it, from loading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Which kind of problem; stable across versions.
    pub code: Code,
    /// The file it is in, as the loader calls it: `manifest.yaml`, `headgate.yaml`.
    pub file: &'static str,
    /// The line it is on, from 1; 0 when the problem is of the file as a whole.
    pub line: u32,
    /// Where it is in the tree, such as `streams[0].retriever.paginator`.
    pub path: String,
    /// What is wrong, and what is accepted instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.file, self.line)?;
        } else if !self.file.is_empty() {
            write!(f, "{}: ", self.file)?;
        }
        write!(f, "{}", self.code)?;
        if !self.path.is_empty() {
            write!(f, " {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Declares the codes: number, name and meaning in one row each.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal;)+) => {
        /// The kinds of problem. The numbers are stable: 1xx manifests, 2xx treatments, 3xx configurations.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$name,)+];

            /// The text of the code, `HG` and three digits.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => concat!("HG", $number),)+ }
            }

            /// What the code means, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$name => concat!($($doc),+).trim_ascii_start(),)+ }
            }
        }
    };
}

codes! {
    /// The text is no YAML, or passes one of the limits on size, depth and aliases.
    Unreadable = 101;
    /// A reference points to nothing.
    MissingReference = 102;
    /// A reference leads back to itself.
    ReferenceCycle = 103;
    /// The references expand beyond the limit on nodes or depth.
    Expansion = 104;
    /// The document is not a declarative source.
    NotAManifest = 105;
    /// A component's type is not implemented.
    UnknownComponent = 110;
    /// A component has a field that is not implemented.
    UnknownField = 111;
    /// A component lacks a field that it needs.
    MissingField = 112;
    /// A value is of the wrong kind.
    WrongKind = 113;
    /// A value is outside the accepted values.
    NotAccepted = 114;
    /// A component needs custom Python, which is not run.
    CustomCode = 115;
    /// Two fields exclude each other.
    Conflict = 116;
    /// An expression does not compile, or names a variable that its place does not have.
    BadExpression = 120;
    /// A date format, duration or regular expression cannot be read.
    BadFormat = 121;
    /// A name stands for nothing, or for two things.
    BadName = 130;
    /// A component has a member that the language does not have; it is ignored, and the connector can be used.
    IgnoredField = 140;
    /// The treatment is no YAML, or passes a limit.
    TreatmentUnreadable = 201;
    /// The treatment has a key that does not exist.
    TreatmentKey = 211;
    /// The treatment lacks a key that it needs.
    TreatmentMissing = 212;
    /// A value of the treatment is of the wrong kind.
    TreatmentKind = 213;
    /// A value of the treatment is outside the accepted values.
    TreatmentValue = 214;
    /// An expression of the treatment does not compile.
    TreatmentExpression = 220;
    /// The treatment names a stream that the manifest does not have.
    TreatmentStream = 230;
    /// The configuration does not satisfy the connector's specification.
    Configuration = 301;
    /// The path cannot be read, or is no connector.
    Path = 401;
}

impl Code {
    /// Whether it says that something is not run here, and not that it is out of order: within a stream it refuses that stream alone.
    pub fn is_of_one_stream(self) -> bool {
        matches!(self, Code::UnknownComponent | Code::UnknownField | Code::CustomCode | Code::BadExpression)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// No two codes share a number, and every one says what it means.
    #[test]
    fn codes_are_distinct_and_explained() {
        let texts: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| code.meaning().ends_with('.')));
    }
}
