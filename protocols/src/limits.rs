//! Every bound of the protocol machines, each with its reason.

/// Limits of the grammar and of counting. Times are the gateway's business and come as arguments.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of all field lines of one head, trailers sharing it; HTTP/2 counts name + value + 32 per field,
    /// HTTP/1 the lines as they came, line ends included.
    /// 32,768: between hyper's 16 KiB and Envoy's 60 KiB.
    pub header_bytes_max: u32,
    /// Field lines of one head, trailers and cookie crumbs sharing it.
    /// 100: common to h2o, hyper, Apache and Envoy.
    pub field_count_max: u32,
    /// Bytes of one HTTP/1 field line without its line end; beyond it 431.
    /// 8,192: the line of Apache and nginx.
    pub field_line_bytes_max: u32,
    /// Bytes of the request-target; beyond it 414.
    /// 8,192: as the field line.
    pub target_bytes_max: u32,
    /// Bytes of the method; beyond it 501 (RFC 9112 section 3).
    /// 32: the longest registered method, `UPDATEREDIRECTREF`, has 17.
    pub method_bytes_max: u32,
    /// Empty lines before a request line.
    /// 2: old clients send one stray CRLF after a body.
    pub leading_empty_lines_max: u32,
    /// Bytes of chunk extensions in one message.
    /// 16,384: node's cap; hardly anybody uses extensions.
    pub chunk_extension_bytes_max: u32,
    /// Bytes of one chunk-size line beyond its significant digits: extensions, and zeros in front.
    /// 256: room for a signature, none for a flood.
    pub chunk_extension_line_bytes_max: u32,
    /// Bytes of a request body, unless the application asks for more; beyond it 413.
    /// 1,048,576: nginx's default.
    pub body_bytes_max: u64,
    /// Bytes of an unread request body that are read and thrown away to keep the connection.
    /// 262,144: cheaper than a new connection; beyond it close.
    pub drain_bytes_max: u64,
    /// Ranges in one `Range` field that are served.
    /// 16: a player asks for one or two; a thousand is an attack.
    pub range_count_max: u32,
    /// Bytes of output waiting on one connection; beyond it reading stops.
    /// 262,144: half of h2o's bound.
    pub output_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: 32_768,
            field_count_max: 100,
            field_line_bytes_max: 8_192,
            target_bytes_max: 8_192,
            method_bytes_max: 32,
            leading_empty_lines_max: 2,
            chunk_extension_bytes_max: 16_384,
            chunk_extension_line_bytes_max: 256,
            body_bytes_max: 1_048_576,
            drain_bytes_max: 262_144,
            range_count_max: 16,
            output_bytes_max: 262_144,
        }
    }
}
