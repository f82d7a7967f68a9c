//! `deed keys hash`: what is kept of a secret.

use std::path::PathBuf;

use clap::Args;
use deed_domain::secret::{PlainSecret, SecretKind};
use serde::Serialize;

use crate::fault::{Exit, Fault};
use crate::output::OutputArguments;
use crate::settings::Secret;

const EXAMPLES: &str = "\
Examples:
  deed keys hash < secret.txt                   64 hexadecimal digits
  deed keys hash --file /run/secrets/ci-key
  pass show deed/ci | deed keys hash            never as an argument: others can see those";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// File that holds the secret; - is standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    file: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Serialize)]
struct Digest {
    sha256: String,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let secret = if arguments.file.as_os_str() == "-" {
        Secret::from_stdin()?
    } else {
        Secret::from_file(&arguments.file, "--file")?
    };
    let digest = Digest {
        sha256: digest(&secret)?,
    };
    arguments
        .output
        .print(&digest, |digest| digest.sha256.clone())
}

/// In hexadecimal, if it is a key's secret: a digest of anything else would never fit.
fn digest(secret: &Secret) -> Result<String, Fault> {
    let parsed = PlainSecret::parse(secret.reveal())
        .ok()
        .filter(|secret| secret.kind() == SecretKind::ApiKey);
    let secret = parsed.ok_or_else(|| {
        Fault::new(
            Exit::Usage,
            "What was given is no secret of an API key: its form or its checksum is wrong",
            "Give it exactly as it was shown once, from `deedk_` to its last character",
        )
    })?;
    let bytes = secret.digest();
    Ok(bytes
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    fn secret(kind: SecretKind) -> String {
        PlainSecret::generate(kind, || [7; 64]).reveal().to_owned()
    }

    #[test]
    fn the_digest_is_sha_256_in_hexadecimal() {
        let text = secret(SecretKind::ApiKey);
        let expected: String = Sha256::digest(text.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(digest(&Secret::from(text.as_str())), Ok(expected));
    }

    #[test]
    fn what_is_no_keys_secret_is_refused() {
        let mistyped = secret(SecretKind::ApiKey).replace('_', "-");
        let session = secret(SecretKind::Session);
        for wrong in ["", "hunter2", &mistyped, &session] {
            let fault = digest(&Secret::from(wrong)).unwrap_err();
            assert_eq!(fault.exit, Exit::Usage);
            assert!(!fault.to_string().contains("hunter2"));
        }
    }
}
