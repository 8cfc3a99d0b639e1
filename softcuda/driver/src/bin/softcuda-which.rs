//! Prints the device that a CUDA program of this environment gets after `client::ensure`, and whether softcuda is its driver.

use nvcuda::client;
use std::ffi::{CStr, CString, c_char, c_void};
use std::process::ExitCode;

/// Names in the order in which cudarc asks for them, without those that no driver has.
const NAMES: [&CStr; 3] = [c"libcuda.so", c"libcuda.so.1", c"libnvcuda.so"];

type Init = unsafe extern "C" fn(u32) -> u32;
type Name = unsafe extern "C" fn(*mut c_char, i32, i32) -> u32;

/// The name of device 0 by the first driver found.
fn device() -> Result<String, String> {
    let library = NAMES.iter().map(|name| {
        // SAFETY: a NUL-terminated name; the initialisers of a driver are made to be run so.
        unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY) }
    });
    let library = library.into_iter().find(|handle| !handle.is_null()).ok_or("no driver")?;
    let symbol = |name: &CString| {
        // SAFETY: a loaded library and a NUL-terminated name.
        let address = unsafe { libc::dlsym(library, name.as_ptr()) };
        if address.is_null() { Err(format!("the driver lacks {name:?}")) } else { Ok(address) }
    };
    let (init, name) = (symbol(&c"cuInit".into())?, symbol(&c"cuDeviceGetName".into())?);
    // SAFETY: the driver API gives this symbol this type.
    let init = unsafe { std::mem::transmute::<*mut c_void, Init>(init) };
    // SAFETY: as above.
    let name = unsafe { std::mem::transmute::<*mut c_void, Name>(name) };
    let mut text = [0; 128];
    // SAFETY: the place has the length given.
    let codes = unsafe { [init(0), name(text.as_mut_ptr(), text.len() as i32, 0)] };
    if codes != [0, 0] {
        return Err(format!("the driver answers {codes:?}"));
    }
    // SAFETY: the driver ends the name with a NUL inside the place.
    Ok(unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned())
}

fn main() -> ExitCode {
    if let Err(error) = client::ensure() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    // A client may set modes before the first CUDA call: it must find softcuda then, if that is what a program gets.
    let before = client::active();
    let found = device();
    let softcuda = client::active();
    if std::env::var("LOWBIT_DEVICE").as_deref() != Ok("gpu") {
        assert_eq!(before, softcuda, "`ensure` settles who the driver is");
    }
    match found {
        Ok(name) => println!("{name}; softcuda: {softcuda}"),
        Err(why) => println!("none: {why}; softcuda: {softcuda}"),
    }
    ExitCode::SUCCESS
}
