//! The proxies of `docs/operations/proxies.md`, with the configurations that stand there: each has to be valid, and to let a
//! stream through as it comes.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::chroot::Chroot;
use super::service::{Service, free_address};
use crate::cargo::root;
use crate::http::{self, Request};

const PAGE: &str = "docs/operations/proxies.md";
/// What the page says of where Deed listens, and of what it is called.
const DEED: &str = "127.0.0.1:8080";
const NAME: &str = "deed.example.com";
/// What a stream says, and how slowly.
const WORDS: &str = "one two three four";
const WORD_MS: u32 = 400;

/// A proxy: the language of its block, the file for it, how it is checked, and how it is run.
struct Proxy {
    language: &'static str,
    file: &'static str,
    check: &'static [&'static str],
    run: &'static [&'static str],
    /// The configuration with what a page of documentation doesn't hold, for `listen`.
    complete: fn(block: &str, listen: SocketAddr) -> String,
}

const PROXIES: [Proxy; 3] = [
    Proxy {
        language: "nginx",
        file: "/tmp/nginx.conf",
        check: &["nginx", "-t", "-c", "/tmp/nginx.conf"],
        run: &["nginx", "-c", "/tmp/nginx.conf", "-g", "daemon off;"],
        complete: |block, listen| {
            let block = block.replace("listen 80;", &format!("listen {listen};"));
            format!("events {{ }}\nhttp {{\n{block}}}\n")
        },
    },
    Proxy {
        language: "caddyfile",
        file: "/tmp/Caddyfile",
        check: &[
            "caddy",
            "validate",
            "--adapter",
            "caddyfile",
            "--config",
            "/tmp/Caddyfile",
        ],
        run: &[
            "caddy",
            "run",
            "--adapter",
            "caddyfile",
            "--config",
            "/tmp/Caddyfile",
        ],
        complete: |block, listen| {
            // Over http:// it asks nobody for a certificate.
            let block = block.replace(NAME, &format!("http://{listen}"));
            format!("{{\n    admin off\n}}\n{block}")
        },
    },
    Proxy {
        language: "haproxy",
        file: "/tmp/haproxy.cfg",
        check: &["haproxy", "-c", "-f", "/tmp/haproxy.cfg"],
        run: &["haproxy", "-db", "-f", "/tmp/haproxy.cfg"],
        complete: |block, listen| block.replace("bind :80", &format!("bind {listen}")),
    },
];

/// Puts each in front of the server at `deed` in turn, and reads a stream through it as `user`, with the root key.
pub(super) fn check(
    chroot: &Chroot,
    deed: SocketAddr,
    root_key: &str,
    user: &str,
) -> anyhow::Result<()> {
    let page = fs::read_to_string(root().join(PAGE))?;
    for proxy in PROXIES {
        let listen = free_address()?;
        let block = block(&page, proxy.language)
            .with_context(|| format!("{PAGE} has no block of {}", proxy.language))?;
        let configuration = (proxy.complete)(&block, listen).replace(DEED, &deed.to_string());
        ensure!(
            configuration.contains(&listen.to_string())
                && configuration.contains(&deed.to_string()),
            "the block of {} says otherwise where it listens, or where Deed is",
            proxy.language
        );
        fs::write(chroot.path(proxy.file), configuration)?;
        chroot.run(proxy.check)?;
        let log = chroot.path(&format!("{}.log", proxy.file));
        let service = Service::start(chroot.command("root:root", proxy.run), listen, log)?;
        check_stream(listen, root_key, user)
            .with_context(|| format!("through {}", proxy.language))?;
        service.end()?;
    }
    Ok(())
}

/// The first block of `language` on a page.
fn block(page: &str, language: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!("\n```{language}\n"))?;
    Some(format!("{}\n", rest.split_once("\n```")?.0))
}

/// Fails unless each word arrives about when it was said, and not with the last one.
fn check_stream(address: SocketAddr, root_key: &str, user: &str) -> anyhow::Result<()> {
    let body = format!(r#"{{"type":"echo","input":{{"text":"{WORDS}","delay_ms":{WORD_MS}}}}}"#);
    let lines = Request::post("/stream", &body)
        .header("X-API-Key", root_key)
        .header("X-User-ID", user)
        .lines(address)?;
    let when = |part: &str| -> anyhow::Result<Duration> {
        let line = lines.iter().find(|line| line.text.contains(part));
        Ok(line
            .with_context(|| format!("{part} has not come: {lines:?}"))?
            .after)
    };
    let (first, done) = (when("{\"text\":\"one\"}")?, when("\"succeeded\"")?);
    let said = Duration::from_millis(3 * u64::from(WORD_MS));
    ensure!(
        done.saturating_sub(first) > said / 2,
        "what took {said:?} came within {:?}: the proxy holds it back",
        done.saturating_sub(first)
    );
    Ok(())
}

/// A user to act for, made with the root key.
pub(super) fn user(deed: SocketAddr, root_key: &str) -> anyhow::Result<String> {
    let body = r#"{"email":"ada@example.com","name":"Ada","password":"correct horse battery"}"#;
    let answer = Request::post("/users", body)
        .header("X-API-Key", root_key)
        .send(deed)?;
    ensure!(answer.status == 201, "{answer:?}");
    let user: serde_json::Value = serde_json::from_str(http::unchunked(&answer.body))?;
    let id = user.get("id").and_then(serde_json::Value::as_str);
    Ok(id.context("a user without an id")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_block_for_every_proxy() {
        let page = fs::read_to_string(root().join(PAGE)).unwrap();
        let listen: SocketAddr = "127.0.0.1:4711".parse().unwrap();
        for proxy in PROXIES {
            let block = block(&page, proxy.language).unwrap();
            assert!(block.contains(DEED), "{}", proxy.language);
            let complete = (proxy.complete)(&block, listen);
            assert!(complete.contains("127.0.0.1:4711"), "{complete}");
        }
        assert_eq!(block(&page, "apache"), None);
    }

    #[test]
    fn a_block_is_what_stands_between_the_fences() {
        let page = "a\n\n```x\n1\n2\n```\n\n```y\n3\n```\n";
        assert_eq!(block(page, "x").as_deref(), Some("1\n2\n"));
        assert_eq!(block(page, "y").as_deref(), Some("3\n"));
    }
}
