//! The functions of the language.

use minijinja::Environment;

pub(super) fn register(_engine: &mut Environment<'static>) {}
