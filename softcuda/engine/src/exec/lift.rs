//! From a function of values to an instruction of a warp: read 32 lanes, apply, write the lanes of the mask.
//!
//! All lanes are computed, also those outside the mask: functions are total, and a straight loop vectorises. The `lane` macros
//! make the two functions of [`super::inst::Tiers`] from one expression; the expression is inlined into both.

use super::ctx::Ctx;
use super::inst::{Flow, Inst};
use super::regs::Lane;

/// `d = f(a)`
#[inline(always)]
pub fn lift1<D: Lane, A: Lane>(c: &mut Ctx<'_, '_>, i: &Inst, f: impl Fn(A) -> D) -> Flow {
    let mut out = [D::Cell::default(); 32];
    let a = A::cells(&c.warp.regs, i.o[1]);
    for l in 0..32 {
        out[l] = f(A::from_cell(a[l])).cell();
    }
    c.warp.regs.put::<D>(i.o[0], c.mask, &out);
    Flow::Next
}

/// `d = f(a, b)`
#[inline(always)]
pub fn lift2<D: Lane, A: Lane, B: Lane>(c: &mut Ctx<'_, '_>, i: &Inst, f: impl Fn(A, B) -> D) -> Flow {
    let mut out = [D::Cell::default(); 32];
    let (a, b) = (A::cells(&c.warp.regs, i.o[1]), B::cells(&c.warp.regs, i.o[2]));
    for l in 0..32 {
        out[l] = f(A::from_cell(a[l]), B::from_cell(b[l])).cell();
    }
    c.warp.regs.put::<D>(i.o[0], c.mask, &out);
    Flow::Next
}

/// `d = f(a, b, c)`
#[inline(always)]
pub fn lift3<D: Lane, A: Lane, B: Lane, C: Lane>(c: &mut Ctx<'_, '_>, i: &Inst, f: impl Fn(A, B, C) -> D) -> Flow {
    let mut out = [D::Cell::default(); 32];
    let regs = &c.warp.regs;
    let (x, y, z) = (A::cells(regs, i.o[1]), B::cells(regs, i.o[2]), C::cells(regs, i.o[3]));
    for l in 0..32 {
        out[l] = f(A::from_cell(x[l]), B::from_cell(y[l]), C::from_cell(z[l])).cell();
    }
    c.warp.regs.put::<D>(i.o[0], c.mask, &out);
    Flow::Next
}

/// `d = f(a, b, c, e)`
#[inline(always)]
pub fn lift4<D: Lane, A: Lane, B: Lane, C: Lane, E: Lane>(
    c: &mut Ctx<'_, '_>,
    i: &Inst,
    f: impl Fn(A, B, C, E) -> D,
) -> Flow {
    let mut out = [D::Cell::default(); 32];
    let regs = &c.warp.regs;
    let (x, y) = (A::cells(regs, i.o[1]), B::cells(regs, i.o[2]));
    let (z, w) = (C::cells(regs, i.o[3]), E::cells(regs, i.o[4]));
    for l in 0..32 {
        out[l] = f(A::from_cell(x[l]), B::from_cell(y[l]), C::from_cell(z[l]), E::from_cell(w[l])).cell();
    }
    c.warp.regs.put::<D>(i.o[0], c.mask, &out);
    Flow::Next
}

/// The lanes for which `f(a, b)` holds.
#[inline(always)]
pub fn test2<A: Lane>(c: &Ctx<'_, '_>, a: u32, b: u32, f: impl Fn(A, A) -> bool) -> u32 {
    let (a, b) = (A::cells(&c.warp.regs, a), A::cells(&c.warp.regs, b));
    let mut yes = [0u32; 32];
    for l in 0..32 {
        yes[l] = u32::from(f(A::from_cell(a[l]), A::from_cell(b[l]))) << l;
    }
    yes.iter().fold(0, |m, y| m | y)
}

/// Makes an [`super::inst::Exec`] of an expression over `c: &mut Ctx` and `i: &Inst`. A third name becomes a constant: whether this is code of
/// the AVX2 tier.
macro_rules! exec {
    (|$c:ident, $i:ident| $body:expr) => {
        exec!(|$c, $i, _| $body)
    };
    (|$c:ident, $i:ident, $fast:tt| $body:expr) => {{
        use $crate::exec::{Ctx, Exec, Flow, Inst, Taint, Tiers};
        fn base($c: &mut Ctx<'_, '_>, $i: &Inst) -> Flow {
            const $fast: bool = false;
            $body
        }
        #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt"))]
        fn avx2($c: &mut Ctx<'_, '_>, $i: &Inst) -> Flow {
            const $fast: bool = cfg!(target_arch = "x86_64");
            $body
        }
        Exec { tiers: Tiers { base, avx2 }, mods: 0, taint: Taint::Whole }
    }};
}

/// `lane1!(T, |a| ..)` or `lane1!(A => D, |a| ..)`
macro_rules! lane1 {
    ($t:ty, $f:expr) => {
        lane1!($t => $t, $f)
    };
    ($a:ty => $d:ty, $f:expr) => {
        $crate::exec::exec!(|c, i| $crate::exec::lift::lift1::<$d, $a>(c, i, $f))
    };
}

/// `lane2!(T, |a, b| ..)` or `lane2!(A, B => D, |a, b| ..)`
macro_rules! lane2 {
    ($t:ty, $f:expr) => {
        lane2!($t, $t => $t, $f)
    };
    ($a:ty, $b:ty => $d:ty, $f:expr) => {
        $crate::exec::exec!(|c, i| $crate::exec::lift::lift2::<$d, $a, $b>(c, i, $f))
    };
}

/// `lane3!(T, |a, b, c| ..)` or `lane3!(A, B, C => D, |a, b, c| ..)`
macro_rules! lane3 {
    ($t:ty, $f:expr) => {
        lane3!($t, $t, $t => $t, $f)
    };
    ($a:ty, $b:ty, $c:ty => $d:ty, $f:expr) => {
        $crate::exec::exec!(|c, i| $crate::exec::lift::lift3::<$d, $a, $b, $c>(c, i, $f))
    };
}

/// `by_int!(ty, T => ..)`: the expression with `T` the Rust integer of a PTX type; `None` for other types.
macro_rules! by_int {
    ($ty:expr, $t:ident => $body:expr) => {
        match $ty {
            $crate::ptx::Ty::U16 | $crate::ptx::Ty::B16 => {
                type $t = u16;
                Some($body)
            }
            $crate::ptx::Ty::S16 => {
                type $t = i16;
                Some($body)
            }
            $crate::ptx::Ty::U32 | $crate::ptx::Ty::B32 => {
                type $t = u32;
                Some($body)
            }
            $crate::ptx::Ty::S32 => {
                type $t = i32;
                Some($body)
            }
            $crate::ptx::Ty::U64 | $crate::ptx::Ty::B64 => {
                type $t = u64;
                Some($body)
            }
            $crate::ptx::Ty::S64 => {
                type $t = i64;
                Some($body)
            }
            _ => None,
        }
    };
}

/// `by_width!(ty, T => ..)`: the expression with `T` the unsigned integer of a PTX type's width.
macro_rules! by_width {
    ($ty:expr, $t:ident => $body:expr) => {
        match $ty.bits() {
            16 => {
                type $t = u16;
                Some($body)
            }
            32 => {
                type $t = u32;
                Some($body)
            }
            64 => {
                type $t = u64;
                Some($body)
            }
            _ => None,
        }
    };
}

pub(crate) use {by_int, by_width, exec, lane1, lane2, lane3};
