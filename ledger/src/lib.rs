//! One row for each attempt that reached a provider, exactly once.
