//! Runs a private PostgreSQL server in a directory until standard input ends.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use local_postgres::{Cluster, Installation, Options};

const USAGE: &str = "usage: local-postgres DIRECTORY

Runs a private PostgreSQL server with its data in DIRECTORY, prints its URL and its process id, and stops it when standard
input ends.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let directory = match (arguments.next(), arguments.next()) {
        (Some(directory), None) if directory != "--help" => PathBuf::from(directory),
        (first, _) => {
            drop(io::stderr().write_all(USAGE.as_bytes()));
            return if first.is_some_and(|first| first == "--help") {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(2)
            };
        }
    };
    match serve(directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "local-postgres: {error}"));
            let mut cause = error.source();
            while let Some(error) = cause {
                drop(writeln!(io::stderr(), "  because: {error}"));
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn serve(directory: PathBuf) -> Result<(), Box<dyn Error>> {
    let installation = Installation::find(None)?;
    let mut tell = |progress: &local_postgres::Progress| drop(writeln!(io::stderr(), "{progress}"));
    let cluster = Cluster::start(&installation, &Options::new(directory), &mut tell)?;
    let mut output = io::stdout();
    writeln!(output, "{}\n{}", cluster.url(), cluster.pid())?;
    output.flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(cluster.stop()?)
}
