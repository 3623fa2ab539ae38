//! The notice that a customer reads and the consent that is recorded. Pure.
