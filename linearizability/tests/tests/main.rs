//! Tests of the checkers: each anomaly fires and does not fire on a near miss; every verdict equals
//! that of a brute-force reference on thousands of small histories.

mod anomalies;
mod generate;
mod groups;
mod json;
mod linear;
mod linear_generate;
mod linear_property;
mod linear_reference;
mod page;
mod property;
mod read;
mod reference;
mod reference_groups;
mod transactions;
mod txn;
mod txn_generate;
mod txn_property;
mod txn_reference;
