//! The PostgreSQL that tests share.

use std::path::PathBuf;
use std::sync::OnceLock;

use local_postgres::{Cluster, Installation, Options, StartError};

/// How many test processes can run side by side, each with a server of its own.
const SIDE_BY_SIDE: usize = 64;

/// The URL of a running server: the one that `DEED_TEST_DATABASE_URL` names, else a private one that lives as long
/// as this process.
pub(crate) fn url() -> &'static str {
    static URL: OnceLock<(String, Option<Cluster>)> = OnceLock::new();
    &URL.get_or_init(|| match variable("DEED_TEST_DATABASE_URL") {
        Some(url) => (url, None),
        None => {
            let cluster = start();
            (cluster.url(), Some(cluster))
        }
    })
    .0
}

fn start() -> Cluster {
    let bin = variable("DEED_PG_BIN").map(PathBuf::from);
    let installation = Installation::find(bin.as_deref()).unwrap_or_else(|error| panic!("{error}"));
    let base = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/testkit-postgres");
    for number in 0..SIDE_BY_SIDE {
        let mut options = Options::new(base.join(number.to_string()));
        options.user = "deed".to_owned();
        options.database = "deed".to_owned();
        options.settings = vec![("max_connections".to_owned(), "300".to_owned())];
        options.unreachable_base = PathBuf::from("/var/lib/deed-dev");
        match Cluster::start(&installation, &options, &mut |_| {}) {
            Ok(cluster) => return cluster,
            Err(StartError::AlreadyRunning { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("{SIDE_BY_SIDE} test processes run already");
}

fn variable(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests have no settings; this is how they are told of a server"
    )]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
