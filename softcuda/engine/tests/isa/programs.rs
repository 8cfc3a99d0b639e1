//! Instructions that are more than a function of a lane's registers, each in a small kernel of one warp: memory, atomics, exchange between lanes,
//! barriers, control. What thread i stored at `out[i]` must be what the closure says.

use super::coverage::{Executed, forms, one_statement_a_line};
use super::gpu;
use softcuda_engine::{Config, Device, Launch, Module};

/// A kernel body and the word that each lane must have stored.
pub struct Program {
    /// Section of the PTX ISA.
    pub section: &'static str,
    /// Between the prologue, which sets `%r0` to the lane, `%d0` to `out` and `%d1` to `&out[lane]`, and `ret`. Words at `data` (`%d2`) hold
    /// `1000 + i`. `buf` is shared, 1024 bytes, 16-byte aligned.
    pub body: &'static str,
    /// The word of a lane.
    pub want: fn(u32) -> u32,
}

fn text(body: &str) -> String {
    format!(
        ".version 8.5\n.target sm_90\n.address_size 64\n.const .align 4 .u32 constants[2] = {{77, 78}};\n.global .align 8 .u64 pointer = generic(constants);\n\
         .func (.param .b32 r) twice(.param .b32 x) {{ .reg .b32 %r1; ld.param.b32 %r1, [x]; shl.b32 %r1, %r1, 1; st.param.b32 [r], %r1; ret; }}\n\
         .visible .entry k(.param .u64 out, .param .u64 data) {{\n.shared .align 16 .b8 buf[1024];\n.local .align 16 .b8 mine[64];\n.global .u32 words[2] = {{11, 22}};\n\
         .reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<24>; .reg .b64 %d<12>; .reg .f32 %f<8>;\n\
         ld.param.u64 %d0, [out]; ld.param.u64 %d2, [data]; mov.u32 %r0, %laneid; mul.wide.u32 %d1, %r0, 4; add.s64 %d1, %d0, %d1;\n{body}\nret;\n}}\n"
    )
}

fn run(program: &Program, executed: &mut Executed) -> Result<Vec<u32>, String> {
    let model = softcuda_engine::Model::by_name("sm_90").expect("a known name");
    let device = Device::new(Config { threads: 1, model, ..Config::default() });
    let text = one_statement_a_line(&text(program.body));
    let module = Module::load(&device, &text).map_err(|e| e.to_string())?;
    let (out, data) = (device.alloc(128).expect("memory"), device.alloc(1024).expect("memory"));
    device.fill(out, &[0], 128).expect("in range");
    let words: Vec<u8> = (0..256u32).flat_map(|i| (1000 + i).to_le_bytes()).collect();
    device.write(data, &words).expect("in range");
    let params: Vec<u8> = [out, data].iter().flat_map(|p| p.to_le_bytes()).collect();
    let launch = Launch { grid: [1; 3], block: [32, 1, 1], dynamic_shared: 0, params: &params, cooperative: false };
    let stats = device.launch(&module, "k", launch).map_err(|r| r.to_string())?;
    executed.add(&forms(&text), &stats, &format!("programs {}", program.section));
    let mut bytes = [0u8; 128];
    device.read(out, &mut bytes).expect("in range");
    let mut data_after = [0u8; 1024];
    device.read(data, &mut data_after).expect("in range");
    if program.body.contains("brkpt") {
        return Ok(words_of(&bytes)); // Without a debugger it ends a GPU's context.
    }
    gpu::compare(&gpu::Launched {
        what: &format!("programs {} {}", program.section, program.body),
        text: &text,
        kernel: "k",
        grid: 1,
        block: 32,
        word: 4,
        arguments: &[
            gpu::Argument::Buffer { before: &[0; 128], after: &bytes },
            gpu::Argument::Buffer { before: &words, after: &data_after },
        ],
    });
    Ok(words_of(&bytes))
}

