//! Loads, stores, prefetches, asynchronous copies (PTX ISA 9.7.9.8 to 9.7.9.25).

use super::row::{Mods, Row, row};
use crate::count::Class::Memory;
use crate::exec::{Ctx, Exec, Flow, Inst, Taint, exec};
use crate::report::FaultKind;

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("ld{.weak|.relaxed|.acquire|.volatile|.mmio}{.cta|.cluster|.gpu|.sys}{.global|.const|.local|.param|.param::entry|.param::func|.shared|.shared::cta|.shared::cluster}{.ca|.cg|.cs|.lu|.cv}{.L1::evict_normal|.L1::evict_unchanged|.L1::evict_first|.L1::evict_last|.L1::no_allocate}{.L2::evict_normal|.L2::evict_first|.L2::evict_last}{.L2::64B|.L2::128B|.L2::256B}{.v2|.v4}.(b8|b16|b32|b64|u8|u16|u32|u64|s8|s16|s32|s64|f32|f64) d:v, [a]", "9.7.9.8", Memory, load),
        row("ld{.weak|.relaxed|.acquire|.volatile|.mmio}{.cta|.cluster|.gpu|.sys}{.global|.shared|.shared::cta|.shared::cluster}{.ca|.cg|.cs|.lu|.cv}{.L1::evict_normal|.L1::evict_unchanged|.L1::evict_first|.L1::evict_last|.L1::no_allocate}.L2::cache_hint{.L2::64B|.L2::128B|.L2::256B}{.v2|.v4}.(b8|b16|b32|b64|u8|u16|u32|u64|s8|s16|s32|s64|f32|f64) d:v, [a], b:b64", "9.7.9.8", Memory, load),
        // The space before the ordering, as some inline assembly writes it.
        row("ld.(global|shared|shared::cta).(relaxed|acquire|volatile){.cta|.cluster|.gpu|.sys}{.v2|.v4}.(b8|b16|b32|b64|u8|u16|u32|u64|s8|s16|s32|s64|f32|f64) d:v, [a]", "9.7.9.8", Memory, load),
        row("ld.global{.ca|.cg|.cs}.nc{.L1::evict_normal|.L1::evict_unchanged|.L1::evict_first|.L1::evict_last|.L1::no_allocate}{.L2::evict_normal|.L2::evict_first|.L2::evict_last}{.L2::64B|.L2::128B|.L2::256B}{.v2|.v4}.(b8|b16|b32|b64|u8|u16|u32|u64|s8|s16|s32|s64|f32|f64) d:v, [a]", "9.7.9.9", Memory, load),
        row("ld.global{.ca|.cg|.cs}.nc{.L1::evict_normal|.L1::evict_unchanged|.L1::evict_first|.L1::evict_last|.L1::no_allocate}.L2::cache_hint{.L2::64B|.L2::128B|.L2::256B}{.v2|.v4}.(b8|b16|b32|b64|u8|u16|u32|u64|s8|s16|s32|s64|f32|f64) d:v, [a], b:b64", "9.7.9.9", Memory, load),
        row("ldu{.global}{.v2|.v4}.(b8|b16|b32|b64|u8|u16|u32|u64|s8|s16|s32|s64|f32|f64) d:v, [a]", "9.7.9.10", Memory, load),
        row("st{.weak|.relaxed|.release|.volatile|.mmio}{.cta|.cluster|.gpu|.sys}{.global|.local|.param|.param::func|.shared|.shared::cta|.shared::cluster}{.wb|.cg|.cs|.wt}{.L1::evict_normal|.L1::evict_unchanged|.L1::evict_first|.L1::evict_last|.L1::no_allocate}{.v2|.v4}.(b8|b16|b32|b64|u8|u16|u32|u64|s8|s16|s32|s64|f32|f64) [a], b:v", "9.7.9.11", Memory, store),
        row("st{.weak|.relaxed|.release|.volatile|.mmio}{.cta|.cluster|.gpu|.sys}{.global|.shared|.shared::cta|.shared::cluster}{.wb|.cg|.cs|.wt}{.L1::evict_normal|.L1::evict_unchanged|.L1::evict_first|.L1::evict_last|.L1::no_allocate}.L2::cache_hint{.v2|.v4}.(b8|b16|b32|b64|u8|u16|u32|u64|s8|s16|s32|s64|f32|f64) [a], b:v, c:b64", "9.7.9.11", Memory, store),
        row("st.(global|shared|shared::cta).(relaxed|release|volatile){.cta|.cluster|.gpu|.sys}{.v2|.v4}.(b8|b16|b32|b64|u8|u16|u32|u64|s8|s16|s32|s64|f32|f64) [a], b:v", "9.7.9.11", Memory, store),
        row("prefetch{.global|.local}.(L1|L2|L2::evict_last|L2::evict_normal) [a]", "9.7.9.15", Memory, |_| Some(nothing())).hint(),
        row("prefetchu.L1 [a]", "9.7.9.15", Memory, |_| Some(nothing())).hint(),
        row("applypriority{.global}.L2::evict_normal [a], b:u32", "9.7.9.16", Memory, |_| Some(nothing())).hint(),
        // What the bytes hold afterwards is open: they hold what they did.
        row("discard{.global}.L2 [a], b:u32", "9.7.9.17", Memory, |_| Some(nothing())).hint(),
        row("createpolicy.fractional.(L2::evict_last|L2::evict_normal|L2::evict_first|L2::evict_unchanged){.L2::evict_first|.L2::evict_unchanged}.b64 d{, a:f32}", "9.7.9.18", Memory, |_| Some(policy())).hint(),
        row("createpolicy.cvt.L2.b64 d, a:b64", "9.7.9.18", Memory, |_| Some(policy())).hint(),
        row("createpolicy.range{.global}.(L2::evict_last|L2::evict_normal|L2::evict_first){.L2::evict_first|.L2::evict_unchanged}.b64 d, [a], b:u32, c:u32", "9.7.9.18", Memory, |_| Some(policy())).hint(),
        row("cp.async.(ca|cg).(shared|shared::cta).global{.L2::64B|.L2::128B|.L2::256B} [d], [a], m:u32{, m:u32}", "9.7.9.25.3.1", Memory, |_| Some(copy())),
        row("cp.async.(ca|cg).(shared|shared::cta).global.L2::cache_hint{.L2::64B|.L2::128B|.L2::256B} [d], [a], m:u32, c:b64", "9.7.9.25.3.1", Memory, |_| Some(copy().with(1))),
        row("cp.async.(ca|cg).(shared|shared::cta).global.L2::cache_hint{.L2::64B|.L2::128B|.L2::256B} [d], [a], m:u32, m:u32, e:b64", "9.7.9.25.3.1", Memory, |_| Some(copy())),
        row("cp.async.commit_group", "9.7.9.25.3.2", Memory, |_| Some(exec!(|c, _i| {
            c.door.cp_async_commit(c.warp.index, c.mask);
            Flow::Next
        }))),
        row("cp.async.wait_group a:u32", "9.7.9.25.3.3", Memory, |_| Some(exec!(|c, i| {
            let n = c.warp.regs.r32[i.o[0] as usize][0];
            match c.door.cp_async_wait(c.warp.index, c.mask, n) {
                Ok(()) => Flow::Next,
                Err(fault) => c.fault(fault),
            }
        }))),
        row("cp.async.wait_all", "9.7.9.25.3.3", Memory, |_| Some(exec!(|c, _i| {
            match c.door.cp_async_wait_all(c.warp.index, c.mask) {
                Ok(()) => Flow::Next,
                Err(fault) => c.fault(fault),
            }
        }))),
    ]
}

