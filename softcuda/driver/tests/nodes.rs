//! Nodes of graphs: reading and replacing what they do, in the graph and in its instance; clones; events, memory and objects that graphs
//! hold; captures that append to a graph.

use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{CudaContext, CudaStream, DevicePtr};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const OK: CUresult = CUresult::CUDA_SUCCESS;
const PTX: &str = include_str!("kernels.ptx");

fn stream() -> (Arc<CudaContext>, Arc<CudaStream>) {
    let context = CudaContext::new(0).unwrap();
    // SAFETY: each test uses one stream.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().unwrap();
    (context, stream)
}

/// An empty graph.
fn graph() -> sys::CUgraph {
    let mut graph = null_mut();
    // SAFETY: a valid place.
    assert_eq!(unsafe { sys::cuGraphCreate(&mut graph, 0) }, OK);
    graph
}

fn fill(to: u64, value: u32, count: usize) -> sys::CUDA_MEMSET_NODE_PARAMS {
    sys::CUDA_MEMSET_NODE_PARAMS { dst: to, pitch: 0, value, elementSize: 4, width: count, height: 1 }
}

/// Adds a node that fills after some others.
fn add_fill(graph: sys::CUgraph, after: &[sys::CUgraphNode], to: u64, value: u32, count: usize) -> sys::CUgraphNode {
    let mut node = null_mut();
    let params = fill(to, value, count);
    // SAFETY: live handles and a list as long as its count.
    let code = unsafe { sys::cuGraphAddMemsetNode(&mut node, graph, after.as_ptr(), after.len(), &params, null_mut()) };
    assert_eq!(code, OK);
    node
}

fn instantiate(graph: sys::CUgraph) -> sys::CUgraphExec {
    let mut exec = null_mut();
    // SAFETY: a valid place and a live graph.
    assert_eq!(unsafe { sys::cuGraphInstantiateWithFlags(&mut exec, graph, 0) }, OK);
    exec
}

fn run(exec: sys::CUgraphExec, stream: &CudaStream) {
    // SAFETY: live handles.
    assert_eq!(unsafe { sys::cuGraphLaunch(exec, stream.cu_stream()) }, OK);
}

#[test]
fn a_kernel_node_keeps_its_parameters() {
    let (context, stream) = stream();
    let module = context.load_module(PTX.into()).unwrap();
    let mut function = null_mut();
    let data = stream.clone_htod(&[2u32; 8]).unwrap();
    let (p, _guard) = data.device_ptr(&stream);
    #[repr(C)]
    struct Multiply(u64, u64, u32, u32);
    let mut argument = Multiply(p, p, 8, 5);
    let place = &raw mut argument;
    let mut list = [place.cast::<c_void>()];
    // SAFETY: live handles, valid places, parameters of the kernel's types.
    unsafe {
        let mut library = null_mut();
        let text = std::ffi::CString::new(PTX).unwrap();
        let none = null_mut();
        let image = text.as_ptr().cast();
        assert_eq!(sys::cuLibraryLoadData(&mut library, image, null_mut(), none, 0, null_mut(), none, 0), OK);
        let mut kernel = null_mut();
        assert_eq!(sys::cuLibraryGetKernel(&mut kernel, library, c"multiply".as_ptr()), OK);
        assert_eq!(sys::cuKernelGetFunction(&mut function, kernel), OK);
        let mut params: sys::CUDA_KERNEL_NODE_PARAMS = std::mem::zeroed();
        (params.func, params.kern) = (null_mut(), kernel);
        (params.gridDimX, params.gridDimY, params.gridDimZ) = (1, 1, 1);
        (params.blockDimX, params.blockDimY, params.blockDimZ) = (32, 1, 1);
        params.kernelParams = list.as_mut_ptr();
        let (graph, mut node) = (graph(), null_mut());
        assert_eq!(sys::cuGraphAddKernelNode_v2(&mut node, graph, null_mut(), 0, &params), OK);
        let exec = instantiate(graph);
        (*place).3 = 7; // copied before

        let mut found: sys::CUDA_KERNEL_NODE_PARAMS = std::mem::zeroed();
        assert_eq!(sys::cuGraphKernelNodeGetParams_v2(node, &mut found), OK);
        assert_eq!((found.func, found.gridDimX, found.blockDimX), (function, 1, 32));
        let kept = &*(*found.kernelParams).cast::<Multiply>();
        assert_eq!((kept.0, kept.2, kept.3), (p, 8, 5));

        run(exec, &stream);
        assert_eq!(stream.clone_dtoh(&data).unwrap(), [30; 8]);
        assert_eq!(sys::cuGraphExecKernelNodeSetParams_v2(exec, node, &params), OK);
        run(exec, &stream);
        assert_eq!(stream.clone_dtoh(&data).unwrap(), [630; 8], "with the new factor");
        assert_eq!(sys::cuGraphKernelNodeGetParams_v2(node, &mut found), OK);
        assert_eq!((*(*found.kernelParams).cast::<Multiply>()).3, 5, "the graph keeps its own");
        assert_eq!(sys::cuGraphKernelNodeSetParams_v2(node, &params), OK);
        assert_eq!(sys::cuGraphKernelNodeGetParams_v2(node, &mut found), OK);
        assert_eq!((*(*found.kernelParams).cast::<Multiply>()).3, 7);
    }
    drop(module);
}

