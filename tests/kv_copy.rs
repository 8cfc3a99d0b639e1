//! Copies of pages and state slots and the advance of lengths, kernel against reference.
#![cfg(kernels_built)]

mod kv_world;

use kv_world::device::Device;
use kv_world::{World, formats, rng};
use lowbit::cache::{KvCacheMut, KvLayout, KvShape, Status};
use lowbit::cudarc::driver::CudaView;
use lowbit::format::DType;
use lowbit::reference::kv::{self, CacheMut};
use lowbit::{Result, ops};
use rand::RngExt;

/// Runs one copy by the kernel on a copy of the world and returns it.
fn on_device(device: &Device, world: &World, pages: bool, src: &[i32], dst: &[i32]) -> Result<World> {
    let mut found = world.clone();
    let mut page_bytes = device.upload(&world.pages);
    let mut state = if world.state.is_empty() { device.upload(&[0u8]) } else { device.upload(&world.state) };
    let mut status = device.upload(&[world.status.0]);
    let scales = [&world.k_scale, &world.v_scale].map(|s| s.as_ref().map(|s| device.upload(s)));
    let (src, dst) = (device.upload(src), device.upload(dst));
    let mut cache = KvCacheMut {
        layout: world.layout,
        pages: page_bytes.as_view_mut(),
        state: state.slice_mut(..world.state.len()),
        status: status.as_view_mut(),
        k_scale: scales[0].as_ref().map(|s| s.as_view()),
        v_scale: scales[1].as_ref().map(|s| s.as_view()),
    };
    let (src, dst): (CudaView<'_, i32>, CudaView<'_, i32>) = (src.as_view(), dst.as_view());
    let copy = if pages { ops::kv::copy_pages } else { ops::kv::copy_state };
    copy(&device.kernels, &device.stream, &mut cache, &src, &dst)?;
    found.pages = device.stream.clone_dtoh(&page_bytes).unwrap();
    if !world.state.is_empty() {
        found.state = device.stream.clone_dtoh(&state).unwrap();
    }
    found.status = Status(device.stream.clone_dtoh(&status).unwrap()[0]);
    Ok(found)
}

fn filled(format: lowbit::cache::KvFormat) -> World {
    let shape = KvShape { num_kv_heads: 2, head_dim: 64, page_tokens: 64, max_append: 4, dtype: DType::F16 };
    let mut world = World::new(KvLayout::new(shape, format).unwrap(), 4, 100, 1);
    let mut random = rng(2);
    world.pages.iter_mut().chain(&mut world.state).for_each(|byte| *byte = random.random());
    world
}

#[test]
fn pages_and_slots_are_copied() {
    let device = Device::new();
    for format in formats() {
        let world = filled(format);
        for pages in [true, false] {
            let count = match pages {
                true => world.num_pages(),
                false => world.state.len() / world.layout.state_bytes().max(1),
            } as i32;
            // Two good pairs, one onto itself, bad ones on either side, and the first block that is none.
            for (src, dst) in [
                (vec![0, 3, 2], vec![1, 4, 2]),
                (vec![5, -1, 0, 99], vec![0, 1, 1 << 30, 2]),
                (vec![0], vec![5]),
                (vec![0, 3, count], vec![1, count, 2]),
            ] {
                let mut expected = world.clone();
                let mut cache = CacheMut {
                    layout: world.layout,
                    pages: &mut expected.pages,
                    state: &mut expected.state,
                    status: &mut expected.status,
                    k_scale: world.k_scale.as_deref(),
                    v_scale: world.v_scale.as_deref(),
                };
                let copy = if pages { kv::copy_pages } else { kv::copy_state };
                copy(&mut cache, &src, &dst).unwrap();
                let found = on_device(&device, &world, pages, &src, &dst).unwrap();
                let what = format!("{format} pages {pages} {src:?} -> {dst:?}");
                assert!(found.pages == expected.pages, "{what}: pages differ");
                assert!(found.state == expected.state, "{what}: state differs");
                assert_eq!(found.status, expected.status, "{what}");
                let buffer = if pages { &world.pages } else { &world.state };
                let changed = *buffer != if pages { found.pages } else { found.state };
                assert_eq!(changed, !buffer.is_empty(), "{what}: something is copied");
            }
        }
    }
}

#[test]
fn lengths_advance() {
    let device = Device::new();
    for num_seqs in [1usize, 255, 256, 300] {
        let mut expected: Vec<i32> = (0..num_seqs as i32).map(|i| 7 * i).collect();
        let cu: Vec<i32> = (0..=num_seqs as i32).map(|i| i * (i % 2 + 1)).collect();
        let (mut lens, cu_on_device) = (device.upload(&expected), device.upload(&cu));
        kv::advance_seq_lens(&mut expected, &cu).unwrap();
        let (kernels, stream) = (&device.kernels, &device.stream);
        ops::kv::advance_seq_lens(kernels, stream, &mut lens.as_view_mut(), &cu_on_device.as_view()).unwrap();
        assert_eq!(stream.clone_dtoh(&lens).unwrap(), expected);
    }
}

#[test]
fn bad_arguments_are_refused() {
    let device = Device::new();
    let world = filled(lowbit::cache::KvFormat::kivi4(32));
    let error = on_device(&device, &world, true, &[0, 1], &[2]).unwrap_err();
    assert_eq!(error.to_string(), "kv::copy_pages: `dst`: expected 2 elements, found 1");
    let error = on_device(&device, &world, false, &vec![0; 65_536], &vec![0; 65_536]).unwrap_err();
    assert_eq!(error.to_string(), "kv::copy_state: `src`: expected at most 65535 elements, found 65536");
    let (mut lens, cu) = (device.upload(&[1, 2]), device.upload(&[0, 1]));
    let error =
        ops::kv::advance_seq_lens(&device.kernels, &device.stream, &mut lens.as_view_mut(), &cu.as_view()).unwrap_err();
    assert_eq!(error.to_string(), "kv::advance_seq_lens: `cu_q_lens`: expected 3 elements, found 2");
}
