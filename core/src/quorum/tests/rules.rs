//! What each rule says, by request, timer and completion against a recorder.
