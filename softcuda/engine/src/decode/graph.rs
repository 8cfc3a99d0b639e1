//! Which functions a kernel may call, and which calls may come back to their caller.

use super::{Env, Result, body, refuse, statement};
use crate::exec::host::builtin;
use crate::module::LoadErrorKind;
use crate::ptx::{Function, Init, Operand, Unit};
use std::collections::{HashMap, HashSet};

/// A kernel and the functions it may call, by number; the kernel is 0.
pub struct Graph<'a> {
    /// The functions.
    pub functions: Vec<&'a Function<'a>>,
    /// Their numbers.
    pub numbers: HashMap<&'a str, usize>,
    /// What an indirect call may reach, when there is one: every function whose address the module takes.
    pub taken: Vec<usize>,
    /// `calls[f]`: the functions that f calls. The node behind the last stands for "some function whose address is taken".
    calls: Vec<Vec<usize>>,
    /// Strongly connected component of each node; a component has a higher number than those it calls.
    component: Vec<usize>,
}

impl<'a> Graph<'a> {
    /// The entry, then every function that it may call, each once.
    pub fn new(env: &Env<'a>, entry: &'a Function<'a>) -> Result<Graph<'a>> {
        let mut graph = Graph {
            functions: vec![entry],
            numbers: HashMap::from([(entry.name, 0)]),
            taken: Vec::new(),
            calls: Vec::new(),
            component: Vec::new(),
        };
        let mut indirect = Vec::new();
        let mut at = 0;
        while at < graph.functions.len() {
            let mut callees = Vec::new();
            for stmt in &body(graph.functions[at]).stmts {
                let Some(call) = statement::call(stmt) else { continue };
                let Operand::Symbol(name) = call.target else {
                    if indirect.is_empty() {
                        graph.taken = env.taken().iter().map(|f| graph.number(f)).collect();
                    }
                    indirect.push(at);
                    continue;
                };
                match env.function(name) {
                    Some(g) if g.body.is_some() => callees.push(graph.number(g)),
                    _ if builtin(name).is_some() => {}
                    _ => {
                        let reason = format!("function `{name}` is not defined");
                        return Err(refuse(stmt, LoadErrorKind::Undefined, reason));
                    }
                }
            }
            graph.calls.push(callees);
            at += 1;
        }
        let any = graph.functions.len();
        indirect.into_iter().for_each(|f| graph.calls[f].push(any));
        graph.calls.push(graph.taken.clone());
        for callees in &mut graph.calls {
            callees.sort_unstable();
            callees.dedup();
        }
        graph.component = components(&graph.calls);
        Ok(graph)
    }

    /// The number of a function, a new one if it has none yet.
    fn number(&mut self, f: &'a Function<'a>) -> usize {
        *self.numbers.entry(f.name).or_insert_with(|| {
            self.functions.push(f);
            self.functions.len() - 1
        })
    }

    /// Whether `f` may be called again while it runs.
    pub fn recursive(&self, f: usize) -> bool {
        let mine = self.component[f];
        self.calls[f].iter().any(|&g| self.component[g] == mine)
    }

    /// Bytes of the deepest chain of frames, if there is a deepest. `frames` holds the bytes of each.
    pub fn depth(&self, frames: &[u32]) -> Option<u32> {
        let nodes = self.calls.len();
        if (0..nodes).any(|f| self.recursive(f)) {
            return None;
        }
        // Without cycles each node is a component of its own, numbered behind all that it calls.
        let mut order: Vec<usize> = (0..nodes).collect();
        order.sort_unstable_by_key(|&f| self.component[f]);
        let mut depth = vec![0u32; nodes];
        for f in order {
            let deepest = self.calls[f].iter().map(|&g| depth[g]).max().unwrap_or(0);
            depth[f] = deepest.saturating_add(frames.get(f).copied().unwrap_or(0));
        }
        Some(depth[0])
    }
}

/// Strongly connected components, numbered so that a component comes behind all that it reaches (Tarjan, "Depth-first search and linear graph
/// algorithms", 1972), without recursion.
fn components(calls: &[Vec<usize>]) -> Vec<usize> {
    const NEW: usize = usize::MAX;
    let n = calls.len();
    let (mut index, mut low, mut component) = (vec![NEW; n], vec![0; n], vec![NEW; n]);
    let (mut stack, mut next, mut count) = (Vec::new(), 0, 0);
    for root in 0..n {
        if index[root] != NEW {
            continue;
        }
        // A node under way and the next of its edges.
        let mut path = vec![(root, 0)];
        while let Some((f, edge)) = path.last_mut() {
            let f = *f;
            if *edge == 0 {
                (index[f], low[f]) = (next, next);
                next += 1;
                stack.push(f);
            }
            if let Some(&g) = calls[f].get(*edge) {
                *edge += 1;
                if index[g] == NEW {
                    path.push((g, 0));
                } else if component[g] == NEW {
                    low[f] = low[f].min(index[g]);
                }
                continue;
            }
            path.pop();
            if let Some((parent, _)) = path.last() {
                low[*parent] = low[*parent].min(low[f]);
            }
            if low[f] == index[f] {
                while let Some(g) = stack.pop() {
                    component[g] = count;
                    if g == f {
                        break;
                    }
                }
                count += 1;
            }
        }
    }
    component
}

/// The functions whose address stands in an instruction or an initialiser of the module.
pub fn taken<'a>(unit: &'a Unit<'a>) -> Vec<&'a Function<'a>> {
    let mut names: HashSet<&str> = HashSet::new();
    for stmt in unit.functions.iter().filter_map(|f| f.body.as_ref()).flat_map(|b| &b.stmts) {
        let called = statement::call(stmt).map(|c| c.target);
        let others = stmt.operands.iter().filter(|o| !called.is_some_and(|c| std::ptr::eq(c, *o)));
        names.extend(others.flat_map(super::layout::symbols));
    }
    for init in unit.variables.iter().flat_map(|v| &v.init) {
        if let Init::Address(name, ..) = init {
            names.insert(name);
        }
    }
    unit.functions.iter().filter(|f| !f.entry && f.body.is_some() && names.contains(f.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::components;

    #[test]
    fn cycles_are_components_behind_what_they_reach() {
        // 0 -> 1 -> 2 -> 1, 2 -> 3, 0 -> 3, 4 -> 4
        let calls = [vec![1, 3], vec![2], vec![1, 3], vec![], vec![4]];
        let c = components(&calls);
        assert!(c[1] == c[2] && c[0] > c[1] && c[1] > c[3] && c[4] != c[0], "{c:?}");
        let long: Vec<Vec<usize>> = (0..100_000).map(|k| if k < 99_999 { vec![k + 1] } else { vec![] }).collect();
        assert_eq!(components(&long)[0], 99_999);
    }
}
