//! The active controller: registrations, fencing, topics, elections, ISR changes.
