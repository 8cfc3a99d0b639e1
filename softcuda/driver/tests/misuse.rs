//! Misuse gets the code of the real driver: a table of calls, how they are wrong, and the code.

use cudarc::driver::sys::{self, CUresult};
use std::ffi::{CStr, CString, c_void};
use std::ptr::null_mut;

const TEXT: &str = include_str!("kernels.ptx");

/// Calls that fail: each row is a code, a call and how it is wrong. Counts the rows.
macro_rules! refused {
    ($rows:ident: $($code:ident, $name:ident($($argument:expr),* $(,)?), $why:literal;)*) => {$(
        assert_eq!(sys::$name($($argument),*), CUresult::$code, "{}: {}", stringify!($name), $why);
        $rows += 1;
    )*};
}

fn ptx(text: &str) -> CString {
    CString::new(text).unwrap()
}

unsafe extern "C" fn nothing(_: *mut c_void) {}

fn load(text: &CStr) -> sys::CUmodule {
    let mut module = null_mut();
    // SAFETY: a valid place and a NUL-terminated text.
    assert_eq!(unsafe { sys::cuModuleLoadData(&mut module, text.as_ptr().cast()) }, CUresult::CUDA_SUCCESS);
    module
}

fn function(module: sys::CUmodule, name: &CStr) -> sys::CUfunction {
    let mut function = null_mut();
    // SAFETY: a valid place, a live module and a NUL-terminated name.
    assert_eq!(unsafe { sys::cuModuleGetFunction(&mut function, module, name.as_ptr()) }, CUresult::CUDA_SUCCESS);
    function
}

/// One primary context for all tests of the file; nothing here breaks it.
fn context() -> sys::CUcontext {
    let mut context = null_mut();
    // SAFETY: valid places.
    unsafe {
        assert_eq!(sys::cuInit(0), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuDevicePrimaryCtxRetain(&mut context, 0), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuCtxSetCurrent(context), CUresult::CUDA_SUCCESS);
    }
    context
}

fn allocate(bytes: usize) -> u64 {
    let mut address = 0;
    // SAFETY: a valid place.
    assert_eq!(unsafe { sys::cuMemAlloc_v2(&mut address, bytes) }, CUresult::CUDA_SUCCESS);
    address
}

/// A number that is no handle.
const BOGUS: *mut c_void = 0x1234_5678_usize as *mut c_void;

#[test]
fn of_devices_contexts_and_symbols() {
    let context = context();
    let mut rows = 0;
    let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_WARP_SIZE;
    let (mut number, mut place, mut limit, mut made) = (0, null_mut(), 0, null_mut());
    // SAFETY: valid places; the calls are refused.
    unsafe {
        refused! { rows:
            CUDA_ERROR_INVALID_VALUE, cuInit(1), "flags";
            CUDA_ERROR_INVALID_VALUE, cuDeviceGetCount(null_mut()), "no place";
            CUDA_ERROR_INVALID_DEVICE, cuDeviceGet(&mut number, 1), "an ordinal past the last";
            CUDA_ERROR_INVALID_DEVICE, cuDeviceGet(&mut number, -1), "a negative ordinal";
            CUDA_ERROR_INVALID_DEVICE, cuDeviceGetAttribute(&mut number, attribute, 7), "no such device";
            CUDA_ERROR_INVALID_VALUE, cuDeviceGetName(null_mut(), 8, 0), "no place";
            CUDA_ERROR_INVALID_DEVICE, cuDeviceGetByPCIBusId(&mut number, c"0000:ff:00.0".as_ptr()), "an empty slot";
            CUDA_ERROR_INVALID_VALUE, cuDevicePrimaryCtxRetain(null_mut(), 0), "no place";
            CUDA_ERROR_INVALID_DEVICE, cuDevicePrimaryCtxRetain(&mut made, 1), "no such device";
            CUDA_ERROR_INVALID_CONTEXT, cuCtxSetCurrent(BOGUS.cast()), "no context";
            CUDA_ERROR_INVALID_CONTEXT, cuCtxPushCurrent_v2(BOGUS.cast()), "no context";
            CUDA_ERROR_INVALID_CONTEXT, cuCtxDestroy_v2(context), "the primary context is not destroyed";
            CUDA_ERROR_UNSUPPORTED_LIMIT, cuCtxGetLimit(&mut limit, sys::CUlimit::CU_LIMIT_MAX), "no limit";
            CUDA_ERROR_NOT_FOUND,
                cuGetProcAddress_v2(c"cuNothing".as_ptr(), &mut place, 13000, 0, null_mut()), "no function";
            CUDA_ERROR_NOT_FOUND,
                cuGetProcAddress_v2(c"cuGraphExecUpdate".as_ptr(), &mut place, 10010, 0, null_mut()), "older than it";
            CUDA_ERROR_INVALID_VALUE,
                cuGetProcAddress_v2(c"cuInit".as_ptr(), null_mut(), 13000, 0, null_mut()), "no place";
        }
    }
    assert_eq!(rows, 16);
}

