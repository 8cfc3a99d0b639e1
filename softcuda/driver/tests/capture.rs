//! Stream capture and graphs, without kernels: what is recorded, what a replay does, and which calls a capture refuses with which code.

use cudarc::driver::sys::{self, CUresult, CUstreamCaptureMode, CUstreamCaptureStatus};
use cudarc::driver::{CudaContext, CudaStream, DevicePtr, DriverError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const RELAXED: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
const LOCAL: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
const FLAGS: sys::CUgraphInstantiate_flags = sys::CUgraphInstantiate_flags(0);

/// A context without event tracking, as graph code needs it, and a stream.
fn stream() -> (Arc<CudaContext>, Arc<CudaStream>) {
    let context = CudaContext::new(0).unwrap();
    // SAFETY: each test uses one stream at a time or joins streams itself.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().unwrap();
    (context, stream)
}

fn code<T>(result: Result<T, DriverError>) -> CUresult {
    result.err().expect("this call is refused").0
}

/// Numbers of a graph's nodes by `CUgraphNodeType`, and of its edges.
fn shape(graph: sys::CUgraph) -> (Vec<u32>, usize) {
    // SAFETY: a live graph, and places for as many results as the counts say.
    unsafe {
        let mut count = 0;
        assert_eq!(sys::cuGraphGetNodes(graph, std::ptr::null_mut(), &mut count), CUresult::CUDA_SUCCESS);
        let mut nodes = vec![std::ptr::null_mut(); count];
        assert_eq!(sys::cuGraphGetNodes(graph, nodes.as_mut_ptr(), &mut count), CUresult::CUDA_SUCCESS);
        let kind = |node: &sys::CUgraphNode| {
            let mut kind = sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_EMPTY;
            assert_eq!(sys::cuGraphNodeGetType(*node, &mut kind), CUresult::CUDA_SUCCESS);
            kind as u32
        };
        let mut edges = 0;
        let null = std::ptr::null_mut();
        assert_eq!(
            sys::cuGraphGetEdges_v2(graph, null, null, std::ptr::null_mut(), &mut edges),
            CUresult::CUDA_SUCCESS
        );
        (nodes.iter().map(kind).collect(), edges)
    }
}

#[test]
fn a_replay_repeats_what_was_captured_and_capture_itself_does_nothing() {
    let (_context, stream) = stream();
    let source = stream.clone_htod(&[5u32; 8]).unwrap();
    let mut target = stream.clone_htod(&[9u32; 8]).unwrap();
    stream.begin_capture(LOCAL).unwrap();
    assert_eq!(stream.capture_status().unwrap(), CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE);
    stream.memset_zeros(&mut target).unwrap();
    stream.memcpy_dtod(&source.slice(0..4), &mut target.slice_mut(4..8)).unwrap();
    let graph = stream.end_capture(FLAGS).unwrap().unwrap();
    assert_eq!(stream.capture_status().unwrap(), CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE);
    assert_eq!(stream.clone_dtoh(&target).unwrap(), [9; 8], "capturing runs nothing");
    assert_eq!(shape(graph.cu_graph()), (vec![2, 1], 1), "a memset node, then a memcpy node");
    for _ in 0..2 {
        stream.memcpy_htod(&[7u32; 8], &mut target).unwrap();
        graph.upload().unwrap();
        graph.launch().unwrap();
        assert_eq!(stream.clone_dtoh(&target).unwrap(), [0, 0, 0, 0, 5, 5, 5, 5]);
    }
}

#[test]
fn host_functions_run_at_each_replay() {
    let (_context, stream) = stream();
    static CALLS: AtomicU32 = AtomicU32::new(0);
    unsafe extern "C" fn count(_: *mut std::ffi::c_void) {
        CALLS.fetch_add(1, Ordering::SeqCst);
    }
    stream.begin_capture(LOCAL).unwrap();
    // SAFETY: the function takes any argument.
    let code = unsafe { sys::cuLaunchHostFunc(stream.cu_stream(), Some(count), std::ptr::null_mut()) };
    assert_eq!(code, CUresult::CUDA_SUCCESS);
    let graph = stream.end_capture(FLAGS).unwrap().unwrap();
    assert_eq!(CALLS.load(Ordering::SeqCst), 0);
    graph.launch().unwrap();
    graph.launch().unwrap();
    stream.synchronize().unwrap();
    assert_eq!(CALLS.load(Ordering::SeqCst), 2);
}

#[test]
fn forks_and_joins_become_edges() {
    let (_context, a) = stream();
    let b = a.context().new_stream().unwrap();
    let mut x = a.alloc_zeros::<u8>(16).unwrap();
    let mut y = a.alloc_zeros::<u8>(16).unwrap();
    a.begin_capture(LOCAL).unwrap();
    a.memset_zeros(&mut x).unwrap();
    b.join(&a).unwrap();
    assert_eq!(b.capture_status().unwrap(), CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE);
    b.memset_zeros(&mut y).unwrap();
    a.memset_zeros(&mut x).unwrap();
    a.join(&b).unwrap();
    a.memset_zeros(&mut y).unwrap();
    let graph = a.end_capture(FLAGS).unwrap().unwrap();
    assert_eq!(shape(graph.cu_graph()), (vec![2; 4], 4), "a diamond");
    assert_eq!(b.capture_status().unwrap(), CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE);
}

#[test]
fn a_fork_that_is_not_joined_is_refused() {
    let (_context, a) = stream();
    let b = a.context().new_stream().unwrap();
    let mut x = a.alloc_zeros::<u8>(16).unwrap();
    a.begin_capture(LOCAL).unwrap();
    b.join(&a).unwrap();
    b.memset_zeros(&mut x).unwrap();
    assert_eq!(code(a.end_capture(FLAGS)), CUresult::CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    b.memset_zeros(&mut x).unwrap();
}

#[test]
fn the_default_stream_is_not_captured() {
    let context = CudaContext::new(0).unwrap();
    assert_eq!(code(context.default_stream().begin_capture(LOCAL)), CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    let (_context, stream) = stream();
    assert_eq!(code(stream.end_capture(FLAGS)), CUresult::CUDA_ERROR_ILLEGAL_STATE, "nothing was begun");
    stream.begin_capture(RELAXED).unwrap();
    assert_eq!(code(stream.begin_capture(RELAXED)), CUresult::CUDA_ERROR_ILLEGAL_STATE);
    stream.end_capture(FLAGS).unwrap();
}

#[test]
fn waiting_for_an_event_from_before_the_capture_is_refused() {
    let (_context, stream) = stream();
    let before = stream.record_event(None).unwrap();
    stream.begin_capture(LOCAL).unwrap();
    assert_eq!(code(stream.wait(&before)), CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    assert_eq!(stream.capture_status().unwrap(), CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    assert_eq!(code(stream.end_capture(FLAGS)), CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    assert_eq!(stream.capture_status().unwrap(), CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE);
}

#[test]
fn calls_that_wait_spoil_the_capture() {
    let (context, stream) = stream();
    let slice = stream.alloc_zeros::<u8>(16).unwrap();
    let refused = |call: &dyn Fn() -> CUresult, expected| {
        stream.begin_capture(LOCAL).unwrap();
        assert_eq!(call(), expected);
        assert_eq!(code(stream.end_capture(FLAGS)), CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    };
    let unsupported = CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    refused(&|| code(stream.synchronize()), unsupported);
    refused(&|| code(context.synchronize()), unsupported);
    refused(&|| code(context.load_module("\n".into())), unsupported);
    let (address, _guard) = slice.device_ptr(&stream);
    // SAFETY: refused before anything is touched.
    refused(&|| unsafe { sys::cuMemFree_v2(address) }, unsupported);
    // SAFETY: as above.
    refused(&|| unsafe { sys::cuMemAlloc_v2(&mut 0, 16) }, unsupported);
    // SAFETY: as above.
    refused(&|| unsafe { sys::cuMemcpyDtoH_v2([0u8; 4].as_mut_ptr().cast(), address, 4) }, unsupported);
    let inside = || {
        let event = stream.record_event(None).unwrap();
        code(event.synchronize())
    };
    refused(&inside, CUresult::CUDA_ERROR_CAPTURED_EVENT);
}

#[test]
fn relaxed_captures_allow_them() {
    let (_context, stream) = stream();
    stream.begin_capture(RELAXED).unwrap();
    let mut address = 0;
    // SAFETY: a valid place; the memory is freed at once.
    unsafe {
        assert_eq!(sys::cuMemAlloc_v2(&mut address, 16), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuMemFree_v2(address), CUresult::CUDA_SUCCESS);
    }
    stream.end_capture(FLAGS).unwrap();
}

#[test]
fn legacy_stream_work_beside_a_blocking_capture_is_refused() {
    let (_context, _) = stream();
    // SAFETY: valid places and handles throughout.
    unsafe {
        let mut blocking = std::ptr::null_mut();
        assert_eq!(sys::cuStreamCreate(&mut blocking, 0), CUresult::CUDA_SUCCESS);
        let mut address = 0;
        assert_eq!(sys::cuMemAlloc_v2(&mut address, 16), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuStreamBeginCapture_v2(blocking, RELAXED), CUresult::CUDA_SUCCESS);
        let on_legacy = sys::cuMemsetD8Async(address, 0, 16, std::ptr::null_mut());
        assert_eq!(on_legacy, CUresult::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
        let mut graph = std::ptr::null_mut();
        let end = sys::cuStreamEndCapture(blocking, &mut graph);
        assert_eq!(end, CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        assert!(graph.is_null());
        assert_eq!(sys::cuStreamDestroy_v2(blocking), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuMemFree_v2(address), CUresult::CUDA_SUCCESS);
    }
}

#[test]
fn another_thread_cannot_end_a_thread_local_capture() {
    let (_context, stream) = stream();
    stream.begin_capture(LOCAL).unwrap();
    let other = stream.clone();
    let refused = std::thread::spawn(move || other.end_capture(FLAGS).err().map(|e| e.0)).join().unwrap();
    assert_eq!(refused, Some(CUresult::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD));
    stream.end_capture(FLAGS).unwrap().unwrap();
}

#[test]
fn captured_allocations_live_as_long_as_the_program_wants() {
    let (_context, stream) = stream();
    stream.begin_capture(LOCAL).unwrap();
    let inside = stream.alloc_zeros::<u32>(4).unwrap();
    let graph = stream.end_capture(FLAGS).unwrap().unwrap();
    assert_eq!(shape(graph.cu_graph()).0, [10, 2]);
    graph.launch().unwrap();
    assert_eq!(stream.clone_dtoh(&inside).unwrap(), [0; 4]);
}
