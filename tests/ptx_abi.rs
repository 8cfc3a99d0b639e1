//! The launch table in Rust and the kernels in PTX agree: every exported kernel is in the table and the other way
//! round, for every target, and takes one by-value struct of the table's size and alignment.
#![cfg(kernels_built)]

use std::collections::BTreeMap;

use lowbit::runtime::{images, launch_table};

/// A parameter as PTX declares it: alignment and size in bytes.
type Param = (usize, usize);

/// The exported kernels of a PTX text with their parameters.
fn entries(ptx: &str) -> BTreeMap<String, Vec<Param>> {
    let mut found = BTreeMap::new();
    for part in ptx.split(".visible .entry ").skip(1) {
        let (name, rest) = part.split_once('(').expect("an entry has a parameter list");
        let (list, _) = rest.split_once(')').expect("the list ends");
        let params = list.split(',').map(str::trim).filter(|p| !p.is_empty()).map(param).collect();
        assert!(found.insert(name.trim().to_string(), params).is_none(), "{name} twice");
    }
    found
}

/// `.param .align 8 .b8 name_param_0[24]` or `.param .u64 name_param_0`.
fn param(text: &str) -> Param {
    let number = |text: &str| text.parse::<usize>().unwrap_or_else(|_| panic!("no number in `{text}`"));
    match (text.split_once(".align "), text.split_once('[')) {
        (Some((_, align)), Some((_, size))) => {
            (number(align.split(' ').next().unwrap()), number(size.trim_end_matches(']')))
        }
        _ => {
            let kind = text.split(' ').nth(1).unwrap();
            let bytes = number(kind.trim_start_matches(|c: char| !c.is_ascii_digit())) / 8;
            (bytes, bytes)
        }
    }
}

#[test]
fn the_reader_knows_both_forms() {
    let ptx = ".visible .entry a(\n\t.param .align 8 .b8 a_param_0[24]\n)\n.visible .entry b(\n\t.param .u64 b_param_0,\n\t.param .f32 b_param_1\n)\n.visible .entry c()\n";
    let expected = [("a", vec![(8, 24)]), ("b", vec![(8, 8), (4, 4)]), ("c", vec![])];
    assert_eq!(entries(ptx), expected.map(|(name, params)| (name.to_string(), params)).into());
}

#[test]
fn every_kernel_is_in_the_table_and_the_table_holds_nothing_else() {
    let table = launch_table();
    let modules: std::collections::BTreeSet<_> = images().iter().map(|image| image.module).collect();
    for row in &table {
        assert!(modules.contains(row.module), "{}: no kernels/{}.cu", row.name, row.module);
        let same = table.iter().filter(|r| (r.module, r.name) == (row.module, row.name)).count();
        assert_eq!(same, 1, "{} is in the table {same} times", row.name);
    }
    for image in images() {
        let expected: BTreeMap<String, Vec<Param>> = table
            .iter()
            .filter(|row| row.module == image.module)
            .map(|row| (row.name.to_string(), vec![(row.param_align, row.param_bytes)]))
            .collect();
        assert_eq!(
            entries(&image.ptx().unwrap()),
            expected,
            "kernels/{}.cu for compute_{} (left) and the launch table (right)",
            image.module,
            image.target
        );
    }
}

#[test]
fn an_image_is_for_the_target_it_is_filed_under() {
    for image in images() {
        let line = format!(".target sm_{}\n", image.target);
        assert!(image.ptx().unwrap().contains(&line), "{} for compute_{}", image.module, image.target);
    }
}

/// 6 MB is what a dependent should have to bear. With `--nocapture` the list of images: kernels, bytes of PTX, bytes embedded.
#[test]
fn the_images_are_small_enough() {
    for image in images() {
        let (ptx, embedded) = (image.ptx().expect("an image unpacks"), image.embedded_bytes());
        let kernels = entries(&ptx).len();
        println!("{:<32} compute_{:<4} {kernels:>4} {:>9} {embedded:>7}", image.module, image.target, ptx.len());
    }
    let bytes: usize = images().iter().map(|image| image.embedded_bytes()).sum();
    println!("{} images, {bytes} bytes embedded", images().len());
    assert!((1..=6_000_000).contains(&bytes), "{bytes} bytes of embedded images");
}
