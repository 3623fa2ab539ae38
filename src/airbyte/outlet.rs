//! Standard output, where whole lines go and never parts of two at once.

use std::io::ErrorKind;
use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use serde_json::Value;

/// Why a message was not written.
#[derive(Debug, thiserror::Error)]
pub enum OutletError {
    /// The client went away, as `head` does.
    #[error("standard output was closed")]
    Closed,
    /// It cannot be written for another reason.
    #[error("standard output cannot be written")]
    Failed {
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Where messages go. Clones write to the same place, line by line.
#[derive(Clone)]
pub struct Outlet(Arc<Mutex<dyn Write + Send>>);

impl Outlet {
    /// Writes to `writer`, which is given whole lines and is not buffered further.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Outlet(Arc::new(Mutex::new(writer)))
    }

    /// Writes one message.
    ///
    /// # Errors
    /// When the client is gone, or the output fails.
    pub fn message(&self, message: &Value) -> Result<(), OutletError> {
        self.lines(format!("{message}\n").as_bytes())
    }

    /// Writes whole lines.
    ///
    /// # Errors
    /// When the client is gone, or the output fails.
    pub(super) fn lines(&self, lines: &[u8]) -> Result<(), OutletError> {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(lines).and_then(|()| writer.flush()).map_err(|source| match source.kind() {
            ErrorKind::BrokenPipe => OutletError::Closed,
            _ => OutletError::Failed { source },
        })
    }
}
