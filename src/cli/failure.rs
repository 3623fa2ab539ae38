//! Why a command ends badly, and with which exit code.

use std::path::PathBuf;

use serde_json::Value;

use crate::airbyte::AirbyteError;
use crate::config::DirectoryError;
use crate::config::Holder;
use crate::config::MasterKeyError;
use crate::config::SettingsError;
use crate::copies::RestoreError;

/// Exit code: what was asked is well-formed, and was refused, failed or is not verified.
pub const EXIT_REFUSED: u8 = 1;

/// Exit code: the command line, the configuration, a manifest or a file is malformed. Also what clap ends with.
pub const EXIT_MALFORMED: u8 = 2;

/// Why a command ends badly. The message is told on standard error, with its causes.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line asks for something that cannot be.
    #[error("{message}")]
    Usage {
        /// What, and what to write instead.
        message: String,
    },
    /// A file that a command was given cannot be understood.
    #[error("{path:?} {fault}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// A file that a command was given cannot be read, or one that it makes cannot be written.
    #[error("{path:?} cannot be {act}")]
    FileAccess {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        act: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The configuration is malformed, or there is no master key.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The gateway could not be opened in this process.
    #[error("the gateway could not be opened")]
    Open {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A backup was not restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// An address or socket cannot be listened on.
    #[error("{address} cannot be listened on; end what listens there, or name another address with `listen` or --listen")]
    Listen {
        /// The address, or the socket's path.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The gateway answered with a problem.
    #[error("{}", .0.message())]
    Problem(Problem),
    /// Another process holds the store, and the command must hold it itself.
    #[error("{data:?} is held by {holder}; end that process first, or give --data another folder")]
    Held {
        /// The data directory.
        data: PathBuf,
        /// Who holds it.
        holder: Holder,
    },
    /// The process that holds the store does not answer.
    #[error("{data:?} is held by {holder}, which does not answer on {socket:?}; wait for it to end, or end that process")]
    Unanswered {
        /// The data directory.
        data: PathBuf,
        /// Who holds it.
        holder: Holder,
        /// Where it should answer.
        socket: PathBuf,
        /// How the last attempt failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection to the holder broke in the middle of a request.
    #[error("the headgate that holds the store went away during {request}; look with a `show` or `list` command whether it was done")]
    Broken {
        /// The request, as method and path.
        request: String,
        /// How it broke.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The gateway's answer was not in the shape that this command reads.
    #[error("the answer to {request} {fault}; use the same version of headgate for the server and the command")]
    Answer {
        /// The request, as method and path.
        request: String,
        /// What was wrong.
        fault: String,
    },
    /// What was asked was done, and the outcome is bad: a failed run, a broken log, an untrusted signer.
    #[error("{message}")]
    Outcome {
        /// What the outcome is, and what to do.
        message: String,
    },
    /// A command of the Airbyte protocol could not be carried out.
    #[error(transparent)]
    Airbyte(#[from] AirbyteError),
    /// Standard output was closed by its reader, as `head` does.
    #[error("standard output was closed")]
    Closed,
    /// Standard output or the terminal failed otherwise.
    #[error("standard output cannot be written")]
    Output {
        /// Why.
        source: std::io::Error,
    },
}

impl Failure {
    /// The exit code: 1 for refused, failed or not verified, 2 for malformed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Closed => 0,
            Failure::Usage { .. } | Failure::File { .. } | Failure::FileAccess { act: "read", .. } => EXIT_MALFORMED,
            Failure::Airbyte(AirbyteError::Manifest(_) | AirbyteError::Unreadable { .. } | AirbyteError::Malformed { .. }) => {
                EXIT_MALFORMED
            }
            Failure::Settings(SettingsError::Config(_)) => EXIT_MALFORMED,
            Failure::Settings(SettingsError::MasterKey(MasterKeyError::Malformed { .. } | MasterKeyError::Unreadable { .. })) => {
                EXIT_MALFORMED
            }
            Failure::Problem(problem) if problem.malformed => EXIT_MALFORMED,
            _ => EXIT_REFUSED,
        }
    }

    /// The message and its causes, as they are told.
    pub fn told(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Failure::Usage { message: message.into() }
    }

    pub(crate) fn outcome(message: impl Into<String>) -> Self {
        Failure::Outcome { message: message.into() }
    }
}

/// A problem that the gateway answered with (RFC 9457), or any answer that is no success.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// Whether the command handed over something malformed, rather than asking for something that was refused.
    pub malformed: bool,
    /// The answer's members; null when it had none.
    pub members: Value,
}

impl Problem {
    /// One line, or a line and one more for each fault that a validator lists.
    fn message(&self) -> String {
        let member = |name: &str| self.members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let headline = member("detail").or(member("title"));
        let mut text =
            headline.map_or_else(|| format!("the gateway answered with status {} and no explanation", self.status), str::to_owned);
        let listed = ["problems", "errors"].iter().filter_map(|name| self.members.get(name)?.as_array()).flatten();
        for fault in listed {
            text.push_str("\n  ");
            text.push_str(&listed_fault(fault));
        }
        text
    }
}

/// `line 3: message (code)`, with what of it is there.
fn listed_fault(fault: &Value) -> String {
    let member = |name: &str| fault.get(name).and_then(Value::as_str);
    let Some(message) = fault.as_str().or(member("message")).or(member("detail")) else { return fault.to_string() };
    let place = match (member("path").or(member("pointer")), fault.get("line").and_then(Value::as_u64)) {
        (Some(path), Some(line)) => format!("line {line}, {path}: "),
        (None, Some(line)) => format!("line {line}: "),
        (Some(path), None) => format!("{path}: "),
        (None, None) => String::new(),
    };
    let code = member("code").map_or_else(String::new, |code| format!(" ({code})"));
    format!("{place}{message}{code}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A problem's own words are told, each listed fault on its line.
    #[test]
    fn problems_are_told_in_their_own_words() {
        let cases = [
            (json!({"title": "Conflict", "detail": "conn_1 is revoked"}), "conn_1 is revoked"),
            (json!({"title": "Conflict"}), "Conflict"),
            (Value::Null, "the gateway answered with status 422 and no explanation"),
            (
                json!({"detail": "two faults", "problems": [{"line": 3, "code": "unknown", "message": "no such component"}, "and more"]}),
                "two faults\n  line 3: no such component (unknown)\n  and more",
            ),
        ];
        for (members, told) in cases {
            assert_eq!(Problem { status: 422, malformed: false, members }.message(), told);
        }
    }
}
