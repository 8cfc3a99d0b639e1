//! Instructions that exist and are not executed, with the reason, so that the load error is honest.

/// Mnemonics and reasons. Rows go first: of `cp`, the copies of `cp.async` are executed.
#[rustfmt::skip] // One family a line.
pub const REFUSED: [(&str, &str); 13] = [
    ("wgmma", "asynchronous warpgroup matrix products (sm_90a)"),
    ("tcgen05", "fifth-generation tensor cores (sm_100a)"),
    ("cp", "bulk and tensor copies"),
    ("tensormap", "tensor maps"),
    ("tex", "textures"),
    ("tld4", "textures"),
    ("txq", "textures"),
    ("suld", "surfaces"),
    ("sust", "surfaces"),
    ("sured", "surfaces"),
    ("suq", "surfaces"),
    ("multimem", "multi-device memory"),
    ("setmaxnreg", "register reallocation (sm_90a)"),
];

/// Why a spelling is refused, if it belongs to a family that is.
pub fn refused(op: &str) -> Option<&'static str> {
    let name = op.split('.').next().unwrap_or_default();
    REFUSED.iter().find(|r| r.0 == name).map(|r| r.1)
}
