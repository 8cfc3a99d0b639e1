//! Where the variables of a kernel and its functions live: offsets in shared memory, and in a thread's local memory.
//!
//! Parameters of functions and of calls live in local memory as well. A caller's argument variable *is* the callee's parameter: functions do
//! not call themselves, so a parameter has one place for the whole kernel, and a call copies nothing.

use super::{Env, Result, body, refuse, statement};
use crate::module::{LoadError, LoadErrorKind};
use crate::ptx::{Function, Operand, Space, Variable};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Offsets of everything that is not global.
pub struct Layout {
    /// Module-level `.shared` variables by name.
    pub shared: HashMap<String, u32>,
    /// In-body variables: (function, index) to offset in its space (shared or local).
    pub vars: HashMap<(usize, u32), u32>,
    /// Parameters of functions: (function name, index) to local offset.
    pub params: HashMap<(String, u32), u32>,
    /// Return values of functions.
    pub returns: HashMap<(String, u32), u32>,
    /// Offsets of the entry's parameters in the parameter block.
    pub entry: Vec<u32>,
    /// Static shared bytes.
    pub static_shared: u32,
    /// Where dynamic shared memory begins.
    pub dynamic_at: u32,
    /// Local bytes of a thread.
    pub local_bytes: u32,
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
    /// Places everything that the functions, the entry first, declare or mention.
    pub fn new<'a>(env: &Env<'a>, functions: &[&'a Function<'a>]) -> Result<Layout> {
        let mut layout = Layout {
            shared: HashMap::new(),
            vars: HashMap::new(),
            params: HashMap::new(),
            returns: HashMap::new(),
            entry: param_offsets(&functions[0].params)?.0,
            static_shared: 0,
            dynamic_at: 0,
            local_bytes: 0,
        };
        let mut local = 0;
        for f in &functions[1..] {
            for (n, p) in f.params.iter().enumerate() {
                layout.params.insert((f.name.into(), n as u32), place(&mut local, p, LOCAL)?);
            }
            for (n, p) in f.returns.iter().enumerate() {
                layout.returns.insert((f.name.into(), n as u32), place(&mut local, p, LOCAL)?);
            }
        }
        let mut dynamic: Vec<&Variable<'a>> = Vec::new();
        for (n, f) in functions.iter().enumerate() {
            layout.arguments(env, n, f)?;
            for (k, v) in body(f).vars.iter().enumerate() {
                let key = (n, k as u32);
                match v.space {
                    Space::Shared => {
                        layout.vars.insert(key, place(&mut layout.static_shared, v, SHARED)?);
                    }
                    Space::Local | Space::Param => {
                        if let Entry::Vacant(free) = layout.vars.entry(key) {
                            free.insert(place(&mut local, v, LOCAL)?);
                        }
                    }
                    Space::Global | Space::Const => {}
                }
            }
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
        layout.local_bytes = local.next_multiple_of(16);
        Ok(layout)
    }

    /// Lets the argument and result variables of a function's calls be the callees' parameters.
    fn arguments<'a>(&mut self, env: &Env<'a>, n: usize, f: &'a Function<'a>) -> Result<()> {
        for stmt in &body(f).stmts {
            let Some((results, name, arguments)) = statement::call(stmt) else { continue };
            let Some(callee) = env.function(name).filter(|g| g.body.is_some()) else { continue };
            if arguments.len() != callee.params.len() || results.len() != callee.returns.len() {
                return Err(refuse(
                    stmt,
                    LoadErrorKind::Syntax,
                    "arguments differ in number from the function's parameters",
                ));
            }
            let pairs = arguments.iter().enumerate().map(|(k, a)| (a, self.params[&(name.to_string(), k as u32)]));
            let results = results.iter().enumerate().map(|(k, a)| (a, self.returns[&(name.to_string(), k as u32)]));
            for (operand, at) in pairs.chain(results).collect::<Vec<_>>() {
                let Operand::Var(v) = operand else {
                    let reason = "only .param variables are supported as arguments and results of a call";
                    return Err(refuse(stmt, LoadErrorKind::Unsupported, reason));
                };
                if *self.vars.entry((n, *v)).or_insert(at) != at {
                    let reason = "a .param variable that serves calls of different functions is not supported";
                    return Err(refuse(stmt, LoadErrorKind::Unsupported, reason));
                }
            }
        }
        Ok(())
    }
}

/// Module-level names in an operand.
fn symbols<'b>(operand: &'b Operand<'_>) -> Vec<&'b str> {
    match operand {
        Operand::Symbol(name) => vec![name],
        Operand::Offset(inner, _) | Operand::Address(inner) | Operand::Not(inner) => symbols(inner),
        Operand::Vector(list) | Operand::List(list) => list.iter().flat_map(symbols).collect(),
        Operand::Pair(pair) => [&pair.0, &pair.1].into_iter().flat_map(symbols).collect(),
        _ => Vec::new(),
    }
}
