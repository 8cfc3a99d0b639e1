//! A row's bits depend on the row alone.

use lowbit::format::ByteCode;
use lowbit::weights::ByteAxis;

use super::world::*;
use crate::world::Kind;

/// Rows alone, with others, and the same run again, within `most` rows.
fn rows_alone_and_together(weights: HostWeights<'_>, x: &HostRows, rows: &[usize], case: &str) {
    let world = world();
    let (n, k) = weights.shape();
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

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|y| y.to_bits()).collect()
}

/// Sums of int8 codes are exact: the same in every kernel.
#[test]
fn int8_rows_do_not_depend_on_each_other() {
    let mut rng = rng(5);
    for (n, k) in [(40, 576), (16, 1303), (16, 8192)] {
        let weights = random_weights(&mut rng, ByteCode::Int8, ByteAxis::Output, n, k);
        let x = random_rows(&mut rng, ByteCode::Int8, "gauss", 70, k);
        in_repeatable_modes(|mode| {
            rows_alone_and_together(
                (&weights).into(),
                &x,
                &[1, 2, 7, 8, 9, 16, 17, 32, 33, 70],
                &format!("{n} x {k} {mode}"),
            );
        });
    }
}

/// Up to 32 rows the order of sums is that of k, whatever the kernel; beyond, it is another, the same for all rows.
#[test]
fn rows_of_floats_do_not_depend_on_each_other() {
    let mut rng = rng(13);
    let within = [1, 2, 7, 8, 9, 16, 17, 32];
    for (n, k) in [(40, 576), (16, 1303), (16, 8192)] {
        for axis in [ByteAxis::Output, ByteAxis::Block] {
            let weights = random_weights(&mut rng, ByteCode::E4m3, axis, n, k);
            let x = rows_for(&mut rng, (ByteCode::E4m3, axis), "gauss", 70, k);
            in_repeatable_modes(|mode| {
                let case = format!("E4M3 {axis:?} {n} x {k} {mode}");
                rows_alone_and_together((&weights).into(), &x, &within, &case);
                let many = Call::<f32>::new(&weights, &x, 70).run(world()).unwrap();
                let fewer = Call::<f32>::new(&weights, &x, 40).run(world()).unwrap();
                assert_eq!(bits(&many)[..40 * n], bits(&fewer), "{case}: tiled");
            });
        }
        for (code, kind, group) in [
            (ByteCode::Int8, Kind::Zeros, 64),
            (ByteCode::Int8, Kind::Symmetric, 128),
            (ByteCode::E4m3, Kind::Zeros, 32),
        ] {
            let weights = crate::world::random_weights(&mut rng, kind, n, k, group);
            let x = random_rows(&mut rng, code, "gauss", 70, k);
            in_repeatable_modes(|mode| {
                let case = format!("W4 {kind:?} {code:?} {n} x {k} {mode}");
                rows_alone_and_together((&weights).into(), &x, &[1, 5, 8, 9, 16, 17, 32, 33, 70], &case);
            });
        }
    }
}
