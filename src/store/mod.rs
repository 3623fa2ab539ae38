//! Keeping: whole atomic units over an embedded engine, sealed blocks in segment files, and the list of stops.