#[test]
fn of_memory() {
    context();
    let mut rows = 0;
    let (a, freed) = (allocate(256), allocate(64));
    let mut host = vec![0u8; 512];
    let (mut address, mut bytes, mut pinned, mut number) = (0, 0, null_mut(), 0u32);
    let h = host.as_mut_ptr().cast::<c_void>();
    let kind = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE;
    // SAFETY: valid places and live handles; the calls of the table are refused.
    unsafe {
        assert_eq!(sys::cuMemFree_v2(freed), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuMemHostAlloc(&mut pinned, 64, 0), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuMemHostRegister_v2(h, 256, 0), CUresult::CUDA_SUCCESS);
        let mut pool = null_mut();
        assert_eq!(sys::cuDeviceGetDefaultMemPool(&mut pool, 0), CUresult::CUDA_SUCCESS);
        let mut shared: sys::CUmemPoolProps = std::mem::zeroed();
        shared.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
        shared.handleTypes = sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
        let mut wide = std::mem::MaybeUninit::<sys::CUDA_MEMCPY2D>::zeroed();
        {
            let wide = wide.as_mut_ptr();
            ((*wide).srcMemoryType, (*wide).srcDevice) = (sys::CUmemorytype::CU_MEMORYTYPE_DEVICE, a);
            ((*wide).dstMemoryType, (*wide).dstDevice) = (sys::CUmemorytype::CU_MEMORYTYPE_DEVICE, a + 128);
            ((*wide).WidthInBytes, (*wide).Height, (*wide).srcPitch, (*wide).dstPitch) = (32, 2, 16, 32);
        }
        let mut ipc: sys::CUipcMemHandle = std::mem::zeroed();
        let pinned_address = pinned as u64;
        refused! { rows:
            CUDA_ERROR_INVALID_VALUE, cuMemAlloc_v2(&mut address, 0), "no bytes";
            CUDA_ERROR_INVALID_VALUE, cuMemAlloc_v2(null_mut(), 16), "no place";
            CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&mut address, 1 << 50), "more than there is";
            CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(0xdead), "never allocated";
            CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(freed), "freed before";
            CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(a + 16), "inside an allocation";
            CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(pinned_address), "pinned host memory";
            CUDA_ERROR_INVALID_VALUE, cuMemFreeAsync(a + 16, null_mut()), "inside an allocation";
            CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(h), "not from cuMemHostAlloc";
            CUDA_ERROR_INVALID_VALUE, cuMemHostAlloc(&mut pinned, 16, 0x100), "unknown flags";
            CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cuMemHostRegister_v2(h, 16, 0), "registered before";
            CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(h.add(256)), "never registered";
            CUDA_ERROR_INVALID_VALUE, cuMemAllocManaged(&mut address, 16, 0), "neither global nor host";
            CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(a + 128, h, 256), "past the end";
            CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH_v2(h, freed, 16), "freed source";
            CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoD_v2(a, 0x1000, 16), "no source";
            CUDA_ERROR_INVALID_VALUE, cuMemsetD32_v2(a + 2, 0, 4), "misaligned";
            CUDA_ERROR_INVALID_VALUE, cuMemsetD8_v2(a, 0, 257), "past the end";
            CUDA_ERROR_INVALID_VALUE, cuMemsetD2D8_v2(a, 8, 0, 16, 2), "rows overlap";
            CUDA_ERROR_INVALID_VALUE, cuMemcpy2D_v2(wide.as_ptr()), "wider than its pitch";
            CUDA_ERROR_INVALID_VALUE, cuMemAllocPitch_v2(&mut address, &mut bytes, 16, 2, 3), "no size of an element";
            CUDA_ERROR_INVALID_VALUE, cuMemPoolDestroy(pool), "the default pool";
            CUDA_ERROR_INVALID_VALUE, cuMemPoolTrimTo(BOGUS.cast(), 0), "no pool";
            CUDA_ERROR_INVALID_VALUE, cuMemAllocFromPoolAsync(&mut address, 16, BOGUS.cast(), null_mut()), "no pool";
            CUDA_ERROR_NOT_SUPPORTED, cuMemPoolCreate(&mut pool, &shared), "shared between processes";
            CUDA_ERROR_INVALID_VALUE, cuPointerGetAttribute((&raw mut number).cast(), kind, 0xdead), "nobody's pointer";
            CUDA_ERROR_NOT_FOUND, cuMemGetAddressRange_v2(&mut address, &mut bytes, 0xdead), "nobody's pointer";
            CUDA_ERROR_NOT_SUPPORTED, cuIpcGetMemHandle(&mut ipc, a), "memory between processes";
        }
        assert_eq!(sys::cuMemHostUnregister(h), CUresult::CUDA_SUCCESS);
    }
    assert_eq!(rows, 28);
}

