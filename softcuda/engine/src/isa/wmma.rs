//! Matrix products with fragments that the device lays out (PTX ISA 9.7.14.4); the layout is that of `arith::wmma`.

use super::matrix::whole;
use super::row::{Mods, Row, row};
use crate::arith::half::{F16, Half};
use crate::arith::mma::{Accumulator, Element};
use crate::arith::wmma::{self, Fragment, Matrix, Shape};
use crate::count::Class::{Memory, Mma as MmaClass};
use crate::exec::regs::File;
use crate::exec::{ABSENT, Ctx, Exec, Flow, Inst, Taint, exec, taint};
use crate::memory::Access;
use crate::ptx::Ty;
use crate::report::FaultKind;

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("wmma.load.(a|b).sync.aligned.(row|col).(m16n16k16|m8n32k16|m32n8k16){.global|.shared|.shared::cta}.f16 d:8xb32, [a]{, b:u32}", "9.7.14.4.3", Memory, load),
        row("wmma.load.(a|b).sync.aligned.(row|col).m16n16k16{.global|.shared|.shared::cta}.bf16 d:4xb32, [a]{, b:u32}",   "9.7.14.4.3", Memory, load),
        row("wmma.load.a.sync.aligned.(row|col).m8n32k16{.global|.shared|.shared::cta}.bf16 d:2xb32, [a]{, b:u32}",        "9.7.14.4.3", Memory, load),
        row("wmma.load.b.sync.aligned.(row|col).m8n32k16{.global|.shared|.shared::cta}.bf16 d:8xb32, [a]{, b:u32}",        "9.7.14.4.3", Memory, load),
        row("wmma.load.a.sync.aligned.(row|col).m32n8k16{.global|.shared|.shared::cta}.bf16 d:8xb32, [a]{, b:u32}",        "9.7.14.4.3", Memory, load),
        row("wmma.load.b.sync.aligned.(row|col).m32n8k16{.global|.shared|.shared::cta}.bf16 d:2xb32, [a]{, b:u32}",        "9.7.14.4.3", Memory, load),
        row("wmma.load.(a|b).sync.aligned.(row|col).m16n16k8{.global|.shared|.shared::cta}.tf32 d:4xb32, [a]{, b:u32}",    "9.7.14.4.3", Memory, load),
        row("wmma.load.(a|b).sync.aligned.(row|col).m16n16k16{.global|.shared|.shared::cta}.(s8|u8) d:2xb32, [a]{, b:u32}", "9.7.14.4.3", Memory, load),
        row("wmma.load.a.sync.aligned.(row|col).m8n32k16{.global|.shared|.shared::cta}.(s8|u8) d:1xb32, [a]{, b:u32}",     "9.7.14.4.3", Memory, load),
        row("wmma.load.b.sync.aligned.(row|col).m8n32k16{.global|.shared|.shared::cta}.(s8|u8) d:4xb32, [a]{, b:u32}",     "9.7.14.4.3", Memory, load),
        row("wmma.load.a.sync.aligned.(row|col).m32n8k16{.global|.shared|.shared::cta}.(s8|u8) d:4xb32, [a]{, b:u32}",     "9.7.14.4.3", Memory, load),
        row("wmma.load.b.sync.aligned.(row|col).m32n8k16{.global|.shared|.shared::cta}.(s8|u8) d:1xb32, [a]{, b:u32}",     "9.7.14.4.3", Memory, load),
        row("wmma.load.(a|b).sync.aligned.(row|col).m8n8k4{.global|.shared|.shared::cta}.f64 d:1xf64, [a]{, b:u32}",       "9.7.14.4.3", Memory, load),
        row("wmma.load.a.sync.aligned.row.m8n8k32{.global|.shared|.shared::cta}.(s4|u4) d:1xb32, [a]{, b:u32}",            "9.7.14.4.3", Memory, load),
        row("wmma.load.b.sync.aligned.col.m8n8k32{.global|.shared|.shared::cta}.(s4|u4) d:1xb32, [a]{, b:u32}",            "9.7.14.4.3", Memory, load),
        row("wmma.load.a.sync.aligned.row.m8n8k128{.global|.shared|.shared::cta}.b1 d:1xb32, [a]{, b:u32}",                "9.7.14.4.3", Memory, load),
        row("wmma.load.b.sync.aligned.col.m8n8k128{.global|.shared|.shared::cta}.b1 d:1xb32, [a]{, b:u32}",                "9.7.14.4.3", Memory, load),
        row("wmma.load.c.sync.aligned.(row|col).(m16n16k16|m8n32k16|m32n8k16){.global|.shared|.shared::cta}.f16 d:4xb32, [a]{, b:u32}", "9.7.14.4.3", Memory, load),
        row("wmma.load.c.sync.aligned.(row|col).(m16n16k16|m8n32k16|m32n8k16|m16n16k8){.global|.shared|.shared::cta}.(f32|s32) d:8xb32, [a]{, b:u32}", "9.7.14.4.3", Memory, load),
        row("wmma.load.c.sync.aligned.(row|col).(m8n8k32|m8n8k128){.global|.shared|.shared::cta}.s32 d:2xb32, [a]{, b:u32}", "9.7.14.4.3", Memory, load),
        row("wmma.load.c.sync.aligned.(row|col).m8n8k4{.global|.shared|.shared::cta}.f64 d:2xf64, [a]{, b:u32}",           "9.7.14.4.3", Memory, load),
        row("wmma.store.d.sync.aligned.(row|col).(m16n16k16|m8n32k16|m32n8k16){.global|.shared|.shared::cta}.f16 [a], b:4xb32{, c:u32}", "9.7.14.4.4", Memory, store),
        row("wmma.store.d.sync.aligned.(row|col).(m16n16k16|m8n32k16|m32n8k16|m16n16k8){.global|.shared|.shared::cta}.(f32|s32) [a], b:8xb32{, c:u32}", "9.7.14.4.4", Memory, store),
        row("wmma.store.d.sync.aligned.(row|col).(m8n8k32|m8n8k128){.global|.shared|.shared::cta}.s32 [a], b:2xb32{, c:u32}", "9.7.14.4.4", Memory, store),
        row("wmma.store.d.sync.aligned.(row|col).m8n8k4{.global|.shared|.shared::cta}.f64 [a], b:2xf64{, c:u32}",          "9.7.14.4.4", Memory, store),
        row("wmma.mma.sync.aligned.(row|col).(row|col).(m16n16k16|m8n32k16|m32n8k16).f32.f32 d:8xb32, a:8xb32, b:8xb32, c:8xb32", "9.7.14.4.5", MmaClass, mma),
        row("wmma.mma.sync.aligned.(row|col).(row|col).(m16n16k16|m8n32k16|m32n8k16).f16.f16 d:4xb32, a:8xb32, b:8xb32, c:4xb32", "9.7.14.4.5", MmaClass, mma),
        row("wmma.mma.sync.aligned.(row|col).(row|col).(m16n16k16|m8n32k16|m32n8k16).f32.f16 d:8xb32, a:8xb32, b:8xb32, c:4xb32", "9.7.14.4.5", MmaClass, mma),
        row("wmma.mma.sync.aligned.(row|col).(row|col).(m16n16k16|m8n32k16|m32n8k16).f16.f32 d:4xb32, a:8xb32, b:8xb32, c:8xb32", "9.7.14.4.5", MmaClass, mma),
        row("wmma.mma.sync.aligned.(row|col).(row|col).m16n16k16.f32.bf16.bf16.f32 d:8xb32, a:4xb32, b:4xb32, c:8xb32",    "9.7.14.4.5", MmaClass, mma),
        row("wmma.mma.sync.aligned.(row|col).(row|col).m8n32k16.f32.bf16.bf16.f32 d:8xb32, a:2xb32, b:8xb32, c:8xb32",     "9.7.14.4.5", MmaClass, mma),
        row("wmma.mma.sync.aligned.(row|col).(row|col).m32n8k16.f32.bf16.bf16.f32 d:8xb32, a:8xb32, b:2xb32, c:8xb32",     "9.7.14.4.5", MmaClass, mma),
        row("wmma.mma.sync.aligned.(row|col).(row|col).m16n16k8.f32.tf32.tf32.f32 d:8xb32, a:4xb32, b:4xb32, c:8xb32",     "9.7.14.4.5", MmaClass, mma),
        row("wmma.mma.sync.aligned.(row|col).(row|col).m16n16k16.s32.(s8|u8).(s8|u8).s32{.satfinite} d:8xb32, a:2xb32, b:2xb32, c:8xb32", "9.7.14.4.5", MmaClass, mma),
        row("wmma.mma.sync.aligned.(row|col).(row|col).m8n32k16.s32.(s8|u8).(s8|u8).s32{.satfinite} d:8xb32, a:1xb32, b:4xb32, c:8xb32", "9.7.14.4.5", MmaClass, mma),
        row("wmma.mma.sync.aligned.(row|col).(row|col).m32n8k16.s32.(s8|u8).(s8|u8).s32{.satfinite} d:8xb32, a:4xb32, b:1xb32, c:8xb32", "9.7.14.4.5", MmaClass, mma),
        row("wmma.mma.sync.aligned.row.col.m8n8k32.s32.(s4|u4).(s4|u4).s32{.satfinite} d:2xb32, a:1xb32, b:1xb32, c:2xb32", "9.7.14.4.5", MmaClass, mma),
        row("wmma.mma.sync.aligned.(row|col).(row|col).m8n8k4.f64.f64.f64.f64{.rn} d:2xf64, a:1xf64, b:1xf64, c:2xf64",    "9.7.14.4.5", MmaClass, |_| Some(super::matrix::product_f64(8, 4))),
        row("wmma.mma.(xor|and).popc.sync.aligned.row.col.m8n8k128.s32.b1.b1.s32 d:2xb32, a:1xb32, b:1xb32, c:2xb32",      "9.7.14.4.5", MmaClass, |m| Some(super::matrix::product_bits(m))),
    ]
}

