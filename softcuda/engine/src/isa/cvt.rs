//! Conversions (PTX ISA 9.7.9.21, 9.7.9.22).
//!
//! Source and destination registers may be wider than their types: the source's low bits count, an integer result is extended to the
//! destination's width. `Inst::mem` holds the widths of the registers at hand.

use super::mods;
use super::row::{Mods, Row, row};
use crate::arith::cvt::{self, Int, Tf32Rounding};
use crate::arith::fp8::{E4m3, E5m2};
use crate::arith::half::{self, Bf16, F16, Half};
use crate::arith::round::{self, Rounding};
use crate::count::Class::{Cvt, Int as IntClass};
use crate::exec::lift::{lift1, lift2, lift3};
use crate::exec::{Ctx, Exec, Flow, Inst, Taint, exec, lane1, lane2};
use crate::ptx::Ty;

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("cvt{.sat}.(u8|u16|u32|u64|s8|s16|s32|s64).(u8|u16|u32|u64|s8|s16|s32|s64) d:0, a:1",                 "9.7.9.21", Cvt, int_to_int),
        row("cvt.(rni|rzi|rmi|rpi){.ftz}{.sat}.(u8|u16|u32|u64|s8|s16|s32|s64).(f16|bf16|f32|f64) d:0, a:1",      "9.7.9.21", Cvt, float_to_int),
        row("cvt.(rn|rz|rm|rp){.sat}.(f16|bf16|f32|f64).(u8|u16|u32|u64|s8|s16|s32|s64) d:0, a:1",                "9.7.9.21", Cvt, int_to_float),
        row("cvt{.rn|.rz|.rm|.rp}{.ftz}{.sat}.(f32|f64).(f32|f64) d:0, a:1",                                      "9.7.9.21", Cvt, float_to_float),
        row("cvt.(rni|rzi|rmi|rpi){.ftz}{.sat}.f32.f32 d:0, a:1",                                                 "9.7.9.21", Cvt, integral),
        row("cvt.(rni|rzi|rmi|rpi){.sat}.f64.f64 d:0, a:1",                                                       "9.7.9.21", Cvt, integral),
        row("cvt.(rni|rzi|rmi|rpi).f16.f16 d:0, a:1",                                                             "9.7.9.21", Cvt, integral),
        row("cvt.(rni|rzi|rmi|rpi).bf16.bf16 d:0, a:1",                                                           "9.7.9.21", Cvt, integral).since(90),
        row("cvt{.ftz}{.sat}.(f32|f64).(f16|bf16) d:0, a:1",                                                      "9.7.9.21", Cvt, widen),
        row("cvt.(rn|rz|rm|rp){.relu}{.satfinite}{.ftz}{.sat}.(f16|bf16).(f32|f64) d:0, a:1",                     "9.7.9.21", Cvt, narrow),
        row("cvt.(rn|rz){.relu}{.satfinite}.(f16x2|bf16x2).f32 d:0, a:1, b:1",                                    "9.7.9.21", Cvt, pair),
        row("cvt.rn.satfinite{.relu}.(e4m3x2|e5m2x2).f32 d:b16, a:1, b:1",                                        "9.7.9.21", Cvt, small_pair).since(89),
        row("cvt.rn.satfinite{.relu}.(e4m3x2|e5m2x2).(f16x2|bf16x2) d:b16, a:b32",                                "9.7.9.21", Cvt, small_from_half).since(89),
        row("cvt.rn{.relu}.f16x2.(e4m3x2|e5m2x2) d:b32, a:b16",                                                   "9.7.9.21", Cvt, small_to_half).since(89),
        row("cvt.(rn|rz|rna){.satfinite}{.relu}.tf32.f32 d:b32, a:1",                                             "9.7.9.21", Cvt, tf32),
        row("cvt.pack.sat.(u16|s16).s32 d:b32, a:s32, b:s32",                                                     "9.7.9.22", IntClass, saturated_pair),
        row("cvt.pack.sat.(u8|s8|u4|s4|u2|s2).s32.b32 d:b32, a:s32, b:s32, c:b32",                                "9.7.9.22", IntClass, saturated_into),
    ]
}

const INTS: [(Ty, Int); 8] = [
    (Ty::U8, Int::U8),
    (Ty::U16, Int::U16),
    (Ty::U32, Int::U32),
    (Ty::U64, Int::U64),
    (Ty::S8, Int::S8),
    (Ty::S16, Int::S16),
    (Ty::S32, Int::S32),
    (Ty::S64, Int::S64),
];

