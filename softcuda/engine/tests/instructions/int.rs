//! Integer instructions on random words against plain Rust on wide integers (PTX ISA 9.7.1, 9.7.2, 9.7.8).

use crate::grid::{Grid, Kernel};
use crate::oracle::Random;

const COUNT: usize = 1 << 14;

/// Random words, with small ones, edges and all-ones patterns among them.
fn words(random: &mut Random, bits: u32) -> Vec<u64> {
    let keep = u64::MAX >> (64 - bits);
    let mut word = |i: usize| match i % 6 {
        0 => random.next() >> (random.next() % 64),
        1 => !(random.next() >> (random.next() % 64)),
        2 => [0, 1, u64::MAX, 1 << (bits - 1), (1 << (bits - 1)) - 1][(random.next() % 5) as usize],
        _ => random.next(),
    };
    (0..COUNT).map(|i| word(i) & keep).collect()
}

/// The value of the low bits as the type reads them.
fn signed(x: u64, bits: u32) -> i128 {
    i128::from((x as i64) << (64 - bits) >> (64 - bits))
}

type Run = Box<dyn Fn(&[u64]) -> i128>;

/// An operation on exact integers; what it gives is cut to the result's width.
struct Case {
    op: String,
    inputs: Vec<u32>,
    output: u32,
    run: Run,
}

