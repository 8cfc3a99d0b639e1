//! The text behind a kernel's instructions, for reports and for counts by line. It outlives its module.

use crate::exec::code::Code;
use crate::ptx::Loc;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The PTX text of a module and where a kernel's instructions stand in it.
#[derive(Clone)]
pub struct Listing {
    pub(crate) text: Arc<str>,
    /// Numbers and names of `.file`.
    pub(crate) files: Arc<[(u32, String)]>,
    pub(crate) code: Arc<Code>,
}

impl Listing {
    /// The module's text.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// `file:line` of the source of each PTX line of the kernel, where `-lineinfo` has left it.
    pub fn sources(&self) -> BTreeMap<u32, String> {
        let origins = self.code.insts.iter().zip(&self.code.origins);
        origins.filter_map(|(inst, origin)| Some((inst.line, self.place(origin.loc?.at)?))).collect()
    }

    /// The statement at an instruction, and `file:line` of its source and of the place where that is inlined.
    pub(crate) fn statement(&self, pc: u32) -> (String, Option<String>) {
        let Some(origin) = self.code.origins.get(pc as usize) else { return (String::new(), None) };
        let text = &self.text[origin.text.0 as usize..origin.text.1 as usize];
        (text.split_whitespace().collect::<Vec<_>>().join(" "), self.source(origin.loc))
    }

    fn source(&self, loc: Option<Loc>) -> Option<String> {
        let Loc { at, inlined } = loc?;
        let inlined = inlined.and_then(|at| self.place(at)).map_or(String::new(), |p| format!(", inlined at {p}"));
        Some(self.place(at)? + &inlined)
    }

    fn place(&self, (file, line): (u32, u32)) -> Option<String> {
        let name = &self.files.iter().find(|f| f.0 == file)?.1;
        Some(format!("{name}:{line}"))
    }
}
