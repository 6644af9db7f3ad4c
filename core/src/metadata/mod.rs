//! The records of the metadata log and the image that replaying them gives.
