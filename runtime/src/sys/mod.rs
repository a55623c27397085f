//! What the machine and its kernel give: the way a sleeping core is woken.

pub(crate) mod wake;