#[test]
fn a_kernel_node_keeps_its_attributes() {
    let (context, stream) = stream();
    let data = stream.clone_htod(&[0u32; 64]).unwrap();
    let (mut p, _guard) = data.device_ptr(&stream);
    let mut list = [(&raw mut p).cast::<c_void>()];
    let text = std::ffi::CString::new(PTX).unwrap();
    let number = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
    // SAFETY: live handles, valid places, parameters of the kernel's types.
    unsafe {
        let (mut module, mut function) = (null_mut(), null_mut());
        assert_eq!(sys::cuModuleLoadData(&mut module, text.as_ptr().cast()), OK);
        assert_eq!(sys::cuModuleGetFunction(&mut function, module, c"staged".as_ptr()), OK);
        let mut params: sys::CUDA_KERNEL_NODE_PARAMS = std::mem::zeroed();
        params.func = function;
        (params.gridDimX, params.gridDimY, params.gridDimZ) = (1, 1, 1);
        (params.blockDimX, params.blockDimY, params.blockDimZ) = (64, 1, 1);
        (params.sharedMemBytes, params.kernelParams) = (256, list.as_mut_ptr());
        let (graph, mut a, mut b) = (graph(), null_mut(), null_mut());
        assert_eq!(sys::cuGraphAddKernelNode_v2(&mut a, graph, null_mut(), 0, &params), OK);
        assert_eq!(sys::cuGraphAddKernelNode_v2(&mut b, graph, &a, 1, &params), OK);
        let cooperative = |node| {
            let mut value: sys::CUlaunchAttributeValue = std::mem::zeroed();
            value.cooperative = 9;
            assert_eq!(sys::cuGraphKernelNodeGetAttribute(node, number, &mut value), OK);
            value.cooperative
        };
        assert_eq!(cooperative(a), 0);
        let mut value: sys::CUlaunchAttributeValue = std::mem::zeroed();
        value.cooperative = 1;
        assert_eq!(sys::cuGraphKernelNodeSetAttribute(a, number, &value), OK);
        assert_eq!((cooperative(a), cooperative(b)), (1, 0));
        assert_eq!(sys::cuGraphKernelNodeCopyAttributes(b, a), OK);
        assert_eq!(cooperative(b), 1);
        // It stays cooperative, and then a grid that does not fit at once is too large.
        assert_eq!(sys::cuGraphKernelNodeSetParams_v2(a, &params), OK);
        assert_eq!(cooperative(a), 1);
        let exec = instantiate(graph);
        params.gridDimX = 1 << 20;
        let large = CUresult::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
        assert_eq!(sys::cuGraphKernelNodeSetParams_v2(a, &params), large);
        assert_eq!(sys::cuGraphExecKernelNodeSetParams_v2(exec, b, &params), large);
        run(exec, &stream);
        assert_eq!(stream.clone_dtoh(&data).unwrap(), (0..64).collect::<Vec<u32>>());

        let clusters = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
        value.clusterDim = sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x: 2, y: 1, z: 1 };
        let no_clusters = CUresult::CUDA_ERROR_INVALID_CLUSTER_SIZE;
        assert_eq!(sys::cuGraphKernelNodeSetAttribute(a, clusters, &value), no_clusters, "before 9.0");
        let fill = add_fill(graph, &[], p, 1, 4);
        assert_eq!(sys::cuGraphKernelNodeSetAttribute(fill, number, &value), CUresult::CUDA_ERROR_INVALID_VALUE);
    }
    drop(context);
}

