//! Histories and their checkers; knows nothing of brokers.
