//! A node without the `wavetank` command around it: `node serve [--data DIR] [--listen ADDR]
//! [--config FILE]`.

use std::process::ExitCode;

use wavetank_server::{ServeOptions, serve};

fn main() -> ExitCode {
    let mut options = ServeOptions::default();
    let mut args = std::env::args().skip(1).filter(|arg| arg != "serve");
    while let (Some(flag), Some(value)) = (args.next(), args.next()) {
        match flag.as_str() {
            "--data" => options.data = Some(value.into()),
            "--listen" => options.listen = Some(value),
            "--config" => options.config = Some(value.into()),
            other => {
                eprintln!("unknown flag {other}; see the example's first lines");
                return ExitCode::from(2);
            }
        }
    }
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}