#[test]
fn fills_and_copies_are_read_replaced_and_switched_off() {
    let (context, stream) = stream();
    let data = stream.clone_htod(&[1u32; 16]).unwrap();
    let (p, _guard) = data.device_ptr(&stream);
    let graph = graph();
    let first = add_fill(graph, &[], p, 5, 8);
    // SAFETY: live handles, valid places.
    unsafe {
        let mut copy = std::mem::MaybeUninit::<sys::CUDA_MEMCPY3D>::zeroed();
        let place = copy.as_mut_ptr();
        ((*place).srcMemoryType, (*place).srcDevice) = (sys::CUmemorytype::CU_MEMORYTYPE_DEVICE, p);
        ((*place).dstMemoryType, (*place).dstDevice) = (sys::CUmemorytype::CU_MEMORYTYPE_DEVICE, p + 32);
        ((*place).WidthInBytes, (*place).Height, (*place).Depth) = (16, 1, 1);
        let copy = copy.assume_init();
        let mut second = null_mut();
        let context = context.cu_ctx();
        assert_eq!(sys::cuGraphAddMemcpyNode(&mut second, graph, &first, 1, &copy, context), OK);
        let exec = instantiate(graph);

        let mut found = fill(0, 0, 0);
        assert_eq!(sys::cuGraphMemsetNodeGetParams(first, &mut found), OK);
        assert_eq!((found.dst, found.value, found.elementSize, found.width, found.height), (p, 5, 4, 8, 1));
        let mut copied = copy;
        (copied.srcDevice, copied.dstDevice, copied.WidthInBytes) = (0, 0, 0);
        assert_eq!(sys::cuGraphMemcpyNodeGetParams(second, &mut copied), OK);
        assert_eq!((copied.srcDevice, copied.dstDevice, copied.WidthInBytes), (p, p + 32, 16));

        run(exec, &stream);
        let expect = |wanted: [u32; 4]| {
            let now = stream.clone_dtoh(&data).unwrap();
            assert_eq!([now[0], now[7], now[8], now[12]], wanted);
        };
        expect([5, 5, 5, 1]);
        assert_eq!(sys::cuGraphExecMemsetNodeSetParams(exec, first, &fill(p, 6, 8), context), OK);
        copied.WidthInBytes = 32;
        (copied.srcPitch, copied.dstPitch) = (32, 32);
        assert_eq!(sys::cuGraphExecMemcpyNodeSetParams(exec, second, &copied, context), OK);
        run(exec, &stream);
        expect([6, 6, 6, 6]);
        let mut enabled = 9;
        assert_eq!(sys::cuGraphNodeGetEnabled(exec, first, &mut enabled), OK);
        assert_eq!(enabled, 1);
        assert_eq!(sys::cuGraphNodeSetEnabled(exec, first, 0), OK);
        assert_eq!(sys::cuMemsetD32_v2(p, 8, 16), OK);
        run(exec, &stream);
        expect([8, 8, 8, 8]);

        // The graph's own nodes, and an instance that takes them over.
        assert_eq!(sys::cuGraphMemsetNodeSetParams(first, &fill(p, 3, 4)), OK);
        let mut update: sys::CUgraphExecUpdateResultInfo = std::mem::zeroed();
        assert_eq!(sys::cuGraphExecUpdate_v2(exec, graph, &mut update), OK);
        assert_eq!(sys::cuGraphNodeSetEnabled(exec, first, 1), OK);
        run(exec, &stream);
        expect([3, 8, 3, 8]);
    }
}

#[test]
fn nodes_and_edges_go_and_clones_are_found() {
    let (_context, stream) = stream();
    let data = stream.alloc_zeros::<u32>(4).unwrap();
    let (p, _guard) = data.device_ptr(&stream);
    let graph = graph();
    let a = add_fill(graph, &[], p, 1, 4);
    let b = add_fill(graph, &[a], p, 2, 4);
    let c = add_fill(graph, &[b], p, 3, 4);
    // SAFETY: live handles, valid places, lists as long as their counts.
    unsafe {
        let after = |node| {
            let (mut nodes, mut count) = ([null_mut(); 4], 4);
            let none = null_mut();
            assert_eq!(sys::cuGraphNodeGetDependentNodes_v2(node, nodes.as_mut_ptr(), none, &mut count), OK);
            nodes[..count].to_vec()
        };
        assert_eq!(after(a), [b]);
        let (mut clone, mut copy) = (null_mut(), null_mut());
        assert_eq!(sys::cuGraphClone(&mut clone, graph), OK);
        assert_eq!(sys::cuGraphNodeFindInClone(&mut copy, b, clone), OK);
        assert_eq!(sys::cuGraphMemsetNodeSetParams(copy, &fill(p, 9, 4)), OK);
        let mut found = fill(0, 0, 0);
        assert_eq!(sys::cuGraphMemsetNodeGetParams(b, &mut found), OK);
        assert_eq!(found.value, 2, "the original is its own");

        assert_eq!(sys::cuGraphDestroyNode(b), OK);
        assert_eq!(sys::cuGraphDestroyNode(b), CUresult::CUDA_ERROR_INVALID_VALUE);
        assert!(after(a).is_empty());
        assert_eq!(sys::cuGraphAddDependencies_v2(graph, &c, &a, null_mut(), 1), OK);
        assert_eq!(after(c), [a]);
        run(instantiate(graph), &stream);
        assert_eq!(stream.clone_dtoh(&data).unwrap(), [1; 4], "c, then a");
        assert_eq!(sys::cuGraphRemoveDependencies_v2(graph, &c, &a, null_mut(), 1), OK);
        assert!(after(c).is_empty());
        let mut roots = 0;
        assert_eq!(sys::cuGraphGetRootNodes(graph, null_mut(), &mut roots), OK);
        assert_eq!(roots, 2);
    }
}

