//! The head of a request: spans into the bytes it arrived in.

use crate::span::Span;

/// One field line: where its name and its value stand. Optional white space is already outside the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Field {
    /// The field name, as received (HTTP/1: any case; HTTP/2: lower case).
    pub name: Span,
    /// The field value without leading and trailing white space.
    pub value: Span,
}

/// The head of one request, or the trailers of one message (then only `fields` has meaning).
///
/// It is reused from message to message, so that its `Vec` is allocated once. All spans refer to one buffer: the
/// received bytes for HTTP/1, the decoder's scratch for HTTP/2.
#[derive(Clone, Debug)]
pub struct Head {
    /// The method, RFC 9110 section 9. Extension methods are kept as they came.
    pub method: http::Method,
    /// HTTP/1.0, HTTP/1.1 or HTTP/2.
    pub version: http::Version,
    /// The whole request-target as received (HTTP/2: the `:path`).
    pub target: Span,
    /// Path of the target, without the query; empty for authority-form.
    pub path: Span,
    /// Query behind the `?`, if there is a `?`.
    pub query: Option<Span>,
    /// The authority that counts: absolute-form before Host, `:authority` before Host; empty if there is none.
    pub authority: Span,
    /// The field lines in their order. HTTP/2 pseudo-fields are not among them.
    pub fields: Vec<Field>,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            method: http::Method::GET,
            version: http::Version::HTTP_11,
            target: Span::default(),
            path: Span::default(),
            query: None,
            authority: Span::default(),
            fields: Vec::new(),
        }
    }
}

impl Head {
    /// Makes the head empty and keeps its memory.
    pub fn clear(&mut self) {
        let fields = std::mem::take(&mut self.fields);
        *self = Self { fields, ..Self::default() };
        self.fields.clear();
    }
}

impl Head {
    /// The values of the field lines with this name, in their order. `buffer` is what the spans refer to; `name` may be
    /// in any case.
    pub fn values<'a>(&'a self, buffer: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |field| field.name.of(buffer).eq_ignore_ascii_case(name.as_bytes()))
            .map(move |field| field.value.of(buffer))
    }

    /// The value of the first field line with this name. For fields that may come several times see [`Head::values`].
    ///
    /// ```
    /// use ringgate_protocols::http::head::{Field, Head};
    /// use ringgate_protocols::span::Span;
    /// let buffer = b"Accept: text/html";
    /// let mut head = Head::default();
    /// head.fields.push(Field { name: Span::new(0, 6), value: Span::new(8, 17) });
    /// assert_eq!(head.value(buffer, "accept"), Some(&b"text/html"[..]));
    /// ```
    #[must_use]
    pub fn value<'a>(&'a self, buffer: &'a [u8], name: &'a str) -> Option<&'a [u8]> {
        self.values(buffer, name).next()
    }
}