fn words_of(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// Runs all programs; what is wrong.
pub fn execute(executed: &mut Executed) -> Vec<String> {
    let mut wrong = Vec::new();
    for p in all() {
        let want: Vec<u32> = (0..32).map(p.want).collect();
        match run(&p, executed) {
            Ok(got) if got == want => {}
            Ok(got) => wrong.push(format!("{}: {}\n got {got:x?}\nwant {want:x?}", p.section, p.body)),
            Err(e) => wrong.push(format!("{}: {}\n{e}", p.section, p.body)),
        }
    }
    let trap = p("9.7.19.4", "setp.eq.u32 %p1, %r0, 5; @%p1 trap;", |_| 0);
    match run(&trap, executed) {
        Err(e) if e.contains("thread 5") && e.contains("trap") => executed.note("trap", "programs 9.7.19.4"),
        other => wrong.push(format!("trap: {other:?}")),
    }
    wrong
}

#[test]
fn programs_store_what_the_manual_says() {
    let wrong = execute(&mut Executed::default());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn p(section: &'static str, body: &'static str, want: fn(u32) -> u32) -> Program {
    Program { section, body, want }
}

/// Value of a half.
fn h(x: f32) -> u32 {
    u32::from(half::f16::from_f32(x).to_bits())
}

/// Word of lane l of the 8x8 matrix of halves whose element (row, column) is `100 row + column`: row l / 4, columns 2 (l % 4) and the next.
fn fragment(l: u32, transposed: bool) -> u32 {
    let (i, j) = (l / 4, 2 * (l % 4));
    let at = |i: u32, j: u32| if transposed { 100 * j + i } else { 100 * i + j };
    at(i, j) | at(i, j + 1) << 16
}

/// Writes the halves `100 row + column` of 32 rows of 8 to `buf`: lane l writes row l, as `100 (l % 8) + column`, plus 1000 for each 8 rows.
const MATRICES: &str = "mov.u32 %r1, buf; and.b32 %r2, %r0, 7; mul.lo.u32 %r2, %r2, 100; shr.u32 %r3, %r0, 3; mad.lo.u32 %r2, %r3, 1000, %r2;\n\
    mul.lo.u32 %r3, %r2, 65537; add.u32 %r4, %r3, 0x10000; add.u32 %r5, %r3, 0x30002; add.u32 %r6, %r3, 0x50004; add.u32 %r7, %r3, 0x70006;\n\
    mad.lo.u32 %r1, %r0, 16, %r1; st.shared.v4.b32 [%r1], {%r4, %r5, %r6, %r7}; bar.warp.sync -1;\n";

#[rustfmt::skip] // One program an entry.
fn all() -> Vec<Program> {
    let mut list = vec![
        // 9.7.9: loads and stores in every space, vectors, extension.
        p("9.7.9.8", "mul.wide.u32 %d3, %r0, 4; add.s64 %d3, %d2, %d3; ld.global.u32 %r1, [%d3]; st.global.u32 [%d1], %r1;", |l| 1000 + l),
        p("9.7.9.8", "ld.u32 %r1, [%d2+8]; st.u32 [%d1], %r1;", |_| 1002),
        p("9.7.9.8", "ld.global.L2::cache_hint.v2.u32 {%r1, %r2}, [%d2+8], %d2; add.u32 %r1, %r1, %r2; st.global.L2::cache_hint.u32 [%d1], %r1, %d2;", |_| 2005),
        p("9.7.9.8", "ld.relaxed.gpu.global.u32 %r1, [%d2]; ld.global.acquire.gpu.b32 %r2, [%d2+4]; ld.volatile.global.u32 %r3, [%d2+8]; add.u32 %r1, %r1, %r2; add.u32 %r1, %r1, %r3; st.global.release.gpu.u32 [%d1], %r1;", |_| 3003),
        p("9.7.9.8", "st.global.u32 [%d1], 0x80ff7f01; ld.global.s8 %r1, [%d1+3]; ld.global.u8 %r2, [%d1+3]; ld.global.s16 %h1, [%d1+2]; cvt.s32.s16 %r3, %h1; sub.u32 %r1, %r2, %r1; st.global.v2.u16 [%d1], {%h1, %h1};", |_| 0x80ff_80ff),
        p("9.7.9.8", "ld.const.u32 %r1, [constants+4]; ld.global.u64 %d3, [pointer]; ld.u32 %r2, [%d3]; add.u32 %r1, %r1, %r2; st.global.u32 [%d1], %r1;", |_| 155),
        p("9.7.9.8", "st.local.v4.u32 [mine], {%r0, %r0, 5, 6}; ld.local.v2.u32 {%r1, %r2}, [mine+8]; mov.u64 %d3, mine; cvta.local.u64 %d3, %d3; ld.u32 %r3, [%d3+4]; add.u32 %r1, %r1, %r2; add.u32 %r1, %r1, %r3; st.global.u32 [%d1], %r1;", |l| l + 11),
        p("9.7.9.8", "mov.u64 %d3, out; ld.param.u64 %d4, [%d3]; sub.u64 %d4, %d1, %d4; cvt.u32.u64 %r1, %d4; st.global.u32 [%d1], %r1;", |l| 4 * l),
        p("9.7.9.9", "ld.global.nc.v4.u32 {%r1, _, %r2, _}, [%d2]; ld.global.nc.L1::no_allocate.L2::128B.u32 %r3, [%d2+4]; ld.global.nc.L2::cache_hint.u32 %r4, [%d2], %d2; add.u32 %r1, %r1, %r2; add.u32 %r1, %r1, %r3; add.u32 %r1, %r1, %r4; st.global.u32 [%d1], %r1;", |_| 4003),
        p("9.7.9.10", "ldu.global.v2.u32 {%r1, %r2}, [%d2]; st.global.u32 [%d1], %r2;", |_| 1001),
        p("9.7.9.11", "mov.u32 %r1, buf; mad.lo.u32 %r2, %r0, 4, %r1; st.volatile.shared.u32 [%r2], %r0; bar.warp.sync -1; xor.b32 %r3, %r0, 1; mad.lo.u32 %r2, %r3, 4, %r1; ld.volatile.shared.u32 %r4, [%r2]; st.global.u32 [%d1], %r4;", |l| l ^ 1),
        p("9.7.9.15", "prefetch.global.L2 [%d2]; prefetchu.L1 [%d2]; applypriority.global.L2::evict_normal [%d2], 128; st.global.u32 [%d1], 1;", |_| 1),
        p("9.7.9.17", "discard.global.L2 [%d2], 128; st.global.u32 [%d2], 4; bar.warp.sync -1; ld.global.u32 %r1, [%d2]; st.global.u32 [%d1], %r1;", |_| 4),
        p("9.7.9.18", "createpolicy.fractional.L2::evict_first.b64 %d3, 1.0; createpolicy.cvt.L2.b64 %d3, %d3; createpolicy.range.global.L2::evict_last.b64 %d3, [%d2], 64, 128; st.global.u32 [%d1], 1;", |_| 1),
        // cp.async: 16 bytes, 4 bytes with the rest zero, by groups.
        p("9.7.9.25", "mov.u32 %r1, buf; mad.lo.u32 %r2, %r0, 16, %r1; mul.wide.u32 %d3, %r0, 16; add.s64 %d3, %d2, %d3; cp.async.cg.shared.global [%r2], [%d3], 16; cp.async.commit_group; cp.async.wait_group 0; ld.shared.u32 %r3, [%r2+12]; st.global.u32 [%d1], %r3;", |l| 1003 + 4 * l),
        p("9.7.9.25", "mov.u32 %r1, buf; mad.lo.u32 %r2, %r0, 16, %r1; and.b32 %r4, %r0, 15; cp.async.ca.shared.global.L2::128B [%r2], [%d2], 16, %r4; cp.async.wait_all; ld.shared.u32 %r3, [%r2]; st.global.u32 [%d1], %r3;", |l| match l & 15 { 0 => 0, 1 => 0xe8, _ => 1000 }),
        p("9.7.9.25", "mov.u32 %r1, buf; mad.lo.u32 %r2, %r0, 8, %r1; cp.async.ca.shared.global.L2::cache_hint [%r2], [%d2], 4, %d2; cp.async.ca.shared.global.L2::cache_hint [%r2+4], [%d2+4], 4, 0, %d2; cp.async.wait_all; ld.shared.v2.u32 {%r3, %r4}, [%r2]; add.u32 %r3, %r3, %r4; st.global.u32 [%d1], %r3;", |_| 1000),
        p("9.7.9.25", "setp.eq.u32 %p1, %r0, 0; @%p1 cp.async.ca.shared.global [buf+16], [words+4], 4; cp.async.wait_all; bar.warp.sync -1; ld.shared.u32 %r1, [buf+16]; st.global.u32 [%d1], %r1;", |_| 22),
        p("9.7.9.25", "mov.u32 %r1, buf; mad.lo.u32 %r2, %r0, 32, %r1; cp.async.cg.shared.global.L2::128B [%r2], [%d2], 16; cp.async.cg.shared.global.L2::cache_hint [%r2+16], [%d2+16], 16, %d2; cp.async.wait_all; ld.shared.u32 %r3, [%r2+12]; ld.shared.u32 %r4, [%r2+28]; add.u32 %r3, %r3, %r4; st.global.u32 [%d1], %r3;", |_| 1003 + 1007),
        // 9.7.13.5: atomics give the old value, lanes in order of their numbers here.
        p("9.7.13.5", "atom.global.add.u32 %r1, [%d0], 1; bar.warp.sync -1; st.global.u32 [%d1], %r1;", |l| l),
        p("9.7.13.5", "mov.u32 %r1, buf; st.shared.u32 [%r1], 0; bar.warp.sync -1; atom.shared.max.s32 %r2, [%r1], %r0; bar.warp.sync -1; ld.shared.u32 %r3, [%r1]; st.global.u32 [%d1], %r3;", |_| 31),
        p("9.7.13.5", "atom.relaxed.gpu.global.cas.b32 %r1, [%d2], 1000, %r0; atom.global.relaxed.gpu.exch.b32 %r1, [%d1], 9; atom.global.relaxed.gpu.cas.b32 %r2, [%d1], 9, 12;", |_| 12),
        p("9.7.13.5", "st.global.u32 [%d1], 0x3c003c00; atom.global.add.noftz.f16x2 %r1, [%d1], 0x40004200;", |_| h(3.0) << 16 | h(4.0)),
        p("9.7.13.6", "red.global.add.u32 [%d1], %r0; red.global.relaxed.gpu.or.b32 [%d1], 0x100; red.relaxed.gpu.global.add.s32 [%d1], 1;", |l| (l | 0x100) + 1),
        p("9.7.13.6", "atom.add.release.gpu.u32 %r1, [%d1], %r0; red.global.add.release.gpu.u32 [%d1], 5;", |l| l + 5),
        p("9.7.13.6", "mov.f32 %f1, 0f3FC00000; red.global.add.f32 [%d1], %f1; red.global.add.f32 [%d1], %f1;", |_| 3f32.to_bits()),
        // An ordering behind the operation; the second finds another value and changes nothing.
        p("9.7.13.5", "st.global.u32 [%d1], 7; atom.cas.acquire.gpu.b32 %r1, [%d1], 7, 20; atom.global.cas.acq_rel.cta.b32 %r1, [%d1], 7, 30; add.u32 %r1, %r1, 1; st.global.u32 [%d1], %r1;", |_| 21),
        // Vectors: every lane adds (1, 2) to one pair; old values sum to 0 + 1 + .. + 31 in the first and to twice that in the second.
        p("9.7.13.5", "mov.f32 %f1, 0f3F800000; mov.f32 %f2, 0f40000000; st.global.v4.f32 [%d2], {0f00000000, 0f00000000, 0f00000000, 0f00000000}; bar.warp.sync -1; atom.global.add.v2.f32 {%f3, %f4}, [%d2], {%f1, %f2}; mad.rn.f32 %f3, %f3, %f2, %f4; cvt.rzi.u32.f32 %r1, %f3; redux.sync.add.u32 %r1, %r1, -1; st.global.u32 [%d1], %r1;", |_| 4 * 496),
        p("9.7.13.5", "mov.b32 %r1, 0x3c003c00; st.global.v4.u32 [%d2], {0, 0, 0, 0}; bar.warp.sync -1; atom.relaxed.gpu.global.add.noftz.v4.f16x2 {%r2, %r3, %r4, %r5}, [%d2], {%r1, 0, 0, %r1}; red.global.add.noftz.v2.bf16x2 [%d2+8], {0x40004000, 0}; bar.warp.sync -1; ld.global.u32 %r1, [%d2+12]; st.global.u32 [%d1], %r1;", |_| h(32.0) << 16 | h(32.0)),
        p("9.7.13.6", "mov.b16 %h1, 0x3c00; mov.b16 %h2, 0x4000; st.global.v4.u32 [%d2], {0, 0, 0, 0}; bar.warp.sync -1; red.global.add.noftz.v8.f16 [%d2], {%h1, %h2, %h1, %h2, %h1, %h2, %h1, %h1}; bar.warp.sync -1; ld.global.u32 %r1, [%d2+8]; st.global.u32 [%d1], %r1;", |_| h(64.0) << 16 | h(32.0)),
        p("9.7.13.5", "st.global.u32 [%d1], 7; atom.global.cta.add.u32 %r1, [%d1], %r0; red.global.sys.add.u32 [%d1], %r1;", |l| l + 14),
        p("9.7.13.5", "st.global.u32 [%d1], 7; atom.global.sys.cas.b32 %r1, [%d1], 7, 8; red.global.gpu.add.u32 [%d1], 1;", |_| 9),
        p("9.7.13.5", "mov.u32 %r1, buf; st.shared.u32 [%r1], 50; bar.warp.sync -1; atom.shared.min.u32 %r2, [%r1], %r0; bar.warp.sync -1; ld.shared.u32 %r3, [%r1]; st.global.u32 [%d1], 5; atom.global.max.s32 %r4, [%d1], %r0; atom.relaxed.global.cas.b32 %r5, [%d1], 5, 100; red.global.add.u32 [%d1], %r3;", |l| if l <= 5 { 100 } else { l }),
        p("9.7.13.5", "st.global.u32 [%d1], 0x3f803c00; mov.b16 %h1, 0x4000; atom.add.noftz.f16 %h2, [%d1], %h1; atom.add.noftz.bf16x2 %r1, [%d1], 0x3f800000;", |_| 0x4000_4200),
        // 9.7.9.6: shuffles.
        p("9.7.9.6", "shfl.sync.bfly.b32 %r1, %r0, 5, 31, -1; st.global.u32 [%d1], %r1;", |l| l ^ 5),
        p("9.7.9.6", "shfl.sync.up.b32 %r1|%p1, %r0, 3, 0, -1; selp.u32 %r2, 100, 0, %p1; add.u32 %r1, %r1, %r2; st.global.u32 [%d1], %r1;", |l| if l >= 3 { l - 3 + 100 } else { l }),
        // Segments of eight lanes: 0x1807 = mask 24, clamp 7.
        p("9.7.9.6", "shfl.sync.down.b32 %r1|%p1, %r0, 3, 0x1807, -1; selp.u32 %r2, 100, 0, %p1; add.u32 %r1, %r1, %r2; st.global.u32 [%d1], %r1;", |l| if l % 8 + 3 < 8 { l + 3 + 100 } else { l }),
        p("9.7.9.6", "and.b32 %r3, %r0, 1; shfl.sync.idx.b32 %r1, %r0, %r3, 0x1c03, -1; st.global.u32 [%d1], %r1;", |l| (l & 28) | (l & 1)),
        // Two halves of the warp shuffle among themselves at different times.
        p("9.7.9.6", "setp.lt.u32 %p1, %r0, 16; @%p1 bra A; shfl.sync.idx.b32 %r1, %r0, 31, 31, 0xffff0000; bra B; A: shfl.sync.idx.b32 %r1, %r0, 15, 31, 0xffff; B: st.global.u32 [%d1], %r1;", |l| l | 15),
        p("9.7.13.9", "setp.lt.u32 %p1, %r0, 5; vote.sync.ballot.b32 %r1, %p1, -1; vote.sync.any.pred %p2, %p1, -1; vote.sync.all.pred %p3, %p1, -1; vote.sync.uni.pred %p4, !%p1, -1; selp.u32 %r2, 100, 0, %p2; selp.u32 %r3, 1000, 0, %p3; selp.u32 %r4, 10000, 0, %p4; add.u32 %r1, %r1, %r2; add.u32 %r1, %r1, %r3; add.u32 %r1, %r1, %r4; st.global.u32 [%d1], %r1;", |_| 131),
        p("9.7.13.10", "and.b32 %r1, %r0, 3; match.any.sync.b32 %r2, %r1, -1; st.global.u32 [%d1], %r2;", |l| 0x1111_1111 << (l & 3)),
        p("9.7.13.10", "mov.b64 %d3, 9; match.all.sync.b64 %r1|%p1, %d3, -1; match.all.sync.b32 %r2|%p2, %r0, -1; selp.u32 %r3, 1, 0, %p1; selp.u32 %r4, 2, 0, %p2; add.u32 %r3, %r3, %r4; add.u32 %r1, %r1, %r2; add.u32 %r1, %r1, %r3; st.global.u32 [%d1], %r1;", |_| 0),
        p("9.7.13.11", "setp.ge.u32 %p1, %r0, 30; @!%p1 bra E; activemask.b32 %r1; st.global.u32 [%d1], %r1; E:", |l| if l >= 30 { 0xc000_0000 } else { 0 }),
        p("9.7.13.12", "redux.sync.add.u32 %r1, %r0, -1; redux.sync.max.s32 %r2, %r0, -1; redux.sync.xor.b32 %r3, %r0, 0xffffffff; mad.lo.u32 %r1, %r2, 1000, %r1; add.u32 %r1, %r1, %r3; st.global.u32 [%d1], %r1;", |_| 496 + 31_000),
        p("9.7.13.12", "redux.sync.max.u32 %r1, %r0, -1; st.global.u32 [%d1], %r1;", |_| 31),
        p("9.7.13.14", "elect.sync %r1|%p1, 0xffffffff; selp.u32 %r2, 7, 0, %p1; add.u32 %r1, %r1, %r2; st.global.u32 [%d1], %r1;", |l| if l == 0 { 7 } else { 0 }),
        // 9.7.13.1 to 9.7.13.4: barriers and fences.
        p("9.7.13.1", "setp.lt.u32 %p1, %r0, 9; bar.sync 0; bar.red.popc.u32 %r1, 1, %p1; bar.red.and.pred %p2, 1, %p1; barrier.sync 2; barrier.red.popc.u32 %r2, 3, 32, !%p1; barrier.red.or.pred %p3, 3, %p1; selp.u32 %r3, 1000, 0, %p2; selp.u32 %r4, 2000, 0, %p3; mad.lo.u32 %r1, %r2, 100, %r1; add.u32 %r1, %r1, %r3; add.u32 %r1, %r1, %r4; st.global.u32 [%d1], %r1;", |_| 9 + 2300 + 2000),
        p("9.7.13.1", "bar.arrive 4, 64; bar.sync 4, 64; barrier.arrive 5, 64; barrier.cta.sync.aligned 5, 64; st.global.u32 [%d1], 1;", |_| 1),
        p("9.7.13.4", "membar.gl; membar.cta; fence.acq_rel.gpu; fence.sc.sys; bar.warp.sync -1; st.global.u32 [%d1], 1;", |_| 1),
        p("9.7.13.4", "fence.mbarrier_init.release.cluster; fence.proxy.alias; fence.proxy.async; fence.proxy.async.global; st.global.u32 [%d1], 1;", |_| 1),
        p("9.7.13.3", "barrier.cluster.arrive.relaxed; barrier.cluster.wait; barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned; st.global.u32 [%d1], 1;", |_| 1),
        // Barrier objects: bytes that are expected keep the phase open; who drops out is not awaited again.
        p("9.7.13.15", "setp.eq.u32 %p1, %r0, 0; @!%p1 bra W; mbarrier.init.shared.b64 [buf], 1; mbarrier.arrive.expect_tx.shared.b64 %d3, [buf], 16; mbarrier.test_wait.shared.b64 %p2, [buf], %d3; mbarrier.complete_tx.shared::cta.b64 [buf], 16; mbarrier.test_wait.shared.b64 %p3, [buf], %d3; selp.u32 %r1, 1, 0, %p2; selp.u32 %r2, 10, 0, %p3; add.u32 %r1, %r1, %r2; st.global.u32 [%d1], %r1; W:", |l| if l == 0 { 10 } else { 0 }),
        p("9.7.13.15", "setp.eq.u32 %p1, %r0, 0; @!%p1 bra W; mbarrier.init.shared::cta.b64 [buf], 2; mbarrier.arrive_drop.noComplete.shared.b64 %d3, [buf], 1; mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [buf], 16; mbarrier.arrive.release.cta.shared::cta.b64 %d4, [buf]; mbarrier.test_wait.shared.b64 %p2, [buf], %d4; mbarrier.complete_tx.shared::cta.b64 [buf], 16; mbarrier.try_wait.shared.b64 %p3, [buf], %d4; mbarrier.arrive_drop.expect_tx.shared.b64 %d5, [buf], 4; mbarrier.try_wait.parity.shared.b64 %p4, [buf], 1, 100; selp.u32 %r1, 1, 0, %p2; selp.u32 %r2, 10, 0, %p3; selp.u32 %r3, 100, 0, %p4; add.u32 %r1, %r1, %r2; add.u32 %r1, %r1, %r3; mbarrier.pending_count.b64 %r4, %d4; mad.lo.u32 %r1, %r4, 1000, %r1; st.global.u32 [%d1], %r1; W:", |l| if l == 0 { 1010 } else { 0 }),
        // 9.7.17: room on the stack, given back.
        p("9.7.17", "add.u32 %r1, %r0, 1; mul.lo.u32 %r1, %r1, 4; stacksave.u64 %d3; alloca.u32 %r2, %r1; st.local.u32 [%r2], %r0; alloca.u32 %r3, 4, 64; st.local.u32 [%r3], 9; and.b32 %r5, %r3, 63; ld.local.u32 %r4, [%r2]; stackrestore.u64 %d3; stacksave.u64 %d4; sub.u64 %d4, %d4, %d3; cvt.u32.u64 %r6, %d4; add.u32 %r4, %r4, %r5; add.u32 %r4, %r4, %r6; st.global.u32 [%d1], %r4;", |l| l),
        // 9.7.12: control.
        p("9.7.12", "setp.eq.u32 %p1, %r0, 3; @%p1 exit; bra.uni N; trap; N: T: .branchtargets X, Y; and.b32 %r1, %r0, 1; brx.idx %r1, T; X: st.global.u32 [%d1], 5; ret; Y: st.global.u32 [%d1], 6;", |l| if l == 3 { 0 } else { 5 + (l & 1) }),
        p("9.7.12.5", "{ .param .b32 a; .param .b32 b; st.param.b32 [a], %r0; call.uni (b), twice, (a); ld.param.b32 %r1, [b]; } st.global.u32 [%d1], %r1;", |l| 2 * l),
        p("9.7.12.5", "setp.lt.u32 %p1, %r0, 7; mov.u32 %r1, 1; @!%p1 bra E; { .param .b32 a; .param .b32 b; st.param.b32 [a], %r0; call (b), twice, (a); ld.param.b32 %r1, [b]; } E: st.global.u32 [%d1], %r1;", |l| if l < 7 { 2 * l } else { 1 }),
        // p is true where the bits or q say so; q negated; the guard may be p itself, and d nobody's.
        p("9.7.8.6", "setp.eq.u32 %p1, %r0, 0; lop3.or.b32 %r1|%p2, %r0, 6, 2, 0xc0, %p1; selp.u32 %r2, 100, 0, %p2; add.u32 %r1, %r1, %r2; st.global.u32 [%d1], %r1;", |l| (l & 6) + if l == 0 || l & 6 != 0 { 100 } else { 0 }),
        p("9.7.8.6", "setp.ge.u32 %p1, %r0, 16; mov.u32 %r1, 50; @!%p1 lop3.and.b32 %r1|%p1, %r0, 1, 0, 0xc0, !%p1; lop3.and.b32 _|%p2, %r0, 2, 0, 0xc0, %p1; selp.u32 %r2, 100, 0, %p1; selp.u32 %r3, 1000, 0, %p2; add.u32 %r1, %r1, %r2; add.u32 %r1, %r1, %r3; st.global.u32 [%d1], %r1;", |l| {
            let (r, p) = if l >= 16 { (50, true) } else { (l & 1, l & 1 != 0) };
            r + 100 * u32::from(p) + 1000 * u32::from(p && l & 2 != 0)
        }),
        p("9.7.19", "griddepcontrol.wait; griddepcontrol.launch_dependents; nanosleep.u32 10; pmevent 1; brkpt; st.global.u32 [%d1], 1;", |_| 1),
        p("9.7.9.3", "{ .reg .b8 %c<4>; .reg .b16 %w; mov.b32 {%c0, %c1, %c2, %c3}, 0x12345678; mov.b16 %w, {%c1, 0}; mov.b16 {%c1, _}, %w; mov.b32 %r1, {%c3, %c2, %c1, %c0}; st.global.u32 [%d1], %r1; }", |_| 0x7856_3412),
        p("9.7.9.3", "{ .reg .b8 %c; cvt.rzi.s8.f32 %c, 0fC0000000; mov.b16 %h2, {%c, %c}; mov.b32 %r1, {%h2, 0}; st.global.u32 [%d1], %r1; }", |_| 0xfefe),
        p("9.7.9.3", "mov.b32 {%h1, %h2}, 0x12345678; mov.b32 %r1, {%h2, %h1}; mov.b64 %d3, {%r1, 7}; mov.b64 {%r2, _}, %d3; st.global.u32 [%d1], %r2;", |_| 0x5678_1234),
        p("9.7.2", "add.cc.u32 %r1, 0xffffffff, %r0; addc.cc.u32 %r2, 0xffffffff, 0; addc.u32 %r3, 0, 0; sub.cc.u32 %r4, 0, %r0; subc.u32 %r5, 10, 0; mad.lo.u32 %r3, %r5, 16, %r3; st.global.u32 [%d1], %r3;", |l| if l == 0 { 160 } else { 145 }),
        // 9.7.14: one-hot products and moves of matrices; the full maps are tested with the fragments.
        p("9.7.14", "setp.eq.u32 %p1, %r0, 0; selp.b32 %r1, 0x00003c00, 0, %p1; mov.b32 %r2, 0; mov.f32 %f0, 0f40000000; mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2, %r2, %r2}, {%r1, %r2}, {%f0, %f0, %f0, %f0}; st.global.f32 [%d1], %f1;", |l| if l == 0 { 3f32 } else { 2f32 }.to_bits()),
        p("9.7.14", "mov.b32 %r1, 0x3c003c00; mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%r2, %r3}, {%r1, %r1}, {%r1}, {%r1, %r1}; mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r2, %r3}, {%r1, %r1, %r1, %r1}, {%r1, %r1}, {%r2, %r3}; st.global.u32 [%d1], %r3;", |_| h(25.0) << 16 | h(25.0)),
        p("9.7.14", "mov.b32 %r1, 0x3f803f80; mov.f32 %f0, 0f00000000; mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r1}, {%r1}, {%f0, %f0, %f0, %f0}; mov.b32 %r2, 0x3f800000; mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%f1, %f2, %f3, %f4}, {%r2, %r2}, {%r2}, {%f1, %f2, %f3, %f4}; mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f1, %f2, %f3, %f4}, {%r2, %r2, %r2, %r2}, {%r2, %r2}, {%f1, %f2, %f3, %f4}; st.global.f32 [%d1], %f4;", |_| 20f32.to_bits()),
        p("9.7.14", "mov.b32 %r1, 0x38383838; mov.f32 %f0, 0f00000000; mma.sync.aligned.m16n8k16.row.col.f32.e4m3.e4m3.f32 {%f1, %f2, %f3, %f4}, {%r1, %r1}, {%r1}, {%f0, %f0, %f0, %f0}; mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%f1, %f2, %f3, %f4}, {%r1, %r1, %r1, %r1}, {%r1, %r1}, {%f1, %f2, %f3, %f4}; st.global.f32 [%d1], %f2;", |_| 48f32.to_bits()),
        p("9.7.14", "mov.b32 %r1, 0x3c3c3c3c; mov.b32 %r2, 0; mma.sync.aligned.m16n8k16.row.col.f16.e5m2.e5m2.f16 {%r2, %r3}, {%r1, %r1}, {%r1}, {%r2, %r2}; mma.sync.aligned.m16n8k32.row.col.f16.e5m2.e5m2.f16 {%r2, %r3}, {%r1, %r1, %r1, %r1}, {%r1, %r1}, {%r2, %r3}; st.global.u32 [%d1], %r2;", |_| h(48.0) << 16 | h(48.0)),
        p("9.7.14", "mov.b32 %r1, 0x01010101; mov.b32 %r2, 0xffffffff; mov.b32 %r3, 0; mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%r4, %r5, %r6, %r7}, {%r1, %r1}, {%r2}, {%r3, %r3, %r3, %r3}; mma.sync.aligned.m16n8k32.row.col.satfinite.s32.u8.s8.s32 {%r4, %r5, %r6, %r7}, {%r2, %r2, %r2, %r2}, {%r1, %r1}, {%r4, %r5, %r6, %r7}; st.global.u32 [%d1], %r6;", |_| 32 * 255 - 16),
        p("9.7.14", "mov.b32 %r1, 0x11111111; mov.b32 %r2, 0xffffffff; mov.b32 %r3, 0; mma.sync.aligned.m16n8k32.row.col.s32.s4.s4.s32 {%r4, %r5, %r6, %r7}, {%r1, %r1}, {%r2}, {%r3, %r3, %r3, %r3}; mma.sync.aligned.m16n8k64.row.col.s32.u4.s4.s32 {%r4, %r5, %r6, %r7}, {%r2, %r2, %r2, %r2}, {%r1, %r1}, {%r4, %r5, %r6, %r7}; st.global.u32 [%d1], %r7;", |_| 64 * 15 - 32),
        p("9.7.14", "mov.b32 %r1, 0x3f803f80; mov.f32 %f0, 0f40400000; mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r1, %r1, %r1}, {%r1, %r1}, {%f0, %f0, %f0, %f0}; st.global.f32 [%d1], %f3;", |_| 19f32.to_bits()),
        p("9.7.14", "mov.b32 %r1, 0x02fe02fe; mov.b32 %r2, 0x01010303; mov.b32 %r3, %r0; mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r4, %r5, %r6, %r7}, {%r1, %r1, %r1, %r1}, {%r2, %r2}, {%r3, %r3, %r3, %r3}; st.global.u32 [%d1], %r5;", |l| l),
        p("9.7.14", "mov.b32 %r1, 0x01010101; mov.b32 %r2, 0xfefefefe; mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%r4, %r5}, {%r1}, {%r2}, {%r0, %r0}; st.global.u32 [%d1], %r4;", |l| l.wrapping_sub(32)),
        p("9.7.14", "mov.b32 %r1, 0x11111111; mov.b32 %r2, 0x22222222; mma.sync.aligned.m8n8k32.row.col.satfinite.s32.u4.s4.s32 {%r4, %r5}, {%r1}, {%r2}, {%r0, %r0}; st.global.u32 [%d1], %r5;", |l| l + 64),
        p("9.7.14", "mov.b32 %r1, 0x000000ff; mov.b32 %r2, 0x0000000f; mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.and.popc {%r4, %r5}, {%r1}, {%r2}, {%r0, %r0}; mma.sync.aligned.m16n8k128.row.col.s32.b1.b1.s32.xor.popc {%r6, %r7, %r8, %r9}, {%r1, %r1}, {%r2}, {%r4, %r4, %r4, %r4}; mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%r10, %r11, %r12, %r13}, {%r1, %r1, %r1, %r1}, {%r2, %r2}, {%r9, %r9, %r9, %r9}; st.global.u32 [%d1], %r13;", |l| l + 16 + 16 + 32),
        p("9.7.14", "{ .reg .f64 %g<16>; mov.f64 %g0, 0d3FF0000000000000; mov.f64 %g1, 0d4000000000000000; mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%g2, %g3}, {%g0}, {%g1}, {%g0, %g0}; mma.sync.aligned.m16n8k4.row.col.f64.f64.f64.f64 {%g4, %g5, %g6, %g7}, {%g0, %g0}, {%g1}, {%g3, %g3, %g3, %g3}; mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64 {%g8, %g9, %g10, %g11}, {%g0, %g0, %g0, %g0}, {%g1, %g1}, {%g7, %g7, %g7, %g7}; mma.sync.aligned.m16n8k16.row.col.f64.f64.f64.f64 {%g12, %g13, %g14, %g15}, {%g0, %g0, %g0, %g0, %g0, %g0, %g0, %g0}, {%g1, %g1, %g1, %g1}, {%g11, %g11, %g11, %g11}; cvt.rzi.u32.f64 %r1, %g14; st.global.u32 [%d1], %r1; }", |_| 1 + 8 + 8 + 16 + 32),
        // One lane's element of A and one of B: the sum stands where the tables of the manual put it.
        p("9.7.14", "{ .reg .f64 %g<8>; setp.eq.u32 %p1, %r0, 13; setp.eq.u32 %p2, %r0, 21; selp.f64 %g0, 0d4008000000000000, 0d0000000000000000, %p1; selp.f64 %g1, 0d4014000000000000, 0d0000000000000000, %p2; mov.f64 %g2, 0d0000000000000000; mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%g3, %g4}, {%g0}, {%g1}, {%g2, %g2}; cvt.rzi.u32.f64 %r1, %g4; st.global.u32 [%d1], %r1; }", |l| if l == 4 * 3 + 2 { 15 } else { 0 }),
        // wmma with other types of C than of D: f16 to f32 and back. All ones: 16 products and C = 2.
        p("9.7.14", "mov.b32 %r1, 0x3c003c00; mov.b32 %r2, 0x40004000; { .reg .f32 %x<8>; wmma.mma.sync.aligned.row.col.m16n16k16.f32.f16 {%x0, %x1, %x2, %x3, %x4, %x5, %x6, %x7}, {%r1, %r1, %r1, %r1, %r1, %r1, %r1, %r1}, {%r1, %r1, %r1, %r1, %r1, %r1, %r1, %r1}, {%r2, %r2, %r2, %r2}; wmma.mma.sync.aligned.row.col.m16n16k16.f16.f32 {%r4, %r5, %r6, %r7}, {%r1, %r1, %r1, %r1, %r1, %r1, %r1, %r1}, {%r1, %r1, %r1, %r1, %r1, %r1, %r1, %r1}, {%x0, %x1, %x2, %x3, %x4, %x5, %x6, %x7}; } st.global.u32 [%d1], %r7;", |_| h(34.0) << 16 | h(34.0)),
        p("9.7.14", "wmma.load.c.sync.aligned.row.m8n8k32.global.s32 {%r1, %r2}, [%d2], 8; wmma.load.c.sync.aligned.col.m8n8k128.global.s32 {%r3, %r4}, [%d2], 16; sub.u32 %r1, %r2, %r1; sub.u32 %r3, %r4, %r3; mad.lo.u32 %r1, %r3, 100, %r1; st.global.u32 [%d1], %r1;", |_| 1 + 1600),
    ];
    for (body, want) in [
        ("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r8, %r9}, [%r1]; st.global.u32 [%d1], %r9;", (|l| fragment(l, true) + 1000 * 65537) as fn(u32) -> u32),
        ("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r8}, [%r1]; st.global.u32 [%d1], %r8;", |l| fragment(l, false)),
        ("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r8}, [%r1]; st.global.u32 [%d1], %r8;", |l| fragment(l, true)),
        ("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r8, %r9}, [%r1]; st.global.u32 [%d1], %r9;", |l| fragment(l, false) + 1000 * 65537),
        ("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r8, %r9, %r10, %r11}, [%r1]; st.global.u32 [%d1], %r11;", |l| fragment(l, true) + 3000 * 65537),
        ("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r8}, [%r1]; movmatrix.sync.aligned.m8n8.trans.b16 %r9, %r8; st.global.u32 [%d1], %r9;", |l| fragment(l, true)),
        ("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r8, %r9, %r10, %r11}, [%r1]; bar.warp.sync -1; stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%r1], {%r8, %r9, %r10, %r11}; bar.warp.sync -1; ld.shared.u32 %r12, [%r1]; st.global.u32 [%d1], %r12;", |l| (l % 8) + (100 + l % 8) * 65536 + l / 8 * 1000 * 65537),
        ("stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r1], {%r0}; stmatrix.sync.aligned.m8n8.x2.shared.b16 [%r1], {%r0, %r0}; bar.warp.sync -1; ld.shared.u32 %r12, [%r1]; st.global.u32 [%d1], %r12;", |l| if l < 16 { l % 8 * 4 } else { l % 8 * 100 + l / 8 * 1000 + (l % 8 * 100 + l / 8 * 1000 + 1) * 65536 }),
    ] {
        list.push(p("9.7.14", Box::leak(format!("{MATRICES}{body}").into_boxed_str()), want));
    }
    list
}