#[test]
fn events_are_recorded_when_the_graph_runs() {
    let (_context, stream) = stream();
    // SAFETY: live handles, valid places.
    unsafe {
        let (mut event, mut other, mut record, mut wait) = (null_mut(), null_mut(), null_mut(), null_mut());
        assert_eq!(sys::cuEventCreate(&mut event, 0), OK);
        assert_eq!(sys::cuEventCreate(&mut other, 0), OK);
        let graph = graph();
        assert_eq!(sys::cuGraphAddEventRecordNode(&mut record, graph, null_mut(), 0, event), OK);
        assert_eq!(sys::cuGraphAddEventWaitNode(&mut wait, graph, &record, 1, event), OK);
        let mut found = null_mut();
        assert_eq!(sys::cuGraphEventRecordNodeGetEvent(record, &mut found), OK);
        assert_eq!(found, event);
        let exec = instantiate(graph);
        let mut time = 0.0;
        let never = CUresult::CUDA_ERROR_INVALID_HANDLE;
        assert_eq!(sys::cuEventElapsedTime_v2(&mut time, event, event), never, "not recorded yet");
        run(exec, &stream);
        assert_eq!(sys::cuEventElapsedTime_v2(&mut time, event, event), OK);
        assert_eq!(sys::cuGraphExecEventRecordNodeSetEvent(exec, record, other), OK);
        run(exec, &stream);
        assert_eq!(sys::cuEventElapsedTime_v2(&mut time, event, other), OK);
        assert!(time >= 0.0);

        // The external record of a capture is such a node.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        let (mut captured, mut nodes, mut count) = (null_mut(), [null_mut(); 2], 2);
        assert_eq!(sys::cuStreamBeginCapture_v2(stream.cu_stream(), mode), OK);
        assert_eq!(sys::cuEventRecordWithFlags(event, stream.cu_stream(), 1), OK);
        assert_eq!(sys::cuStreamEndCapture(stream.cu_stream(), &mut captured), OK);
        assert_eq!(sys::cuGraphGetNodes(captured, nodes.as_mut_ptr(), &mut count), OK);
        let mut kind = sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_EMPTY;
        assert_eq!((count, sys::cuGraphNodeGetType(nodes[0], &mut kind)), (1, OK));
        assert_eq!(kind, sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_EVENT_RECORD);
    }
}

#[test]
fn objects_end_with_their_last_holder() {
    let (_context, _stream) = stream();
    static ENDED: AtomicU32 = AtomicU32::new(0);
    unsafe extern "C" fn end(_: *mut c_void) {
        ENDED.fetch_add(1, Ordering::SeqCst);
    }
    let ended = || ENDED.load(Ordering::SeqCst);
    // SAFETY: live handles; the function takes any argument.
    unsafe {
        let (mut object, graph) = (null_mut(), graph());
        assert_eq!(sys::cuUserObjectCreate(&mut object, null_mut(), Some(end), 2, 1), OK);
        assert_eq!(sys::cuGraphRetainUserObject(graph, object, 1, 1), OK, "one of the two moves");
        assert_eq!(sys::cuUserObjectRetain(object, 1), OK);
        assert_eq!(sys::cuUserObjectRelease(object, 2), OK);
        assert_eq!(ended(), 0, "the graph holds it");
        let exec = instantiate(graph);
        assert_eq!(sys::cuGraphDestroy(graph), OK);
        assert_eq!(ended(), 0, "the instance holds it");
        assert_eq!(sys::cuGraphExecDestroy(exec), OK);
        assert_eq!(ended(), 1);
        assert_eq!(sys::cuUserObjectRelease(object, 1), CUresult::CUDA_ERROR_INVALID_VALUE);
    }
}

