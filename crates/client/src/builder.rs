//! The client, and how it is put together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use uuid::Uuid;

use crate::error::Error;
use crate::retry::Retry;

/// Calls one Deed server with one API key. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) user: Option<Uuid>,
}

pub(crate) struct Shared {
    pub(crate) http: reqwest::Client,
    pub(crate) base: Url,
    pub(crate) key: Option<HeaderValue>,
    pub(crate) request_timeout: Duration,
    pub(crate) stream_idle_timeout: Duration,
    pub(crate) retry: Retry,
}

impl Client {
    /// Begins a client of the server at `url`, such as `https://deed.example.com`. A path in it is put before every
    /// operation's own.
    #[must_use]
    pub fn builder(url: &str) -> Builder {
        Builder {
            url: url.to_owned(),
            key: None,
            user: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            stream_idle_timeout: Duration::from_secs(40),
            retry: Retry::default(),
        }
    }

    /// The same client, acting for another user (`X-User-ID`). The key needs the scope `users:act_as`, unless the user
    /// is its own.
    #[must_use]
    pub fn as_user(&self, user: Uuid) -> Self {
        Self {
            user: Some(user),
            ..self.clone()
        }
    }
}

/// The key does not print.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("url", &self.shared.base.as_str())
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Puts a [`Client`] together.
#[derive(Clone)]
pub struct Builder {
    url: String,
    key: Option<String>,
    user: Option<Uuid>,
    connect_timeout: Duration,
    request_timeout: Duration,
    stream_idle_timeout: Duration,
    retry: Retry,
}

impl Builder {
    /// The secret of an API key, sent with every request.
    #[must_use]
    pub fn api_key(mut self, secret: impl Into<String>) -> Self {
        self.key = Some(secret.into());
        self
    }

    /// The user to act for; without it, the one that the key belongs to.
    #[must_use]
    pub fn as_user(mut self, user: Uuid) -> Self {
        self.user = Some(user);
        self
    }

    /// How long making a connection may take; 5 s by default.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long one answer may take to come whole, or a stream to begin; 30 s by default. What the server is asked to
    /// wait is added to it.
    #[must_use]
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.request_timeout = limit;
        self
    }

    /// How long a stream may be silent before it counts as broken; 40 s by default. A living server sends a comment
    /// every 15 s, so a time below that breaks streams that are well.
    #[must_use]
    pub fn stream_idle_timeout(mut self, limit: Duration) -> Self {
        self.stream_idle_timeout = limit;
        self
    }

    /// How often requests are sent again that may be.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Puts it together; nothing is sent yet. Redirects are not followed: they would carry the key elsewhere. A proxy
    /// that the system names is used, but for a server on this very machine.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the URL or the key can't be one.
    pub fn build(self) -> Result<Client, Error> {
        let base = base(&self.url)?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("deed-client/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(self.connect_timeout)
            .tcp_keepalive(Duration::from_secs(30));
        if is_loopback(&base) {
            http = http.no_proxy();
        }
        #[cfg(feature = "https")]
        if base.scheme() == "http" {
            // Reading the system's certificates takes a while, and nobody would ask for them.
            http = http.tls_built_in_root_certs(false);
        }
        let http = http
            .build()
            .map_err(|error| Error::Invalid(format!("no HTTP client can be made: {error}")))?;
        let shared = Shared {
            http,
            base,
            key: self.key.as_deref().map(key).transpose()?,
            request_timeout: self.request_timeout,
            stream_idle_timeout: self.stream_idle_timeout,
            retry: self.retry,
        };
        Ok(Client {
            shared: Arc::new(shared),
            user: self.user,
        })
    }
}

/// The key does not print.
impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").finish_non_exhaustive()
    }
}

fn base(url: &str) -> Result<Url, Error> {
    let invalid = |what: &str| Error::Invalid(format!("the server's URL {what}"));
    let url = Url::parse(url.trim())
        .map_err(|_| invalid("is none: write it as http://127.0.0.1:8080"))?;
    match url.scheme() {
        "http" => {}
        "https" if cfg!(feature = "https") => {}
        "https" => return Err(invalid("is https, which this program was built without")),
        _ => return Err(invalid("must begin with http:// or https://")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(
            "holds a user or a password: give the key apart from it",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("has a query or a fragment"));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn key(secret: &str) -> Result<HeaderValue, Error> {
    let is_visible = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic());
    let value = HeaderValue::from_str(secret).ok().filter(|_| is_visible);
    let mut value = value.ok_or_else(|| {
        Error::Invalid("the API key is empty, or has characters that no key has".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_print() {
        let builder = Client::builder("http://127.0.0.1:1").api_key("deedk_secret");
        assert!(!format!("{builder:?}").contains("deedk_secret"));
        let client = builder.build().unwrap();
        assert!(!format!("{client:?}").contains("deedk_secret"));
        assert!(!format!("{:?}", client.shared.key).contains("deedk_secret"));
    }

    #[test]
    fn urls() {
        for (url, ok) in [
            ("http://127.0.0.1:8080", true),
            ("http://127.0.0.1:8080/", true),
            (" https://deed.example.com/api\n", true),
            ("127.0.0.1:8080", false),
            ("ftp://deed.example.com", false),
            ("http://", false),
            ("http://user@deed.example.com", false),
            ("http://user:secret@deed.example.com", false),
            ("http://deed.example.com/?a=b", false),
            ("", false),
        ] {
            let built = Client::builder(url).build();
            assert_eq!(built.is_ok(), ok, "{url}: {built:?}");
            if let Err(error) = built {
                assert!(!error.to_string().contains("secret"), "{error}");
            }
        }
    }

    #[test]
    fn keys_are_visible_characters() {
        for (secret, ok) in [
            ("deedk_a", true),
            ("", false),
            ("a b", false),
            ("a\n", false),
        ] {
            let built = Client::builder("http://127.0.0.1:1")
                .api_key(secret)
                .build();
            assert_eq!(built.is_ok(), ok, "{secret:?}");
        }
    }

    #[test]
    fn what_is_on_this_machine_needs_no_proxy() {
        let check = |url: &str, expected| {
            assert_eq!(is_loopback(&base(url).unwrap()), expected, "{url}");
        };
        check("http://127.0.0.1:8080", true);
        check("http://[::1]:8080", true);
        check("http://localhost", true);
        check("http://10.0.0.1", false);
        check("https://localhost.example.com", false);
    }
}
