//! Append inside a CUDA graph: one kernel node, replayed with growing lengths, equal to the reference at every step.
#![cfg(kernels_built)]

mod kv_world;

use kv_world::device::Device;
use kv_world::{World, WorldRope, formats, noise};
use lowbit::cache::{Batch, KvCacheMut, KvLayout, KvShape, Rope, Rows, Status};
use lowbit::cudarc::driver::sys;
use lowbit::format::{DType, RopeStyle, Rotation, rope_table};
use lowbit::{ops, testing};

const FLAGS: sys::CUgraphInstantiate_flags = sys::CUgraphInstantiate_flags(0);

fn nodes(graph: sys::CUgraph) -> Vec<sys::CUgraphNodeType> {
    let mut count = 0;
    // SAFETY: a live graph, and places for as many nodes as the first call counts.
    unsafe {
        assert_eq!(sys::cuGraphGetNodes(graph, std::ptr::null_mut(), &mut count), sys::CUresult::CUDA_SUCCESS);
        let mut nodes = vec![std::ptr::null_mut(); count];
        assert_eq!(sys::cuGraphGetNodes(graph, nodes.as_mut_ptr(), &mut count), sys::CUresult::CUDA_SUCCESS);
        let kind = |node: &sys::CUgraphNode| {
            let mut kind = sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_EMPTY;
            assert_eq!(sys::cuGraphNodeGetType(*node, &mut kind), sys::CUresult::CUDA_SUCCESS);
            kind
        };
        nodes.iter().map(kind).collect()
    }
}

#[test]
fn a_decode_loop_replays_one_node() {
    let (context, kernels) = testing::device();
    // SAFETY: every buffer of this test is used on one stream only.
    unsafe { context.disable_event_tracking() };
    let device = Device { kernels, stream: context.new_stream().unwrap() };
    let (kernels, stream) = (&device.kernels, &device.stream);
    for (format, turned) in formats().into_iter().flat_map(|format| [(format, false), (format, true)]) {
        let shape = KvShape { num_kv_heads: 2, head_dim: 64, page_tokens: 32, max_append: 1, dtype: DType::F16 };
        let mut layout = KvLayout::new(shape, format).unwrap();
        if turned {
            layout = layout.rotated(Rotation::of_head(64), Rotation::Hadamard { block: 32 }).unwrap();
        }
        let mut world = World::new(layout, 3, 140, 5);
        let (style, rotary_dim) = (RopeStyle::HalfSplit, 64);
        let angles = rope_table(10_000.0, rotary_dim, world.max_blocks * 32);
        world.rope = turned.then(|| WorldRope { style, rotary_dim, table: angles.clone() });
        let angles = device.upload(&angles);
        let row = world.row();
        let first = world.step(&[31, 0, 62]);
        let prompt = noise(first.total_q * row, 1);
        world.append(&first, &prompt, &prompt, true);

        let mut step = world.step(&[1, 1, 1]);
        let mut pages = device.upload(&world.pages);
        let mut state = if world.state.is_empty() { device.upload(&[0u8]) } else { device.upload(&world.state) };
        let mut status = device.upload(&[0u32]);
        let scales = [&world.k_scale, &world.v_scale].map(|s| s.as_ref().map(|s| device.upload(s)));
        let mut seq_lens = device.upload(&world.lens.iter().map(|&len| len as i32).collect::<Vec<_>>());
        let cu_q_lens = device.upload(&step.cu_q_lens);
        let (table, slots) = (device.upload(&world.table), device.upload(&world.slots));
        let (mut k, mut v) = (device.upload(&noise(3 * row, 0)), device.upload(&noise(3 * row, 0)));

        ops::kv::prepare(kernels, &layout).unwrap();
        stream.synchronize().unwrap();
        stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        {
            let batch = Batch {
                seq_lens: seq_lens.as_view(),
                cu_q_lens: cu_q_lens.as_view(),
                block_table: table.as_view(),
                max_blocks: world.max_blocks,
                state_slots: Some(slots.as_view()),
                ring_start: None,
                max_q_len: 1,
                total_q: 3,
            };
            let mut cache = KvCacheMut {
                layout,
                pages: pages.as_view_mut(),
                state: state.slice_mut(..world.state.len()),
                status: status.as_view_mut(),
                k_scale: scales[0].as_ref().map(|s| s.as_view()),
                v_scale: scales[1].as_ref().map(|s| s.as_view()),
            };
            let (k, v) = (Rows { data: k.as_view(), stride: row }, Rows { data: v.as_view(), stride: row });
            let rope = turned.then(|| Rope { style, rotary_dim, table: angles.as_view() });
            ops::kv::append(kernels, stream, &batch, &k, &v, rope.as_ref(), &mut cache).unwrap();
        }
        let graph = stream.end_capture(FLAGS).unwrap().unwrap();
        assert_eq!(nodes(graph.cu_graph()), [sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_KERNEL], "{format}");

        for call in 0..if turned { 40 } else { 70 } {
            let (new_k, new_v) = (noise(3 * row, 100 + call), noise(3 * row, 200 + call));
            stream.memcpy_htod(&new_k, &mut k).unwrap();
            stream.memcpy_htod(&new_v, &mut v).unwrap();
            ops::kv::advance_seq_lens(kernels, stream, &mut seq_lens.as_view_mut(), &cu_q_lens.as_view()).unwrap();
            graph.launch().unwrap();
            step = world.step(&[1, 1, 1]);
            world.append(&step, &new_k, &new_v, false);
            assert_eq!(stream.clone_dtoh(&seq_lens).unwrap(), step.seq_lens);
            assert!(stream.clone_dtoh(&pages).unwrap() == world.pages, "{format}: pages differ at call {call}");
            if !world.state.is_empty() {
                assert!(stream.clone_dtoh(&state).unwrap() == world.state, "{format}: state differs at call {call}");
            }
        }
        assert_eq!(Status(stream.clone_dtoh(&status).unwrap()[0]), world.status);
    }
}
