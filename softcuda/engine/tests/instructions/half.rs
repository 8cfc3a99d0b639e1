//! f16 and bf16 arithmetic, scalar and packed: every first operand with a dozen others, against f64 with what it misses (PTX ISA 9.7.4).

use crate::grid::{Grid, Kernel};
use crate::oracle::Direction;
use crate::table::{Table, two_sum};

/// Second operands for each first one: special patterns of both formats, then scattered ones.
const COLUMNS: usize = 12;

fn scattered(a: u64, column: usize, salt: u64) -> u64 {
    let special = [0x0000, 0x8001, 0x3c01, 0x7f80, 0xff81, 0xbf7f];
    match special.get(column) {
        Some(&bits) if salt == 0 => bits,
        _ => (a + 65536 * column as u64 + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40 & 0xffff,
    }
}

struct Format {
    name: &'static str,
    table: Table,
    one: u16,
    value: fn(u16) -> f64,
}

impl Format {
    fn is_nan(&self, bits: u16) -> bool {
        bits & 0x7fff > self.table.infinity()
    }

    /// What a spelling makes of operands.
    fn expected(&self, op: &str, [a, b, c]: [u16; 3]) -> u16 {
        let has = |word: &str| op.split('.').any(|p| p == word);
        // Subnormal operands count as zero, subnormal results become zero.
        let smallest = if self.table.infinity() == 0x7c00 { 0x0400 } else { 0x0080 };
        let flush = |x: u16| if has("ftz") && x & 0x7fff < smallest { x & 0x8000 } else { x };
        let [a, b, c] = [a, b, c].map(flush);
        let [x, y, z] = [a, b, c].map(self.value);
        let round = |(sum, rest): (f64, f64)| self.table.round(sum, rest, Direction::Nearest);
        let mut bits = match op.split('.').next().unwrap() {
            "add" => round(two_sum(x, y)),
            "sub" => round(two_sum(x, -y)),
            // The product of two of at most 11 bits is exact in f64.
            "mul" => round((x * y, 0.0)),
            "fma" => round(two_sum(x * y, z)),
            name => return self.extreme(name == "max", has("NaN"), [a, b]),
        };
        bits = flush(bits);
        if has("relu") && bits & 0x8000 != 0 {
            bits = 0;
        }
        if has("sat") {
            bits = if bits & 0x8000 != 0 || self.is_nan(bits) { 0 } else { bits.min(self.one) };
        }
        bits
    }

    /// The smaller or larger; -0 is below +0; NaN only where both are, or with `.NaN` one is.
    fn extreme(&self, max: bool, keep: bool, [a, b]: [u16; 2]) -> u16 {
        let order = |x: u16| if x & 0x8000 != 0 { -1 - i32::from(x & 0x7fff) } else { i32::from(x) };
        match (self.is_nan(a), self.is_nan(b)) {
            (true, true) => 0x7fff,
            (true, _) | (_, true) if keep => 0x7fff,
            (true, false) => b,
            (false, true) => a,
            _ if (order(a) > order(b)) == max => a,
            _ => b,
        }
    }
}

fn check(format: &Format, spellings: &[&str]) {
    let a: Vec<u64> = (0..COLUMNS).flat_map(|_| 0..65536).collect();
    let other = |salt: u64| a.iter().enumerate().map(|(i, &a)| scattered(a, i / 65536, salt)).collect::<Vec<u64>>();
    // The third operand is often close to cancelling the product.
    let (b, mut c) = (other(0), other(7));
    for (i, c) in c.iter_mut().enumerate().filter(|(i, _)| i.is_multiple_of(3)) {
        let product = (format.value)(a[i] as u16) * (format.value)(b[i] as u16);
        *c = u64::from(format.table.round(-product, 0.0, Direction::Zero)) ^ (i as u64 % 4);
    }
    let pack = |x: &[u64]| -> Vec<u64> { (0..x.len()).map(|i| x[i] | x[(i + 1) % x.len()] << 16).collect() };
    let (scalar, packed) = ([a.clone(), b.clone(), c.clone()], [pack(&a), pack(&b), pack(&c)]);
    let operands = |op: &str| if op.starts_with("fma") { 3 } else { 2 };
    let statement = |op: &str, suffix: &str| {
        let list = ["%a0", "%a1", "%a2"][..operands(op)].join(", ");
        format!("{op}.{}{suffix} %d0, {list};", format.name)
    };
    let kernels = spellings.iter().flat_map(|op| {
        let n = operands(op);
        [Kernel::new(statement(op, ""), &vec![16; n], &[16]), Kernel::new(statement(op, "x2"), &vec![32; n], &[32])]
    });
    let grid = Grid::new(kernels.collect());
    for (n, op) in spellings.iter().enumerate() {
        let one = grid.run(2 * n, &scalar[..operands(op)]).remove(0);
        for i in 0..a.len() {
            let operands = [a[i], b[i], c[i]].map(|x| x as u16);
            let want = u64::from(format.expected(op, operands));
            assert_eq!(one[i], want, "{op}.{} of {operands:#06x?}: {:#x}, not {want:#x}", format.name, one[i]);
        }
        let two = grid.run(2 * n + 1, &packed[..operands(op)]).remove(0);
        assert!(two == pack(&one), "{op}.{}x2 is not the scalar instruction twice", format.name);
    }
}

#[test]
fn f16_arithmetic_is_right_for_every_first_operand() {
    let format = Format { name: "f16", table: Table::f16(), one: 0x3c00, value: |b| half::f16::from_bits(b).to_f64() };
    check(
        &format,
        &[
            "add",
            "sub",
            "mul",
            "fma.rn",
            "add.sat",
            "mul.ftz",
            "fma.rn.ftz.sat",
            "fma.rn.relu",
            "sub.ftz",
            "min",
            "max",
            "min.NaN",
            "max.NaN",
        ],
    );
}

#[test]
fn bf16_arithmetic_is_right_for_every_first_operand() {
    let format =
        Format { name: "bf16", table: Table::bf16(), one: 0x3f80, value: |b| half::bf16::from_bits(b).to_f64() };
    check(&format, &["add", "sub", "mul", "fma.rn", "fma.rn.relu", "min", "max", "min.NaN", "max.NaN"]);
}
