//! The driver API as cudarc uses it: devices, contexts, memory, streams, events, errors. Nothing here runs a kernel.

use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaContext, DevicePtrMut, DriverError, sys};
use nvcuda::client;

fn code<T: std::fmt::Debug>(result: Result<T, DriverError>) -> CUresult {
    result.expect_err("this call is refused").0
}

#[test]
fn softcuda_is_the_driver_without_any_environment() {
    let context = CudaContext::new(0).unwrap();
    assert!(client::active());
    assert_eq!(CudaContext::device_count().unwrap(), 1);
    assert_eq!(context.name().unwrap(), "softcuda (sm_89 model)");
    assert_eq!(context.compute_capability().unwrap(), (8, 9));
    assert_eq!(code(CudaContext::new(1)), CUresult::CUDA_ERROR_INVALID_DEVICE);
}

#[test]
fn the_model_is_the_threads_choice() {
    let context = CudaContext::new(0).unwrap();
    client::set_model("sm_80");
    assert_eq!(context.compute_capability().unwrap(), (8, 0));
    assert_eq!(context.name().unwrap(), "softcuda (sm_80 model)");
    let opt_in = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
    assert_eq!(context.attribute(opt_in).unwrap(), 163 << 10);
    let other = std::thread::spawn(move || context.compute_capability().unwrap());
    assert_eq!(other.join().unwrap(), (8, 9));
    client::reset_modes();
}

#[test]
fn bytes_come_back() {
    let context = CudaContext::new(0).unwrap();
    let stream = context.default_stream();
    let host: Vec<u32> = (0..1000).map(|i| i * i).collect();
    let a = stream.clone_htod(&host).unwrap();
    let mut b = stream.alloc_zeros::<u32>(1000).unwrap();
    assert_eq!(stream.clone_dtoh(&b).unwrap(), vec![0; 1000]);
    stream.memcpy_dtod(&a.slice(10..20), &mut b.slice_mut(990..1000)).unwrap();
    let back = stream.clone_dtoh(&b).unwrap();
    assert_eq!(back[990..], host[10..20]);
    assert!(back[..990].iter().all(|x| *x == 0));
    let (free, total) = context.mem_get_info().unwrap();
    assert!(free < total);
}

#[test]
fn streams_and_events_keep_order() {
    let context = CudaContext::new(0).unwrap();
    let a = context.new_stream().unwrap();
    let b = a.fork().unwrap();
    let start = a.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).unwrap();
    let x = a.clone_htod(&[1.0f32; 256]).unwrap();
    b.join(&a).unwrap();
    let y = b.clone_dtod(&x).unwrap();
    let end = b.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).unwrap();
    assert_eq!(b.clone_dtoh(&y).unwrap(), [1.0; 256]);
    assert!(start.elapsed_ms(&end).unwrap() >= 0.0);
    assert!(end.is_complete());
    let untimed = a.record_event(None).unwrap();
    assert_eq!(code(start.elapsed_ms(&untimed)), CUresult::CUDA_ERROR_INVALID_HANDLE);
    let per_thread = context.per_thread_stream();
    assert_eq!(per_thread.clone_dtoh(&x).unwrap(), [1.0; 256]);
}

#[test]
fn pinned_memory_is_written_by_copies() {
    let context = CudaContext::new(0).unwrap();
    let stream = context.default_stream();
    // SAFETY: zeroed bytes are valid u16.
    let mut pinned = unsafe { context.alloc_pinned::<u16>(64) }.unwrap();
    let device = stream.clone_htod(&[7u16; 64]).unwrap();
    stream.memcpy_dtoh(&device, &mut pinned).unwrap();
    assert_eq!(pinned.as_slice().unwrap(), [7; 64]);
}

