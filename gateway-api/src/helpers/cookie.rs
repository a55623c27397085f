//! Cookies: RFC 6265.

use crate::{blocking, request::Request, response::InvalidField};
use http::HeaderValue;
use std::fmt::Write as _;

/// The cookies of a request in their order, from every `Cookie` field (RFC 6265 section 5.4). What is not `name=value`
/// is left out; quotes around a value are not part of it.
///
/// ```
/// use ringgate::{App, Request, helpers::cookie::cookies};
/// fn visits(request: &Request) -> String {
///     let visits = cookies(request).find(|(name, _)| *name == "visits").map_or("none", |(_, value)| value);
///     format!("visits: {visits}\n")
/// }
/// # let app = App::new().route("/visits", visits);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "GET /visits HTTP/1.1\r\ncookie: theme=dark; visits=3", "").ends_with("visits: 3\n"));
/// ```
pub fn cookies(request: &Request) -> impl Iterator<Item = (&str, &str)> {
    of_fields(request.fields())
}

/// The same for a request on a thread.
///
/// ```
/// use ringgate::{App, blocking, helpers::cookie::cookies_blocking};
/// fn names(request: blocking::Request) -> String {
///     cookies_blocking(&request).map(|(name, _)| name).collect::<Vec<_>>().join(" ")
/// }
/// # let app = App::new().route("/names", names);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "GET /names HTTP/1.1\r\ncookie: theme=dark; visits=3", "").ends_with("theme visits"));
/// ```
pub fn cookies_blocking(request: &blocking::Request) -> impl Iterator<Item = (&str, &str)> {
    of_fields(request.fields())
}

fn of_fields<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let fields = fields.filter(|(name, _)| name.eq_ignore_ascii_case(b"cookie"));
    fields.filter_map(|(_, value)| std::str::from_utf8(value).ok()).flat_map(parse)
}

fn parse(field: &str) -> impl Iterator<Item = (&str, &str)> {
    field.split(';').filter_map(|pair| {
        let (name, value) = pair.trim_matches([' ', '\t']).split_once('=')?;
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        (!name.is_empty()).then_some((name, value))
    })
}

/// A cookie to be set. Safe from the start: `HttpOnly`, `Secure` and `SameSite=Lax` unless switched off.
///
/// ```
/// use ringgate::{App, InvalidField, Request, Response, helpers::cookie::SetCookie};
/// fn login(_: &Request) -> Result<Response, InvalidField> {
///     let cookie = SetCookie::new("session", "4711").max_age_s(3600).value()?;
///     Ok(Response::text("in\n").header_value(http::header::SET_COOKIE, cookie))
/// }
/// # let app = App::new().route("/login", login);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # let set = "\r\nset-cookie: session=4711; Path=/; SameSite=Lax; Max-Age=3600; Secure; HttpOnly\r\n";
/// # assert!(client::ask(app, "GET /login HTTP/1.1", "").contains(set));
/// ```
#[derive(Clone, Debug)]
pub struct SetCookie {
    pair: String,
    path: String,
    max_age_s: Option<u64>,
    secure: bool,
    http_only: bool,
    same_site: &'static str,
}

impl SetCookie {
    /// A cookie for the whole site, until the browser closes.
    #[must_use]
    pub fn new(name: &str, value: &str) -> Self {
        let pair = format!("{name}={value}");
        Self { pair, path: "/".to_owned(), max_age_s: None, secure: true, http_only: true, same_site: "Lax" }
    }

    /// Only below this path.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Kept for so many seconds; 0 removes it.
    #[must_use]
    pub fn max_age_s(mut self, seconds: u64) -> Self {
        self.max_age_s = Some(seconds);
        self
    }

    /// Whether it is sent over TLS only.
    #[must_use]
    pub fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// Whether scripts cannot see it.
    #[must_use]
    pub fn http_only(mut self, http_only: bool) -> Self {
        self.http_only = http_only;
        self
    }

    /// `Strict`, `Lax` or `None`.
    #[must_use]
    pub fn same_site(mut self, same_site: &'static str) -> Self {
        self.same_site = same_site;
        self
    }

    /// As the value of a `Set-Cookie` field.
    ///
    /// # Errors
    /// When name, value or path cannot stand in a field, or have a `;` in them, behind which others would be attributes.
    pub fn value(&self) -> Result<HeaderValue, InvalidField> {
        if [&self.pair, &self.path].into_iter().any(|text| text.contains(';')) {
            return Err(InvalidField::Value);
        }
        let mut text = format!("{}; Path={}; SameSite={}", self.pair, self.path, self.same_site);
        if let Some(seconds) = self.max_age_s {
            let _ = write!(text, "; Max-Age={seconds}");
        }
        text.push_str(if self.secure { "; Secure" } else { "" });
        text.push_str(if self.http_only { "; HttpOnly" } else { "" });
        Ok(HeaderValue::try_from(text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs() {
        let pairs: Vec<_> = parse("a=1; b=\"2 3\";c==4; junk; =x;d=").collect();
        assert_eq!(pairs, [("a", "1"), ("b", "2 3"), ("c", "=4"), ("d", "")]);
    }

    #[test]
    fn a_cookie_is_safe_unless_told_otherwise() {
        let cookie = SetCookie::new("k", "v").max_age_s(5).value().unwrap();
        assert_eq!(cookie, "k=v; Path=/; SameSite=Lax; Max-Age=5; Secure; HttpOnly");
        assert!(SetCookie::new("k", "v\r\nx: y").value().is_err());
        for cookie in [SetCookie::new("k", "v; Domain=evil"), SetCookie::new("k", "v").path("/; Secure")] {
            assert!(cookie.value().is_err(), "{cookie:?}");
        }
    }
}
