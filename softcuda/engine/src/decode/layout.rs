//! Where the variables of a kernel and its functions live: offsets in shared memory, and in a thread's local memory.
//!
//! Local memory is a stack of frames: the kernel's own, then one for each call under way. A function's frame holds its parameters, its
//! results and its variables, in this order; arguments of calls are variables of the caller, and a call copies them.

use super::graph::Graph;
use super::{Env, Result, body};
use crate::exec::code::Target;
use crate::module::{LoadError, LoadErrorKind};
use crate::ptx::{Operand, Space, Variable};
use std::collections::HashMap;

/// Bytes of a thread's stack when calls may nest without a limit that the text gives.
const STACK: u32 = 16 << 10;

/// Offsets of everything that is not global.
pub struct Layout {
    /// Module-level `.shared` variables by name.
    pub shared: HashMap<String, u32>,
    /// In-body variables: (function, index) to offset in shared memory or in the function's frame.
    pub vars: HashMap<(usize, u32), u32>,
    /// Parameters of functions: (function, index) to offset in the frame; of the entry, in the parameter block.
    pub params: HashMap<(usize, u32), u32>,
    /// Return values of functions.
    pub returns: HashMap<(usize, u32), u32>,
    /// Bytes of each function's frame.
    pub frames: Vec<u32>,
    /// Static shared bytes.
    pub static_shared: u32,
    /// Where dynamic shared memory begins.
    pub dynamic_at: u32,
    /// Local bytes of a thread that the text fixes.
    pub local_bytes: u32,
    /// Bytes behind them for recursion and `alloca`.
    pub stack_bytes: u32,
}

/// Bytes of a kernel's parameters (PTX ISA 5.1.6), of its static shared memory, and of a thread's local memory (CUDA C++ Programming Guide,
/// "Technical Specifications per Compute Capability"). The first two are also what ptxas allows.
const PARAMS: u32 = 0x7ffc;
const SHARED: u32 = 48 << 10;
const LOCAL: u32 = 512 << 10;