const SHAPES: [(&str, Shape); 7] = [
    ("m16n16k16", Shape { m: 16, n: 16, k: 16 }),
    ("m8n32k16", Shape { m: 8, n: 32, k: 16 }),
    ("m32n8k16", Shape { m: 32, n: 8, k: 16 }),
    ("m16n16k8", Shape { m: 16, n: 16, k: 8 }),
    ("m8n8k4", Shape { m: 8, n: 8, k: 4 }),
    ("m8n8k32", Shape { m: 8, n: 8, k: 32 }),
    ("m8n8k128", Shape { m: 8, n: 8, k: 128 }),
];

fn shape(m: &Mods) -> Option<u32> {
    SHAPES.iter().position(|s| m.has(s.0)).map(|p| p as u32)
}

/// Bits of an element by the name of its type.
fn bits(m: &Mods) -> u32 {
    match m.which(&["b1", "s4", "u4", "s8", "u8", "f16", "bf16", "f64"]) {
        Some("b1") => 1,
        Some("s4" | "u4") => 4,
        Some("s8" | "u8") => 8,
        Some("f16" | "bf16") => 16,
        Some(_) => 64,
        None => 32,
    }
}

// `mods` of loads and stores: shape, matrix, column order, bits of an element.
const MATRIX: u32 = 4;
const COLUMNS: u32 = 1 << 6;
const BITS: u32 = 8;

