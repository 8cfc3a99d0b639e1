//! Runs statements for many threads: thread i reads the i-th element of each input and writes the i-th of each output.

use crate::gpu;
use softcuda_engine::{Checks, Config, Device, Launch, Model, Module, Numerics};
use std::fmt::Write;

/// One kernel: statements from `%a0`, `%a1`, .. to `%d0`, `%d1`, ..; a width of 1 is a predicate. `%l` is the lane.
pub struct Kernel {
    pub statements: String,
    pub inputs: Vec<u32>,
    pub outputs: Vec<u32>,
}

impl Kernel {
    pub fn new(statements: impl Into<String>, inputs: &[u32], outputs: &[u32]) -> Kernel {
        Kernel { statements: statements.into(), inputs: inputs.to_vec(), outputs: outputs.to_vec() }
    }

    fn text(&self, name: &str) -> String {
        let mut text = format!(
            ".visible .entry {name}(.param .u64 in, .param .u64 out, .param .u64 bytes) {{\n.reg .b32 %t<3>, %l; .reg .b64 %in, %out, %n, %v;\n\
             mov.u32 %t0, %ctaid.x; mov.u32 %t1, %ntid.x; mov.u32 %t2, %tid.x; mad.lo.u32 %t0, %t0, %t1, %t2; mul.wide.u32 %v, %t0, 8;\n\
             ld.param.u64 %in, [in]; ld.param.u64 %out, [out]; ld.param.u64 %n, [bytes]; mov.u32 %l, %laneid;\n\
             add.s64 %in, %in, %v; add.s64 %out, %out, %v;\n"
        );
        let reg = |bits: u32| if bits == 1 { ".pred".to_string() } else { format!(".b{bits}") };
        for (k, &bits) in self.inputs.iter().enumerate() {
            let _ = writeln!(text, ".reg {} %a{k};\nld.global.b64 %v, [%in]; add.s64 %in, %in, %n;", reg(bits));
            let _ = match bits {
                1 => writeln!(text, "setp.ne.b64 %a{k}, %v, 0;"),
                64 => writeln!(text, "mov.b64 %a{k}, %v;"),
                _ => writeln!(text, "cvt.u{bits}.u64 %a{k}, %v;"),
            };
        }
        for (k, &bits) in self.outputs.iter().enumerate() {
            let _ = writeln!(text, ".reg {} %d{k};", reg(bits));
        }
        let _ = writeln!(text, "{}", self.statements);
        for (k, &bits) in self.outputs.iter().enumerate() {
            let _ = match bits {
                1 => writeln!(text, "selp.b64 %v, 1, 0, %d{k};"),
                64 => writeln!(text, "mov.b64 %v, %d{k};"),
                _ => writeln!(text, "cvt.u64.u{bits} %v, %d{k};"),
            };
            let _ = writeln!(text, "st.global.b64 [%out], %v; add.s64 %out, %out, %n;");
        }
        text + "ret;\n}\n"
    }
}

/// A module of kernels, numbered, on a device of the newest model.
pub struct Grid {
    device: Device,
    module: Module,
    text: String,
    kernels: Vec<Kernel>,
}

impl Grid {
    pub fn new(kernels: Vec<Kernel>) -> Grid {
        let model = Model::by_name("sm_90").unwrap();
        let device = Device::new(Config { checks: Checks::NONE, count: false, model, ..Config::default() });
        let mut text = String::from(".version 8.6\n.target sm_90\n.address_size 64\n");
        kernels.iter().enumerate().for_each(|(n, k)| text += &k.text(&format!("k{n}")));
        let module = Module::load(&device, &text).unwrap_or_else(|error| panic!("{error}"));
        Grid { device, module, text, kernels }
    }

    /// Changes what the ISA leaves open, for the launches from now on.
    pub fn set(&self, numerics: Numerics, seed: u64) {
        self.device.set_config(Config { numerics, seed, ..self.device.config() });
    }

    /// The outputs of kernel `n` for inputs of equal length, a multiple of 32.
    pub fn run(&self, n: usize, inputs: &[Vec<u64>]) -> Vec<Vec<u64>> {
        let (kernel, count) = (&self.kernels[n], inputs[0].len());
        assert!(inputs.len() == kernel.inputs.len() && inputs.iter().all(|i| i.len() == count));
        let block = if count.is_multiple_of(256) { 256 } else { 32 };
        assert_eq!(count % block, 0);
        let bytes = 8 * count as u64;
        let input = self.device.alloc(bytes * inputs.len() as u64).unwrap();
        let data: Vec<u8> = inputs.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
        self.device.write(input, &data).unwrap();
        let output = self.device.alloc(bytes * kernel.outputs.len() as u64).unwrap();
        let params: Vec<u8> = [input, output, bytes].iter().flat_map(|p| p.to_le_bytes()).collect();
        let (grid, block) = ([(count / block) as u32, 1, 1], [block as u32, 1, 1]);
        let launch = Launch { grid, block, dynamic_shared: 0, params: &params, cooperative: false };
        self.device.launch(&self.module, &format!("k{n}"), launch).unwrap_or_else(|report| panic!("{report}"));
        let mut out = vec![0; 8 * count * kernel.outputs.len()];
        self.device.read(output, &mut out).unwrap();
        gpu::compare(&gpu::Launched {
            what: &format!("{} {:?}", kernel.statements, self.device.config().numerics),
            text: &gpu::only(&self.text, &format!("k{n}")),
            kernel: &format!("k{n}"),
            grid: grid[0],
            block: block[0],
            word: 8,
            arguments: &[
                gpu::Argument::Buffer { before: &data, after: &data },
                gpu::Argument::Buffer { before: &vec![0; out.len()], after: &out },
                gpu::Argument::Long(bytes),
            ],
        });
        self.device.free(input).unwrap();
        self.device.free(output).unwrap();
        let words: Vec<u64> = out.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())).collect();
        words.chunks_exact(count).map(<[u64]>::to_vec).collect()
    }
}
