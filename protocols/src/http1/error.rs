//! Whose fault it is, and what follows on the wire.

use http::StatusCode;

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:ident = $status:ident, $reason:literal;)+) => {
        /// The peer broke the protocol or a limit. The answer is [`Fault::status`] with [`Fault::reason`] as its plain
        /// body, unless a response has begun already; in any case the connection is closed in stages afterwards
        /// (RFC 9112 section 9.6), and nothing more is read as a request.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[non_exhaustive]
        pub enum Fault {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Fault {
            /// All faults, for tables and tests.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The status that tells the client what it did.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)+
                }
            }

            /// One line of plain text for the body of the answer. It repeats nothing of what was received.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self {
                    $(Self::$name => $reason,)+
                }
            }
        }
    };
}

faults! {
    /// The request line is not `method SP target SP version` (RFC 9112 section 3).
    RequestLineInvalid = BAD_REQUEST, "The request line is malformed.\n";
    /// The method is not a token.
    MethodInvalid = BAD_REQUEST, "The method is malformed.\n";
    /// The method is longer than any that is known (RFC 9112 section 3).
    MethodTooLong = NOT_IMPLEMENTED, "The method is not known.\n";
    /// The target has bytes no URI has, or a form its method does not allow (RFC 9112 section 3.2).
    TargetInvalid = BAD_REQUEST, "The request target is malformed.\n";
    /// The target is longer than the limit.
    TargetTooLong = URI_TOO_LONG, "The request target is too long.\n";
    /// The version is not `HTTP/` digit `.` digit.
    VersionInvalid = BAD_REQUEST, "The protocol version is malformed.\n";
    /// The version is well-formed, but neither 1.0 nor 1.1.
    VersionNotSupported = HTTP_VERSION_NOT_SUPPORTED, "Only HTTP/1.0 and HTTP/1.1 are spoken here.\n";
    /// More empty lines before the request line than the limit.
    TooManyEmptyLines = BAD_REQUEST, "Too many empty lines before the request.\n";
    /// A CR without its LF (RFC 9112 section 2.2).
    BareCarriageReturn = BAD_REQUEST, "A carriage return stands alone.\n";
    /// An LF without its CR. RFC 9112 section 2.2 would let it pass; two opinions on where a line ends are one too many.
    BareLineFeed = BAD_REQUEST, "A line feed stands alone.\n";
    /// NUL or another control character.
    ControlCharacter = BAD_REQUEST, "A control character stands in the head.\n";
    /// A field line that begins with white space: a folded line (RFC 9112 section 5.2), or white space before the first
    /// field (section 2.2).
    FieldFolded = BAD_REQUEST, "A field line begins with white space.\n";
    /// The field name is empty, is not a token, or has white space before the colon (RFC 9112 section 5.1).
    FieldNameInvalid = BAD_REQUEST, "A field name is malformed.\n";
    /// A field line is longer than the limit.
    FieldLineTooLong = REQUEST_HEADER_FIELDS_TOO_LARGE, "A field line is too long.\n";
    /// All field lines together are longer than the limit.
    HeaderTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE, "The header section is too large.\n";
    /// More field lines than the limit.
    TooManyFields = REQUEST_HEADER_FIELDS_TOO_LARGE, "There are too many field lines.\n";
    /// HTTP/1.1 without Host (RFC 9112 section 3.2).
    HostMissing = BAD_REQUEST, "The Host field is missing.\n";
    /// More than one Host field (RFC 9112 section 3.2).
    HostRepeated = BAD_REQUEST, "The Host field is repeated.\n";
    /// The Host field is not `host [":" port]` (RFC 9112 section 3.2).
    HostInvalid = BAD_REQUEST, "The Host field is malformed.\n";
    /// More than one Content-Type field: which of them is meant, everybody decides differently (RFC 9110 section 8.3).
    TypeRepeated = BAD_REQUEST, "The Content-Type field is repeated.\n";
    /// Content-Length is not a number, or too large a one (RFC 9112 section 6.3).
    LengthInvalid = BAD_REQUEST, "The Content-Length field is malformed.\n";
    /// More than one Content-Length field, be they equal.
    LengthRepeated = BAD_REQUEST, "The Content-Length field is repeated.\n";
    /// Content-Length beside Transfer-Encoding (RFC 9112 section 6.1).
    LengthBesideCoding = BAD_REQUEST, "Content-Length stands beside Transfer-Encoding.\n";
    /// The last transfer coding is not `chunked`, or the list is malformed (RFC 9112 section 6.3).
    CodingInvalid = BAD_REQUEST, "The Transfer-Encoding field is malformed.\n";
    /// More than one Transfer-Encoding field.
    CodingRepeated = BAD_REQUEST, "The Transfer-Encoding field is repeated.\n";
    /// A transfer coding that is not implemented, with `chunked` as the last one (RFC 9112 section 6.1).
    CodingUnknown = NOT_IMPLEMENTED, "The transfer coding is not implemented.\n";
    /// Transfer-Encoding in a message of HTTP/1.0 (RFC 9112 section 6.1).
    CodingInOldVersion = BAD_REQUEST, "HTTP/1.0 has no transfer codings.\n";
    /// CONNECT with a body.
    BodyWithConnect = BAD_REQUEST, "CONNECT has no body.\n";
    /// An Expect field with anything but `100-continue` (RFC 9110 section 10.1.1).
    ExpectationUnknown = EXPECTATION_FAILED, "The expectation cannot be met.\n";
    /// The body is longer than the limit.
    BodyTooLarge = PAYLOAD_TOO_LARGE, "The body is too large.\n";
    /// A chunk size without digits, or with anything but digits, or of more than 16 that count (RFC 9112 section 7.1).
    ChunkSizeInvalid = BAD_REQUEST, "A chunk size is malformed.\n";
    /// A chunk extension that is not `name`, `name=token` or `name="string"` (RFC 9112 section 7.1.1).
    ChunkExtensionInvalid = BAD_REQUEST, "A chunk extension is malformed.\n";
    /// The extensions of one chunk, or of all, are longer than the limit.
    ChunkExtensionTooLong = BAD_REQUEST, "The chunk extensions are too long.\n";
    /// Chunk data that is not followed by CRLF.
    ChunkDataInvalid = BAD_REQUEST, "Chunk data has another length than announced.\n";
    /// The connection ended in the middle of a request; nobody is left to be answered.
    Truncated = BAD_REQUEST, "The request is incomplete.\n";
    /// The head did not arrive in time. The gateway keeps the time and says so.
    HeaderTimeout = REQUEST_TIMEOUT, "The request took too long to arrive.\n";
    /// The body did not arrive in time, or too slowly. The gateway keeps the time and says so.
    BodyTimeout = REQUEST_TIMEOUT, "The request body took too long to arrive.\n";
}

impl Fault {
    /// False when no answer can reach anybody.
    #[must_use]
    pub const fn is_answered(self) -> bool {
        !matches!(self, Self::Truncated)
    }
}

/// We broke the protocol: the application or the driver asked for what may not be sent. Nothing is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Misuse {
    /// A call that has no place in the present state: a second head, data before the head, anything without a request.
    OutOfOrder,
    /// The status cannot be sent this way: 1xx as a final status, a final status as an interim one, 101 other than by
    /// switching.
    StatusInvalid,
    /// The application set Transfer-Encoding. How a body is framed is the machine's business (RFC 9112 section 6.1).
    CodingSet,
    /// The application's Content-Length is malformed, repeated, or contradicts the body (RFC 9110 section 8.6).
    LengthContradicted,
    /// A body where the status has none: 204, 205, 304.
    BodyNotAllowed,
    /// More data than the announced length. The connection is closed, for the length was sent.
    BodyTooLong,
    /// The body ended before the announced length. The connection is closed, for the length was sent.
    BodyTooShort,
    /// A switch of protocols that the client did not offer (RFC 9110 section 7.8), or before the request was whole.
    SwitchNotOffered,
}
