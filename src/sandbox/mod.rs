//! A Connected Application of our own, for the demo and the tests.
