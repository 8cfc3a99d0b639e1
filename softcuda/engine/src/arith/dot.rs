//! The sums of matrix products: `C + A x B` for a 16 x K and a K x 8 matrix, already gathered, in three numerics. K comes in runs of four.
//!
//! The ISA fixes neither the order nor the rounding of the additions inside one `mma`. So there are three answers, and a kernel must be right
//! under each:
//! - `exact`: f64 sum of the exact products, C first. Rounded once by the caller.
//! - `shuffled`: every addition rounds to f32, in an order that a seed decides.
//! - `truncated`: what tensor cores do (Fasi, Higham, Mikaitis, Pranesh, "Numerical behavior of NVIDIA tensor cores", 2021): all terms, C
//!   included, are aligned to the largest exponent, bits below a fixed position are dropped, the rest is added exactly. The exponent of a
//!   product is the sum of its operands' as they are stored: it is not that of the product where that is 2 or more, and a subnormal operand
//!   has the exponent of the smallest normal number. (An H100 gives these very bits with 25 of them kept.)
//!
//! Products of two values of at most 26 bits are exact in f64, so that fused and separate operations agree and the tiers are bit-equal.
//! Sums are kept for N = 8 columns side by side: eight f64 are two AVX2 registers.

/// Rows of A and of C.
pub const M: usize = 16;
/// Columns of B and of C.
pub const N: usize = 8;

/// A: row, and K in `R` runs of four.
pub type Rows<T, const R: usize> = [[[T; 4]; R]; M];
/// B: K in `R` runs of four, and column.
pub type Columns<T, const R: usize> = [[[T; N]; 4]; R];
/// C, then the sums: row, column.
pub type Sums = [[f64; N]; M];