/// Offsets of a kernel's parameters in their block, and its size.
pub fn param_offsets(params: &[Variable<'_>]) -> Result<(Vec<u32>, u32)> {
    let mut end = 0;
    let offsets = params.iter().map(|p| place(&mut end, p, PARAMS)).collect::<Result<_>>()?;
    Ok((offsets, end))
}

/// Where the parts of a function's frame are.
pub struct Signature {
    /// Offsets of the parameters.
    pub params: Vec<u32>,
    /// Offsets of the results.
    pub returns: Vec<u32>,
    /// Where variables begin.
    pub end: u32,
}

/// The frame of a function with these parameters and results.
pub fn signature(params: &[Variable<'_>], returns: &[Variable<'_>]) -> Result<Signature> {
    let mut end = 0;
    let params = params.iter().map(|p| place(&mut end, p, LOCAL)).collect::<Result<_>>()?;
    let returns = returns.iter().map(|r| place(&mut end, r, LOCAL)).collect::<Result<_>>()?;
    Ok(Signature { params, returns, end })
}

/// Gives a variable its place behind `end`; no more than `limit` bytes in all.
fn place(end: &mut u32, v: &Variable<'_>, limit: u32) -> Result<u32> {
    let fitting = end.checked_next_multiple_of(v.align).and_then(|at| {
        let size = u32::try_from(v.size).ok()?;
        Some((at, at.checked_add(size).filter(|&end| end <= limit)?))
    });
    let Some((at, behind)) = fitting else {
        let reason = format!("more than {limit} bytes of .{:?} variables", v.space).to_lowercase();
        return Err(LoadError { line: v.line, text: v.name.into(), reason, kind: LoadErrorKind::Syntax });
    };
    *end = behind;
    Ok(at)
}

impl Layout {
    /// Places everything that the functions declare or mention.
    pub fn new<'a>(env: &Env<'a>, graph: &Graph<'a>) -> Result<Layout> {
        let mut layout = Layout {
            shared: HashMap::new(),
            vars: HashMap::new(),
            params: HashMap::new(),
            returns: HashMap::new(),
            frames: Vec::new(),
            static_shared: 0,
            dynamic_at: 0,
            local_bytes: 0,
            stack_bytes: 0,
        };
        let mut dynamic: Vec<&Variable<'a>> = Vec::new();
        let mut allocates = false;
        for (n, f) in graph.functions.iter().enumerate() {
            // The entry's parameters are in a space of their own.
            let own = if n == 0 {
                Signature { params: param_offsets(&f.params)?.0, returns: Vec::new(), end: 0 }
            } else {
                signature(&f.params, &f.returns)?
            };
            let Signature { params, returns, mut end } = own;
            layout.params.extend((0..).zip(params).map(|(k, at)| ((n, k), at)));
            layout.returns.extend((0..).zip(returns).map(|(k, at)| ((n, k), at)));
            for (k, v) in body(f).vars.iter().enumerate() {
                let at = match v.space {
                    Space::Shared => place(&mut layout.static_shared, v, SHARED)?,
                    Space::Local | Space::Param => place(&mut end, v, LOCAL)?,
                    Space::Global | Space::Const => continue,
                };
                layout.vars.insert((n, k as u32), at);
            }
            layout.frames.push(end.next_multiple_of(16));
            allocates |= body(f).stmts.iter().any(|s| s.op.starts_with("alloca."));
            for name in body(f).stmts.iter().flat_map(|s| &s.operands).flat_map(symbols) {
                let Some(v) = env.unit.variables.iter().find(|v| v.name == name && v.space == Space::Shared) else {
                    continue;
                };
                if layout.shared.contains_key(name) || dynamic.iter().any(|d| d.name == name) {
                    continue;
                }
                if v.size == 0 {
                    dynamic.push(v);
                } else {
                    layout.shared.insert(name.into(), place(&mut layout.static_shared, v, SHARED)?);
                }
            }
        }
        let align = dynamic.iter().map(|v| v.align).max().unwrap_or(1);
        layout.dynamic_at = layout.static_shared.checked_next_multiple_of(align).unwrap_or(u32::MAX);
        for v in dynamic {
            layout.shared.insert(v.name.into(), layout.dynamic_at);
        }
        let depth = graph.depth(&layout.frames);
        layout.local_bytes = depth.unwrap_or(layout.frames[0]);
        layout.stack_bytes = if depth.is_none() || allocates { STACK } else { 0 };
        if layout.local_bytes > LOCAL {
            let reason = format!("{} bytes of local memory in nested calls, a thread has {LOCAL}", layout.local_bytes);
            let entry = graph.functions[0];
            return Err(LoadError { line: entry.line, text: entry.name.into(), reason, kind: LoadErrorKind::Syntax });
        }
        Ok(layout)
    }

    /// Function `n` as what a call may go to. `starts` says where each function's instructions begin.
    pub fn target(&self, env: &Env<'_>, graph: &Graph<'_>, starts: &HashMap<&str, u32>, n: usize) -> Target {
        let name = graph.functions[n].name;
        let address = env.addresses.get(name).copied().unwrap_or(0);
        Target { address, at: starts[name], frame: self.frames[n] }
    }
}

/// Module-level names in an operand.
pub fn symbols<'b>(operand: &'b Operand<'_>) -> Vec<&'b str> {
    match operand {
        Operand::Symbol(name) => vec![name],
        Operand::Offset(inner, _) | Operand::Address(inner) | Operand::Not(inner) => symbols(inner),
        Operand::Vector(list) | Operand::List(list) => list.iter().flat_map(symbols).collect(),
        Operand::Pair(pair) => [&pair.0, &pair.1].into_iter().flat_map(symbols).collect(),
        _ => Vec::new(),
    }
}
