//! The `headgate` binary.

fn main() {}
