//! Graphs made node by node, and copies of rectangles and boxes, which their memcpy nodes are.

use cudarc::driver::sys::{self, CUmemorytype, CUresult};
use cudarc::driver::{CudaContext, DevicePtr};
use std::ptr::null_mut;

const OK: CUresult = CUresult::CUDA_SUCCESS;

/// Device memory as one end of a copy.
fn device_box(to: u64, from: u64, pitch: usize) -> sys::CUDA_MEMCPY3D {
    let device = CUmemorytype::CU_MEMORYTYPE_DEVICE;
    sys::CUDA_MEMCPY3D {
        srcXInBytes: 0,
        srcY: 0,
        srcZ: 0,
        srcLOD: 0,
        srcMemoryType: device,
        srcHost: std::ptr::null(),
        srcDevice: from,
        srcArray: null_mut(),
        reserved0: null_mut(),
        srcPitch: pitch,
        srcHeight: 0,
        dstXInBytes: 0,
        dstY: 0,
        dstZ: 0,
        dstLOD: 0,
        dstMemoryType: device,
        dstHost: null_mut(),
        dstDevice: to,
        dstArray: null_mut(),
        reserved1: null_mut(),
        dstPitch: pitch,
        dstHeight: 0,
        WidthInBytes: 0,
        Height: 0,
        Depth: 0,
    }
}

#[test]
fn nodes_run_by_their_edges_not_by_their_order() {
    let context = CudaContext::new(0).unwrap();
    let stream = context.new_stream().unwrap();
    let data = stream.clone_htod(&[1u8; 64]).unwrap();
    let (p, _guard) = data.device_ptr(&stream);
    // SAFETY: live handles, valid places, lists as long as their counts.
    unsafe {
        let (mut graph, mut copy, mut fill, mut join) = (null_mut(), null_mut(), null_mut(), null_mut());
        assert_eq!(sys::cuGraphCreate(&mut graph, 0), OK);
        // The copy comes first in the list; the fill must run before it.
        let halves = sys::CUDA_MEMCPY3D { WidthInBytes: 32, Height: 1, Depth: 1, ..device_box(p + 32, p, 32) };
        assert_eq!(sys::cuGraphAddMemcpyNode(&mut copy, graph, null_mut(), 0, &halves, context.cu_ctx()), OK);
        let nines =
            sys::CUDA_MEMSET_NODE_PARAMS { dst: p, pitch: 0, value: 0x0909, elementSize: 2, width: 16, height: 1 };
        assert_eq!(sys::cuGraphAddMemsetNode(&mut fill, graph, null_mut(), 0, &nines, context.cu_ctx()), OK);
        assert_eq!(sys::cuGraphAddDependencies_v2(graph, &fill, &copy, null_mut(), 1), OK);
        let both = [copy, fill];
        assert_eq!(sys::cuGraphAddEmptyNode(&mut join, graph, both.as_ptr(), 2), OK);

        let (mut roots, mut edges) = (0, 0);
        assert_eq!(sys::cuGraphGetRootNodes(graph, null_mut(), &mut roots), OK);
        assert_eq!(sys::cuGraphGetEdges_v2(graph, null_mut(), null_mut(), null_mut(), &mut edges), OK);
        assert_eq!((roots, edges), (1, 3));

        let mut exec = null_mut();
        assert_eq!(sys::cuGraphInstantiateWithFlags(&mut exec, graph, 0), OK);
        assert_eq!(sys::cuGraphLaunch(exec, stream.cu_stream()), OK);
        assert_eq!(stream.clone_dtoh(&data).unwrap(), [9; 64]);

        let same = sys::cuGraphAddDependencies_v2(graph, &fill, &copy, null_mut(), 1);
        assert_eq!(same, CUresult::CUDA_ERROR_INVALID_VALUE, "an edge that is there already");
        assert_eq!(sys::cuGraphAddDependencies_v2(graph, &join, &fill, null_mut(), 1), OK);
        let cycle = sys::cuGraphInstantiateWithFlags(&mut exec, graph, 0);
        assert_eq!(cycle, CUresult::CUDA_ERROR_INVALID_VALUE, "a cycle");
        assert_eq!(sys::cuGraphDestroy(graph), OK);
        assert_eq!(sys::cuGraphDestroy(graph), CUresult::CUDA_ERROR_INVALID_VALUE);
    }
}

#[test]
fn boxes_are_copied_row_by_row() {
    let context = CudaContext::new(0).unwrap();
    let stream = context.default_stream();
    let from = stream.clone_htod(&(0..64).collect::<Vec<u8>>()).unwrap();
    let to = stream.alloc_zeros::<u8>(64).unwrap();
    {
        let ((f, _read), (t, _write)) = (from.device_ptr(&stream), to.device_ptr(&stream));
        // Two slices of four rows of eight bytes; two by two by two bytes from (1, 1, 0) to (5, 2, 0).
        let copy = sys::CUDA_MEMCPY3D {
            srcXInBytes: 1,
            srcY: 1,
            srcHeight: 4,
            dstXInBytes: 5,
            dstY: 2,
            dstHeight: 4,
            WidthInBytes: 2,
            Height: 2,
            Depth: 2,
            ..device_box(t, f, 8)
        };
        // SAFETY: both boxes lie in the 64 bytes.
        assert_eq!(unsafe { sys::cuMemcpy3D_v2(&copy) }, OK);
        let wide = sys::CUDA_MEMCPY3D { WidthInBytes: 4, ..copy };
        // SAFETY: refused.
        assert_eq!(unsafe { sys::cuMemcpy3D_v2(&wide) }, CUresult::CUDA_ERROR_INVALID_VALUE, "past the row");
    }
    let mut expected = [0; 64];
    for slice in 0..2 {
        for row in 0..2 {
            for x in 0..2 {
                expected[32 * slice + 8 * (row + 2) + x + 5] = (32 * slice + 8 * (row + 1) + x + 1) as u8;
            }
        }
    }
    assert_eq!(stream.clone_dtoh(&to).unwrap(), expected);
}
