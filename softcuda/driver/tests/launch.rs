//! Launching kernels through cudarc: modules, attributes, occupancy, launches, graph replay, faults, refusals. One test binary of its own,
//! because kernel faults break the process's primary context; tests that fault hold the lock.

use cudarc::driver::sys::{self, CUfunction_attribute, CUresult};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaStream, DevicePtr, DeviceRepr, DriverError};
use cudarc::driver::{LaunchConfig, PushKernelArg};
use nvcuda::client;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PTX: &str = include_str!("kernels.ptx");

/// Tests that break the context run alone.
static CONTEXT: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    CONTEXT.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Device {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    module: Arc<CudaModule>,
}

fn device() -> Device {
    let context = CudaContext::new(0).unwrap();
    assert!(client::active());
    let module = context.load_module(PTX.into()).unwrap();
    Device { stream: context.default_stream(), context, module }
}

fn code<T>(result: Result<T, DriverError>) -> CUresult {
    result.err().expect("this call is refused").0
}

fn config(blocks: u32, threads: u32, shared: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: shared }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Multiply {
    input: u64,
    output: u64,
    count: u32,
    factor: u32,
}

// SAFETY: plain integers, the layout that the kernel declares.
unsafe impl DeviceRepr for Multiply {}

/// Launches `multiply` over `count` elements.
fn multiply(stream: &CudaStream, function: &CudaFunction, arguments: Multiply) -> Result<(), DriverError> {
    let mut launch = stream.launch_builder(function);
    launch.arg(&arguments);
    // SAFETY: the tests pass live buffers of `count` elements, or expect the fault.
    unsafe { launch.launch(config(arguments.count.div_ceil(128), 128, 0)) }.map(|_| ())
}

/// Launches `staged` or `poke`, whose one argument is a pointer.
fn with_pointer(stream: &CudaStream, function: &CudaFunction, to: u64, shape: LaunchConfig) -> Result<(), DriverError> {
    let mut launch = stream.launch_builder(function);
    launch.arg(&to);
    // SAFETY: the tests pass a live buffer, or expect the refusal or the fault.
    unsafe { launch.launch(shape) }.map(|_| ())
}

#[test]
fn a_struct_arrives_and_every_element_is_written() {
    let _alone = alone();
    let Device { stream, module, .. } = device();
    let function = module.load_function("multiply").unwrap();
    let host: Vec<u32> = (0..1000).collect();
    let input = stream.clone_htod(&host).unwrap();
    let output = stream.alloc_zeros::<u32>(1000).unwrap();
    client::reset_counters();
    {
        let ((i, _read), (o, _write)) = (input.device_ptr(&stream), output.device_ptr(&stream));
        multiply(&stream, &function, Multiply { input: i, output: o, count: 1000, factor: 5 }).unwrap();
    }
    let expected: Vec<u32> = host.iter().map(|x| x * 15).collect();
    assert_eq!(stream.clone_dtoh(&output).unwrap(), expected);

    let counters = client::counters_of("multiply");
    assert_eq!((counters.launches, counters.stats.blocks), (1, 8));
    // 1000 threads are 31 full warps and one of 8 lanes: 32 loads of data and 32 of `scale`.
    assert_eq!(counters.stats.global_load_requests, 64);
    assert_eq!(counters.stats.global_store_requests, 32);
    assert_eq!(counters.stats.global_store_bytes, 4000);
    assert_eq!(counters.stats.global_store_sectors, 125);
    assert!(client::lane_instructions_per_second() > 0.0);
    let elsewhere = std::thread::spawn(client::counters).join().unwrap();
    assert!(elsewhere.is_empty(), "counters belong to the thread that launched");
}

#[test]
fn what_a_kernel_wrote_without_checks_is_written_for_a_kernel_with_them() {
    let _alone = alone();
    let Device { stream, module, .. } = device();
    let function = module.load_function("multiply").unwrap();
    let input = stream.clone_htod(&[2u32; 100]).unwrap();
    // SAFETY: written by the first launch before it is read.
    let (middle, output) = unsafe { (stream.alloc::<u32>(100).unwrap(), stream.alloc::<u32>(100).unwrap()) };
    {
        let ((i, _a), (m, _b)) = (input.device_ptr(&stream), middle.device_ptr(&stream));
        let (o, _c) = output.device_ptr(&stream);
        let first = Multiply { input: i, output: m, count: 100, factor: 1 };
        client::with_modes(|m| m.checks = client::Checks::NONE, || multiply(&stream, &function, first).unwrap());
        client::with_modes(
            |m| m.checks = client::Checks::ALL,
            || multiply(&stream, &function, Multiply { input: m, output: o, ..first }).unwrap(),
        );
    }
    assert_eq!(stream.clone_dtoh(&output).unwrap(), [18; 100]);
    assert_eq!(client::last_report(), None);
}

