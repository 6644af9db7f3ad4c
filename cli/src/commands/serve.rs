//! `wavetank serve`: the broker for real. Everything about it is in `wavetank-server`.

use wavetank_server::{ServeOptions, serve};

use crate::args::ServeArgs;
use crate::output::{Failure, Verdict};

/// Serves until a signal.
pub fn run(args: ServeArgs) -> Result<Verdict, Failure> {
    let options = ServeOptions {
        data: args.data,
        listen: args.listen,
        config: args.config,
        format: args.format,
        cluster_id: args.cluster_id,
    };
    match serve(&options) {
        Ok(()) => Ok(Verdict::Held),
        Err(error) => Err(Failure::sentence(&error, error.exit_code())),
    }
}