fn code(ty: Ty) -> Option<u32> {
    INTS.iter().position(|t| t.0 == ty).map(|p| p as u32)
}

// `mods`: as `mods::pack`, then the integer types.
const TO: u32 = 8;
const FROM: u32 = 12;

#[inline(always)]
fn to(i: &Inst) -> Int {
    INTS[(i.mods >> TO & 7) as usize].1
}

#[inline(always)]
fn from(i: &Inst) -> Int {
    INTS[(i.mods >> FROM & 7) as usize].1
}

/// `d = f(a)` on 64-bit values from and to registers of any width.
#[inline(always)]
fn convert(c: &mut Ctx<'_, '_>, i: &Inst, f: impl Fn(u64) -> u64) -> Flow {
    let a = c.warp.regs.widened(i.o[1], i.mem.base64);
    if i.mem.register == 64 {
        let out = a.map(f);
        c.warp.regs.put::<u64>(i.o[0], c.mask, &out);
    } else {
        let keep = if i.mem.register == 16 { 0xffff } else { u32::MAX };
        let out = a.map(|x| f(x) as u32 & keep);
        c.warp.regs.put::<u32>(i.o[0], c.mask, &out);
    }
    Flow::Next
}

fn int_to_int(m: &Mods) -> Option<Exec> {
    let (d, a) = (m.nth_ty(0)?, m.nth_ty(1)?);
    let mods = mods::pack(m) | code(d)? << TO | code(a)? << FROM;
    let exec = match (d, a, m.has("sat")) {
        (Ty::U64, Ty::U32, false) => exec!(|c, i| convert(c, i, |x| x as u32 as u64)),
        (Ty::S64, Ty::S32, false) => exec!(|c, i| convert(c, i, |x| x as i32 as i64 as u64)),
        (Ty::U32, Ty::U64, false) => exec!(|c, i| convert(c, i, |x| x as u32 as u64)),
        (Ty::U16, Ty::U32, false) => exec!(|c, i| convert(c, i, |x| x as u16 as u64)),
        (Ty::U32, Ty::U16, false) => exec!(|c, i| convert(c, i, |x| x as u16 as u64)),
        (_, _, false) => exec!(|c, i| {
            let (from, to) = (from(i), to(i));
            convert(c, i, |x| cvt::int_to_int(x, from, to, false))
        }),
        _ => exec!(|c, i| {
            let (from, to) = (from(i), to(i));
            convert(c, i, |x| cvt::int_to_int(x, from, to, true))
        }),
    };
    // A plain change of width moves bytes; an extension by sign makes all of them depend on the top one.
    let widens_sign = a.signed() && d.bits() > a.bits();
    let taint = if m.has("sat") || widens_sign { Taint::Whole } else { Taint::Truncate };
    Some(exec.with(mods).taint(taint))
}

fn float_to_int(m: &Mods) -> Option<Exec> {
    let exec = match m.nth_ty(1)? {
        Ty::F32 => exec!(|c, i| {
            let (to, round, flush) = (to(i), mods::round_of(i.mods), mods::ftz(i.mods));
            convert(c, i, |x| {
                let x = f32::from_bits(x as u32);
                cvt::f32_to_int(if flush { round::flush(x) } else { x }, round, to)
            })
        }),
        Ty::F64 => exec!(|c, i| {
            let (to, round) = (to(i), mods::round_of(i.mods));
            convert(c, i, |x| cvt::f64_to_int(f64::from_bits(x), round, to))
        }),
        Ty::F16 => exec!(|c, i| {
            let (to, round) = (to(i), mods::round_of(i.mods));
            convert(c, i, |x| cvt::f32_to_int(F16::widen(x as u16), round, to))
        }),
        _ => exec!(|c, i| {
            let (to, round) = (to(i), mods::round_of(i.mods));
            convert(c, i, |x| cvt::f32_to_int(Bf16::widen(x as u16), round, to))
        }),
    };
    Some(exec.with(mods::pack(m) | code(m.nth_ty(0)?)? << TO))
}