#[test]
fn of_modules_and_launches() {
    context();
    let mut rows = 0;
    let kernels = ptx(TEXT);
    let module = load(&kernels);
    let (staged, poke) = (function(module, c"staged"), function(module, c"poke"));
    let (mut out, mut f, mut number, mut library, mut kernel) = (null_mut(), null_mut(), 0, null_mut(), null_mut());
    let image = |text: &CStr| text.as_ptr().cast::<c_void>();
    let version = ptx(&TEXT.replace(".version 8.0", ".version 9.9"));
    let target = ptx(&TEXT.replace(".target sm_80", ".target sm_120"));
    let broken = ptx(&TEXT.replace("mul.lo.s32 %r8", "frobnicate.s32 %r8"));
    let dynamic = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    let (nul, none) = (null_mut::<*mut c_void>(), null_mut());
    let mut address = allocate(256);
    let mut list = [(&raw mut address).cast::<c_void>()];
    let p = list.as_mut_ptr();
    // SAFETY: valid places and live handles; the calls of the table are refused.
    unsafe {
        let mut link = null_mut();
        let made = sys::cuLinkCreate_v2(0, null_mut(), nul, &mut link);
        assert_eq!(made, CUresult::CUDA_SUCCESS);
        let made = sys::cuLibraryLoadData(&mut library, image(&kernels), null_mut(), nul, 0, null_mut(), nul, 0);
        assert_eq!(made, CUresult::CUDA_SUCCESS);
        let cubin = sys::CUjitInputType::CU_JIT_INPUT_CUBIN;
        let elf = c"\x7fELF".as_ptr().cast_mut().cast::<c_void>();
        let (mut bytes, mut finished) = (0, null_mut());
        refused! { rows:
            CUDA_ERROR_INVALID_IMAGE, cuModuleLoadData(&mut out, image(c"hello")), "no PTX";
            CUDA_ERROR_NO_BINARY_FOR_GPU, cuModuleLoadData(&mut out, image(c"\x7fELF")), "machine code";
            CUDA_ERROR_UNSUPPORTED_PTX_VERSION, cuModuleLoadData(&mut out, image(&version)), "newer than the driver";
            CUDA_ERROR_NO_BINARY_FOR_GPU, cuModuleLoadData(&mut out, image(&target)), "for a newer GPU";
            CUDA_ERROR_INVALID_PTX, cuModuleLoadData(&mut out, image(&broken)), "an unknown instruction";
            CUDA_ERROR_INVALID_VALUE, cuModuleLoadData(null_mut(), image(&kernels)), "no place";
            CUDA_ERROR_FILE_NOT_FOUND, cuModuleLoad(&mut out, c"/nowhere.ptx".as_ptr()), "no file";
            CUDA_ERROR_INVALID_HANDLE, cuModuleUnload(BOGUS.cast()), "no module";
            CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&mut f, module, c"nothing".as_ptr()), "no such kernel";
            CUDA_ERROR_INVALID_HANDLE, cuModuleGetFunction(&mut f, BOGUS.cast(), c"poke".as_ptr()), "no module";
            CUDA_ERROR_NOT_FOUND, cuModuleGetGlobal_v2(&mut 0, &mut bytes, module, c"x".as_ptr()), "no such variable";
            CUDA_ERROR_NOT_FOUND, cuLibraryGetKernel(&mut kernel, library, c"nothing".as_ptr()), "no such kernel";
            CUDA_ERROR_INVALID_HANDLE, cuLibraryUnload(BOGUS.cast()), "no library";
            CUDA_ERROR_NO_BINARY_FOR_GPU,
                cuLinkAddData_v2(link, cubin, elf, 4, c"x".as_ptr(), 0, null_mut(), nul), "machine code";
            CUDA_ERROR_INVALID_VALUE, cuLinkComplete(link, &mut finished, &mut bytes), "nothing to link";
            CUDA_ERROR_INVALID_VALUE, cuFuncSetAttribute(staged, dynamic, 1 << 20), "more than a block has";
            CUDA_ERROR_INVALID_VALUE, cuFuncSetAttribute(staged, dynamic, -1), "negative";
            CUDA_ERROR_INVALID_HANDLE, cuLaunchKernel(null_mut(), 1, 1, 1, 1, 1, 1, 0, none, p, nul), "no function";
            CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(poke, 0, 1, 1, 1, 1, 1, 0, none, p, nul), "no blocks";
            CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(poke, 1, 65536, 1, 1, 1, 1, 0, none, p, nul), "too many in y";
            CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(poke, 1, 1, 1, 1025, 1, 1, 0, none, p, nul), "too many threads";
            CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(poke, 1, 1, 1, 1, 1, 65, 0, none, p, nul), "too many in z";
            CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(staged, 1, 1, 1, 65, 1, 1, 0, none, p, nul), "above .maxntid";
            CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(poke, 1, 1, 1, 1, 1, 1, 49153, none, p, nul), "too much shared";
            CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(poke, 1, 1, 1, 1, 1, 1, 0, none, nul, nul), "no parameters";
            CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(poke, 1, 1, 1, 1, 1, 1, 0, none, p, p), "parameters twice";
            CUDA_ERROR_INVALID_HANDLE, cuLaunchKernel(poke, 1, 1, 1, 1, 1, 1, 0, BOGUS.cast(), p, nul), "no stream";
            CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
                cuLaunchCooperativeKernel(staged, 1 << 20, 1, 1, 64, 1, 1, 0, none, p), "more than fit at once";
            CUDA_ERROR_INVALID_VALUE,
                cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut number, poke, 0, 0), "no threads";
            CUDA_ERROR_INVALID_VALUE, cuFuncGetParamInfo(poke, 1, &mut bytes, null_mut()), "past the last parameter";
        }
        assert_eq!(sys::cuLinkDestroy(link), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuCtxSynchronize(), CUresult::CUDA_SUCCESS, "nothing was launched");
    }
    assert_eq!(rows, 30);
}

