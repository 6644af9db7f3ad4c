//! `wavetank serve`: the broker for real clients. All of it is in `wavetank-server`.

use wavetank_server::{ServeOptions, serve};

use crate::args::ServeArgs;
use crate::output::{Failure, Verdict};

/// Serves until a signal.
pub fn run(args: ServeArgs) -> Result<Verdict, Failure> {
    let ServeArgs { data, listen, config, format, cluster_id, notes } = args;
    let options = ServeOptions { data, listen, config, format, cluster_id, notes };
    match serve(&options) {
        Ok(()) => Ok(Verdict::Held),
        Err(error) => Err(Failure::sentence(&error, error.exit_code())),
    }
}
