//! The `sluicegate` binary.

/// Saves about an eighth of the instructions of a request, which is mostly small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // A connection's buffers are large and mostly untouched. Huge pages would make all of each
    // resident: three times the memory for an open stream. Where it can't be set, nothing breaks.
    nix::sys::prctl::set_thp_disable(true).ok();
    sluicegate::cli::main()
}
