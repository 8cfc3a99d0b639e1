//! The same world on a device: every call uploads it, runs the wrapper, and takes all bytes back.

use std::sync::Arc;

use lowbit::cache::{Batch, KvCacheMut, Rope, Rows, Status};
use lowbit::cudarc::driver::{CudaSlice, CudaStream};
use lowbit::format::Half16;
use lowbit::{Kernels, Result, ops, testing};
use nvcuda::client;

use super::{Step, World};

/// A device with its kernels.
pub struct Device {
    pub kernels: Kernels,
    pub stream: Arc<CudaStream>,
}

/// New tokens as a test hands them to the wrapper: `skip` elements before row 0, `stride` from row to row.
pub struct NewRows<'a, T> {
    pub data: &'a [T],
    pub skip: usize,
    pub stride: usize,
}

impl Device {
    /// On softcuda with every check, blocks and warps in an order that changes with the seed.
    pub fn new() -> Self {
        let (context, kernels) = testing::device();
        if let Some(modes) = client::modes() {
            client::set_modes(client::Modes {
                checks: client::Checks::ALL,
                schedule: client::Schedule::Adversarial,
                ..modes
            });
        }
        Self { kernels, stream: context.default_stream() }
    }

    pub fn upload<T: lowbit::cudarc::driver::DeviceRepr>(&self, data: &[T]) -> CudaSlice<T> {
        self.stream.clone_htod(data).unwrap()
    }

    /// Appends by the kernel. On an error the world holds what the device holds, which must be what it was.
    pub fn append<T: Half16>(
        &self,
        world: &mut World,
        step: &Step,
        k: NewRows<'_, T>,
        v: NewRows<'_, T>,
        prefill: bool,
    ) -> Result<()> {
        let (mut pages, mut state) = (self.upload(&world.pages), self.upload_or_one(&world.state));
        let mut status = self.upload(&[world.status.0]);
        let (k_scale, v_scale) = (world.k_scale.as_ref(), world.v_scale.as_ref());
        let (k_scale, v_scale) = (k_scale.map(|s| self.upload(s)), v_scale.map(|s| self.upload(s)));
        let (seq_lens, cu_q_lens) = (self.upload(&step.seq_lens), self.upload(&step.cu_q_lens));
        let (table, slots) = (self.upload(&world.table), self.upload(&world.slots));
        let ring_start = world.ring_start.as_ref().map(|start| self.upload(start));
        let angles = world.rope.as_ref().map(|rope| self.upload(&rope.table));
        let (k_data, v_data) = (self.upload_or_one(k.data), self.upload_or_one(v.data));
        let result = {
            let batch = Batch {
                seq_lens: seq_lens.as_view(),
                cu_q_lens: cu_q_lens.as_view(),
                block_table: table.as_view(),
                max_blocks: world.max_blocks,
                state_slots: world.layout.format().has_state().then(|| slots.as_view()),
                ring_start: ring_start.as_ref().map(|start| start.as_view()),
                max_q_len: step.max_q_len,
                total_q: step.total_q,
            };
            let mut cache = KvCacheMut {
                layout: world.layout,
                pages: pages.as_view_mut(),
                state: state.slice_mut(..world.state.len()),
                status: status.as_view_mut(),
                k_scale: k_scale.as_ref().map(|s| s.as_view()),
                v_scale: v_scale.as_ref().map(|s| s.as_view()),
            };
            let k = Rows { data: k_data.slice(k.skip..k.data.len()), stride: k.stride };
            let v = Rows { data: v_data.slice(v.skip..v.data.len()), stride: v.stride };
            let append = if prefill { ops::kv::append_prefill } else { ops::kv::append };
            let rope = world.rope.as_ref().zip(angles.as_ref()).map(|(rope, angles)| Rope {
                style: rope.style,
                rotary_dim: rope.rotary_dim,
                table: angles.as_view(),
            });
            append(&self.kernels, &self.stream, &batch, &k, &v, rope.as_ref(), &mut cache)
        };
        world.pages = self.stream.clone_dtoh(&pages).unwrap();
        if !world.state.is_empty() {
            world.state = self.stream.clone_dtoh(&state).unwrap();
        }
        world.status = Status(self.stream.clone_dtoh(&status).unwrap()[0]);
        if result.is_ok() {
            for (len, n) in world.lens.iter_mut().zip(&step.seq_lens) {
                *len = *n as usize;
            }
        }
        result
    }

    /// Allocations of no bytes are refused by the driver.
    fn upload_or_one<T: lowbit::cudarc::driver::DeviceRepr + bytemuck::Zeroable + Clone>(
        &self,
        data: &[T],
    ) -> CudaSlice<T> {
        if data.is_empty() { self.upload(&[T::zeroed()]) } else { self.upload(data) }
    }
}