/// A hint without effect on values.
pub fn nothing() -> Exec {
    exec!(|_c, _i| Flow::Next)
}

/// A cache policy: a value that nothing looks at.
fn policy() -> Exec {
    exec!(|c, i| {
        c.warp.regs.put::<u64>(i.o[0], c.mask, &[0; 32]);
        Flow::Next
    })
}

fn load(m: &Mods) -> Option<Exec> {
    let vector = count(m);
    if m.ty().bytes() * vector > 16 {
        return None;
    }
    Some(
        match m.ty().bytes() {
            4 => exec!(|c, i| loaded(c, i, |c, i| {
                for (k, d) in i.list.iter().enumerate() {
                    if i.mem.register == 64 {
                        narrow(c, i, k, *d);
                    } else {
                        c.warp.regs.put::<u32>(*d, c.mask, &c.wide.words[k]);
                    }
                }
            })),
            8 => exec!(|c, i| loaded(c, i, |c, i| {
                for (k, d) in i.list.iter().enumerate() {
                    let (low, high) = (&c.wide.words[2 * k], &c.wide.words[2 * k + 1]);
                    let out = std::array::from_fn(|l| u64::from(low[l]) | u64::from(high[l]) << 32);
                    c.warp.regs.put::<u64>(*d, c.mask, &out);
                }
            })),
            _ => exec!(|c, i| loaded(c, i, |c, i| {
                for (k, d) in i.list.iter().enumerate() {
                    narrow(c, i, k, *d);
                }
            })),
        }
        .taint(Taint::Own),
    )
}

/// Elements of the vector.
pub fn count(m: &Mods) -> u32 {
    match m.which(&["v2", "v4", "v8"]) {
        Some("v2") => 2,
        Some("v4") => 4,
        Some(_) => 8,
        None => 1,
    }
}

