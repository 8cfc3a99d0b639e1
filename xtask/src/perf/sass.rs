//! nvdisasm's listing as functions of instructions with their branch targets.

use std::collections::HashMap;

/// One machine instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// As listed, without address and semicolon: `@P0 BRA `(.L_x_1)`.
    pub text: String,
    /// Index of the instruction that a branch names.
    pub target: Option<usize>,
}

impl Instruction {
    /// `@P0`, `@!UP1`; `@PT` is no condition.
    pub fn is_predicated(&self) -> bool {
        self.text.starts_with('@') && !self.text.starts_with("@PT") && !self.text.starts_with("@UPT")
    }

    /// The operation with its modifiers: `LDG.E.128.CONSTANT`.
    pub fn opcode(&self) -> &str {
        let mut words = self.text.split_whitespace();
        match words.next() {
            Some(guard) if guard.starts_with('@') => words.next().unwrap_or(""),
            Some(opcode) => opcode,
            None => "",
        }
    }

    /// What follows the operation.
    pub fn operands(&self) -> &str {
        self.text.split_once(self.opcode()).map_or("", |(_, rest)| rest.trim())
    }
}

impl Instruction {
    /// A clamp between 0 and a limit that also compares: `VIMNMX.RELU R1, P2, P2, R1, 0x20, PT`. ptxas 13.0 makes it for sm_90 of
    /// `max(0, min(x, 32)) == 32`, and an H100 does not set the predicate so: it holds for 0 <= x < 32 too.
    pub fn is_comparing_clamp(&self) -> bool {
        let second = self.operands().split(',').nth(1).map(str::trim);
        self.opcode() == "VIMNMX.RELU" && second.is_some_and(|operand| operand.starts_with('P') && operand != "PT")
    }
}

/// One function of a cubin.
pub struct Function {
    pub name: String,
    pub instructions: Vec<Instruction>,
}

/// The functions in the listing of `nvdisasm -c`.
pub fn functions(listing: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    for section in listing.split("\t.section\t.text.").skip(1) {
        let name = section.split([',', '\n']).next().unwrap_or_default().to_string();
        let mut labels: HashMap<&str, usize> = HashMap::new();
        let mut instructions: Vec<Instruction> = Vec::new();
        for line in section.lines().map(str::trim) {
            if let Some(label) = line.strip_suffix(':') {
                labels.insert(label, instructions.len());
            } else if let Some(text) = instruction_text(line) {
                instructions.push(Instruction { text: text.to_string(), target: None });
            }
        }
        for instruction in &mut instructions {
            let label = instruction.text.split_once("`(").and_then(|(_, rest)| rest.split_once(')'));
            instruction.target = label.and_then(|(label, _)| labels.get(label).copied());
        }
        functions.push(Function { name, instructions });
    }
    functions
}

/// `/*0010*/  MOV R1, c[0x0][0x28] ;` -> `MOV R1, c[0x0][0x28]`.
fn instruction_text(line: &str) -> Option<&str> {
    let (address, rest) = line.strip_prefix("/*")?.split_once("*/")?;
    u32::from_str_radix(address, 16).ok()?;
    Some(rest.split(';').next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clamp_that_compares_is_told_from_one_that_does_not() {
        let is = |text: &str| Instruction { text: text.to_string(), target: None }.is_comparing_clamp();
        assert!(is("VIMNMX.RELU R55, P2, P2, R55, 0x20, PT"));
        assert!(is("@P1 VIMNMX.RELU R55, P0, PT, R55, 0x20, PT"));
        assert!(!is("VIMNMX.RELU R55, R54, 0x20, PT"));
        assert!(!is("VIMNMX R55, PT, PT, R54, 0x20, PT"));
    }
}