fn int_to_float(m: &Mods) -> Option<Exec> {
    let (d, a) = (m.nth_ty(0)?, m.nth_ty(1)?);
    // `.sat` is for f16, f32 and f64.
    if d == Ty::BF16 && m.has("sat") {
        return None;
    }
    let mods = mods::pack(m) | code(a)? << FROM;
    let exec = match (d, a, mods & 15) {
        (Ty::F32, Ty::S32, 0) => exec!(|c, i| convert(c, i, |x| u64::from((x as i32 as f32).to_bits()))),
        (Ty::F32, Ty::U32, 0) => exec!(|c, i| convert(c, i, |x| u64::from((x as u32 as f32).to_bits()))),
        (Ty::F32, ..) => exec!(|c, i| {
            let (from, round, sat) = (from(i), mods::round_of(i.mods), mods::sat(i.mods));
            convert(c, i, |x| {
                let y = cvt::int_to_f32(x, from, round);
                u64::from(if sat { round::saturate(y) } else { y }.to_bits())
            })
        }),
        (Ty::F64, ..) => exec!(|c, i| {
            let (from, round, sat) = (from(i), mods::round_of(i.mods), mods::sat(i.mods));
            convert(c, i, |x| {
                let y = cvt::int_to_f64(x, from, round);
                if sat { round::saturate64(y) } else { y }.to_bits()
            })
        }),
        (Ty::F16, ..) => exec!(|c, i| {
            let (from, round, sat) = (from(i), mods::round_of(i.mods), mods::sat(i.mods));
            convert(c, i, |x| {
                let y = cvt::int_to_half::<F16>(x, from, round);
                u64::from(if sat { half::saturate::<F16>(y) } else { y })
            })
        }),
        _ => exec!(|c, i| {
            let (from, round) = (from(i), mods::round_of(i.mods));
            convert(c, i, |x| u64::from(cvt::int_to_half::<Bf16>(x, from, round)))
        }),
    };
    Some(exec.with(mods))
}

fn float_to_float(m: &Mods) -> Option<Exec> {
    let rounded = m.which(&["rn", "rz", "rm", "rp"]).is_some();
    let exec = match (m.nth_ty(0)?, m.nth_ty(1)?) {
        (Ty::F32, Ty::F64) if rounded => exec!(|c, i| {
            let (round, ftz, sat) = (mods::round_of(i.mods), mods::ftz(i.mods), mods::sat(i.mods));
            lift1(c, i, |x: f64| {
                let y = cvt::f64_to_f32(x, round, ftz);
                if sat { round::saturate(y) } else { y }
            })
        }),
        (Ty::F64, Ty::F32) if !rounded => exec!(|c, i| {
            let (ftz, sat) = (mods::ftz(i.mods), mods::sat(i.mods));
            lift1(c, i, |x: f32| {
                let y = cvt::f32_to_f64(x, ftz);
                if sat { round::saturate64(y) } else { y }
            })
        }),
        (Ty::F32, Ty::F32) if !rounded => exec!(|c, i| {
            let (ftz, sat) = (mods::ftz(i.mods), mods::sat(i.mods));
            lift1(c, i, |x: f32| {
                let x = if ftz { round::flush(x) } else { x };
                if sat { round::saturate(x) } else { round::canonical(x) }
            })
        }),
        (Ty::F64, Ty::F64) if !rounded => exec!(|c, i| {
            let sat = mods::sat(i.mods);
            lift1(c, i, |x: f64| if sat { round::saturate64(x) } else { round::canonical64(x) })
        }),
        _ => return None,
    };
    Some(exec.with(mods::pack(m)))
}

fn integral(m: &Mods) -> Option<Exec> {
    let exec = match m.ty() {
        Ty::F32 => exec!(|c, i| {
            let (round, ftz, sat) = (mods::round_of(i.mods), mods::ftz(i.mods), mods::sat(i.mods));
            lift1(c, i, |x: f32| {
                let y = round::canonical(cvt::integral(if ftz { round::flush(x) } else { x }, round));
                if sat { round::saturate(y) } else { y }
            })
        }),
        Ty::F64 => exec!(|c, i| {
            let (round, sat) = (mods::round_of(i.mods), mods::sat(i.mods));
            lift1(c, i, |x: f64| {
                let y = round::canonical64(cvt::integral64(x, round));
                if sat { round::saturate64(y) } else { y }
            })
        }),
        Ty::F16 => exec!(|c, i| {
            let round = mods::round_of(i.mods);
            lift1(c, i, |x: u16| F16::nearest(cvt::integral(F16::widen(x), round)))
        }),
        _ => exec!(|c, i| {
            let round = mods::round_of(i.mods);
            lift1(c, i, |x: u16| Bf16::nearest(cvt::integral(Bf16::widen(x), round)))
        }),
    };
    Some(exec.with(mods::pack(m)))
}

