//! What can be asked of the head of a request, in the same words on the core and on a thread.

/// Bytes of a head as text. The grammar admits visible ASCII only; anything else was answered with 400.
#[inline]
pub(crate) fn visible(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Writes it for one kind of request, which has `version` and `view`.
macro_rules! accessors {
    ($request:ty) => {
        /// The head.
        impl $request {
            /// The protocol this request came by.
            #[must_use]
            pub fn protocol(&self) -> $crate::features::Protocol {
                $crate::features::Protocol::of(self.version())
            }

            /// The whole request-target as received.
            #[must_use]
            pub fn target(&self) -> &str {
                $crate::request::visible(self.view().target())
            }

            /// The path of the target, percent-encoding and all.
            #[must_use]
            pub fn path(&self) -> &str {
                $crate::request::visible(self.view().path())
            }

            /// What stands behind the `?`.
            #[must_use]
            pub fn query(&self) -> Option<&str> {
                self.view().query().map($crate::request::visible)
            }

            /// The first value of `key` in the query, decoded as a form (`+` is a space).
            #[must_use]
            pub fn query_value(&self, key: &str) -> Option<std::borrow::Cow<'_, str>> {
                $crate::request::value_in_query(self.query()?, key)
            }

            /// Host and port the client wants: absolute-form before `Host`, `:authority` before `Host`. Empty if there is
            /// none.
            #[must_use]
            pub fn authority(&self) -> &str {
                $crate::request::visible(self.view().authority())
            }

            /// The first value of a field, in place. Any case of `name` does.
            #[must_use]
            pub fn header(&self, name: &str) -> Option<&[u8]> {
                self.view().field(name)
            }

            /// The first value of a field as text, if it is visible ASCII or UTF-8.
            #[must_use]
            pub fn header_str(&self, name: &str) -> Option<&str> {
                self.header(name).and_then(|value| std::str::from_utf8(value).ok())
            }

            /// Every field line in its order: name and value, in place.
            pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
                self.view().fields()
            }

            /// All fields as the `http` crate's map. Made anew by every call; [`Request::header`] costs nothing.
            #[must_use]
            pub fn headers(&self) -> http::HeaderMap {
                $crate::request::header_map(self.fields())
            }
        }

        impl std::fmt::Debug for $request {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct("Request")
                    .field("method", self.method())
                    .field("target", &self.target())
                    .field("protocol", &self.protocol())
                    .field("body", &self.body)
                    .finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use accessors;
