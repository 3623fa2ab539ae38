//! Making records unreadable, sweeping what is left, and certifying it.
