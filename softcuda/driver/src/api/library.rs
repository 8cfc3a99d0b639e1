//! Library management: code that is loaded without a context. What cannot be executed is refused when it is loaded, not when it is first
//! used.

use super::abi::{In, Out, Text};
use super::image::{JitLog, compile, logged, ptx};
use super::result::{CUresult, Done};
use super::{entry, in_context};
use crate::state::capture::enter_waiting;
use crate::state::context::Context;
use crate::state::library::{CUkernel, CUlibrary, Library, LibraryKernel};
use crate::state::module::LoadedModule;
use crate::state::{CUmodule, Driver, driver, modes};
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex};

/// The JIT options and the library options of a load; of the latter none changes a result.
struct Options {
    log: JitLog,
}

fn load_into(out: Out<CUlibrary>, image: &[u8], options: Options) -> CUresult {
    entry(|| {
        let driver = driver()?;
        if out.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        let checked = ptx(image, &driver.model()).and_then(|text| Ok((text, compile(driver, text)?)));
        let (text, module) = logged(driver, Some(&options.log), checked)?;
        let library = driver.libraries.insert_with(|library| Library {
            text: text.to_string(),
            kernels: module.kernels().iter().map(|k| driver.kernels.insert(named(library, &k.name))).collect(),
            modules: Mutex::default(),
        });
        out.set(driver.libraries.handle_of(&library).ok_or(CUresult::UNKNOWN)?)
    })
}

fn named(library: CUlibrary, name: &str) -> LibraryKernel {
    LibraryKernel { library, name: CString::new(name).unwrap_or_default(), settings: Mutex::default() }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLibraryLoadData(
    out: Out<CUlibrary>,
    image: Text,
    numbers: In<u32>,
    values: Out<usize>,
    count: u32,
    _library_numbers: In<u32>,
    _library_values: Out<usize>,
    _library_count: u32,
) -> CUresult {
    match (image.bytes(), JitLog::new(count, numbers, values)) {
        (Ok(image), Ok(log)) => load_into(out, image, Options { log }),
        (Err(code), _) | (_, Err(code)) => code,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLibraryLoadFromFile(
    out: Out<CUlibrary>,
    path: Text,
    numbers: In<u32>,
    values: Out<usize>,
    count: u32,
    _library_numbers: In<u32>,
    _library_values: Out<usize>,
    _library_count: u32,
) -> CUresult {
    let (Ok(path), Ok(log)) = (path.str(), JitLog::new(count, numbers, values)) else {
        return CUresult::INVALID_VALUE;
    };
    match std::fs::read(path) {
        Ok(image) => load_into(out, image.strip_suffix(&[0]).unwrap_or(&image), Options { log }),
        Err(error) => modes::explain(CUresult::FILE_NOT_FOUND, format!("{path}: {error}")),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLibraryUnload(library: CUlibrary) -> CUresult {
    entry(|| driver()?.unload_library(library))
}

fn find(library: CUlibrary) -> Done<(&'static Driver, Arc<Library>)> {
    let driver = driver()?;
    Ok((driver, driver.libraries.get(library).ok_or(CUresult::INVALID_HANDLE)?))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLibraryGetKernel(out: Out<CUkernel>, library: CUlibrary, name: Text) -> CUresult {
    entry(|| {
        let (driver, library) = find(library)?;
        let name = name.bytes()?;
        let is = |kernel: &&CUkernel| driver.kernels.get(**kernel).is_some_and(|k| k.name.as_bytes() == name);
        out.set(*library.kernels.iter().find(is).ok_or(CUresult::NOT_FOUND)?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLibraryGetKernelCount(out: Out<u32>, library: CUlibrary) -> CUresult {
    entry(|| out.set(find(library)?.1.kernels.len() as u32))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLibraryEnumerateKernels(out: Out<CUkernel>, count: u32, library: CUlibrary) -> CUresult {
    entry(|| {
        let (_, library) = find(library)?;
        if out.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        out.fill(library.kernels.iter().copied(), count as usize);
        Ok(())
    })
}

/// The library's module in the current context.
pub fn module(driver: &'static Driver, context: &Arc<Context>, library: CUlibrary) -> Done<CUmodule> {
    driver.library_module(context.handle, library, |text| {
        enter_waiting(context)?;
        let module = logged(driver, None, compile(driver, text))?;
        Ok(LoadedModule::new(context.handle, module))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLibraryGetModule(out: Out<CUmodule>, library: CUlibrary) -> CUresult {
    in_context(|driver, context| out.set(module(driver, context, library)?))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLibraryGetGlobal(address: Out<u64>, bytes: Out<usize>, library: CUlibrary, name: Text) -> CUresult {
    in_context(|driver, context| {
        let module = driver.modules.get(module(driver, context, library)?).ok_or(CUresult::INVALID_HANDLE)?;
        let (at, size) = module.module.global(name.str()?).ok_or(CUresult::NOT_FOUND)?;
        address.set_if_wanted(at);
        bytes.set_if_wanted(size as usize);
        Ok(())
    })
}

/// PTX makes no managed variables here.
#[unsafe(no_mangle)]
pub extern "C" fn cuLibraryGetManaged(
    _address: Out<u64>,
    _bytes: Out<usize>,
    library: CUlibrary,
    name: Text,
) -> CUresult {
    entry(|| {
        find(library)?;
        name.str()?;
        Err(CUresult::NOT_FOUND)
    })
}

/// There are no unified functions.
#[unsafe(no_mangle)]
pub extern "C" fn cuLibraryGetUnifiedFunction(_out: Out<*const c_void>, library: CUlibrary, name: Text) -> CUresult {
    entry(|| {
        find(library)?;
        name.str()?;
        Err(CUresult::NOT_FOUND)
    })
}
