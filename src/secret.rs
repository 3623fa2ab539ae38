//! Values that must not be seen: wiped when dropped, silent when printed, impossible to serialise by accident; and what they
//! become when a key has sealed them.

use std::fmt;

use rustix::process::Resource;
use rustix::process::Rlimit;
use zeroize::Zeroize;

/// A secret. `Debug` prints `Secret(..)`; there is no `Display`, `Serialize` or `Clone`.
///
/// ```compile_fail
/// let key = headgate::secret::Secret::new(String::from("hunter2"));
/// println!("{key}");
/// ```
///
/// ```compile_fail
/// let key = headgate::secret::Secret::new(String::from("hunter2"));
/// serde_json::to_string(&key).unwrap();
/// ```
pub struct Secret<T: Zeroize>(T);

/// Bytes that a key has sealed, which is all that a segment file is given. Only the vault's keys make one:
/// `tests/it/architecture.rs` looks. What is not sealed cannot be written:
///
/// ```compile_fail,E0308
/// use headgate::{ids::ConnectionKey, store::Unit};
/// let owner = ConnectionKey { tenant: 1, connection: 1 };
/// Unit::default().blocks(owner, 0, 0, b"an order".to_vec());
/// ```
#[derive(Debug)]
pub struct Sealed(Vec<u8>);

/// The environment variable that leaves a process open to debuggers and tracers of its own user.
pub const DEBUGGABLE_VARIABLE: &str = "HEADGATE_DEBUGGABLE";

/// Keeps what this process has in memory to itself: no core file is written, and nobody but root reads its memory, its
/// environment or its system calls, not even another program of the same user (prctl(2), PR_SET_DUMPABLE).
///
/// A core file is not written either where a program takes it from the kernel: a process that is not dumpable has none.
///
/// # Errors
/// When the operating system refuses.
pub fn close_memory() -> std::io::Result<()> {
    if std::env::var_os(DEBUGGABLE_VARIABLE).is_some_and(|value| !value.is_empty()) {
        return Ok(());
    }
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, nothing)?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

impl<T: Zeroize> Secret<T> {
    /// Takes a value into keeping.
    pub fn new(value: T) -> Self {
        Secret(value)
    }

    /// The value itself. Each call is a place where the secret may leave: keep them few.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl Secret<String> {
    /// A second keeper of the same secret, made on purpose and visibly.
    pub fn duplicate(&self) -> Self {
        Secret(self.0.clone())
    }
}

/// Secret texts shorter than this are not looked for in what is told: everything would match.
const HIDDEN_CHARACTERS_MIN: usize = 4;

/// Adds the texts of a secret value, however deep, to those that nothing told may show.
pub fn add_texts(value: &serde_json::Value, found: &mut Vec<Secret<String>>) {
    match value {
        serde_json::Value::String(text) if text.len() >= HIDDEN_CHARACTERS_MIN => found.push(Secret::new(text.clone())),
        serde_json::Value::Array(items) => items.iter().for_each(|item| add_texts(item, found)),
        serde_json::Value::Object(members) => members.values().for_each(|member| add_texts(member, found)),
        _ => {}
    }
}

impl Sealed {
    /// Says that a key has sealed these bytes.
    pub(crate) fn by_a_key(bytes: Vec<u8>) -> Self {
        Sealed(bytes)
    }

    /// The ciphertext.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Puts another sealed value behind this one; each still opens by itself.
    pub fn append(&mut self, other: Sealed) {
        self.0.extend_from_slice(&other.0);
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
