//! How fast kernels run: a loop in the shape of a 4-bit matrix-vector product (16-byte loads, `lop3` and `shf` decoding, one tensor-core
//! product for every 8 weights of a lane), counting on, checks off; then with all checks.
//!
//! `cargo run --release -p softcuda-engine --example speed [blocks]`

use softcuda_engine::{Checks, Config, Device, Launch, Module};
use std::fmt::Write;
use std::time::Instant;

/// Rounds of the loop; each reads 16 bytes a lane.
const ROUNDS: u32 = 256;
const THREADS: u32 = 256;

/// The kernel: `a` has 16 bytes for each thread and round, `out` four floats a thread.
fn kernel() -> String {
    let mut loop_body = String::new();
    for word in 0..4 {
        // Eight weights of four bits become halves `1 + q/16`: the nibble goes under the exponent of 1.0.
        let w = format!("%q{word}");
        for (k, shift) in [0, 4, 8, 12].iter().enumerate() {
            if *shift != 0 {
                writeln!(loop_body, "  shf.r.wrap.b32 %t{k}, {w}, {w}, {shift};").expect("a string");
            } else {
                writeln!(loop_body, "  mov.b32 %t{k}, {w};").expect("a string");
            }
            writeln!(loop_body, "  lop3.b32 %h{k}, %t{k}, 0x03c003c0, 0x3c003c00, 0xEA;").expect("a string");
        }
        writeln!(
            loop_body,
            "  mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {{%c0, %c1, %c2, %c3}}, {{%h0, %h1, %h2, %h3}}, {{%b0, %b1}}, {{%c0, %c1, %c2, %c3}};"
        )
        .expect("a string");
    }
    format!(
        ".version 8.5\n.target sm_80\n.address_size 64\n\
.visible .entry gemv(.param .u64 a, .param .u64 out)\n{{\n\
  .reg .b32 %q<4>, %t<4>, %h<4>, %b<2>, %i<4>;\n  .reg .f32 %c<4>;\n  .reg .b64 %rd<8>;\n  .reg .pred %p;\n\
  ld.param.u64 %rd0, [a];\n  ld.param.u64 %rd1, [out];\n\
  cvta.to.global.u64 %rd0, %rd0;\n  cvta.to.global.u64 %rd1, %rd1;\n\
  mad.lo.s32 %i0, %ctaid.x, {THREADS}, %tid.x;\n\
  mul.wide.u32 %rd2, %i0, 16;\n  add.s64 %rd1, %rd1, %rd2;\n\
  mul.wide.u32 %rd2, %tid.x, 16;\n  add.s64 %rd0, %rd0, %rd2;\n\
  mul.wide.u32 %rd3, %ctaid.x, {};\n  add.s64 %rd0, %rd0, %rd3;\n\
  mov.f32 %c0, 0f00000000;\n  mov.f32 %c1, %c0;\n  mov.f32 %c2, %c0;\n  mov.f32 %c3, %c0;\n\
  mov.b32 %b0, 0x3c003c00;\n  mov.b32 %b1, 0x38003800;\n  mov.u32 %i1, 0;\n\
LOOP:\n  ld.global.nc.v4.u32 {{%q0, %q1, %q2, %q3}}, [%rd0];\n{loop_body}\
  add.s64 %rd0, %rd0, {};\n  add.s32 %i1, %i1, 1;\n  setp.lt.u32 %p, %i1, {ROUNDS};\n  @%p bra LOOP;\n\
  st.global.v4.f32 [%rd1], {{%c0, %c1, %c2, %c3}};\n  ret;\n}}\n",
        ROUNDS * THREADS * 16,
        THREADS * 16
    )
}

/// Seconds that this thread has run on a processor, where the system tells: other programs do not count.
fn processor_time() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split_whitespace().next()?.parse::<f64>().ok()? * 1e-9)
}

fn main() {
    let blocks: u32 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(32);
    let text = kernel();
    for (name, checks, threads) in [
        ("counting, no checks, one thread", Checks::NONE, 1),
        ("counting, no checks, all threads", Checks::NONE, Config::default().threads),
        ("counting, memory, init, sync, one thread", Checks { race: false, ..Checks::ALL }, 1),
        ("counting, all checks, one thread", Checks::ALL, 1),
    ] {
        let device = Device::new(Config { checks, threads, ..Config::default() });
        let module = Module::load(&device, &text).unwrap_or_else(|e| panic!("{e}"));
        let bytes = u64::from(blocks * ROUNDS * THREADS * 16);
        let a = device.alloc(bytes).expect("memory");
        device.fill(a, &[0x5a, 0xc3, 0x17, 0x88], bytes / 4).expect("in range");
        let out = device.alloc(u64::from(blocks * THREADS * 16)).expect("memory");
        let params: Vec<u8> = [a, out].iter().flat_map(|p| p.to_le_bytes()).collect();
        let launch = Launch {
            grid: [blocks, 1, 1],
            block: [THREADS, 1, 1],
            dynamic_shared: 0,
            params: &params,
            cooperative: false,
        };
        let mut best = f64::INFINITY;
        let mut lanes = 0;
        for _ in 0..3 {
            let (start, used) = (Instant::now(), processor_time());
            let stats = device.launch(&module, "gemv", launch).unwrap_or_else(|r| panic!("{r}"));
            let wall = start.elapsed().as_secs_f64();
            // With one thread the launch runs on this one.
            let own = used.zip(processor_time()).filter(|_| threads == 1).map(|(from, to)| to - from);
            best = best.min(own.unwrap_or(wall));
            lanes = stats.total_lane_instructions();
        }
        let rate = lanes as f64 / best / 1e9;
        let clock = if threads == 1 { "processor time" } else { "wall time" };
        let each = rate / threads as f64;
        println!("{name}: {lanes} lane instructions in {best:.3} s ({clock}): {rate:.2} G/s, {each:.2} G/s a thread");
    }
}