#[test]
fn module_variables_are_memory() {
    let _alone = alone();
    let Device { stream, context, .. } = device();
    let module = context.load_module(PTX.into()).unwrap();
    let function = module.load_function("multiply").unwrap();
    let mut scale = module.get_global("scale", &stream).unwrap();
    assert_eq!(scale.len(), 4);
    stream.memcpy_htod(&10u32.to_le_bytes(), &mut scale).unwrap();
    let data = stream.clone_htod(&[1u32, 2, 3]).unwrap();
    {
        let (p, _guard) = data.device_ptr(&stream);
        multiply(&stream, &function, Multiply { input: p, output: p, count: 3, factor: 1 }).unwrap();
    }
    assert_eq!(stream.clone_dtoh(&data).unwrap(), [10, 20, 30]);
}

#[test]
fn a_graph_replays_kernels_with_the_arguments_of_capture() {
    let _alone = alone();
    let Device { context, module, .. } = device();
    // SAFETY: one stream only.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().unwrap();
    let function = module.load_function("multiply").unwrap();
    let data = stream.clone_htod(&[1u32; 200]).unwrap();
    let (p, _guard) = data.device_ptr(&stream);
    let mut arguments = Multiply { input: p, output: p, count: 200, factor: 2 };
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
    multiply(&stream, &function, arguments).unwrap();
    arguments.factor = 1000;
    let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0)).unwrap().unwrap();
    assert_eq!(stream.clone_dtoh(&data).unwrap(), [1; 200]);
    graph.launch().unwrap();
    graph.launch().unwrap();
    assert_eq!(
        stream.clone_dtoh(&data).unwrap(),
        [36; 200],
        "two times 2 times `scale`, whatever {}",
        arguments.factor
    );
}

#[test]
fn attributes_and_occupancy_follow_the_kernel_and_the_model() {
    let _alone = alone();
    let Device { module, stream, .. } = device();
    let (plain, staged) = (module.load_function("multiply").unwrap(), module.load_function("staged").unwrap());
    let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK;
    assert_eq!(plain.get_attribute(most).unwrap(), 1024);
    assert_eq!(staged.get_attribute(most).unwrap(), 64);
    // sm_89: 1536 threads and 24 blocks a multiprocessor, 100 KiB of shared memory, 1 KiB of them taken by every block.
    let blocks = |f: &CudaFunction, t, s| f.occupancy_max_active_blocks_per_multiprocessor(t, s, None).unwrap();
    assert_eq!(blocks(&plain, 128, 0), 12);
    assert_eq!(blocks(&plain, 1024, 0), 1);
    assert_eq!(blocks(&plain, 32, 0), 24);
    assert_eq!(blocks(&plain, 128, 9 << 10), 10);
    assert_eq!(blocks(&staged, 128, 0), 0, "above .maxntid");
    client::set_model("sm_80");
    assert_eq!(blocks(&plain, 128, 0), 16, "2048 threads");
    let clusters = |f: &CudaFunction| f.occupancy_max_active_clusters(config(1, 128, 0), &stream);
    assert_eq!(code(clusters(&plain).map(|_| ())), CUresult::CUDA_ERROR_INVALID_CLUSTER_SIZE, "before 9.0");
    client::set_model("sm_90");
    assert_eq!(clusters(&plain).unwrap(), 132 * 16, "clusters of one block");
    let width = CUfunction_attribute::CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH;
    plain.set_attribute(width, 1).unwrap();
    assert_eq!(code(plain.set_attribute(width, 2)), CUresult::CUDA_ERROR_NOT_SUPPORTED);
    client::reset_modes();
}

#[test]
fn shared_memory_beyond_the_default_must_be_granted() {
    let _alone = alone();
    let Device { stream, module, .. } = device();
    let staged = module.load_function("staged").unwrap();
    let out = stream.alloc_zeros::<u32>(64).unwrap();
    let (p, _guard) = out.device_ptr(&stream);
    let invalid = CUresult::CUDA_ERROR_INVALID_VALUE;
    assert_eq!(code(with_pointer(&stream, &staged, p, config(1, 64, (48 << 10) + 4))), invalid);
    assert!(client::last_explanation().unwrap().contains("49156 dynamic shared bytes"));
    let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    assert_eq!(code(staged.set_attribute(attribute, (99 << 10) + 1)), invalid, "the sm_89 model has 99 KiB");
    staged.set_attribute(attribute, 99 << 10).unwrap();
    with_pointer(&stream, &staged, p, config(1, 64, 99 << 10)).unwrap();
    assert_eq!(stream.clone_dtoh(&out).unwrap(), (0..64).collect::<Vec<u32>>());
}

