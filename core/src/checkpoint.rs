//! Small files that are replaced as a whole, and their text formats.
