//! Kernels of one context: modules loaded when first used, and kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use cudarc::driver::sys::{CUdevice_attribute, CUfunction_attribute_enum, CUjit_option, cuModuleLoadDataEx};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule};
use cudarc::nvrtc::Ptx;

use super::image::{self, Image, capability_text};
use crate::error::{Error, Result, driver_text};

/// Dynamic shared memory that every launch may use without asking.
const SHARED_WITHOUT_OPT_IN: u32 = 48 * 1024;

/// The kernels of one CUDA context.
///
/// Cheap to clone; clones share the loaded modules. A module is loaded by the driver when a kernel of it is first
/// needed, which a stream capture forbids: whatever is to be captured is prepared first (each op that can be captured
/// says how).
#[derive(Clone)]
pub struct Kernels {
    inner: Arc<Inner>,
}

struct Inner {
    context: Arc<CudaContext>,
    capability: u32,
    max_shared: u32,
    sm_count: u32,
    modules: Mutex<HashMap<&'static str, Arc<CudaModule>>>,
    functions: Mutex<HashMap<(&'static str, &'static str), Loaded>>,
}

/// A function, and the dynamic shared memory it has been granted so far.
#[derive(Clone)]
struct Loaded {
    function: CudaFunction,
    shared: u32,
}

impl Kernels {
    /// The kernels of `context`; loads nothing yet.
    ///
    /// # Errors
    /// [`Error::NotBuilt`] when the crate was built without nvcc, [`Error::Driver`] when the device cannot be queried.
    pub fn new(context: &Arc<CudaContext>) -> Result<Self> {
        if image::images().is_empty() {
            return Err(Error::NotBuilt { searched: image::build_note().to_string() });
        }
        let attribute = |a| context.attribute(a).map(|value| u32::try_from(value).unwrap_or(0));
        use CUdevice_attribute::*;
        let major = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        Ok(Self {
            inner: Arc::new(Inner {
                context: context.clone(),
                capability: major * 10 + minor,
                max_shared: attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
                sm_count: attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
                modules: Mutex::default(),
                functions: Mutex::default(),
            }),
        })
    }

    /// The context these kernels belong to.
    pub fn context(&self) -> &Arc<CudaContext> {
        &self.inner.context
    }

    /// The device's compute capability: (8, 6) for 8.6.
    pub fn compute_capability(&self) -> (u32, u32) {
        (self.inner.capability / 10, self.inner.capability % 10)
    }

    /// Shared memory a block may have at most, bytes.
    pub fn max_shared_bytes(&self) -> u32 {
        self.inner.max_shared
    }

    /// The number of streaming multiprocessors.
    pub fn sm_count(&self) -> u32 {
        self.inner.sm_count
    }

    /// The function exported as `entry` by `module`, loaded if need be, and allowed to be launched with `shared` bytes
    /// of dynamic shared memory.
    pub(crate) fn function(&self, module: &'static str, entry: &'static str, shared: u32) -> Result<CudaFunction> {
        let mut functions = lock(&self.inner.functions);
        let loaded = match functions.get_mut(&(module, entry)) {
            Some(loaded) => loaded,
            None => {
                let function = self.load(module, entry)?;
                functions.entry((module, entry)).or_insert(Loaded { function, shared: SHARED_WITHOUT_OPT_IN })
            }
        };
        if shared > loaded.shared {
            self.inner.context.bind_to_thread()?;
            let attribute = CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            loaded.function.set_attribute(attribute, i32::try_from(shared).unwrap_or(i32::MAX))?;
            loaded.shared = shared;
        }
        Ok(loaded.function.clone())
    }

    fn load(&self, module: &'static str, entry: &'static str) -> Result<CudaFunction> {
        let image = image::choose(image::images(), module, self.inner.capability)?;
        let mut modules = lock(&self.inner.modules);
        let loaded = match modules.get(module) {
            Some(loaded) => loaded.clone(),
            None => {
                let ptx = image.ptx().ok_or_else(|| self.load_error(image, "the image is damaged", ""))?;
                let loaded = self.inner.context.load_module(Ptx::from_src(&ptx));
                let loaded = loaded.map_err(|error| self.load_error(image, &driver_text(error), &compile_log(&ptx)))?;
                modules.insert(module, loaded.clone());
                loaded
            }
        };
        let function = loaded.load_function(entry);
        function.map_err(|error| self.load_error(image, &format!("`{entry}`: {}", driver_text(error)), ""))
    }

    fn load_error(&self, image: &Image, driver: &str, log: &str) -> Error {
        Error::Load {
            module: image.module,
            target: image.target,
            capability: capability_text(self.inner.capability),
            driver: driver.to_string(),
            log: log.to_string(),
        }
    }
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernels")
            .field("device", &self.inner.context.ordinal())
            .field("capability", &self.inner.capability)
            .finish_non_exhaustive()
    }
}

/// The maps are only ever added to, so a thread that panicked while holding one left it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Loads the image once more, for the driver's words on what is wrong with it. The context is current: the load that
/// failed has just bound it.
fn compile_log(ptx: &str) -> String {
    let Ok(text) = std::ffi::CString::new(ptx) else { return "the PTX text contains a NUL byte".to_string() };
    let mut log = vec![0u8; 8192];
    let mut options = [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr().cast(), log.len() as *mut std::ffi::c_void];
    let mut module = std::ptr::null_mut();
    // SAFETY: `text` is NUL-terminated; two options with two values of the kinds they ask for: a buffer of `log.len()`
    // bytes that outlives the call, and its length as an integer. A module made against expectation is leaked.
    let result =
        unsafe { cuModuleLoadDataEx(&mut module, text.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr()) };
    if result.result().is_ok() {
        return String::new();
    }
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    String::from_utf8_lossy(&log[..end]).into_owned()
}
