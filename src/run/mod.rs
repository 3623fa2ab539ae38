//! Pulls: which streams are read now, by whom, and how it went; and the schedule.
