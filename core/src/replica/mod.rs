//! A partition's replica on one broker: leader, follower, in-sync set, high watermark.