fn moves(m: &Mods) -> Option<u32> {
    let matrix = ["a", "b", "c", "d"].iter().position(|n| m.has(n))? as u32;
    let columns = if m.has("col") { COLUMNS } else { 0 };
    Some(shape(m)? | matrix.min(2) << MATRIX | columns | bits(m) << BITS)
}

fn load(m: &Mods) -> Option<Exec> {
    Some(exec!(|c, i| whole(c, i, |c, i| each_piece(c, i, 1, 2, true))).with(moves(m)?).taint(Taint::Own))
}

fn store(m: &Mods) -> Option<Exec> {
    Some(exec!(|c, i| whole(c, i, |c, i| each_piece(c, i, 0, 2, false))).with(moves(m)?).taint(Taint::Own))
}

/// Moves a fragment from or to memory, piece by piece: a whole register where its elements are neighbours in memory, else an element. `at`
/// and `stride` are operand places.
fn each_piece(c: &mut Ctx<'_, '_>, i: &Inst, at: usize, stride: usize, loads: bool) -> Flow {
    let shape = SHAPES[(i.mods & 15) as usize].1;
    let matrix = [Matrix::A, Matrix::B, Matrix::C][(i.mods >> MATRIX & 3) as usize];
    let columns = i.mods & COLUMNS != 0;
    let bits = (i.mods >> BITS) as usize;
    let file = if bits == 64 { File::R64 } else { File::R32 };
    let per = if bits == 64 { 1 } else { 32 / bits };
    let each = i.list.len() * per;
    let (rows, wide) = match matrix {
        Matrix::A => (shape.m, shape.k),
        Matrix::B => (shape.k, shape.n),
        Matrix::C => (shape.m, shape.n),
    };
    let bases = c.addresses(i.o[at], i.offset, i.mem.base64);
    let strides = match i.o[stride] {
        ABSENT => [if columns { rows } else { wide } as u32; 32],
        slot => c.warp.regs.r32[slot as usize],
    };
    if bases.iter().any(|b| *b != bases[0]) || strides.iter().any(|s| *s != strides[0]) {
        return c.fail(i, c.mask, FaultKind::WarpSync, "wmma with another address or stride in some lane");
    }
    // A register holds neighbours when the fragment deals elements out in memory's own order.
    let dealt_by_columns = matrix == Matrix::B;
    let whole = per == 1 || columns == dealt_by_columns;
    let (pieces, size) = if whole { (1, bits * per / 8) } else { (per, bits / 8) };
    let element = |lane: usize, value: usize| {
        let (row, column) = shape.element(matrix, lane, value, each);
        let (line, place) = if columns { (column, row) } else { (row, column) };
        bases[lane].wrapping_add(((line * strides[lane] as usize + place) * bits / 8) as u64)
    };
    for (r, slot) in i.list.iter().enumerate() {
        let mut values = [0u64; 32];
        let mut missing = [0u64; 32];
        let mut brought = [0u64; 32];
        if !loads {
            values = c.warp.regs.widened(*slot, bits == 64);
            if c.launch.init {
                missing = std::array::from_fn(|l| c.warp.regs.shadow.bits(file, *slot, l));
            }
        }
        for piece in 0..pieces {
            let addresses = std::array::from_fn(|lane| element(lane, r * per + piece));
            let access = Access { size: size as u32, ..c.access(i, size as u32) };
            let shift = piece * bits;
            if loads {
                if let Err(fault) = c.door.load(&access, &addresses, c.wide) {
                    return c.fault(fault);
                }
                for l in 0..32 {
                    let words = c.wide.lane(l);
                    let word =
                        if size == 8 { u64::from(words[0]) | u64::from(words[1]) << 32 } else { u64::from(words[0]) };
                    values[l] |= word << shift;
                    if c.wide.tainted >> l & 1 != 0 {
                        let bytes = (0..size).filter(|b| c.wide.uninit[l] >> b & 1 != 0);
                        brought[l] = addresses[l];
                        missing[l] |= bytes.fold(0u64, |m, b| m | 0xff << (8 * b)) << shift;
                    }
                }
                continue;
            }
            (c.wide.uninit, c.wide.tainted) = ([0; 32], 0);
            for l in 0..32 {
                let word = values[l] >> shift;
                (c.wide.words[0][l], c.wide.words[1][l]) = (word as u32, (word >> 32) as u32);
                let bytes =
                    (0..size).filter(|b| missing[l] >> shift >> (8 * b) & 0xff != 0).fold(0u16, |m, b| m | 1 << b);
                if bytes != 0 && !taint::may_leave(c, i, (file, *slot), l, addresses[l]) {
                    return Flow::Fault;
                }
                c.wide.uninit[l] = bytes;
                c.wide.tainted |= u32::from(bytes != 0) << l;
            }
            c.wrote = true;
            if let Err(fault) = c.door.store(&access, &addresses, c.wide) {
                return c.fault(fault);
            }
        }
        if loads {
            if bits == 64 {
                c.warp.regs.put::<u64>(*slot, c.mask, &values);
            } else {
                c.warp.regs.put::<u32>(*slot, c.mask, &values.map(|v| v as u32));
            }
            if c.launch.init {
                for l in 0..32 {
                    let source = taint::source_of(c, l, brought[l]);
                    c.warp.regs.shadow.set(file, *slot, l, missing[l], source);
                }
            }
        }
    }
    Flow::Next
}