fn cases() -> Vec<Case> {
    let mut list: Vec<Case> = Vec::new();
    for bits in [16u32, 32, 64] {
        for sign in ['u', 's'] {
            let ty = format!("{sign}{bits}");
            let value = move |x: u64| if sign == 's' { signed(x, bits) } else { i128::from(x) };
            let (min, max) = if sign == 's' {
                (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
            } else {
                (0, (1i128 << bits) - 1)
            };
            let mut add = |name: &str, inputs: &[u32], output: u32, run: Run| {
                list.push(Case { op: format!("{name}.{ty}"), inputs: inputs.to_vec(), output, run });
            };
            let (two, three) = ([bits; 2], [bits; 3]);
            add("add", &two, bits, Box::new(move |x| value(x[0]) + value(x[1])));
            add("sub", &two, bits, Box::new(move |x| value(x[0]) - value(x[1])));
            add("mul.lo", &two, bits, Box::new(move |x| value(x[0]).wrapping_mul(value(x[1]))));
            // A product of two unsigned 64-bit numbers needs all of u128; its bits are those of the wrapped i128.
            let high = move |x: &[u64]| {
                let product = value(x[0]).wrapping_mul(value(x[1]));
                if sign == 's' { product >> bits } else { (product as u128 >> bits) as i128 }
            };
            add("mul.hi", &two, bits, Box::new(high));
            add(
                "mad.lo",
                &three,
                bits,
                Box::new(move |x| value(x[0]).wrapping_mul(value(x[1])).wrapping_add(value(x[2]))),
            );
            add("mad.hi", &three, bits, Box::new(move |x| high(x) + value(x[2])));
            add("sad", &three, bits, Box::new(move |x| value(x[2]) + (value(x[0]) - value(x[1])).abs()));
            add("min", &two, bits, Box::new(move |x| value(x[0]).min(value(x[1]))));
            add("max", &two, bits, Box::new(move |x| value(x[0]).max(value(x[1]))));
            add("shr", &[bits, 32], bits, Box::new(move |x| value(x[0]) >> x[1].min(100)));
            if bits < 64 {
                add("mul.wide", &two, 2 * bits, Box::new(move |x| value(x[0]) * value(x[1])));
                let wide = move |x: u64| if sign == 's' { signed(x, 2 * bits) } else { i128::from(x) };
                let run = move |x: &[u64]| value(x[0]) * value(x[1]) + wide(x[2]);
                add("mad.wide", &[bits, bits, 2 * bits], 2 * bits, Box::new(run));
            }
            // By zero the ISA leaves the result open: never asked here.
            let divisor = move |x: u64| if value(x) == 0 { max } else { value(x) };
            let quotient = move |x: &[u64]| value(x[0]) / divisor(x[1]);
            let safe = |name: &str| {
                format!(
                    "{{ .reg .pred %z; setp.eq.{ty} %z, %a1, 0; @%z mov.b{bits} %a1, {max}; {name}.{ty} %d0, %a0, %a1; }}"
                )
            };
            let plain = |op: String, run: Run| Case { op, inputs: vec![bits; 2], output: bits, run };
            list.push(plain(safe("div"), Box::new(quotient)));
            list.push(plain(safe("rem"), Box::new(move |x| value(x[0]) % divisor(x[1]))));
            if sign == 's' {
                let one =
                    |name: &str, run: Run| Case { op: format!("{name}.{ty}"), inputs: vec![bits], output: bits, run };
                list.push(one("abs", Box::new(move |x| value(x[0]).abs())));
                list.push(one("neg", Box::new(move |x| -value(x[0]))));
                let two = |name: &str, run: Run| Case {
                    op: format!("{name}.{ty}"),
                    inputs: vec![bits; 2],
                    output: bits,
                    run,
                };
                if bits == 32 {
                    list.push(two("add.sat", Box::new(move |x| (value(x[0]) + value(x[1])).clamp(min, max))));
                    list.push(two("sub.sat", Box::new(move |x| (value(x[0]) - value(x[1])).clamp(min, max))));
                }
            }
        }
        let b = format!("b{bits}");
        let mut logic = |name: &str, inputs: &[u32], output: u32, run: Run| {
            list.push(Case { op: format!("{name}.{b}"), inputs: inputs.to_vec(), output, run });
        };
        logic("and", &[bits; 2], bits, Box::new(|x| (x[0] & x[1]).into()));
        logic("or", &[bits; 2], bits, Box::new(|x| (x[0] | x[1]).into()));
        logic("xor", &[bits; 2], bits, Box::new(|x| (x[0] ^ x[1]).into()));
        logic("not", &[bits], bits, Box::new(|x| (!x[0]).into()));
        logic(
            "shl",
            &[bits, 32],
            bits,
            Box::new(move |x| if x[1] >= bits.into() { 0 } else { i128::from(x[0]) << x[1] }),
        );
        if bits > 16 {
            logic("popc", &[bits], 32, Box::new(|x| x[0].count_ones().into()));
            logic("clz", &[bits], 32, Box::new(move |x| i128::from(x[0].leading_zeros()) - (64 - i128::from(bits))));
            logic("brev", &[bits], bits, Box::new(move |x| (x[0].reverse_bits() >> (64 - bits)).into()));
        }
    }
    list
}

#[test]
fn integer_instructions_equal_exact_arithmetic_cut_to_the_width() {
    let list = cases();
    let kernel = |c: &Case| {
        let operands: Vec<String> = (0..c.inputs.len()).map(|k| format!("%a{k}")).collect();
        let statement =
            if c.op.starts_with('{') { c.op.clone() } else { format!("{} %d0, {};", c.op, operands.join(", ")) };
        Kernel::new(statement, &c.inputs, &[c.output])
    };
    let grid = Grid::new(list.iter().map(kernel).collect());
    let mut random = Random(41);
    for (n, c) in list.iter().enumerate() {
        let mut inputs: Vec<Vec<u64>> = c.inputs.iter().map(|&bits| words(&mut random, bits)).collect();
        if c.op.starts_with("sh") {
            // Amounts on both sides of the width, and huge ones.
            inputs[1].iter_mut().enumerate().filter(|(i, _)| !i.is_multiple_of(4)).for_each(|(_, x)| *x %= 70);
        }
        let out = grid.run(n, &inputs).remove(0);
        for i in 0..COUNT {
            let x: Vec<u64> = inputs.iter().map(|input| input[i]).collect();
            let want = (c.run)(&x) as u64 & (u64::MAX >> (64 - c.output));
            assert_eq!(out[i], want, "{} of {x:#x?}: {:#x}, not {want:#x}", c.op, out[i]);
        }
    }
    println!("{} instructions, {COUNT} inputs each", list.len());
}

#[test]
fn lop3_has_all_256_tables() {
    let kernel = |table: u32| Kernel::new(format!("lop3.b32 %d0, %a0, %a1, %a2, {table};"), &[32; 3], &[32]);
    let grid = Grid::new((0..256).map(kernel).collect());
    let mut random = Random(42);
    let inputs: Vec<Vec<u64>> = (0..3).map(|_| (0..256).map(|_| random.next() & 0xffff_ffff).collect()).collect();
    for table in 0..256usize {
        let out = grid.run(table, &inputs).remove(0);
        for (i, got) in out.iter().enumerate() {
            let bit = |k: usize, b: u32| (inputs[k][i] >> b & 1) as usize;
            let row = |b: u32| bit(0, b) << 2 | bit(1, b) << 1 | bit(2, b);
            let want = (0..32).fold(0u64, |x, b| x | (table as u64 >> row(b) & 1) << b);
            assert_eq!(*got, want, "table {table:#04x}");
        }
    }
}

#[test]
fn carry_chains_are_wide_arithmetic() {
    let limbs = |op: &str, ty: &str| {
        let (first, next) = (format!("{op}.cc.{ty}"), format!("{op}c.cc.{ty}"));
        let word = if ty == "u32" { 32 } else { 64 };
        let last = format!("{op}c.{ty} %d4, 0, 0;");
        let middle: String = (1..4).map(|k| format!("{next} %d{k}, %a{k}, %a{};\n", k + 4)).collect();
        Kernel::new(format!("{first} %d0, %a0, %a4;\n{middle}{last}"), &[word; 8], &[word; 5])
    };
    // 64 x 64 bits by 32-bit pieces, as compilers write it.
    let product = "mul.lo.u32 %d0, %a0, %a2; mul.hi.u32 %d1, %a0, %a2;\n\
                   mad.lo.cc.u32 %d1, %a0, %a3, %d1; madc.hi.u32 %d2, %a0, %a3, 0;\n\
                   mad.lo.cc.u32 %d1, %a1, %a2, %d1; madc.hi.cc.u32 %d2, %a1, %a2, %d2; addc.u32 %d3, 0, 0;\n\
                   mad.lo.cc.u32 %d2, %a1, %a3, %d2; madc.hi.u32 %d3, %a1, %a3, %d3;";
    let mut kernels = vec![Kernel::new(product, &[32; 4], &[32; 4])];
    for ty in ["u32", "u64"] {
        kernels.push(limbs("add", ty));
        kernels.push(limbs("sub", ty));
    }
    let grid = Grid::new(kernels);
    let mut random = Random(43);
    let inputs: Vec<Vec<u64>> = (0..4).map(|_| words(&mut random, 32)).collect();
    let out = grid.run(0, &inputs);
    for i in 0..COUNT {
        let (a, b) = (inputs[0][i] | inputs[1][i] << 32, inputs[2][i] | inputs[3][i] << 32);
        let got = (0..4).fold(0u128, |x, k| x | u128::from(out[k][i]) << (32 * k));
        assert_eq!(got, u128::from(a) * u128::from(b), "{a:#x} * {b:#x}");
    }
    for (n, bits, subtract) in [(1, 32, false), (2, 32, true), (3, 64, false), (4, 64, true)] {
        let inputs: Vec<Vec<u64>> = (0..8).map(|_| words(&mut random, bits)).collect();
        let out = grid.run(n, &inputs);
        for i in 0..COUNT {
            // A limb at a time: what a schoolbook does.
            let mut carry = 0i128;
            for k in 0..5 {
                let [a, b] = if k < 4 { [inputs[k][i], inputs[k + 4][i]] } else { [0, 0] }.map(i128::from);
                let sum = if subtract { a - b - carry } else { a + b + carry };
                assert_eq!(
                    out[k][i],
                    sum as u64 & (u64::MAX >> (64 - bits)),
                    "limb {k} of {bits} bits, subtract {subtract}"
                );
                carry = i128::from(sum < 0 || sum >> bits != 0);
            }
        }
    }
}
