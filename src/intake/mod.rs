//! The only writer of records: masks, tags, seals and commits pages.
