//! Trust in the judge: each anomaly fires and does not fire close by; every verdict equals that of
//! a brute-force reference on thousands of small histories.

mod anomalies;
mod generate;
mod json;
mod property;
mod reference;
