//! The static table of RFC 7541 appendix A and the dynamic table of section 2.3.2.

pub mod fixed;
pub mod moving;