#[test]
fn launches_outside_the_limits_are_refused_at_once() {
    let _alone = alone();
    let Device { stream, module, context } = device();
    let poke = module.load_function("poke").unwrap();
    let staged = module.load_function("staged").unwrap();
    let invalid = CUresult::CUDA_ERROR_INVALID_VALUE;
    for shape in [
        LaunchConfig { grid_dim: (1, 65536, 1), block_dim: (1, 1, 1), shared_mem_bytes: 0 },
        LaunchConfig { grid_dim: (1, 1, 0), block_dim: (1, 1, 1), shared_mem_bytes: 0 },
        LaunchConfig { grid_dim: (1, 1, 1), block_dim: (1025, 1, 1), shared_mem_bytes: 0 },
        LaunchConfig { grid_dim: (1, 1, 1), block_dim: (1, 1, 65), shared_mem_bytes: 0 },
        LaunchConfig { grid_dim: (1, 1, 1), block_dim: (32, 32, 2), shared_mem_bytes: 0 },
    ] {
        assert_eq!(code(with_pointer(&stream, &poke, 0, shape)), invalid, "{shape:?}");
    }
    assert_eq!(code(with_pointer(&stream, &staged, 0, config(1, 65, 0))), invalid, "above .maxntid");
    assert_eq!(code(module.load_function("nothing").map(|_| ())), CUresult::CUDA_ERROR_NOT_FOUND);
    context.synchronize().expect("a refused launch leaves the context whole");
}

