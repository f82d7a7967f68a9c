//! The binary `deed`. A table of contents: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    deed_server::Deed::builder().run()
}