/// A sum for each tier, never inlined: the matrices stay in memory, and the loops that gather them vectorise. `FAST`, which is set in
/// code of the AVX2 tier alone, chooses.
macro_rules! apart {
    ($(#[$doc:meta])* $name:ident = $sum:ident($($x:ident: $t:ty),*)) => {
        $(#[$doc])*
        #[inline(always)]
        pub(super) fn $name<const FAST: bool, const R: usize>($($x: $t),*) {
            #[inline(never)]
            #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
            fn avx2<const R: usize>($($x: $t),*) {
                $sum::<true, R>($($x),*)
            }
            #[inline(never)]
            fn base<const R: usize>($($x: $t),*) {
                $sum::<false, R>($($x),*)
            }
            if FAST {
                #[allow(unused_unsafe)] // No target feature, no danger: other processors.
                // SAFETY: code of the AVX2 tier runs where its features were detected.
                unsafe { avx2::<R>($($x),*) }
            } else {
                base::<R>($($x),*)
            }
        }
    };
}

apart! {
    /// [`exact_sum`].
    exact = exact_sum(a: &Rows<f64, R>, b: &Columns<f64, R>, sums: &mut Sums)
}
apart! {
    /// [`shuffled_sum`].
    shuffled = shuffled_sum(a: &Rows<f64, R>, b: &Columns<f64, R>, sums: &mut Sums, seed: u64)
}
apart! {
    /// [`truncated_sum`].
    truncated = truncated_sum(a: &Rows<f64, R>, b: &Columns<f64, R>, sums: &mut Sums, bits: i32, least: [f64; 2])
}
apart! {
    /// [`integer_sum`].
    integer = integer_sum(a: &Rows<i32, R>, b: &Columns<i32, R>, sums: &mut [[i32; N]; M], saturate: bool)
}

/// `sums += a x b` in f64, k ascending. `FMA` asks for fused instructions: the same results, slow where the processor has none.
#[inline(always)]
fn exact_sum<const FMA: bool, const R: usize>(a: &Rows<f64, R>, b: &Columns<f64, R>, sums: &mut Sums) {
    // Four rows at a time: eight independent AVX2 sums hide the latency of the addition.
    for (a, sums) in a.chunks_exact(4).zip(sums.chunks_exact_mut(4)) {
        let mut acc = [[0.0; N]; 4];
        acc.copy_from_slice(sums);
        for (run, b) in b.iter().enumerate() {
            for (t, b) in b.iter().enumerate() {
                for i in 0..4 {
                    let x = a[i][run][t];
                    for j in 0..N {
                        acc[i][j] = if FMA { x.mul_add(b[j], acc[i][j]) } else { x * b[j] + acc[i][j] };
                    }
                }
            }
        }
        sums.copy_from_slice(&acc);
    }
}

/// `sums + a x b`, each addition rounded to f32, in the order that `seed` decides; C takes part in the shuffle.
#[inline(always)]
fn shuffled_sum<const FAST: bool, const R: usize>(a: &Rows<f64, R>, b: &Columns<f64, R>, sums: &mut Sums, seed: u64) {
    let k = 4 * R;
    let mut order = [0u8; 65]; // term k stands for C
    let order = &mut order[..k + 1];
    for (i, term) in order.iter_mut().enumerate() {
        *term = i as u8;
    }
    let mut state = seed;
    for i in (1..=k).rev() {
        state = super::hash(state, i as u64);
        order.swap(i, (state % (i as u64 + 1)) as usize);
    }
    for (a, sums) in a.iter().zip(sums) {
        let c = *sums;
        let (a, b) = (a.as_flattened(), b.as_flattened());
        let term = |n: u8| if n as usize == k { c } else { b[n as usize].map(|b| a[n as usize] * b) };
        let mut acc = term(order[0]).map(|x| x as f32);
        for &n in &order[1..] {
            let term = term(n);
            for j in 0..N {
                acc[j] = (acc[j] as f64 + term[j]) as f32;
            }
        }
        *sums = acc.map(f64::from);
    }
}

/// The power of two that is a number's exponent: of a subnormal number that of `least`, the smallest normal one; of 0 it is 0.
#[inline(always)]
fn power(x: f64, least: f64) -> f64 {
    let power = f64::from_bits(x.to_bits() & 0x7ff0_0000_0000_0000);
    if power > 0.0 && power < least { least } else { power }
}

/// `sums + a x b` with all terms aligned to the largest exponent, bits below `2^-bits` of it dropped, added exactly. The result has up to
/// `bits + 8` bits: the caller's rounding (toward zero for f32) finishes it. `bits` is at most 25. `least` are the smallest normal numbers
/// of the operands. Where a term is not finite the f64 sum stands. `FAST` says that the processor truncates in one instruction.
#[inline(always)]
fn truncated_sum<const FAST: bool, const R: usize>(
    a: &Rows<f64, R>,
    b: &Columns<f64, R>,
    sums: &mut Sums,
    bits: i32,
    least: [f64; 2],
) {
    let powers = b.map(|run| run.map(|b| b.map(|x| power(x, least[1]))));
    let (b, powers) = (b.as_flattened(), powers.as_flattened());
    for (a, sums) in a.iter().zip(sums) {
        let a = a.as_flattened();
        let mut largest = sums.map(|c| power(c, f32::MIN_POSITIVE.into()));
        let mut plain = *sums;
        for k in 0..4 * R {
            let own = power(a[k], least[0]);
            for j in 0..N {
                let aligned = own * powers[k][j];
                largest[j] = if aligned > largest[j] { aligned } else { largest[j] };
                plain[j] += a[k] * b[k][j];
            }
        }
        // The exponent field of the largest makes the two powers of two: one step is 2^(exponent - bits).
        let field = largest.map(|x| (x.to_bits() >> 52) as i64);
        let step = field.map(|f| f64::from_bits(((f - bits as i64).max(1) as u64) << 52));
        let per_step = field.map(|f| f64::from_bits(((2046 + bits as i64 - f).clamp(1, 2046) as u64) << 52));
        let mut whole: [f64; N] = core::array::from_fn(|j| toward_zero::<FAST>(sums[j] * per_step[j]));
        for k in 0..4 * R {
            for j in 0..N {
                whole[j] += toward_zero::<FAST>(a[k] * b[k][j] * per_step[j]);
            }
        }
        for j in 0..N {
            let usable = largest[j] > 0.0 && plain[j].is_finite();
            sums[j] = if usable { whole[j] * step[j] } else { plain[j] };
        }
    }
}

/// The integral part of a value below 2^51 in magnitude.
#[inline(always)]
fn toward_zero<const FAST: bool>(x: f64) -> f64 {
    if FAST { x.trunc() } else { super::cvt::integral64(x, super::round::Rounding::Rz) }
}

/// `sums + a x b` modulo 2^32, or clamped to s32 if `saturate` (`.satfinite`). The products of at most 64 terms of 9 bits stay far below
/// 2^31, so that clamping the total is clamping the sum.
#[inline(always)]
fn integer_sum<const FAST: bool, const R: usize>(
    a: &Rows<i32, R>,
    b: &Columns<i32, R>,
    sums: &mut [[i32; N]; M],
    saturate: bool,
) {
    for (a, sums) in a.chunks_exact(4).zip(sums.chunks_exact_mut(4)) {
        let mut acc = [[0i32; N]; 4];
        for (run, b) in b.iter().enumerate() {
            for (t, b) in b.iter().enumerate() {
                for i in 0..4 {
                    for j in 0..N {
                        acc[i][j] += a[i][run][t] * b[j];
                    }
                }
            }
        }
        for (sums, acc) in sums.iter_mut().zip(acc) {
            for (sum, acc) in sums.iter_mut().zip(acc) {
                *sum = if saturate { sum.saturating_add(acc) } else { sum.wrapping_add(acc) };
            }
        }
    }
}
