//! Appending to the cache: one token of many sequences, and chunks.

use lowbit::cache::{KvFormat, Rows};
use lowbit::cudarc::driver::CudaSlice;
use lowbit::half::f16;
use lowbit::ops;

use crate::cache::{FORMATS, Host, OnDevice, ROW, layout};
use crate::data::{equal, numbers};
use crate::device::{Device, Outcome};
use crate::measure::{Bench, Case};

struct Append {
    name: &'static str,
    format: KvFormat,
    sequences: usize,
    /// Before the call.
    tokens: usize,
    new: usize,
}

struct Call {
    cache: OnDevice,
    /// Of each copy, as its pages.
    k: Vec<CudaSlice<f16>>,
    v: Vec<CudaSlice<f16>>,
    last: usize,
}

impl Append {
    fn prefill(&self) -> bool {
        self.new > 1
    }

    fn rows(&self) -> usize {
        self.sequences * self.new
    }
}

impl Case for Append {
    /// The cache before the call, keys, values.
    type Data = (Host, [Vec<f16>; 2]);
    type Call = Call;
    type Answer = Host;

    fn name(&self) -> String {
        format!("{}, {} x {} tokens behind {}", self.name, self.sequences, self.new, self.tokens)
    }

    /// The new tokens, and their codes.
    fn bytes(&self) -> usize {
        self.rows() * (4 * ROW + layout(self.format).bytes_per_token())
    }

    fn rotated(&self) -> usize {
        4 * ROW * self.rows()
    }

    fn data(&self) -> Self::Data {
        let before = Host::zeroed(layout(self.format), self.sequences, self.tokens + self.new, self.new);
        (before, [1, 2].map(|seed| numbers(self.rows() * ROW, seed)))
    }

    fn reference(&self, (before, [k, v]): &Self::Data) -> Host {
        let mut after = before.clone();
        after.append(k, v, self.prefill());
        after
    }

    fn upload(&self, (before, [k, v]): &Self::Data, device: &Device, copies: usize) -> Outcome<Call> {
        ops::kv::prepare(&device.kernels, &before.layout)?;
        let copied = |x: &Vec<f16>| (0..copies).map(|_| device.stream.clone_htod(x)).collect::<Result<Vec<_>, _>>();
        Ok(Call { cache: OnDevice::new(before, device, copies)?, k: copied(k)?, v: copied(v)?, last: 0 })
    }

    fn launch(&self, device: &Device, call: &mut Call, copy: usize) -> lowbit::Result<()> {
        call.last = copy;
        let (batch, mut cache) = call.cache.views(copy);
        let rows = |data| Rows { data, stride: ROW };
        let (k, v) = (&rows(call.k[copy].as_view()), &rows(call.v[copy].as_view()));
        let append = if self.prefill() { ops::kv::append_prefill } else { ops::kv::append };
        append(&device.kernels, &device.stream, &batch, k, v, None, &mut cache)
    }

    fn check(&self, device: &Device, call: &Call, after: &Host) -> Outcome<()> {
        call.cache.check_status(device)?;
        equal("pages", &device.stream.clone_dtoh(&call.cache.pages[call.last])?, &after.pages)?;
        equal("state", &device.stream.clone_dtoh(&call.cache.state)?[..after.state.len()], &after.state)
    }
}

pub fn run(bench: &mut Bench<'_>) {
    let (many, few) = (bench.size(256, 16, 3), bench.size(8, 1, 2));
    let (tokens, chunk) = (bench.size(64, 128, 64), bench.size(1024, 64, 40));
    let cases = FORMATS.into_iter().flat_map(|(name, format)| {
        let one = Append { name, format, sequences: many, tokens, new: 1 };
        [one, Append { name, format, sequences: few, tokens: 0, new: chunk }]
    });
    bench.family("kv_append", &cases.collect::<Vec<_>>());
}
