//! A thin layer on the public API: the formats the field uses most. Nothing here is needed by the gateway itself.

#[cfg(feature = "cookie")]
pub mod cookie;
#[cfg(feature = "form")]
pub mod form;
#[cfg(feature = "json")]
pub mod json;
