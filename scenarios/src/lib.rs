//! Lessons and regressions that run: one file each, with the outcome it must have.
