//! Decode attention: one new token of each sequence, eight query heads a KV head (Llama-3-70B).

use lowbit::cache::{Capacity, KvFormat, Plan, Rows};
use lowbit::cudarc::driver::CudaSlice;
use lowbit::half::f16;
use lowbit::reference::attend::Options;
use lowbit::{ops, reference};

use crate::cache::{DIM, FORMATS, Host, KV_HEADS, OnDevice, layout};
use crate::data::numbers;
use crate::device::{Device, Outcome};
use crate::measure::{Bench, Case};

const HEADS: usize = 8 * KV_HEADS;
/// Elements of a token's queries.
const ROW: usize = HEADS * DIM;
const SOFTMAX_SCALE: f32 = 0.088;

struct Attend {
    name: &'static str,
    format: KvFormat,
    sequences: usize,
    tokens: usize,
}

struct Call {
    cache: OnDevice,
    plan: Plan,
    q: CudaSlice<f16>,
    out: CudaSlice<f16>,
    workspace: CudaSlice<u8>,
}

impl Case for Attend {
    /// One sequence, and its queries; all sequences are the same.
    type Data = (Host, Vec<f16>);
    type Call = Call;
    /// `[heads, head_dim]`.
    type Answer = Vec<f64>;

    fn name(&self) -> String {
        format!("{}, {} x {} tokens, {HEADS} heads over {KV_HEADS}", self.name, self.sequences, self.tokens)
    }

    fn bytes(&self) -> usize {
        self.sequences * (self.tokens * layout(self.format).bytes_per_token() + 4 * ROW)
    }

    fn rotated(&self) -> usize {
        self.sequences * self.tokens * layout(self.format).bytes_per_token()
    }

    fn data(&self) -> Self::Data {
        (Host::filled(layout(self.format), self.tokens), numbers(ROW, 9))
    }

    fn reference(&self, (one, q): &Self::Data) -> Vec<f64> {
        let q = reference::kv::Rows { data: &q[..], stride: ROW };
        let options = Options::new(SOFTMAX_SCALE);
        reference::attend::attend(&one.cache(), &one.batch(), q, HEADS, &options).expect("a valid batch").out
    }

    fn upload(&self, (one, q): &Self::Data, device: &Device, copies: usize) -> Outcome<Call> {
        let Device { kernels, stream, .. } = device;
        let capacity = Capacity { num_seqs: self.sequences, max_q_len: 1, max_len: self.tokens };
        let plan = Plan::new(kernels, &one.layout, HEADS, capacity)?;
        Ok(Call {
            cache: OnDevice::new(&one.repeated(self.sequences), device, copies)?,
            q: stream.clone_htod(&q.repeat(self.sequences))?,
            out: stream.alloc_zeros(self.sequences * ROW)?,
            workspace: stream.alloc_zeros(plan.workspace_bytes().max(16))?,
            plan,
        })
    }

    fn launch(&self, device: &Device, call: &mut Call, copy: usize) -> lowbit::Result<()> {
        let (batch, mut cache) = call.cache.views(copy);
        let q = Rows { data: call.q.as_view(), stride: ROW };
        let options = ops::attend::Options::new(SOFTMAX_SCALE);
        let (out, workspace) = (&mut call.out.as_view_mut(), &mut call.workspace.as_view_mut());
        let (kernels, stream, plan) = (&device.kernels, &device.stream, &call.plan);
        ops::attend::attend(kernels, stream, plan, &batch, &q, &mut cache.as_ref(), &options, out, None, workspace)
    }

    /// Every head within 2^-10 of its norm, as the kernels promise.
    fn check(&self, device: &Device, call: &Call, answer: &Vec<f64>) -> Outcome<()> {
        call.cache.check_status(device)?;
        let found = device.stream.clone_dtoh(&call.out)?;
        let heads = found.chunks_exact(DIM).zip(answer.chunks_exact(DIM).cycle());
        for (at, (found, expected)) in heads.enumerate() {
            let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
            let error = norm(&mut found.iter().zip(expected).map(|(a, b)| a.to_f64() - b));
            let of_row = norm(&mut expected.iter().copied());
            // Written so that NaN fails.
            let near = error <= 2f64.powi(-10) * of_row;
            if !near {
                return Err(format!("head {at} is off by {error:e}, and its norm is {of_row:e}").into());
            }
        }
        Ok(())
    }
}

pub fn run(bench: &mut Bench<'_>) {
    let many = (bench.size(16, 1, 2), bench.size(4096, 512, 97));
    let long = (1, bench.size(32768, 1024, 300));
    let cases = [many, long]
        .into_iter()
        .flat_map(|(sequences, tokens)| FORMATS.map(|(name, format)| Attend { name, format, sequences, tokens }));
    bench.family("attention", &cases.collect::<Vec<_>>());
}