fn widen(m: &Mods) -> Option<Exec> {
    let mods = mods::pack(m);
    let exec = match (m.nth_ty(0)?, m.nth_ty(1)?, mods) {
        (Ty::F32, Ty::F16, 0) => lane1!(u16 => f32, F16::widen),
        (Ty::F32, Ty::BF16, 0) => lane1!(u16 => f32, Bf16::widen),
        (Ty::F32, Ty::F16, _) => exec!(|c, i| widened::<F16>(c, i)),
        (Ty::F32, ..) => exec!(|c, i| widened::<Bf16>(c, i)),
        (_, Ty::F16, 0) => lane1!(u16 => f64, |h| cvt::f32_to_f64(F16::widen(h), false)),
        (_, Ty::BF16, 0) => lane1!(u16 => f64, |h| cvt::f32_to_f64(Bf16::widen(h), false)),
        _ => return None,
    };
    Some(exec.with(mods))
}

#[inline(always)]
fn widened<H: Half>(c: &mut Ctx<'_, '_>, i: &Inst) -> Flow {
    let (ftz, sat) = (mods::ftz(i.mods), mods::sat(i.mods));
    lift1(c, i, |h: u16| {
        // `.ftz` flushes f32 subnormals, which a bf16 can hold.
        let x = H::widen(h);
        let x = if ftz { round::flush(x) } else { x };
        if sat { round::saturate(x) } else { x }
    })
}

fn narrow(m: &Mods) -> Option<Exec> {
    // `.sat` is for f16, f32 and f64; f64 sources have none of the others.
    let of_f32 = m.has("relu") || m.has("satfinite") || m.has("ftz");
    if (m.nth_ty(0)? == Ty::BF16 && m.has("sat")) || (m.nth_ty(1)? == Ty::F64 && of_f32) {
        return None;
    }
    let mods = mods::pack(m);
    let exec = match (m.nth_ty(0)?, m.nth_ty(1)?, mods) {
        (Ty::F16, Ty::F32, 0) => lane1!(f32 => u16, F16::nearest),
        (Ty::BF16, Ty::F32, 0) => lane1!(f32 => u16, Bf16::nearest),
        (Ty::F16, Ty::F32, _) => exec!(|c, i| narrowed::<F16>(c, i)),
        (_, Ty::F32, _) => exec!(|c, i| narrowed::<Bf16>(c, i)),
        (Ty::F16, ..) => exec!(|c, i| {
            let (round, sat) = (mods::round_of(i.mods), mods::sat(i.mods));
            lift1(c, i, |x: f64| {
                let h = half::from_f64::<F16>(x, round);
                if sat { half::saturate::<F16>(h) } else { h }
            })
        }),
        _ => exec!(|c, i| {
            let round = mods::round_of(i.mods);
            lift1(c, i, |x: f64| half::from_f64::<Bf16>(x, round))
        }),
    };
    Some(exec.with(mods))
}

#[inline(always)]
fn narrowed<H: Half>(c: &mut Ctx<'_, '_>, i: &Inst) -> Flow {
    let (round, relu, satfinite) = (mods::round_of(i.mods), mods::relu(i.mods), mods::satfinite(i.mods));
    let (ftz, sat) = (mods::ftz(i.mods), mods::sat(i.mods));
    lift1(c, i, |x: f32| {
        let x = if ftz { round::flush(x) } else { x };
        let h = cvt::f32_to_half::<H>(x, round, relu, satfinite);
        if sat { half::saturate::<H>(h) } else { h }
    })
}

fn pair(m: &Mods) -> Option<Exec> {
    let mods = mods::pack(m);
    Some(
        match (m.nth_ty(0)?, mods) {
            (Ty::F16x2, 0) => lane2!(f32, f32 => u32, |a, b| cvt::pack_half::<F16>(a, b, Rounding::Rn, false, false)),
            (Ty::BF16x2, 0) => lane2!(f32, f32 => u32, |a, b| cvt::pack_half::<Bf16>(a, b, Rounding::Rn, false, false)),
            (Ty::F16x2, _) => exec!(|c, i| paired::<F16>(c, i)),
            _ => exec!(|c, i| paired::<Bf16>(c, i)),
        }
        .with(mods)
        .taint(Taint::Pair),
    )
}

