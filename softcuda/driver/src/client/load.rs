//! Finding the loaded library, and loading it before the first CUDA call.

use crate::api::control::INTERFACE;
use std::ffi::{CStr, CString, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Once, OnceLock};

/// File name of the library.
const FILE: &str = "libnvcuda.so";
/// Names under which a CUDA program asks the loader for a driver; the first is also the library's SONAME.
const NAMES: [&CStr; 3] = [c"libcuda.so", c"libcuda.so.1", c"libnvcuda.so"];

/// The loaded softcuda library. It is never unloaded while the process lives.
#[derive(Clone, Copy)]
pub struct Library(usize);

impl Library {
    /// One of the library's own symbols as a function pointer.
    ///
    /// # Panics
    /// When the library lacks it, which [`library`] has excluded by the interface number.
    pub fn symbol<F: Copy>(self, name: &CStr) -> F {
        assert_eq!(size_of::<F>(), size_of::<usize>(), "F is a function pointer");
        // SAFETY: the handle is of a loaded library.
        let address = unsafe { libc::dlsym(self.0 as *mut c_void, name.as_ptr()) };
        assert!(!address.is_null(), "{FILE} lacks {name:?}");
        // SAFETY: F is a function pointer type, chosen by the caller to match the symbol, and the address is not null.
        unsafe { std::mem::transmute_copy(&address) }
    }
}

/// The library, if the process has loaded it under a name by which CUDA programs find it.
pub fn library() -> Option<Library> {
    static FOUND: OnceLock<Library> = OnceLock::new();
    if let Some(library) = FOUND.get() {
        return Some(*library);
    }
    let library = NAMES.iter().find_map(|name| {
        // SAFETY: the name is NUL-terminated; RTLD_NOLOAD loads nothing and runs no code.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        is_softcuda(handle).then_some(Library(handle as usize))
    })?;
    let interface: extern "C" fn() -> u32 = library.symbol(c"softcudaInterface");
    let found = interface();
    assert_eq!(found, INTERFACE, "the loaded {FILE} is of another build than this test: remove stale copies");
    Some(*FOUND.get_or_init(|| library))
}

/// The library, if it is the process's driver. Where none is loaded yet, the loader is asked for one as the first CUDA call would ask, so
/// that what is set before that call counts.
pub fn driver() -> Option<Library> {
    static ASKED: Once = Once::new();
    library().or_else(|| {
        ASKED.call_once(|| {
            // SAFETY: the names are NUL-terminated; a driver's initialisers are made to be run by dlopen.
            let open = |name: &&CStr| unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
            let found = [c"libcuda.so.1", c"libcuda.so", c"libnvcuda.so"].iter().map(open).find(|h| !h.is_null());
            if let Some(handle) = found.filter(|&handle| !is_softcuda(handle)) {
                // SAFETY: the handle was opened above and is not used after this.
                unsafe { libc::dlclose(handle) };
            }
        });
        library()
    })
}

fn is_softcuda(handle: *mut c_void) -> bool {
    // SAFETY: a handle from dlopen, checked for null first.
    !handle.is_null() && unsafe { !libc::dlsym(handle, c"softcudaInterface".as_ptr()).is_null() }
}

/// Why softcuda could not be made the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// No `libnvcuda.so` at any of these paths.
    NotFound(Vec<PathBuf>),
    /// The loader refused the file.
    Refused(String),
    /// Another driver was loaded before.
    TooLate,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoadError::NotFound(paths) => {
                write!(
                    f,
                    "{FILE} not found; build the package softcuda, or name the file in SOFTCUDA_LIBRARY. Searched:"
                )?;
                paths.iter().try_for_each(|p| write!(f, " {}", p.display()))
            }
            LoadError::Refused(why) => write!(f, "{FILE} was not loaded: {why}"),
            LoadError::TooLate => write!(f, "another CUDA driver was loaded before softcuda could be"),
        }
    }
}

impl std::error::Error for LoadError {}

