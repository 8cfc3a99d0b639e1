//! A row's bits depend on the row alone.

use lowbit::format::ByteCode;
use lowbit::weights::{ByteAxis, PackedBytes};

use super::world::*;

/// Rows alone, with others, and the same run again, within `most` rows.
fn rows_alone_and_together(weights: &PackedBytes, x: &HostRows, rows: &[usize], case: &str) {
    let world = world();
    let (n, k) = (weights.layout().n(), weights.layout().k());
    let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|y| y.to_bits()).collect() };
    let most = rows.iter().copied().max().unwrap();
    let together = bits(&Call::<f32>::new(weights, x, most).run(world).unwrap());
    assert_eq!(bits(&Call::<f32>::new(weights, x, most).run(world).unwrap()), together, "{case}: run to run");
    for &rows in rows {
        let some = bits(&Call::<f32>::new(weights, x, rows).run(world).unwrap());
        assert_eq!(some, together[..rows * n], "{case}: {rows} rows");
        let last = x.starting_at(rows - 1, k);
        let alone = bits(&Call::<f32>::new(weights, &last, 1).run(world).unwrap());
        assert_eq!(alone, together[(rows - 1) * n..rows * n], "{case}: row {} alone", rows - 1);
    }
}

/// Sums of int8 codes are exact: the same in every kernel.
#[test]
fn int8_rows_do_not_depend_on_each_other() {
    let mut rng = rng(5);
    for (n, k) in [(40, 576), (16, 1303), (16, 8192)] {
        let weights = random_weights(&mut rng, ByteCode::Int8, ByteAxis::Output, n, k);
        let x = random_rows(&mut rng, ByteCode::Int8, "gauss", 70, k);
        in_repeatable_modes(|mode| {
            rows_alone_and_together(&weights, &x, &[1, 2, 7, 8, 9, 16, 17, 32, 33, 70], &format!("{n} x {k} {mode}"));
        });
    }
}
