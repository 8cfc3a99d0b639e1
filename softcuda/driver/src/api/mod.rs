//! The entry points: one function a symbol, named as in the CUDA driver API and grouped as its header is.
//!
//! Every one runs inside [`entry`]: a panic never crosses into C, it becomes `CUDA_ERROR_UNKNOWN` and a printed report.

#![allow(non_snake_case)] // The names are the API's.

pub mod abi;
pub mod context;
pub mod control;
pub mod copy;
pub mod copy_shapes;
pub mod device;
pub mod error;
pub mod event;
pub mod fill;
pub mod function;
pub mod graph;
pub mod graph_access;
pub mod graph_exec;
pub mod graph_nodes;
pub mod graph_params;
pub mod host;
pub mod image;
pub mod init;
pub mod kernel;
pub mod launch;
pub mod library;
pub mod link;
pub mod memory;
pub mod module;
pub mod occupancy;
pub mod pointer;
pub mod pool;
pub mod refused;
pub mod result;
pub mod stream;
pub mod symbols;
pub mod user_object;
pub mod versions;

use crate::state::context::Context;
use crate::state::{Driver, context::current, modes};
use result::{CUresult, Done};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Runs the body of an entry point.
fn entry<F: FnOnce() -> Done>(body: F) -> CUresult {
    let result = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => CUresult::SUCCESS,
        Ok(Err(code)) => code,
        Err(panic) => {
            let why = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            let why = why.unwrap_or("a panic without a text");
            let text = format!("softcuda: internal error in {}: {why}\n  = bug in softcuda", symbol::<F>());
            eprintln!("{text}");
            modes::keep_report(text);
            CUresult::UNKNOWN
        }
    };
    if modes::tracing() {
        let name = result.name().map_or("?".into(), |n| n.to_string_lossy());
        eprintln!("softcuda: {} -> {name}", symbol::<F>());
    }
    result
}

/// The entry point that a closure belongs to: `cuInit` of `nvcuda::api::init::cuInit::{{closure}}`. Entry points that share a body have its
/// name, as `copy::linear`.
fn symbol<F>() -> &'static str {
    let path = std::any::type_name::<F>();
    let shared = || path.rsplit("nvcuda::api::").next().and_then(|rest| rest.split("::{{closure}}").next());
    let own = path.split("::").find(|part| part.starts_with("cu") || part.starts_with("softcuda"));
    own.or_else(shared).unwrap_or(path)
}

/// An entry point that needs a current context without a sticky error.
fn in_context<F: FnOnce(&'static Driver, &Arc<Context>) -> Done>(body: F) -> CUresult {
    // `entry` takes the symbol's name from the type of its closure, and this one's type names `F`, hence the symbol.
    entry(move || {
        let (driver, context) = current()?;
        context.healthy()?;
        body(driver, &context)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands for an entry point of this name.
    #[allow(non_snake_case)]
    fn cuBroken() -> CUresult {
        entry(|| panic!("planted {}", 7))
    }

    #[allow(non_snake_case)]
    fn cuBrokenInContext() -> &'static str {
        fn name<F: FnOnce() -> Done>(_: F) -> &'static str {
            symbol::<F>()
        }
        name(|| Ok(()))
    }

    #[test]
    fn a_panic_is_an_unknown_error_with_a_report() {
        assert_eq!(cuBroken(), CUresult::UNKNOWN);
        let report = modes::take_report().unwrap();
        assert_eq!(report, "softcuda: internal error in cuBroken: planted 7\n  = bug in softcuda");
        assert_eq!(cuBrokenInContext(), "cuBrokenInContext");
    }
}
