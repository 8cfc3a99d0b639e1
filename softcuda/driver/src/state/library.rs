//! Libraries: images that belong to no context. A kernel of one becomes a function of each context that uses it, when it does.

use super::module::{Function, LoadedModule};
use super::table::{Handle, lock};
use super::{CUcontext, CUfunction, CUmodule, Driver};
use crate::api::result::{CUresult, Done};
use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Arc, Mutex};

pub type CUlibrary = Handle<Library>;
pub type CUkernel = Handle<LibraryKernel>;

pub struct Library {
    pub text: String,
    /// In the order of the text.
    pub kernels: Vec<CUkernel>,
    /// The module of each context that has used the library.
    pub modules: Mutex<HashMap<usize, CUmodule>>,
}

pub struct LibraryKernel {
    pub library: CUlibrary,
    pub name: CString,
    /// Attributes set so far, in order: functions made later get them too.
    pub settings: Mutex<Vec<(u32, i32)>>,
}

impl Driver {
    /// The library's module in a context, loaded by `load` when there is none.
    pub fn library_module(
        &self,
        context: CUcontext,
        library: CUlibrary,
        load: impl FnOnce(&str) -> Done<LoadedModule>,
    ) -> Done<CUmodule> {
        let library = self.libraries.get(library).ok_or(CUresult::INVALID_HANDLE)?;
        let mut modules = lock(&library.modules);
        // A context that was reset has lost its modules.
        if let Some(known) = modules.get(&context.0).filter(|m| self.modules.get(**m).is_some()) {
            return Ok(*known);
        }
        let module = self.modules.insert(load(&library.text)?);
        modules.insert(context.0, module);
        Ok(module)
    }

    /// Forgets a library, its kernels and its modules.
    pub fn unload_library(&self, handle: CUlibrary) -> Done {
        let library = self.libraries.remove(handle).ok_or(CUresult::INVALID_HANDLE)?;
        for kernel in &library.kernels {
            self.kernels.remove(*kernel);
        }
        for module in lock(&library.modules).values() {
            self.unload(*module);
        }
        Ok(())
    }

    /// Forgets a module and its functions.
    pub fn unload(&self, handle: CUmodule) {
        if let Some(module) = self.modules.remove(handle) {
            for function in module.handles() {
                self.functions.remove(function);
            }
        }
    }

    /// A library's kernel as a function of the module that a context has of it.
    pub fn kernel_function(&self, kernel: &LibraryKernel, module: CUmodule) -> Done<(CUfunction, Arc<Function>)> {
        let module = self.modules.get(module).ok_or(CUresult::INVALID_HANDLE)?;
        let handle = self.function(&module, &kernel.name.to_string_lossy())?;
        let function = self.functions.get(handle).ok_or(CUresult::INVALID_HANDLE)?;
        for (attribute, value) in lock(&kernel.settings).iter() {
            function.set(*attribute, *value, &self.model())?;
        }
        Ok((handle, function))
    }
}
