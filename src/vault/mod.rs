//! The keyring and what is sealed under it.
