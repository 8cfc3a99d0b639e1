//! The launch path end to end with the probe kernel: images, modules, parameters, limits, errors.
#![cfg(kernels_built)]

use lowbit::cudarc::driver::CudaContext;
use lowbit::{Error, runtime, testing};

fn sequence(len: usize, shared: u32) -> Result<Vec<u32>, Error> {
    let (context, kernels) = testing::device();
    let stream = context.default_stream();
    let mut out = stream.alloc_zeros::<u32>(len)?;
    runtime::probe(&kernels, &stream, &mut out.as_view_mut(), 7, 3, shared)?;
    Ok(stream.clone_dtoh(&out)?)
}

#[test]
fn a_kernel_gets_its_struct_and_writes_every_element() {
    for len in [1, 255, 256, 257, 5000] {
        let expected: Vec<u32> = (0..len as u32).map(|i| 7 + 3 * i).collect();
        assert_eq!(sequence(len, 0).unwrap(), expected, "len {len}");
    }
}

#[test]
fn shared_memory_beyond_48_kib_is_granted() {
    let (_, kernels) = testing::device();
    let expected: Vec<u32> = (0..1000).map(|i| 7 + 3 * i).collect();
    for shared in [1024, 48 * 1024, 64 * 1024, kernels.max_shared_bytes()] {
        assert_eq!(sequence(1000, shared).unwrap(), expected, "{shared} bytes");
    }
}

#[test]
fn wrong_arguments_are_refused_before_the_launch() {
    let (_, kernels) = testing::device();
    let most = kernels.max_shared_bytes();
    for (shared, expected) in [
        (100, "runtime::probe: `shared`: expected 0, or a multiple of 4 of at least 1024 bytes, found 100".to_string()),
        (most + 4, format!("runtime::probe: `shared memory`: expected at most {most} bytes, found {}", most + 4)),
    ] {
        assert_eq!(sequence(8, shared).unwrap_err().to_string(), expected);
    }
}

#[test]
fn the_read_probe_reads_every_word() {
    let (context, kernels) = testing::device();
    let stream = context.default_stream();
    let mut found = stream.alloc_zeros::<u32>(1).unwrap();
    for len in [4, 1020, 1024, 4 * 256 * 108 + 12, 300_000] {
        let words: Vec<u32> = (0..len as u32).map(|at| at.wrapping_mul(0x9E37_79B9)).collect();
        let x = stream.clone_htod(&words).unwrap();
        stream.memcpy_htod(&[7], &mut found).unwrap();
        runtime::probe_read(&kernels, &stream, &x.as_view(), &mut found.as_view_mut()).unwrap();
        let expected = words.iter().fold(7, |all, word| all ^ word);
        assert_eq!(stream.clone_dtoh(&found).unwrap(), [expected], "{len} words");
    }
    let x_all = stream.alloc_zeros::<u32>(12).unwrap();
    let mut refused = |x: std::ops::Range<usize>, out: usize| {
        runtime::probe_read(&kernels, &stream, &x_all.slice(x), &mut found.slice_mut(..out)).unwrap_err().to_string()
    };
    assert_eq!(refused(0..6, 1), "runtime::probe_read: `x`: expected a multiple of 4 elements, found 6");
    assert_eq!(refused(0..4, 0), "runtime::probe_read: `out`: expected at least 1 element, found 0");
    assert!(
        refused(1..5, 1).starts_with("runtime::probe_read: `x`: expected a start at a multiple of 16 bytes, found")
    );
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let count = runtime::device_count().unwrap();
    let error = runtime::context(count).unwrap_err();
    assert_eq!(error, Error::NoDevice { ordinal: count, count, reason: String::new() });
}

#[test]
fn a_clone_of_kernels_shares_the_context() {
    let (context, kernels): (std::sync::Arc<CudaContext>, _) = testing::device();
    assert!(std::sync::Arc::ptr_eq(kernels.clone().context(), &context));
    let (major, minor) = kernels.compute_capability();
    assert_eq!((major as i32, minor as i32), context.compute_capability().unwrap());
}