#[test]
fn a_capture_appends_to_a_graph() {
    let (_context, stream) = stream();
    let data = stream.alloc_zeros::<u32>(4).unwrap();
    let (p, _guard) = data.device_ptr(&stream);
    let own = graph();
    let first = add_fill(own, &[], p, 1, 4);
    let loose = add_fill(own, &[], p + 8, 7, 1);
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    let handle = stream.cu_stream();
    // SAFETY: live handles, valid places, lists as long as their counts.
    unsafe {
        assert_eq!(sys::cuStreamBeginCaptureToGraph(handle, own, &first, null_mut(), 1, mode), OK);
        let mut status = sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
        let (mut id, mut inside, mut tails, mut count) = (0, null_mut(), std::ptr::null(), 0);
        let mut ask = || {
            let (id, edges) = (&mut id, null_mut());
            let code =
                sys::cuStreamGetCaptureInfo_v3(handle, &mut status, id, &mut inside, &mut tails, edges, &mut count);
            assert_eq!((code, inside), (OK, own));
            std::slice::from_raw_parts(tails, count).to_vec()
        };
        assert_eq!(ask(), [first]);
        assert_eq!(sys::cuGraphDestroyNode(first), CUresult::CUDA_ERROR_INVALID_VALUE, "the capture stands on it");
        assert_eq!(sys::cuMemsetD32Async(p, 2, 2, handle), OK);
        assert_ne!(ask(), [first]);
        assert_eq!(sys::cuStreamUpdateCaptureDependencies_v2(handle, &mut loose.clone(), null_mut(), 1, 0), OK);
        assert_eq!(ask().len(), 2, "added");
        assert_eq!(sys::cuMemsetD32Async(p + 8, 8, 1, handle), OK);
        let mut ended = null_mut();
        assert_eq!(sys::cuStreamEndCapture(handle, &mut ended), OK);
        assert_eq!(ended, own);
        let (mut nodes, mut edges) = (0, 0);
        assert_eq!(sys::cuGraphGetNodes(own, null_mut(), &mut nodes), OK);
        assert_eq!(sys::cuGraphGetEdges_v2(own, null_mut(), null_mut(), null_mut(), &mut edges), OK);
        assert_eq!((nodes, edges), (4, 3));
        run(instantiate(own), &stream);
        assert_eq!(stream.clone_dtoh(&data).unwrap(), [2, 2, 8, 1]);
    }
}

#[test]
fn pools_have_limits_settings_and_sums() {
    let (_context, stream) = stream();
    // SAFETY: live handles, valid places of the attribute's type.
    unsafe {
        let mut properties: sys::CUmemPoolProps = std::mem::zeroed();
        properties.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
        properties.location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
        properties.maxSize = 1 << 20;
        let (mut pool, mut a, mut b) = (null_mut(), 0, 0);
        assert_eq!(sys::cuMemPoolCreate(&mut pool, &properties), OK);
        let handle = stream.cu_stream();
        assert_eq!(sys::cuMemAllocFromPoolAsync(&mut a, 1 << 19, pool, handle), OK);
        let full = sys::cuMemAllocFromPoolAsync(&mut b, (1 << 19) + 1, pool, handle);
        assert_eq!(full, CUresult::CUDA_ERROR_OUT_OF_MEMORY);
        use sys::CUmemPool_attribute as Attribute;
        let get = |attribute| {
            let mut value = 0u64;
            assert_eq!(sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut value).cast()), OK);
            value
        };
        let (used, high) = (Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT, Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH);
        assert_eq!((get(used), get(high)), (1 << 19, 1 << 19));
        assert_eq!(sys::cuMemFreeAsync(a, handle), OK);
        assert_eq!((get(used), get(high)), (0, 1 << 19));
        let threshold = Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        let mut bytes = 4096u64;
        assert_eq!(sys::cuMemPoolSetAttribute(pool, threshold, (&raw mut bytes).cast()), OK);
        assert_eq!(get(threshold), 4096);
        let mut zero = 0u64;
        assert_eq!(sys::cuMemPoolSetAttribute(pool, high, (&raw mut zero).cast()), OK);
        assert_eq!(get(high), 0);
        assert_eq!(sys::cuMemPoolDestroy(pool), OK);
        assert_eq!(sys::cuMemPoolDestroy(pool), CUresult::CUDA_ERROR_INVALID_VALUE);
    }
}
