//! Module management.

use super::abi::{In, Out, Text};
use super::image::{JitLog, compile, logged, ptx};
use super::in_context;
use super::result::{CUresult, Done};
use crate::state::capture::enter_waiting;
use crate::state::context::Context;
use crate::state::module::LoadedModule;
use crate::state::{CUfunction, CUmodule, Driver, modes};
use std::sync::Arc;

/// Loads and gives the handle; the log goes to the caller's JIT buffers.
fn load_into(out: Out<CUmodule>, image: &[u8], log: Option<JitLog>) -> CUresult {
    in_context(|driver, context| {
        if out.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        enter_waiting(context)?;
        let loaded = ptx(image, &driver.model()).and_then(|text| {
            let module = compile(driver, text)?;
            Ok(driver.modules.insert(LoadedModule::new(context.handle, module)))
        });
        out.set(logged(driver, log.as_ref(), loaded)?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleLoadData(out: Out<CUmodule>, image: Text) -> CUresult {
    match image.bytes() {
        Ok(image) => load_into(out, image, None),
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleLoadDataEx(
    out: Out<CUmodule>,
    image: Text,
    count: u32,
    options: In<u32>,
    values: Out<usize>,
) -> CUresult {
    match image.bytes() {
        Ok(image) => match JitLog::new(count, options, values) {
            Ok(log) => load_into(out, image, Some(log)),
            Err(code) => code,
        },
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleLoadFatBinary(out: Out<CUmodule>, image: Text) -> CUresult {
    cuModuleLoadData(out, image)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleLoad(out: Out<CUmodule>, path: Text) -> CUresult {
    let Ok(path) = path.str() else { return CUresult::INVALID_VALUE };
    match std::fs::read(path) {
        Ok(image) => load_into(out, image.strip_suffix(&[0]).unwrap_or(&image), None),
        Err(error) => modes::explain(CUresult::FILE_NOT_FOUND, format!("{path}: {error}")),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleUnload(handle: CUmodule) -> CUresult {
    in_context(|driver, context| {
        find(driver, context, handle)?;
        enter_waiting(context)?;
        driver.unload(handle);
        Ok(())
    })
}

/// A module of the current context.
fn find(driver: &Driver, context: &Context, handle: CUmodule) -> Done<Arc<LoadedModule>> {
    driver.modules.get(handle).filter(|m| m.context == context.handle).ok_or(CUresult::INVALID_HANDLE)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleGetFunction(out: Out<CUfunction>, module: CUmodule, name: Text) -> CUresult {
    in_context(|driver, context| {
        let name = name.str()?;
        out.set(driver.function(&find(driver, context, module)?, name)?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleGetFunctionCount(out: Out<u32>, module: CUmodule) -> CUresult {
    in_context(|driver, context| out.set(find(driver, context, module)?.module.kernels().len() as u32))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleEnumerateFunctions(out: Out<CUfunction>, count: u32, module: CUmodule) -> CUresult {
    in_context(|driver, context| {
        let module = find(driver, context, module)?;
        let names = module.module.kernels().iter().map(|k| driver.function(&module, &k.name));
        let handles = names.collect::<Done<Vec<_>>>()?;
        out.fill(handles, count as usize);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleGetGlobal_v2(address: Out<u64>, bytes: Out<usize>, module: CUmodule, name: Text) -> CUresult {
    in_context(|driver, context| {
        let (at, size) = find(driver, context, module)?.module.global(name.str()?).ok_or(CUresult::NOT_FOUND)?;
        address.set_if_wanted(at);
        bytes.set_if_wanted(size as usize);
        Ok(())
    })
}

/// `CU_MODULE_EAGER_LOADING`.
#[unsafe(no_mangle)]
pub extern "C" fn cuModuleGetLoadingMode(out: Out<u32>) -> CUresult {
    super::entry(|| out.set(1))
}

/// PTX has no texture or surface references here.
fn no_reference(out: Out<usize>, module: CUmodule, name: Text) -> CUresult {
    in_context(|driver, context| {
        find(driver, context, module)?;
        name.str()?;
        if out.is_null() { Err(CUresult::INVALID_VALUE) } else { Err(CUresult::NOT_FOUND) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleGetTexRef(out: Out<usize>, module: CUmodule, name: Text) -> CUresult {
    no_reference(out, module, name)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleGetSurfRef(out: Out<usize>, module: CUmodule, name: Text) -> CUresult {
    no_reference(out, module, name)
}