const ELEMENTS: [(&str, Element, usize); 7] = [
    ("f16", Element::F16, 16),
    ("bf16", Element::Bf16, 16),
    ("tf32", Element::Tf32, 32),
    ("s8", Element::S8, 8),
    ("u8", Element::U8, 8),
    ("s4", Element::S4, 4),
    ("u4", Element::U4, 4),
];

// `mods` of products: shape, element types, accumulator, `.satfinite`.
fn mma(m: &Mods) -> Option<Exec> {
    let place = |name: &str| ELEMENTS.iter().position(|e| e.0 == name).map(|p| p as u32);
    let last = m.parts.iter().filter(|p| !p.is_empty() && **p != "satfinite").copied().collect::<Vec<_>>();
    let (accumulator, a, b) = match last.as_slice() {
        [.., "s32", a, b, "s32"] => (2, place(a)?, place(b)?),
        [.., "f32", a @ ("bf16" | "tf32"), b, "f32"] => (0, place(a)?, place(b)?),
        // D and C may differ: the sum is then of f32.
        [.., "f16", "f16"] => (1, 0, 0),
        _ => (0, 0, 0),
    };
    let mods = shape(m)? | a << 4 | b << 8 | accumulator << 12 | u32::from(m.has("satfinite")) << 14;
    debug_assert!(m.ty() != Ty::F64);
    Some(exec!(|c, i| whole(c, i, multiply)).with(mods).taint(Taint::Own))
}

