//! Prints how fast softcuda executes, in lane instructions per second of one core: a loop of one 16-byte load, 40 integer and float
//! instructions and 4 matrix products, with checks off, with the default checks, and with all.
//!
//! `cargo run -p softcuda-engine --example speed`

use softcuda_engine::{Checks, Config, Device, Launch, Module};
use std::fmt::Write;
use std::time::Instant;

const ROUNDS: u32 = 2000;

/// Each warp walks over `ROUNDS` pieces of 512 bytes, as a matrix-vector kernel does.
fn program() -> String {
    let mut body = String::new();
    for k in 0..40 {
        let (d, a, b) = (10 + k % 8, 10 + (k + 3) % 8, 1 + k % 4);
        let _ = match k % 5 {
            0 => writeln!(body, "lop3.b32 %r{d}, %r{b}, 252645135, 1677747200, 234;"),
            1 => writeln!(body, "shr.u32 %r{d}, %r{a}, 4;"),
            2 => writeln!(body, "fma.rn.f32 %f{d}, %f{a}, %f{b}, %f{d};"),
            3 => writeln!(body, "add.s32 %r{d}, %r{a}, %r{b};"),
            _ => writeln!(body, "fma.rn.f16x2 %r{d}, %r{a}, %r30, %r31;"),
        };
    }
    for k in 0..4 {
        let c = format!("%f{}, %f{}, %f{}, %f{}", 32 + 4 * k, 33 + 4 * k, 34 + 4 * k, 35 + 4 * k);
        let mma = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32";
        let _ = writeln!(body, "{mma} {{{c}}}, {{%r10, %r11, %r12, %r13}}, {{%r{}, %r{}}}, {{{c}}};", 14 + k % 2, 16);
    }
    format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n
.visible .entry walk(.param .u64 source, .param .u64 target)
{{
.reg .pred %p<2>;
.reg .b32 %r<40>;
.reg .f32 %f<64>;
.reg .b64 %rd<8>;
ld.param.u64 %rd1, [source];
ld.param.u64 %rd2, [target];
mov.u32 %r0, %tid.x;
mul.wide.u32 %rd3, %r0, 16;
add.s64 %rd4, %rd1, %rd3;
mov.u32 %r30, 1006648320;
mov.u32 %r31, 0;
mov.u32 %r32, 0;
{zero}
loop:
ld.global.v4.u32 {{%r1, %r2, %r3, %r4}}, [%rd4];
{body}
add.s64 %rd4, %rd4, 512;
add.s32 %r32, %r32, 1;
setp.lt.u32 %p1, %r32, {ROUNDS};
@%p1 bra loop;
mul.wide.u32 %rd5, %r0, 4;
add.s64 %rd6, %rd2, %rd5;
st.global.f32 [%rd6], %f32;
ret;
}}
",
        zero = (1..48).map(|k| format!("mov.f32 %f{k}, 0f00000000;\n")).collect::<String>()
            + &(10..18).map(|k| format!("mov.u32 %r{k}, 0;\n")).collect::<String>(),
    )
}

/// Seconds that this thread has had the processor, so that a busy machine does not show; wall time where the system does not tell.
fn seconds(start: Instant) -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let busy = stat.and_then(|s| s.split(' ').next()?.parse::<f64>().ok());
    busy.map_or_else(|| start.elapsed().as_secs_f64(), |ns| ns / 1e9)
}

fn main() {
    let epoch = Instant::now();
    let text = program();
    let off = (Checks::NONE, "checks off");
    let default = (Config::default().checks, "default checks");
    let all = (Checks::ALL, "all checks");
    for ((checks, name), count) in [(off, false), (off, true), (default, true), (all, true)] {
        let device = Device::new(Config { checks, count, threads: 1, ..Config::default() });
        let module = Module::load(&device, &text).expect("the program loads");
        let bytes = u64::from(ROUNDS) * 512 + 4096;
        let [source, target] = [bytes, 4096].map(|n| device.alloc(n).expect("memory"));
        device.fill(source, &[0], bytes).expect("a live buffer");
        let params: Vec<u8> = [source, target].iter().flat_map(|a| a.to_le_bytes()).collect();
        let launch =
            Launch { grid: [4, 1, 1], block: [128, 1, 1], dynamic_shared: 0, params: &params, cooperative: false };
        let start = seconds(epoch);
        device.launch(&module, "walk", launch).unwrap_or_else(|r| panic!("{r}"));
        let lanes = 4.0 * 128.0 * f64::from(ROUNDS) * 49.0;
        let counted = if count { "counting" } else { "not counting" };
        println!("{name:14} {counted:12} {:.2} G lane instructions/s/core", lanes / (seconds(epoch) - start) / 1e9);
    }
}