#[inline(always)]
fn paired<H: Half>(c: &mut Ctx<'_, '_>, i: &Inst) -> Flow {
    let (round, relu, satfinite) = (mods::round_of(i.mods), mods::relu(i.mods), mods::satfinite(i.mods));
    lift2(c, i, |a: f32, b: f32| cvt::pack_half::<H>(a, b, round, relu, satfinite))
}

fn small_pair(m: &Mods) -> Option<Exec> {
    Some(
        match (m.nth_ty(0)?, m.has("relu")) {
            (Ty::E4M3x2, false) => lane2!(f32, f32 => u16, |a, b| cvt::pack_small::<E4m3>(a, b, false)),
            (Ty::E4M3x2, true) => lane2!(f32, f32 => u16, |a, b| cvt::pack_small::<E4m3>(a, b, true)),
            (_, false) => lane2!(f32, f32 => u16, |a, b| cvt::pack_small::<E5m2>(a, b, false)),
            (_, true) => lane2!(f32, f32 => u16, |a, b| cvt::pack_small::<E5m2>(a, b, true)),
        }
        .taint(Taint::Pair),
    )
}

fn small_from_half(m: &Mods) -> Option<Exec> {
    let relu = m.has("relu");
    let exec = match (m.nth_ty(0)?, m.nth_ty(1)?) {
        (Ty::E4M3x2, Ty::F16x2) => {
            exec!(|c, i| lift1(c, i, |a: u32| cvt::half2_to_small2::<F16, E4m3>(a, i.mods != 0)))
        }
        (Ty::E4M3x2, _) => exec!(|c, i| lift1(c, i, |a: u32| cvt::half2_to_small2::<Bf16, E4m3>(a, i.mods != 0))),
        (_, Ty::F16x2) => exec!(|c, i| lift1(c, i, |a: u32| cvt::half2_to_small2::<F16, E5m2>(a, i.mods != 0))),
        _ => exec!(|c, i| lift1(c, i, |a: u32| cvt::half2_to_small2::<Bf16, E5m2>(a, i.mods != 0))),
    };
    Some(exec.with(u32::from(relu)))
}

fn small_to_half(m: &Mods) -> Option<Exec> {
    Some(
        match (m.nth_ty(1)?, m.has("relu")) {
            (Ty::E4M3x2, false) => lane1!(u16 => u32, |a| cvt::small2_to_f16x2::<E4m3>(a, false)),
            (Ty::E4M3x2, true) => lane1!(u16 => u32, |a| cvt::small2_to_f16x2::<E4m3>(a, true)),
            (_, false) => lane1!(u16 => u32, |a| cvt::small2_to_f16x2::<E5m2>(a, false)),
            (_, true) => lane1!(u16 => u32, |a| cvt::small2_to_f16x2::<E5m2>(a, true)),
        }
        .taint(Taint::Halves),
    )
}

fn tf32(m: &Mods) -> Option<Exec> {
    let round = ["rna", "rn", "rz"].iter().position(|r| m.has(r))? as u32;
    Some(
        exec!(|c, i| {
            let round = [Tf32Rounding::Rna, Tf32Rounding::Rn, Tf32Rounding::Rz][(i.mods >> TO) as usize];
            let (relu, satfinite) = (mods::relu(i.mods), mods::satfinite(i.mods));
            lift1(c, i, |x: f32| cvt::f32_to_tf32(x, round, relu, satfinite))
        })
        .with(mods::pack(m) & 0xff | round << TO),
    )
}

/// Bits of the type that `cvt.pack` saturates to, and 1 above them if it is signed.
fn pack_type(m: &Mods) -> Option<u32> {
    let name = m.which(&["u16", "s16", "u8", "s8", "u4", "s4", "u2", "s2"])?;
    Some(name[1..].parse::<u32>().ok()? | u32::from(name.starts_with('s')) << 8)
}

fn saturated_pair(m: &Mods) -> Option<Exec> {
    let pair = exec!(|c, i| {
        let (bits, signed) = (i.mods & 0xff, i.mods >> 8 != 0);
        lift2(c, i, |a: i32, b: i32| cvt::pack(a, b, 0, bits, signed))
    });
    Some(pair.with(pack_type(m)?))
}

fn saturated_into(m: &Mods) -> Option<Exec> {
    let into = exec!(|c, i| {
        let (bits, signed) = (i.mods & 0xff, i.mods >> 8 != 0);
        lift3(c, i, |a: i32, b: i32, z: u32| cvt::pack(a, b, z, bits, signed))
    });
    Some(into.with(pack_type(m)?))
}