#[test]
fn misuse_gets_the_real_codes() {
    let context = CudaContext::new(0).unwrap();
    let stream = context.default_stream();
    let mut slice = stream.alloc_zeros::<u8>(100).unwrap();
    // SAFETY: the calls below are refused before they touch anything.
    unsafe {
        let mut address = 0;
        let zero = sys::cuMemAlloc_v2(&mut address, 0);
        assert_eq!(zero, CUresult::CUDA_ERROR_INVALID_VALUE);
        let huge = sys::cuMemAlloc_v2(&mut address, 1 << 50);
        assert_eq!(huge, CUresult::CUDA_ERROR_OUT_OF_MEMORY);
        assert_eq!(sys::cuMemFree_v2(0xdead), CUresult::CUDA_ERROR_INVALID_VALUE);
        assert_eq!(sys::cuMemAlloc_v2(&mut address, 16), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuMemFree_v2(address), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuMemFree_v2(address), CUresult::CUDA_ERROR_INVALID_VALUE);
        assert_eq!(sys::cuMemsetD8_v2(address, 0, 16), CUresult::CUDA_ERROR_INVALID_VALUE);
        let bad_stream = 0x1234 as sys::CUstream;
        assert_eq!(sys::cuStreamSynchronize(bad_stream), CUresult::CUDA_ERROR_INVALID_HANDLE);
        let mut function = std::ptr::null_mut();
        let name = c"f".as_ptr();
        let code = sys::cuModuleGetFunction(&mut function, std::ptr::null_mut(), name);
        assert_eq!(code, CUresult::CUDA_ERROR_INVALID_HANDLE);
    }
    // A copy past the end of an allocation, and why it was refused.
    let (address, _guard) = slice.device_ptr_mut(&stream);
    // SAFETY: as above.
    let code = unsafe { sys::cuMemcpyDtoD_v2(address, 0x1000, 8) };
    assert_eq!(code, CUresult::CUDA_ERROR_INVALID_VALUE);
    let why = client::last_explanation().unwrap();
    assert!(why.contains("0x1000"), "the explanation names the address: {why}");
    let error = DriverError(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    assert!(format!("{error:?}").contains("an illegal memory access was encountered"), "{error:?}");
}

#[test]
fn contexts_are_apart() {
    let primary = CudaContext::new(0).unwrap();
    let stream = primary.new_stream().unwrap();
    // SAFETY: plain driver calls with valid places; the made context is destroyed again.
    unsafe {
        let mut other = std::ptr::null_mut();
        assert_eq!(sys::cuCtxCreate_v4(&mut other, std::ptr::null_mut(), 0, 0), CUresult::CUDA_SUCCESS);
        let wrong = sys::cuStreamSynchronize(stream.cu_stream());
        assert_eq!(wrong, CUresult::CUDA_ERROR_INVALID_HANDLE, "a stream belongs to its context");
        let mut address = 0;
        assert_eq!(sys::cuMemAlloc_v2(&mut address, 64), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuCtxDestroy_v2(other), CUresult::CUDA_SUCCESS);
        let mut now = std::ptr::null_mut();
        assert_eq!(sys::cuCtxGetCurrent(&mut now), CUresult::CUDA_SUCCESS);
        assert_eq!(now, primary.cu_ctx(), "the context below is current again");
        assert_eq!(sys::cuMemFree_v2(address), CUresult::CUDA_ERROR_INVALID_VALUE, "its memory went with it");
        assert_eq!(sys::cuCtxSetCurrent(std::ptr::null_mut()), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuCtxSynchronize(), CUresult::CUDA_ERROR_INVALID_CONTEXT);
    }
}

#[test]
fn modes_and_counters_have_answers() {
    let _context = CudaContext::new(0).unwrap();
    let before = client::modes().unwrap();
    let inside = client::with_modes(
        |m| {
            m.mma = client::MmaMode::Trunc;
            m.seed = u64::MAX;
            m.checks = client::Checks::ALL;
        },
        || client::modes().unwrap(),
    );
    assert_eq!((inside.mma, inside.seed, inside.checks), (client::MmaMode::Trunc, u64::MAX, client::Checks::ALL));
    assert_eq!(client::modes().unwrap(), before);
    client::reset_counters();
    assert!(client::counters().is_empty());
}

#[test]
fn symbols_are_found_by_name() {
    let _context = CudaContext::new(0).unwrap();
    // SAFETY: valid places and names.
    unsafe {
        let mut address = std::ptr::null_mut();
        let found = sys::cuGetProcAddress_v2(c"cuMemAlloc".as_ptr(), &mut address, 13000, 0, std::ptr::null_mut());
        assert_eq!(found, CUresult::CUDA_SUCCESS);
        assert!(!address.is_null());
        let lost = sys::cuGetProcAddress_v2(c"cuNothing".as_ptr(), &mut address, 13000, 0, std::ptr::null_mut());
        assert_eq!(lost, CUresult::CUDA_ERROR_NOT_FOUND);
        assert!(address.is_null());
    }
}

#[test]
fn host_functions_may_wait_for_their_submitter() {
    let context = CudaContext::new(0).unwrap();
    // SAFETY: the streams below are joined by events of this test.
    unsafe { context.disable_event_tracking() };
    let (a, b) = (context.new_stream().unwrap(), context.new_stream().unwrap());
    let (go, wait) = std::sync::mpsc::channel::<()>();
    unsafe extern "C" fn receive(channel: *mut std::ffi::c_void) {
        // SAFETY: the receiver below, which this function is called with once.
        let wait = unsafe { Box::from_raw(channel.cast::<std::sync::mpsc::Receiver<()>>()) };
        wait.recv().expect("the test sends");
    }
    let channel = Box::into_raw(Box::new(wait));
    // SAFETY: a live stream; the function takes this argument.
    let launched = unsafe { sys::cuLaunchHostFunc(a.cu_stream(), Some(receive), channel.cast()) };
    assert_eq!(launched, CUresult::CUDA_SUCCESS);
    let after = a.record_event(None).unwrap();
    b.wait(&after).unwrap();
    let last = b.record_event(None).unwrap();
    assert!(!after.try_is_complete().unwrap(), "the host function still waits");
    assert!(!last.try_is_complete().unwrap(), "and so does the stream that waits for it");
    // SAFETY: a live stream.
    assert_eq!(unsafe { sys::cuStreamQuery(a.cu_stream()) }, CUresult::CUDA_ERROR_NOT_READY);
    go.send(()).unwrap();
    b.synchronize().unwrap();
    assert!(after.try_is_complete().unwrap());
}