#[test]
fn a_cooperative_launch_fits_the_device_or_is_refused() {
    let _alone = alone();
    let Device { stream, module, context } = device();
    let staged = module.load_function("staged").unwrap();
    let out = stream.alloc_zeros::<u32>(64).unwrap();
    let (p, _guard) = out.device_ptr(&stream);
    // sm_89: 128 multiprocessors of 24 blocks of 64 threads with 2 KiB of shared memory each.
    let most = 128 * 24;
    let launch = |blocks| {
        let mut launch = stream.launch_builder(&staged);
        launch.arg(&p);
        // SAFETY: a live buffer of 64 elements; every block writes the same values.
        unsafe { launch.launch_cooperative(config(blocks, 64, 2048)) }
    };
    assert_eq!(code(launch(most + 1)), CUresult::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
    client::with_modes(|m| m.checks = client::Checks::NONE, || launch(64)).unwrap();
    context.synchronize().unwrap();
    assert_eq!(stream.clone_dtoh(&out).unwrap(), (0..64).collect::<Vec<u32>>());
}

#[test]
fn modules_are_refused_for_their_own_reasons() {
    let _alone = alone();
    let context = CudaContext::new(0).unwrap();
    let load = |ptx: &str| code(context.load_module(ptx.into()).map(|_| ()));
    client::set_model("sm_80");
    let newer = PTX.replace(".target sm_80", ".target sm_89");
    assert_eq!(load(&newer), CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
    client::reset_modes();
    context.load_module(newer.as_str().into()).unwrap();
    assert_eq!(load(&PTX.replace(".version 8.0", ".version 9.9")), CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
    assert_eq!(load(&PTX.replace("mul.lo.s32 %r8", "frobnicate.s32 %r8")), CUresult::CUDA_ERROR_INVALID_PTX);
    let too_large = PTX.replace(".extern .shared .align 16 .b8 stage[]", ".shared .align 16 .b8 stage[49153]");
    assert_eq!(load(&too_large), CUresult::CUDA_ERROR_INVALID_PTX);
    assert!(client::last_explanation().unwrap().contains("more than 49152 bytes of .shared variables"));
    assert_eq!(load("hello"), CUresult::CUDA_ERROR_INVALID_IMAGE);
    assert_eq!(load("\x7fELF"), CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
    // The JIT error log says where.
    let broken = PTX.replace("mul.lo.s32 %r8", "frobnicate.s32 %r8");
    let text = std::ffi::CString::new(broken).unwrap();
    let mut log = [0u8; 256];
    let mut module = std::ptr::null_mut();
    use sys::CUjit_option::{CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    let mut options = [CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, CU_JIT_ERROR_LOG_BUFFER];
    let mut values = [log.len() as *mut std::ffi::c_void, log.as_mut_ptr().cast()];
    // SAFETY: the text ends in a NUL, and the log has the size given.
    let result = unsafe {
        let image = text.as_ptr().cast();
        sys::cuModuleLoadDataEx(&mut module, image, 2, options.as_mut_ptr(), values.as_mut_ptr())
    };
    assert_eq!(result, CUresult::CUDA_ERROR_INVALID_PTX);
    let length = values[0] as usize;
    let log = std::str::from_utf8(&log[..length - 1]).unwrap();
    assert!(log.contains("line 31") && log.contains("frobnicate"), "{log}");
}

/// A fault: the launch succeeds, what follows returns `expected`, the report is kept, and the context can be repaired.
fn faults(name: &str, expected: CUresult, in_report: &str, launch: impl Fn(&Device, &CudaFunction)) {
    let _alone = alone();
    let device = device();
    let function = device.module.load_function(name).unwrap();
    launch(&device, &function);
    // Nothing has waited for the kernel yet: no call tells, and no later work is done.
    let mut word = device.stream.clone_htod(&[1u32]).unwrap();
    device.stream.memset_zeros(&mut word).unwrap();
    assert_eq!(code(device.stream.clone_dtoh(&word)), expected, "this waits");
    drop(word);
    assert_eq!(code(device.stream.synchronize()), expected);
    assert_eq!(code(device.context.synchronize()), expected, "the error stays");
    // SAFETY: refused; nothing is allocated.
    assert_eq!(unsafe { sys::cuMemAlloc_v2(&mut 0, 16) }, expected, "for every call");
    client::clear_error();
    device.context.synchronize().unwrap();
    let report = client::last_report().expect("the fault was reported");
    assert!(report.contains(in_report) && report.contains(name), "{report}");
    assert_eq!(client::last_report(), None, "a report is given once");
}

#[test]
fn an_access_outside_every_allocation_breaks_the_context() {
    faults("poke", CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, "st.global.u32", |device, function| {
        with_pointer(&device.stream, function, 0x10_0000, config(1, 1, 0)).unwrap();
    });
}

#[test]
fn so_does_an_access_to_freed_memory() {
    faults("poke", CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, "st.global.u32", |device, function| {
        let slice = device.stream.alloc_zeros::<u32>(1).unwrap();
        let (p, guard) = slice.device_ptr(&device.stream);
        drop(guard);
        drop(slice);
        with_pointer(&device.stream, function, p, config(1, 1, 0)).unwrap();
    });
}

#[test]
fn a_misaligned_access_has_its_own_code() {
    faults("poke", CUresult::CUDA_ERROR_MISALIGNED_ADDRESS, "st.global.u32", |device, function| {
        let slice = device.stream.alloc_zeros::<u32>(4).unwrap();
        let (p, _guard) = slice.device_ptr(&device.stream);
        with_pointer(&device.stream, function, p + 2, config(1, 1, 0)).unwrap();
    });
}

#[test]
fn a_trap_is_a_launch_failure() {
    faults("give_up", CUresult::CUDA_ERROR_LAUNCH_FAILED, "trap", |device, function| {
        let mut launch = device.stream.launch_builder(function);
        // SAFETY: the kernel takes nothing.
        unsafe { launch.launch(config(1, 32, 0)) }.unwrap();
    });
}

#[test]
fn kernels_write_pinned_memory() {
    let _alone = alone();
    let Device { stream, module, context } = device();
    let poke = module.load_function("poke").unwrap();
    // SAFETY: zeroed bytes are valid u32.
    let pinned = unsafe { context.alloc_pinned::<u32>(4) }.unwrap();
    let address = pinned.as_ptr().unwrap() as u64;
    with_pointer(&stream, &poke, address + 8, config(1, 1, 0)).unwrap();
    stream.synchronize().unwrap();
    assert_eq!(pinned.as_slice().unwrap()[2], 7);
}

#[test]
fn threads_keep_their_own_model_modes_and_counters() {
    let _alone = alone();
    let threads: Vec<_> = (0..6u32)
        .map(|t| {
            std::thread::spawn(move || {
                let name = ["sm_80", "sm_86", "sm_90"][t as usize % 3];
                CudaContext::new(0).unwrap();
                client::set_model(name);
                let Device { stream, module, context } = device();
                let function = module.load_function("multiply").unwrap();
                for round in 0..20 {
                    let count = 100 * (t + 1) + round;
                    let data = stream.clone_htod(&vec![t; count as usize]).unwrap();
                    let (p, guard) = data.device_ptr(&stream);
                    multiply(&stream, &function, Multiply { input: p, output: p, count, factor: round }).unwrap();
                    drop(guard);
                    assert_eq!(stream.clone_dtoh(&data).unwrap(), vec![t * round * 3; count as usize]);
                    assert_eq!(context.name().unwrap(), format!("softcuda ({name} model)"));
                }
                let counters = client::counters_of("multiply");
                let stored: u64 = (0..20).map(|round| 4 * (100 * u64::from(t + 1) + round)).sum();
                assert_eq!((counters.launches, counters.stats.global_store_bytes), (20, stored));
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