/// Loads into `c.wide`, lets `f` spread it, then hands on what is unwritten.
#[inline(always)]
fn loaded(c: &mut Ctx<'_, '_>, i: &Inst, f: impl Fn(&mut Ctx<'_, '_>, &Inst)) -> Flow {
    let addresses = c.addresses(i.o[1], i.offset, i.mem.base64);
    let access = c.access(i, u32::from(i.mem.element) * u32::from(i.mem.count));
    if let Err(fault) = c.door.load(&access, &addresses, c.wide) {
        return c.fault(fault);
    }
    f(c, i);
    if c.launch.init {
        crate::exec::taint::loaded(c, i, &addresses);
    }
    Flow::Next
}

/// Element `k` of 1, 2 or 4 bytes, extended to the register's width.
#[inline(always)]
fn narrow(c: &mut Ctx<'_, '_>, i: &Inst, k: usize, d: u32) {
    let bytes = usize::from(i.mem.element);
    let (word, shift) = (k * bytes / 4, 8 * (k * bytes % 4));
    let spare = 64 - 8 * bytes as u32;
    let value = |w: u32| {
        let x = u64::from(w) >> shift << spare;
        if i.mem.signed { (x as i64 >> spare) as u64 } else { x >> spare }
    };
    if i.mem.register == 64 {
        let out = c.wide.words[word].map(value);
        c.warp.regs.put::<u64>(d, c.mask, &out);
    } else {
        let keep = if i.mem.register == 16 { 0xffff } else { u32::MAX };
        let out = c.wide.words[word].map(|w| value(w) as u32 & keep);
        c.warp.regs.put::<u32>(d, c.mask, &out);
    }
}

fn store(m: &Mods) -> Option<Exec> {
    if m.ty().bytes() * count(m) > 16 {
        return None;
    }
    Some(
        match m.ty().bytes() {
            4 => exec!(|c, i| stored(c, i, |c, i| {
                for (k, s) in i.list.iter().enumerate() {
                    if i.mem.register == 64 {
                        c.wide.words[k] = c.warp.regs.r64[*s as usize].map(|x| x as u32);
                    } else {
                        c.wide.words[k] = c.warp.regs.r32[*s as usize];
                    }
                }
            })),
            8 => exec!(|c, i| stored(c, i, |c, i| {
                for (k, s) in i.list.iter().enumerate() {
                    let x = &c.warp.regs.r64[*s as usize];
                    for l in 0..32 {
                        c.wide.words[2 * k][l] = x[l] as u32;
                        c.wide.words[2 * k + 1][l] = (x[l] >> 32) as u32;
                    }
                }
            })),
            _ => exec!(|c, i| stored(c, i, |c, i| {
                let bytes = usize::from(i.mem.element);
                c.wide.words = [[0; 32]; 4];
                for (k, s) in i.list.iter().enumerate() {
                    let (word, shift) = (k * bytes / 4, 8 * (k * bytes % 4));
                    let keep = u32::MAX >> (32 - 8 * bytes);
                    let x = c.warp.regs.widened(*s, i.mem.register == 64);
                    for l in 0..32 {
                        c.wide.words[word][l] |= (x[l] as u32 & keep) << shift;
                    }
                }
            })),
        }
        .taint(Taint::Own),
    )
}

#[inline(always)]
fn stored(c: &mut Ctx<'_, '_>, i: &Inst, f: impl Fn(&mut Ctx<'_, '_>, &Inst)) -> Flow {
    let addresses = c.addresses(i.o[0], i.offset, i.mem.base64);
    let access = c.access(i, u32::from(i.mem.element) * u32::from(i.mem.count));
    f(c, i);
    c.wide.uninit = [0; 32];
    c.wide.tainted = 0;
    if c.launch.init && !crate::exec::taint::storing(c, i, &addresses) {
        return Flow::Fault;
    }
    c.wrote = true;
    match c.door.store(&access, &addresses, c.wide) {
        Ok(()) => Flow::Next,
        Err(fault) => c.fault(fault),
    }
}

/// `cp.async`. With `mods` 1 the fourth operand is a cache policy, not a source size.
fn copy() -> Exec {
    exec!(|c, i| {
        let target = c.addresses(i.o[0], i.offset, i.mem.base64);
        let source = c.addresses(i.o[1], i.second_offset, i.mem.second64);
        let size = c.warp.regs.r32[i.o[2] as usize][0];
        if !matches!(size, 4 | 8 | 16) {
            return c.fail(
                i,
                c.mask,
                FaultKind::Unsupported,
                format!("cp.async of {size} bytes: only 4, 8 and 16 exist"),
            );
        }
        let sizes = if i.mods == 1 || i.o[3] == crate::exec::ABSENT {
            [size; 32]
        } else {
            c.warp.regs.r32[i.o[3] as usize].map(|s| s.min(size))
        };
        let site = c.site(i);
        c.wrote = true;
        match c.door.cp_async(site, c.warp.index, c.mask, size, &target, &source, &sizes) {
            Ok(()) => Flow::Next,
            Err(fault) => c.fault(fault),
        }
    })
}
