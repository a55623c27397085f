//! Where user code has left something to be dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Drops what a handler has left behind. A panic of that must not cost what goes on beside it: the end of a response, the
/// other streams of a connection, the next request. (The panic hook has told it.)
pub(crate) fn drop_contained<T>(left: &mut Option<T>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(left.take())));
}
