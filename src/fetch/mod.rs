//! Movement inward: guarded requests, budgets, retries, and the reading of a stream into pages. Never writes.
