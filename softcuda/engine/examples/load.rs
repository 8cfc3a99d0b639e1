//! Loads PTX files and says what is refused: `cargo run -p softcuda-engine --example load -- a.ptx b.ptx`

use softcuda_engine::{Config, Device, Model, Module};

fn main() {
    let mut refused = 0;
    for path in std::env::args().skip(1) {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) => {
                println!("{path}: {e}");
                refused += 1;
                continue;
            }
        };
        let model = Model::by_name("sm_90").expect("a known name");
        let device = Device::new(Config { model, ..Config::default() });
        let start = std::time::Instant::now();
        match Module::load(&device, &text) {
            Ok(module) => println!("{path}: {} kernels in {:.0?}", module.kernels().len(), start.elapsed()),
            Err(e) => {
                println!("{path}: {e}");
                refused += 1;
            }
        }
    }
    std::process::exit(i32::from(refused != 0));
}
