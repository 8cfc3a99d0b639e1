//! A loop in the shape of a 4-bit matrix-vector product: 16-byte loads, `lop3` and `shf` decoding, one tensor-core product for every 8 weights
//! of a lane.

use crate::Case;
use softcuda_engine::Device;
use std::fmt::Write;

const BLOCKS: u32 = 8;
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

fn params(device: &Device) -> Vec<u8> {
    let bytes = u64::from(BLOCKS * ROUNDS * THREADS * 16);
    let a = device.alloc(bytes).expect("memory");
    device.fill(a, &[0x5a, 0xc3, 0x17, 0x88], bytes / 4).expect("in range");
    let out = device.alloc(u64::from(BLOCKS * THREADS * 16)).expect("memory");
    [a, out].iter().flat_map(|p| p.to_le_bytes()).collect()
}

pub(crate) fn case() -> Case {
    let (name, text, kernel) = ("loop of products", kernel(), "gemv");
    Case { name, text, kernel, grid: [BLOCKS, 1, 1], threads: THREADS, dynamic_shared: 0, params }
}
