//! Every bound of the protocol machines, each with its reason.

/// Limits of the grammar and of counting. Times are the gateway's business and come as arguments.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of all field lines of one head, trailers sharing it; HTTP/2 counts name + value + 32 per field.
    /// 32,768: between hyper's 16 KiB and Envoy's 60 KiB.
    pub header_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header_bytes_max: 32_768 }
    }
}
