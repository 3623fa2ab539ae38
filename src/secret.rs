//! Values that must not be seen: wiped when dropped, silent when printed, impossible to serialise by accident.

use std::fmt;

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
