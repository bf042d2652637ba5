//! Where a webhook may be.

use std::{fmt, net::IpAddr};

use hyper::Uri;
use rustls_pki_types::ServerName;

/// Longest URL.
const MAX_URL: usize = 2048;

/// An `https` URL, or an `http` one to the loopback.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    text: String,
    tls: Option<ServerName<'static>>,
    host: String,
    port: u16,
    path: String,
}

/// It is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a webhook's URL is https://HOST[:PORT]/PATH, or http:// to 127.0.0.0/8 or [::1]")]
pub struct BadWebhookUrl;

impl WebhookUrl {
    /// Without user name, password and fragment.
    ///
    /// # Errors
    /// [`BadWebhookUrl`].
    pub fn parse(text: &str) -> Result<Self, BadWebhookUrl> {
        let uri: Uri = text.parse().map_err(|_| BadWebhookUrl)?;
        let authority = uri.authority().ok_or(BadWebhookUrl)?;
        if text.len() > MAX_URL || authority.as_str().contains('@') {
            return Err(BadWebhookUrl);
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let address: Option<IpAddr> = host.parse().ok();
        let (tls, default_port) = match uri.scheme_str() {
            Some("https") => {
                let name = ServerName::try_from(host.clone()).map_err(|_| BadWebhookUrl)?;
                (Some(name), 443)
            }
            // The address itself, not a name that may lead elsewhere.
            Some("http") if address.is_some_and(|address| address.is_loopback()) => (None, 80),
            _ => return Err(BadWebhookUrl),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            text: text.to_owned(),
            tls,
            host,
            port: authority.port_u16().unwrap_or(default_port),
            path: path.to_owned(),
        })
    }

    /// As it was written: it may hold a token. For the record, never the log.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name that its certificate must have; none without TLS.
    pub(super) fn tls(&self) -> Option<&ServerName<'static>> {
        self.tls.as_ref()
    }

    pub(super) fn host(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// The `Host` header (RFC 9110 §7.2).
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

/// For the log: scheme, host and port. Path and query are a token at many
/// receivers.
impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_the_loopback() {
        for good in [
            "https://hooks.example/x?k=v",
            "https://192.0.2.1:8443/",
            "https://[2001:db8::1]/",
            "http://127.0.0.1:9000/x",
            "http://127.9.9.9/",
            "http://[::1]:9000/",
        ] {
            WebhookUrl::parse(good).expect(good);
        }
        for bad in [
            "",
            "hooks.example",
            "/x",
            "ftp://127.0.0.1/",
            "http://localhost/",
            "http://192.0.2.1/",
            "http://[::ffff:127.0.0.1]/",
            "https://user:secret@hooks.example/",
            "https://ex ample/",
        ] {
            assert_eq!(WebhookUrl::parse(bad), Err(BadWebhookUrl), "{bad}");
        }
    }

    #[test]
    fn its_parts_and_what_is_shown() {
        let url = WebhookUrl::parse("https://hooks.example/a/b?token=secret").unwrap();
        assert_eq!(url.host(), ("hooks.example", 443));
        assert_eq!(url.path(), "/a/b?token=secret");
        assert_eq!(url.to_string(), "https://hooks.example:443");
        assert_eq!(format!("{url:?}"), "WebhookUrl(https://hooks.example:443)");
        let url = WebhookUrl::parse("http://[::1]:9000").unwrap();
        assert_eq!((url.authority().as_str(), url.path()), ("[::1]:9000", "/"));
        assert_eq!(url.to_string(), "http://[::1]:9000");
    }
}
