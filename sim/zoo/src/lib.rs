//! The bug zoo, and what else joins the tank and the models.
//!
//! - [`hunt`]: runs storms with a planted bug ([`Flaw`](wavetank_core::flaw::Flaw)) until it is
//!   found, and says what counts as found.
//! - [`detection`]: which techniques detect a flaw (models, trace validation, storms, histories).
//! - [`validation`]: checks runs of the tank against models, step by step.
//! - [`counterexample`]: turns a model's counterexample into a plan that breaks a promise in the
//!   tank.
//! - [`variants`]: checks models and their flawed variants, and says whether the result is the
//!   expected one.
//! - [`results`]: saved results of commands, as `ci/record` writes them.
//!
//! What does not live here: the protocols' models (`wavetank-models`), running a plan
//! (`wavetank-sim`), real processes (`wavetank-reenact`), and text for people (`cli`).
//!
//! ```
//! use wavetank_core::flaw::Flaw;
//! use wavetank_sim::hunt::HuntOptions;
//! use wavetank_zoo::hunt::{By, hunt};
//! use wavetank_zoo::validation::Models;
//!
//! // Each run is validated against two models. Twenty seeds are enough for this flaw.
//! let models: Models = "M1,M7".parse().unwrap();
//! let options = HuntOptions { additions: models.additions(), ..HuntOptions::default() };
//! let entry = hunt(Flaw::AckAtLeaderAppend, By::Anyone, 1, 20, &options);
//! assert!(entry.found, "{entry:?}");
//! ```

pub mod counterexample;
pub mod detection;
pub mod hunt;
pub mod results;
pub mod validation;
pub mod variants;