#[test]
fn of_streams_events_and_graphs() {
    context();
    let mut rows = 0;
    let a = allocate(64);
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    // SAFETY: valid places and live handles; the calls of the table are refused.
    unsafe {
        let (mut stream, mut gone, mut place) = (null_mut(), null_mut(), null_mut());
        assert_eq!(sys::cuStreamCreate(&mut stream, 1), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuStreamCreate(&mut gone, 1), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuStreamDestroy_v2(gone), CUresult::CUDA_SUCCESS);
        let (mut event, mut untimed, mut made) = (null_mut(), null_mut(), null_mut());
        assert_eq!(sys::cuEventCreate(&mut event, 0), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuEventCreate(&mut untimed, 2), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuEventRecord(untimed, stream), CUresult::CUDA_SUCCESS);
        let mut time = 0.0;
        let (mut graph, mut other, mut exec) = (null_mut(), null_mut(), null_mut());
        let (mut first, mut second, mut foreign, mut node) = (null_mut(), null_mut(), null_mut(), null_mut());
        let fill = sys::CUDA_MEMSET_NODE_PARAMS { dst: a, pitch: 0, value: 0, elementSize: 4, width: 4, height: 1 };
        let (none, no_edges) = (null_mut::<sys::CUgraphNode>(), null_mut());
        let size3 = sys::CUDA_MEMSET_NODE_PARAMS { elementSize: 3, ..fill };
        for (graph, node) in [(&mut graph, &mut first), (&mut other, &mut foreign)] {
            assert_eq!(sys::cuGraphCreate(graph, 0), CUresult::CUDA_SUCCESS);
            let made = sys::cuGraphAddMemsetNode(node, *graph, none, 0, &fill, null_mut());
            assert_eq!(made, CUresult::CUDA_SUCCESS);
        }
        assert_eq!(sys::cuGraphAddEmptyNode(&mut second, graph, &first, 1), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuGraphInstantiateWithFlags(&mut exec, other, 0), CUresult::CUDA_SUCCESS);
        let mut kernel: sys::CUDA_KERNEL_NODE_PARAMS = std::mem::zeroed();
        let mut update: sys::CUgraphExecUpdateResultInfo = std::mem::zeroed();
        let (mut object, mut spoilt) = (null_mut(), null_mut());
        refused! { rows:
            CUDA_ERROR_INVALID_VALUE, cuStreamCreate(&mut place, 8), "unknown flags";
            CUDA_ERROR_INVALID_VALUE, cuStreamCreate(null_mut(), 0), "no place";
            CUDA_ERROR_INVALID_HANDLE, cuStreamDestroy_v2(null_mut()), "the default stream";
            CUDA_ERROR_INVALID_HANDLE, cuStreamDestroy_v2(gone), "destroyed before";
            CUDA_ERROR_INVALID_HANDLE, cuStreamSynchronize(gone), "destroyed";
            CUDA_ERROR_INVALID_HANDLE, cuStreamWaitEvent(stream, BOGUS.cast(), 0), "no event";
            CUDA_ERROR_INVALID_VALUE, cuLaunchHostFunc(stream, None, null_mut()), "no function";
            CUDA_ERROR_INVALID_VALUE, cuEventCreate(&mut made, 4), "between processes, but timed";
            CUDA_ERROR_INVALID_HANDLE, cuEventRecord(BOGUS.cast(), stream), "no event";
            CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime_v2(&mut time, event, event), "never recorded";
            CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime_v2(&mut time, untimed, untimed), "without a time";
            CUDA_ERROR_ILLEGAL_STATE, cuStreamEndCapture(stream, &mut spoilt), "no capture";
            CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuStreamBeginCapture_v2(null_mut(), mode), "the default stream";
            CUDA_ERROR_INVALID_VALUE, cuGraphLaunch(BOGUS.cast(), stream), "no executable graph";
            CUDA_ERROR_INVALID_VALUE, cuGraphCreate(&mut spoilt, 1), "flags";
            CUDA_ERROR_INVALID_VALUE, cuGraphAddEmptyNode(&mut node, BOGUS.cast(), none, 0), "no graph";
            CUDA_ERROR_INVALID_VALUE, cuGraphAddEmptyNode(&mut node, graph, &foreign, 1), "a node of another graph";
            CUDA_ERROR_INVALID_VALUE,
                cuGraphAddMemsetNode(&mut node, graph, none, 0, &size3, null_mut()), "elements of three bytes";
            CUDA_ERROR_INVALID_VALUE, cuGraphAddDependencies_v2(graph, &first, &first, no_edges, 1), "an edge to itself";
            CUDA_ERROR_INVALID_VALUE, cuGraphRemoveDependencies_v2(graph, &second, &first, no_edges, 1), "no such edge";
            CUDA_ERROR_INVALID_VALUE, cuGraphKernelNodeGetParams_v2(first, &mut kernel), "not a kernel";
            CUDA_ERROR_INVALID_VALUE, cuGraphMemsetNodeSetParams(second, &fill), "not a memset";
            CUDA_ERROR_INVALID_VALUE, cuGraphNodeSetEnabled(exec, second, 0), "not of this graph";
            CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE, cuGraphExecUpdate_v2(exec, graph, &mut update), "another shape";
            CUDA_ERROR_INVALID_VALUE, cuUserObjectCreate(&mut object, null_mut(), Some(nothing), 1, 0), "no flag";
            CUDA_ERROR_INVALID_VALUE, cuUserObjectRelease(BOGUS.cast(), 1), "no object";
            CUDA_ERROR_NOT_SUPPORTED,
                cuStreamBatchMemOp_v2(stream, 0, null_mut(), 0), "operations on memory";
        }
        assert_eq!(update.result as u32, 2, "the topology changed");
        // A wait inside a capture spoils it.
        assert_eq!(sys::cuStreamBeginCapture_v2(stream, mode), CUresult::CUDA_SUCCESS);
        refused! { rows:
            CUDA_ERROR_ILLEGAL_STATE, cuStreamBeginCapture_v2(stream, mode), "captured already";
            CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuStreamSynchronize(stream), "while capturing";
            CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuMemsetD8Async(a, 0, 4, stream), "after the refusal";
            CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(stream, &mut spoilt), "after the refusal";
        }
        assert!(spoilt.is_null());
    }
    assert_eq!(rows, 31);
}
