//! Every symbol that cudarc knows exists, and every one that cudarc's own calls reach works.

use cudarc::driver::sys::{self, CUresult};
use std::collections::BTreeSet;
use std::ffi::{CString, c_int, c_void};
use std::process::Command;
use std::ptr::{null, null_mut};

const PTX: &std::ffi::CStr =
    match std::ffi::CStr::from_bytes_with_nul(concat!(include_str!("kernels.ptx"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("a NUL inside the text"),
    };

/// The functions of the bindings of the cudarc that this test is built with, from its source.
fn bindings() -> BTreeSet<String> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let cargo = std::env::var("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--offline", "--filter-platform", &platform]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let package = metadata["packages"].as_array().unwrap().iter().find(|p| p["name"] == "cudarc").unwrap();
    let manifest = std::path::Path::new(package["manifest_path"].as_str().unwrap());
    let source = std::fs::read_to_string(manifest.with_file_name("src/driver/sys/mod.rs")).unwrap();
    let name = |line: &str| Some(line.trim().strip_prefix("pub unsafe fn cu")?.split('(').next()?.to_string());
    let names: BTreeSet<String> = source.lines().filter_map(name).map(|rest| format!("cu{rest}")).collect();
    assert!(names.len() > 450, "{} functions in {}", names.len(), manifest.display());
    names.into_iter().filter(|name| name != "culib").collect()
}

/// A symbol of the library, null if it has none of that name.
fn symbol(name: &str) -> *mut c_void {
    let name = CString::new(name).unwrap();
    // SAFETY: NUL-terminated names; the library has no initialisers beyond Rust's.
    unsafe {
        let library = libc::dlopen(c"libnvcuda.so".as_ptr(), libc::RTLD_NOW);
        assert!(!library.is_null());
        libc::dlsym(library, name.as_ptr())
    }
}

#[test]
fn every_symbol_of_the_bindings_exists() {
    let missing: Vec<_> = bindings().into_iter().filter(|name| symbol(name).is_null()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What cudarc calls in every program.
const ALWAYS: &str = "cuInit cuDeviceGet cuDeviceGetCount cuDeviceGetAttribute cuDevicePrimaryCtxRetain \
    cuDevicePrimaryCtxRelease_v2 cuCtxGetCurrent cuCtxSetCurrent cuCtxSynchronize cuStreamSynchronize cuMemAllocAsync \
    cuMemFreeAsync cuMemAlloc_v2 cuMemFree_v2 cuMemsetD8Async cuMemcpyHtoDAsync_v2 cuMemcpyDtoHAsync_v2 cuMemcpyDtoDAsync_v2 \
    cuModuleLoadData cuModuleGetFunction cuModuleUnload cuLaunchKernel cuEventCreate cuEventDestroy_v2 cuEventRecord \
    cuEventSynchronize cuEventElapsedTime cuEventElapsedTime_v2 cuGetErrorString cuGetErrorName";
/// With streams of its own.
const STREAMS: &str = "cuStreamCreate cuStreamDestroy_v2 cuStreamWaitEvent cuStreamCreateWithPriority \
    cuCtxGetStreamPriorityRange";
/// If the program asks for it.
const ASKED: &str = "cuDeviceGetName cuDeviceTotalMem_v2 cuMemGetInfo_v2 cuDeviceGetUuid cuDeviceGetUuid_v2 cuFuncGetAttribute \
    cuFuncSetAttribute cuFuncSetCacheConfig cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags \
    cuOccupancyMaxPotentialBlockSizeWithFlags cuOccupancyAvailableDynamicSMemPerBlock cuOccupancyMaxActiveClusters \
    cuLaunchCooperativeKernel cuModuleGetGlobal_v2 cuModuleLoad cuEventQuery cuMemHostAlloc cuMemFreeHost cuMemcpyPeerAsync \
    cuLaunchHostFunc cuStreamBeginCapture_v2 cuStreamEndCapture cuStreamIsCapturing cuGraphInstantiateWithFlags cuGraphLaunch \
    cuGraphUpload cuGraphExecDestroy cuGraphDestroy cuCtxGetLimit cuCtxSetLimit cuCtxSetFlags";

/// A symbol that newer bindings lack. Promise: it has this type.
unsafe fn older<F: Copy>(called: &mut BTreeSet<&'static str>, name: &'static str) -> F {
    assert_eq!(size_of::<F>(), size_of::<usize>());
    let address = symbol(name);
    assert!(!address.is_null(), "{name}");
    called.insert(name);
    // SAFETY: the promise above; the address is not null.
    unsafe { std::mem::transmute_copy(&address) }
}

unsafe extern "C" fn nothing(_: *mut c_void) {}

/// Calls a symbol, which must succeed, and remembers its name.
macro_rules! call {
    ($called:ident, $name:ident($($argument:expr),*)) => {
        assert_eq!(sys::$name($($argument),*), CUresult::CUDA_SUCCESS, stringify!($name));
        $called.insert(stringify!($name));
    };
}

#[test]
fn every_symbol_that_cudarc_reaches_works() {
    let mut called = BTreeSet::new();
    // SAFETY: every place is valid, every handle live, every buffer as long as its count says.
    unsafe {
        call!(called, cuInit(0));
        let (mut device, mut count, mut number) = (9, 0, 0);
        call!(called, cuDeviceGetCount(&mut count));
        call!(called, cuDeviceGet(&mut device, 0));
        assert_eq!((count, device), (1, 0));
        let major = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
        call!(called, cuDeviceGetAttribute(&mut number, major, device));
        assert_eq!(number, 8);
        let mut name = [0; 64];
        call!(called, cuDeviceGetName(name.as_mut_ptr(), 64, device));
        let (mut free, mut total) = (0, 0);
        call!(called, cuDeviceTotalMem_v2(&mut total, device));
        let (mut old, mut new) = (sys::CUuuid { bytes: [0; 16] }, sys::CUuuid { bytes: [1; 16] });
        call!(called, cuDeviceGetUuid_v2(&mut new, device));
        type Uuid = unsafe extern "C" fn(*mut sys::CUuuid, c_int) -> CUresult;
        assert_eq!(older::<Uuid>(&mut called, "cuDeviceGetUuid")(&mut old, device), CUresult::CUDA_SUCCESS);
        assert_eq!(old.bytes, new.bytes);

        let (mut context, mut current) = (null_mut(), null_mut());
        call!(called, cuDevicePrimaryCtxRetain(&mut context, device));
        call!(called, cuCtxSetCurrent(context));
        call!(called, cuCtxGetCurrent(&mut current));
        assert_eq!(current, context);
        call!(called, cuCtxSetFlags(0));
        let stack = sys::CUlimit::CU_LIMIT_STACK_SIZE;
        let mut limit = 0;
        call!(called, cuCtxSetLimit(stack, 4096));
        call!(called, cuCtxGetLimit(&mut limit, stack));
        assert_eq!(limit, 4096);
        call!(called, cuMemGetInfo_v2(&mut free, &mut total));
        let (mut least, mut greatest) = (1, 1);
        call!(called, cuCtxGetStreamPriorityRange(&mut least, &mut greatest));
        assert_eq!((least, greatest), (0, -5));

        let (mut a, mut b) = (null_mut(), null_mut());
        call!(called, cuStreamCreate(&mut a, 1));
        call!(called, cuStreamCreateWithPriority(&mut b, 1, greatest));
        let (mut start, mut end) = (null_mut(), null_mut());
        call!(called, cuEventCreate(&mut start, 0));
        call!(called, cuEventCreate(&mut end, 0));
        call!(called, cuEventRecord(start, a));

        let (mut x, mut y) = (0, 0);
        let host = [7u32; 64];
        let mut back = [0u32; 64];
        call!(called, cuMemAllocAsync(&mut x, 256, a));
        call!(called, cuMemAlloc_v2(&mut y, 256));
        call!(called, cuMemcpyHtoDAsync_v2(x, host.as_ptr().cast(), 256, a));
        call!(called, cuEventRecord(end, a));
        call!(called, cuStreamWaitEvent(b, end, 0));
        call!(called, cuMemcpyDtoDAsync_v2(y, x, 256, b));
        call!(called, cuMemsetD8Async(y, 0, 128, b));
        call!(called, cuMemcpyDtoHAsync_v2(back.as_mut_ptr().cast(), y, 256, b));
        call!(called, cuStreamSynchronize(b));
        assert_eq!((back[31], back[32]), (0, 7));
        call!(called, cuMemcpyPeerAsync(x, context, y, context, 128, a));
        call!(called, cuEventSynchronize(end));
        call!(called, cuEventQuery(end));
        let mut time = -1.0;
        call!(called, cuEventElapsedTime_v2(&mut time, start, end));
        type Elapsed = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> CUresult;
        let mut same = -1.0;
        let elapsed = older::<Elapsed>(&mut called, "cuEventElapsedTime");
        assert_eq!((elapsed(&mut same, start, end), same), (CUresult::CUDA_SUCCESS, time));
        assert!(time >= 0.0);
        call!(called, cuLaunchHostFunc(a, Some(nothing), null_mut()));
        let mut pinned = null_mut();
        call!(called, cuMemHostAlloc(&mut pinned, 64, 0));
        call!(called, cuMemFreeHost(pinned));

        let (mut module, mut file, mut function) = (null_mut(), null_mut(), null_mut());
        call!(called, cuModuleLoadData(&mut module, PTX.as_ptr().cast()));
        let path = CString::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernels.ptx")).unwrap();
        call!(called, cuModuleLoad(&mut file, path.as_ptr()));
        call!(called, cuModuleUnload(file));
        let mut bytes = 0;
        call!(called, cuModuleGetGlobal_v2(&mut 0, &mut bytes, module, c"scale".as_ptr()));
        assert_eq!(bytes, 4);
        call!(called, cuModuleGetFunction(&mut function, module, c"staged".as_ptr()));
        let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK;
        call!(called, cuFuncGetAttribute(&mut number, most, function));
        assert_eq!(number, 64);
        let dynamic = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        call!(called, cuFuncSetAttribute(function, dynamic, 1 << 16));
        call!(called, cuFuncSetCacheConfig(function, sys::CUfunc_cache::CU_FUNC_CACHE_PREFER_L1));
        call!(called, cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(&mut number, function, 64, 0, 0));
        assert_eq!(number, 24);
        let (mut grid, mut block) = (0, 0);
        call!(called, cuOccupancyMaxPotentialBlockSizeWithFlags(&mut grid, &mut block, function, None, 0, 0, 0));
        assert_eq!((grid, block), (24 * 128, 64));
        call!(called, cuOccupancyAvailableDynamicSMemPerBlock(&mut bytes, function, 2, 64));
        assert_eq!(bytes, 49 << 10);
        let mut pointer = x;
        let mut parameters = [(&raw mut pointer).cast::<c_void>()];
        call!(called, cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 256, a, parameters.as_mut_ptr(), null_mut()));
        call!(called, cuLaunchCooperativeKernel(function, 1, 1, 1, 64, 1, 1, 256, a, parameters.as_mut_ptr()));
        // There are clusters from compute capability 9.0 on.
        let config: sys::CUlaunchConfig = std::mem::zeroed();
        let clusters = sys::cuOccupancyMaxActiveClusters(&mut number, function, &config);
        assert_eq!(clusters, CUresult::CUDA_ERROR_INVALID_CLUSTER_SIZE);
        called.insert("cuOccupancyMaxActiveClusters");

        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        let mut status = sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
        let (mut graph, mut exec) = (null_mut(), null_mut());
        call!(called, cuStreamBeginCapture_v2(a, mode));
        call!(called, cuStreamIsCapturing(a, &mut status));
        assert_eq!(status, sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE);
        call!(called, cuMemsetD8Async(y, 1, 256, a));
        call!(called, cuStreamEndCapture(a, &mut graph));
        call!(called, cuGraphInstantiateWithFlags(&mut exec, graph, 0));
        call!(called, cuGraphUpload(exec, a));
        call!(called, cuGraphLaunch(exec, a));
        call!(called, cuCtxSynchronize());
        call!(called, cuGraphExecDestroy(exec));
        call!(called, cuGraphDestroy(graph));

        let (mut name, mut text) = (null(), null());
        call!(called, cuGetErrorName(CUresult::CUDA_ERROR_NOT_FOUND, &mut name));
        call!(called, cuGetErrorString(CUresult::CUDA_ERROR_NOT_FOUND, &mut text));
        assert_eq!(std::ffi::CStr::from_ptr(text), c"named symbol not found");
        call!(called, cuModuleUnload(module));
        call!(called, cuMemFreeAsync(x, a));
        call!(called, cuMemFree_v2(y));
        call!(called, cuEventDestroy_v2(start));
        call!(called, cuEventDestroy_v2(end));
        call!(called, cuStreamDestroy_v2(a));
        call!(called, cuStreamDestroy_v2(b));
        call!(called, cuDevicePrimaryCtxRelease_v2(device));
    }
    let wanted: BTreeSet<&str> = [ALWAYS, STREAMS, ASKED].iter().flat_map(|list| list.split(' ')).collect();
    let uncalled: Vec<_> = wanted.difference(&called).collect();
    assert!(uncalled.is_empty(), "{uncalled:?}");
}
