//! What a caller may do: the credential's own lists first, then the policies.

/// What the policies said of one caller, as far as it can be said again. It belongs to the
/// [`Caller`](crate::Caller), so it lives and dies with them.
#[derive(Default)]
pub(crate) struct Decisions {}