/// Operands d, a, b, c begin at `o[0..4]` in `list`.
fn multiply(c: &mut Ctx<'_, '_>, i: &Inst) -> Flow {
    let shape = SHAPES[(i.mods & 15) as usize].1;
    let element = |shift: u32| ELEMENTS[(i.mods >> shift & 15) as usize];
    let ((_, a_type, a_bits), (_, b_type, b_bits)) = (element(4), element(8));
    let accumulator = [Accumulator::F32, Accumulator::F16, Accumulator::S32][(i.mods >> 12 & 3) as usize];
    let bounds = [i.o[0], i.o[1], i.o[2], i.o[3], i.list.len() as u32];
    let take = |k: usize| -> Vec<[u32; 32]> {
        i.list[bounds[k] as usize..bounds[k + 1] as usize].iter().map(|s| c.warp.regs.r32[*s as usize]).collect()
    };
    let (a, b, mut acc) = (take(1), take(2), take(3));
    if accumulator == Accumulator::F32 && acc.len() == 4 {
        acc = acc.iter().flat_map(|r| [0, 16].map(|s| r.map(|w| F16::widen((w >> s) as u16).to_bits()))).collect();
    }
    let fragment = |registers, bits| Fragment { registers, bits };
    let c_bits = if accumulator == Accumulator::F16 { 16 } else { 32 };
    let seed = c.launch.seed ^ c.clock << 20 ^ u64::from(c.pc);
    let out = wmma::product(
        shape,
        (a_type, b_type),
        (fragment(&a, a_bits), fragment(&b, b_bits), fragment(&acc, c_bits)),
        (accumulator, i.mods >> 14 & 1 != 0),
        (c.launch.numerics.mma, seed),
    );
    let Some(mut out) = out else {
        return c.fail(i, c.mask, FaultKind::Bug, "a wmma that the row should have refused");
    };
    if accumulator == Accumulator::F32 && bounds[1] == 4 {
        let half = |x: u32| u32::from(F16::nearest(f32::from_bits(x)));
        out = out.chunks(2).map(|p| std::array::from_fn(|l| half(p[0][l]) | half(p[1][l]) << 16)).collect();
    }
    super::matrix::taint_all(c, i);
    for (register, slot) in out.iter().zip(&i.list) {
        c.warp.regs.put::<u32>(*slot, c.mask, register);
    }
    Flow::Next
}
