//! What a record is: its digest, tag, masks, keys and operational view. Pure.
