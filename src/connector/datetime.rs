//! Dates and durations of manifests.
