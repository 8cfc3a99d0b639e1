//! The only code that turns a report into text. The shape is fixed: kind, place, evidence, how to see it again, whose fault.

use super::{Blame, Report};
use std::fmt;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = &self.fault;
        let title = match fault.kind.blame() {
            Blame::Kernel => "kernel fault",
            Blame::Unsupported => "unsupported",
            Blame::Limit => "limit reached",
            Blame::Bug => "internal error",
        };
        writeln!(f, "softcuda: {title}: {}", fault.what)?;
        let [x, y, z] = self.block;
        write!(f, "  --> {}, block ({x},{y},{z}), warp {}", self.kernel, fault.warp)?;
        if let Some(lane) = fault.lane {
            let [x, y, z] = self.thread(lane);
            write!(f, ", thread ({x},{y},{z})")?;
        }
        writeln!(f, ", line {}:   {}", fault.site.line, self.text)?;
        if let (Some((site, what)), Some(text)) = (&fault.other, &self.other_text) {
            writeln!(f, "      line {}:   {text}   (1) {what}", site.line)?;
        }
        if let Some(source) = &self.source {
            writeln!(f, "      source {source}")?;
        }
        for note in &fault.notes {
            writeln!(f, "  = {note}")?;
        }
        let whose = match fault.kind.blame() {
            Blame::Kernel => "this is a fault of the kernel",
            Blame::Unsupported => "unsupported by softcuda, not a fault of the kernel",
            Blame::Limit => "limit reached",
            Blame::Bug => "bug in softcuda",
        };
        write!(f, "  = again: SOFTCUDA_SEED={}      = {whose}", self.seed)
    }
}
