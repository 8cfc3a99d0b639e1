// What a fuzz target does with its input; tests replay the corpus with it.

use softcuda_engine::{Config, Device, FaultKind, Launch, LoadError, Model, Module, Schedule};

/// A device on which nothing takes long.
fn device(input: &[u8]) -> Device {
    let seed = input.len() as u64;
    let schedule = if seed.is_multiple_of(2) { Schedule::InOrder } else { Schedule::Adversarial };
    // The newest model, on which nothing is refused for its age.
    let model = Model::by_name("sm_90").expect("a known name");
    Device::new(Config { threads: 1, instruction_limit: 20_000, seed, schedule, model, ..Config::default() })
}

/// Loads a module, or says why not.
pub fn load(input: &[u8]) -> Result<(Device, Module), LoadError> {
    let text = String::from_utf8_lossy(input);
    let device = device(input);
    let loaded = Module::load(&device, &text);
    if let Err(error) = &loaded {
        assert!(!error.reason.is_empty() && !error.to_string().is_empty());
    }
    loaded.map(|module| (device, module))
}

/// Loads a module and launches its first kernels: 8-byte parameters are the address of a buffer, all others count bytes from 1. Gives the kinds
/// of fault. softcuda never contradicts itself.
pub fn run(input: &[u8]) -> Result<Vec<Option<FaultKind>>, LoadError> {
    let (device, module) = load(input)?;
    let mut kinds = Vec::new();
    for kernel in module.kernels().iter().take(4) {
        let buffer = device.alloc(4096).expect("the model has room");
        device.write(buffer, &[0; 4096]).expect("its own buffer");
        let mut params = vec![0u8; kernel.param_bytes as usize];
        for p in &kernel.params {
            let place = &mut params[p.offset as usize..][..p.size as usize];
            match p.size {
                8 => place.copy_from_slice(&buffer.to_le_bytes()),
                _ => place.iter_mut().zip(1..).for_each(|(byte, n)| *byte = n),
            }
        }
        let block = kernel.required_block.unwrap_or([kernel.max_threads.min(64), 1, 1]);
        let launch = Launch { grid: [2, 1, 1], block, dynamic_shared: 256, params: &params, cooperative: false };
        kinds.push(match device.launch(&module, &kernel.name, launch) {
            Ok(_) => None,
            Err(report) => {
                assert_ne!(report.kind(), FaultKind::Bug, "{report}");
                assert!(!report.to_string().is_empty());
                Some(report.kind())
            }
        });
    }
    Ok(kinds)
}
