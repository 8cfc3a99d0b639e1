//! Calls: of functions of the module by name or by address, and of those that the device provides.

use super::layout::{Signature as Frame, signature};
use super::statement::{Decoder, call};
use super::{Draft, Preloads, Result, Use, refuse};
use crate::exec::code::{CallSite, Preload, Run};
use crate::exec::host::{Builtin, builtin};
use crate::exec::regs::File;
use crate::isa;
use crate::module::LoadErrorKind::{Syntax, Undefined, Unsupported};
use crate::ptx::{Operand, Stmt, Ty, Variable};

/// Parameters and results of what is called.
type Signature<'a> = (&'a [Variable<'a>], &'a [Variable<'a>]);

impl<'a> Decoder<'_, 'a> {
    pub(super) fn call(&self, stmt: &Stmt<'a>, preloads: &mut Preloads) -> Result<Draft> {
        let callable = || refuse(stmt, Syntax, "a call names a function, or a register with the address of one");
        let parts = call(stmt).ok_or_else(callable)?;
        if let Operand::Symbol(name) = parts.target
            && let Some(Builtin { exec, arguments, results }) =
                builtin(name).filter(|_| self.env.function(name).is_none_or(|f| f.body.is_none()))
        {
            // Offsets in the frame of the arguments, then of the result.
            let given = parts.arguments.iter().chain(parts.results).map(|o| self.argument(stmt, o));
            let (places, sizes): (Vec<u32>, Vec<u32>) = given.collect::<Result<Vec<_>>>()?.into_iter().unzip();
            if sizes.split_at(parts.arguments.len()) != (arguments, results) {
                let reason = format!("`{name}` has arguments of {arguments:?} bytes and results of {results:?}");
                return Err(refuse(stmt, Syntax, reason));
            }
            let mut draft = self.blank(stmt, exec, crate::Class::Control);
            draft.inst.list = places.into();
            draft.places[0] = Some((preloads.reg(File::R64, Preload::Frame), Use::Read));
            return Ok(draft);
        }
        let (_, exec, class) = self.row(stmt)?;
        let mut draft = self.blank(stmt, exec, class);
        let (params, returns) = match parts.target {
            Operand::Symbol(name) => {
                let f = self.env.function(name).expect("the graph has it");
                (f.params.as_slice(), f.returns.as_slice())
            }
            pointer => {
                let exec = isa::indirect_call();
                (draft.inst.run, draft.inst.taint) = (crate::exec::choose(exec.tiers, self.env.base_tier), exec.taint);
                let reg = self.value(stmt, pointer, Ty::U64, Use::Decide, false, preloads)?;
                draft.places[0] = Some((reg, Use::Decide));
                self.prototype(stmt)?
            }
        };
        let Frame { params: param_at, returns: return_at, .. } = signature(params, returns)?;
        if parts.arguments.len() != params.len() || parts.results.len() != returns.len() {
            return Err(refuse(stmt, Syntax, "arguments differ in number from the function's parameters"));
        }
        let runs = |list: &[Operand<'a>], declared: &[Variable<'a>], at: &[u32]| -> Result<Vec<Run>> {
            let pairs = list.iter().zip(declared).zip(at);
            let run = |((o, v), &there): ((&Operand<'a>, &Variable<'a>), &u32)| {
                let (here, size) = self.argument(stmt, o)?;
                if u64::from(size) != v.size {
                    let reason = format!("an argument or result has {size} bytes, the function's {}", v.size);
                    return Err(refuse(stmt, Syntax, reason));
                }
                Ok(Run { caller: here, callee: there, size })
            };
            pairs.map(run).collect()
        };
        let arguments = runs(parts.arguments, params, &param_at)?;
        let results = runs(parts.results, returns, &return_at)?;
        let target = match parts.target {
            Operand::Symbol(name) => {
                Some(self.layout.target(self.env, self.graph, self.starts, self.graph.numbers[name]))
            }
            _ => None,
        };
        draft.inst.mods = preloads.calls.len() as u32;
        preloads.calls.push(CallSite {
            function: self.number,
            frame: self.layout.frames[self.number],
            arguments,
            results,
            saves: self.graph.recursive(self.number),
            target,
        });
        Ok(draft)
    }

    /// Offset in the frame and bytes of a variable that a call names.
    fn argument(&self, stmt: &Stmt<'a>, o: &Operand<'a>) -> Result<(u32, u32)> {
        let reason = "only .param variables are supported as arguments and results of a call";
        let Operand::Var(v) = o else { return Err(refuse(stmt, Unsupported, reason)) };
        let at = self.layout.vars.get(&(self.number, *v)).copied().ok_or_else(|| refuse(stmt, Unsupported, reason))?;
        Ok((at, super::body(self.function).vars[*v as usize].size as u32))
    }

    /// What an indirect call is told of its target: the label of a `.callprototype`, or a list of functions of one shape.
    fn prototype(&self, stmt: &Stmt<'a>) -> Result<Signature<'a>> {
        let missing =
            || refuse(stmt, Undefined, "an indirect call needs the label of a .callprototype or .calltargets");
        let Some(Operand::Label(at)) = stmt.operands.last() else { return Err(missing()) };
        let body = super::body(self.function);
        if let Some(p) = body.prototypes.iter().find(|p| p.at == *at) {
            return Ok((&p.params, &p.returns));
        }
        let list = body.stmts.get(*at as usize).filter(|s| s.op == ".calltargets").ok_or_else(missing)?;
        match list.operands.first() {
            Some(Operand::Symbol(name)) => {
                let f = self.env.function(name).ok_or_else(missing)?;
                Ok((&f.params, &f.returns))
            }
            _ => Err(missing()),
        }
    }
}