/// Makes softcuda the process's CUDA driver, also where a real one is installed. To be called before the first CUDA call.
///
/// The library's SONAME is `libcuda.so`, the first name that CUDA programs ask for: once it is loaded by its path, the loader gives it to
/// everyone who asks for that name.
///
/// # Errors
/// [`LoadError`]: the file is not found or not loadable, or another driver is loaded already.
pub fn force() -> Result<(), LoadError> {
    if library().is_some() {
        return Ok(());
    }
    let path = find()?;
    let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|e| LoadError::Refused(e.to_string()))?;
    // SAFETY: the path is NUL-terminated; the library has no initialisers of its own beyond Rust's.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if handle.is_null() {
        // SAFETY: dlerror gives a NUL-terminated text or null after a failed dlopen.
        let why = unsafe {
            let text = libc::dlerror();
            if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
        };
        return Err(LoadError::Refused(why));
    }
    // The name that programs ask for first must now mean this library.
    // SAFETY: as in `library`.
    let first = unsafe { libc::dlopen(NAMES[0].as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    if is_softcuda(first) && library().is_some() { Ok(()) } else { Err(LoadError::TooLate) }
}

/// Makes sure that there is a CUDA driver with a device, by loading softcuda where there is none. To be called before the first CUDA call.
///
/// - `LOWBIT_DEVICE=softcuda` in the environment: [`force`].
/// - `LOWBIT_DEVICE=gpu`: nothing is loaded.
/// - Otherwise: a driver with at least one device stays what it is; else softcuda is loaded.
///
/// # Errors
/// As [`force`]; a `LOWBIT_DEVICE` that is neither is [`LoadError::Refused`].
pub fn ensure() -> Result<(), LoadError> {
    match std::env::var("LOWBIT_DEVICE").as_deref() {
        Ok("softcuda") => force(),
        Ok("gpu") => Ok(()),
        Ok("") | Err(_) if library().is_some() || driver_has_device() => Ok(()),
        Ok("") | Err(_) => force(),
        Ok(other) => Err(LoadError::Refused(format!("LOWBIT_DEVICE={other}: expected softcuda or gpu"))),
    }
}

/// Whether the loader finds a driver, by the names of the real one, that initialises and has a device.
fn driver_has_device() -> bool {
    [c"libcuda.so.1", c"libcuda.so"].iter().any(|name| {
        // SAFETY: a NUL-terminated name; a driver's initialisers are made to be run by dlopen.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return false;
        }
        if is_softcuda(handle) {
            return true; // and stays loaded, so that the client finds it
        }
        let usable = {
            let driver = Library(handle as usize);
            // SAFETY: as above.
            let complete =
                [c"cuInit", c"cuDeviceGetCount"].iter().all(|n| unsafe { !libc::dlsym(handle, n.as_ptr()).is_null() });
            complete && {
                let init: extern "C" fn(u32) -> u32 = driver.symbol(c"cuInit");
                let count: extern "C" fn(*mut i32) -> u32 = driver.symbol(c"cuDeviceGetCount");
                let mut devices = 0;
                init(0) == 0 && count(&raw mut devices) == 0 && devices > 0
            }
        };
        // SAFETY: the handle was opened above and is not used after this.
        unsafe { libc::dlclose(handle) };
        usable
    })
}

/// The library's file, as [`force`] would load it.
///
/// # Errors
/// [`LoadError::NotFound`].
pub fn find() -> Result<PathBuf, LoadError> {
    let candidates = candidates();
    candidates.iter().find(|p| p.is_file()).cloned().ok_or(LoadError::NotFound(candidates))
}

/// Where the library may lie: named, beside the executable, in cargo's `deps` folder beside or above it, on LD_LIBRARY_PATH.
fn candidates() -> Vec<PathBuf> {
    let named = std::env::var_os("SOFTCUDA_LIBRARY").map(PathBuf::from);
    let executable = std::env::current_exe().unwrap_or_default();
    let folders = executable.ancestors().skip(1).take(3).flat_map(|folder| [folder.join("deps"), folder.to_path_buf()]);
    let path = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    named.into_iter().chain(folders.chain(on_path).map(|folder: PathBuf| Path::new(&folder).join(FILE))).collect()
}
