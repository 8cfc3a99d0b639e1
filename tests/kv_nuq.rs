//! Caches of codes with tables: a second decoder written from docs/kv-layout.md alone, golden codes, and what is refused.

#[path = "common/golden.rs"]
mod golden;
mod kv_world;

use golden::Golden;
use half::{bf16, f16};
use kv_world::{NUQ_FORMATS, Step, World, noise};
use lowbit::cache::{KeyRope, KvFormat, KvLayout, KvShape, Status, nuq_key_table, nuq_value_table};
use lowbit::format::{Codebook, DType, Half16, RopeStyle};
use lowbit::reference::attend::{Options, attend, dequantize};
use lowbit::reference::kv::{self, CacheMut, Rows};

fn layout(format: KvFormat, num_kv_heads: usize, head_dim: usize, dtype: DType) -> KvLayout {
    KvLayout::new(KvShape { num_kv_heads, head_dim, page_tokens: 64, max_append: 3, dtype }, format).unwrap()
}

/// One head's record, read as docs/kv-layout.md says and by nothing else.
struct Record<'a> {
    bytes: &'a [u8],
    bits: usize,
    d: usize,
    /// Of the side that is read: levels, and of keys the head's ranges and zeros.
    levels: &'a [f32],
    channels: Option<(&'a [f32], &'a [f32])>,
    half_split: usize,
}

impl Record<'_> {
    fn half(&self, at: usize) -> f32 {
        f16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]).to_f32()
    }

    /// W(N, w) of a lane.
    fn word(n: usize, lane: usize, w: usize) -> usize {
        let last = n / 4 * 4;
        match n % 4 {
            _ if w < last => 512 * (w / 4) + 16 * lane + 4 * (w % 4),
            2.. if w < last + 2 => 128 * last + 8 * lane + 4 * (w - last),
            _ => 128 * w + 4 * lane,
        }
    }

    /// Places of the bits of key (token, place) or value (token, channel), lowest first: byte and bit in the part.
    fn places(&self, side: usize, token: usize, channel: usize) -> Vec<(usize, usize)> {
        let (d, x) = (self.d, self.d.div_ceil(64));
        let (i, h) = (token / 16, token % 16 / 8);
        let run = |byte: usize, bit: usize, count: usize| (0..count).map(move |k| (byte, bit + k));
        if side == 0 {
            let (g, w, t, q) = (token % 8, channel / 16, channel % 16 / 4, channel % 4);
            let lane = 4 * g + t;
            if self.bits == 4 {
                let nibble = 2 * h + q / 2 + 4 * (q % 2);
                return run(i * 8 * d + Self::word(d / 16, lane, w) + nibble / 2, 4 * (nibble % 2), 4).collect();
            }
            let low = i * 4 * d + Self::word(d / 32, lane, w / 2) + 2 * (w % 2) + h;
            let high = 8 * d + i * 128 * x + Self::word(x, lane, w / 4) + 2 * (w / 2 % 2) + h;
            return run(low, 2 * q, 2).chain([(high, 4 * (w % 2) + q)]).collect();
        }
        let (t, e, v, g) = (token % 8 / 2, token % 2, channel / 32, channel % 16 / 2);
        let (lane, f) = (4 * g + t, channel % 32 / 16 * 2 + channel % 2);
        if self.bits == 4 {
            let byte = i * 8 * d + Self::word(d / 16, lane, h * (d / 32) + v) + 2 * e + f / 2;
            return run(byte, 4 * (f % 2), 4).collect();
        }
        let low = i * 4 * d + Self::word(d / 32, lane, v) + 2 * h + e;
        let high = 8 * d + i * 128 * x + Self::word(x, lane, v / 2) + 2 * h + e;
        run(low, 2 * f, 2).chain([(high, 4 * (v % 2) + f)]).collect()
    }

    fn place_of(&self, channel: usize) -> usize {
        let half = self.half_split / 2;
        match channel {
            c if c < half => 2 * c,
            c if c < 2 * half => 2 * (c - half) + 1,
            c => c,
        }
    }

    fn value(&self, side: usize, token: usize, channel: usize) -> f32 {
        let d = self.d;
        let (s_k, s_v) = (d.div_ceil(100).max(2), d.div_ceil(100));
        let s = [s_k, s_v][side];
        let codes = if self.bits == 4 { 16 * d } else { 8 * d + 256 * d.div_ceil(64) };
        let meta = 2 * codes + side * 96 * s_k;
        let outliers = meta + side * 128;
        let stored = if side == 0 { self.place_of(channel) } else { channel };
        for k in 0..s {
            let value = self.half(outliers + 2 * (s * token + k));
            let at = usize::from(self.bytes[outliers + 64 * s + s * token + k]);
            assert_eq!(value.is_nan(), at == 255 && value.to_bits() == f16::from_bits(0x7E00).to_f32().to_bits());
            if !value.is_nan() && at == stored {
                return value;
            }
        }
        let bit = |(byte, bit): (usize, usize)| usize::from(self.bytes[side * codes + byte] >> bit & 1);
        let q = self.places(side, token, stored).into_iter().rev().fold(0, |q, place| 2 * q + bit(place));
        let (range, zero) = match self.channels {
            Some((range, zero)) => (range[channel], zero[channel]),
            None => (self.half(meta + 2 * token), self.half(meta + 64 + 2 * token)),
        };
        self.levels[q] * range + zero
    }
}

fn agree<T: Half16>(format: KvFormat, d: usize, turn: usize) {
    let (heads, tokens) = (2, 101);
    let layout = kv_world::pre_rope(layout(format, heads, d, T::DTYPE), turn);
    let mut world = World::new(layout, 1, tokens, turn as u64);
    let row = world.row();
    let typed = |seed| -> Vec<T> { noise(tokens * row, seed).iter().map(|x| T::from_f32(x.to_f32())).collect() };
    let (k, v) = (typed(1), typed(2));
    let step = world.step(&[tokens]);
    world.append(&step, &k, &v, true);
    let step = Step { cu_q_lens: vec![0, 1], max_q_len: 1, total_q: 1, ..world.step(&[0]) };
    let (read, status) = dequantize(&world.cache_ref(), &world.batch(&step), 0).unwrap();
    assert_eq!(status, Status::OK);
    let read = read.unwrap();
    let tables = [world.k_scale.as_ref().unwrap(), world.v_scale.as_ref().unwrap()];
    let rope = layout.key_rope().unwrap();
    let half_split = if rope.style == RopeStyle::HalfSplit { rope.rotary_dim } else { 0 };
    let sink = format.sink as usize;
    let mut outliers = 0;
    for (t, head) in (0..tokens).flat_map(|t| (0..heads).map(move |head| (t, head))) {
        let record = world.table[t / 64] as usize * layout.page_bytes() + head * layout.head_bytes();
        let record = &world.pages[record + t % 64 / 32 * layout.tile().bytes..][..layout.tile().bytes];
        for (side, read, given) in [(0, &read.k, &k), (1, &read.v, &v)] {
            let ranges = &tables[side][32..];
            let (range, zero) = ranges.split_at(ranges.len() / 2);
            let bits = format.k.code.bits() as usize;
            let channels = (side == 0).then(|| (&range[head * d..][..d], &zero[head * d..][..d]));
            let record = Record { bytes: record, bits, d, levels: &tables[side][..1 << bits], channels, half_split };
            for channel in 0..d {
                let at = (t * heads + head) * d + channel;
                let expected = if t < sink {
                    // The row of the state slot, which is what was given.
                    let place = if side == 0 { record.place_of(channel) } else { channel };
                    let slot = world.slots[0] as usize * 4 * heads * sink * d;
                    let byte = slot + 2 * (((side * heads + head) * sink + t) * d + place);
                    let bits = u16::from_le_bytes([world.state[byte], world.state[byte + 1]]);
                    let value = match T::DTYPE {
                        DType::Bf16 => bf16::from_bits(bits).to_f32(),
                        _ => f16::from_bits(bits).to_f32(),
                    };
                    assert_eq!(value, given[at].to_f32());
                    value
                } else {
                    record.value(side, t % 32, channel)
                };
                outliers += usize::from(t >= sink && expected == given[at].to_f32() && expected.abs() > 4.0);
                assert_eq!(
                    read[at].to_bits(),
                    expected.to_bits(),
                    "{layout:?} side {side} token {t} channel {channel}"
                );
            }
        }
    }
    assert!(outliers > tokens, "only {outliers} outliers are kept");
}

#[test]
fn a_second_decoder_reads_the_same() {
    for format in NUQ_FORMATS {
        for (turn, &d) in format.head_dims().iter().enumerate() {
            agree::<f16>(format, d, turn);
        }
        agree::<bf16>(format, 64, 3);
    }
}

/// Codes, ranges and outliers of golden tokens, bit for bit, as the values that they decode to.
#[test]
fn golden_codes() {
    for file in ["attention_d128_h8_kv2_t333", "attention_real_d64_h9_kv3_t512", "attention_d96_h6_kv2_t200"] {
        let golden = Golden::open(file);
        let (heads, d) = (golden.shape("k")[1], golden.shape("k")[2]);
        let k = golden.f16(if golden.names().iter().any(|name| name == "k_pre") { "k_pre" } else { "k" });
        let v = golden.f16("v");
        let tokens = k.len() / heads / d;
        let mut second = 0;
        for (bits, format) in [(4, KvFormat::nuq4(1)), (3, KvFormat::nuq3(1))] {
            let of = |part: &str| golden.f16(&format!("nuq{bits}.{part}"));
            let books = [of("k_codebook"), of("v_codebook")];
            let book = |side: usize| Codebook::new(&books[side]).unwrap();
            let mut world = World::new(layout(format, heads, d, DType::F16), 1, tokens, 3);
            world.k_scale = Some(nuq_key_table(&book(0), &of("k_range"), &of("k_zero")).unwrap());
            world.v_scale = Some(nuq_value_table(&book(1)).unwrap());
            let step = world.step(&[tokens]);
            world.append(&step, &k, &v, true);
            let step = Step { cu_q_lens: vec![0, 1], max_q_len: 1, total_q: 1, ..world.step(&[0]) };
            let (read, _) = dequantize(&world.cache_ref(), &world.batch(&step), 0).unwrap();
            let read = read.unwrap();
            for (side, name, found, given) in [(0, "k", &read.k, &k), (1, "v", &read.v, &v)] {
                let q = golden.bytes(&format!("nuq{bits}.{name}_q"));
                let channel = golden.bf16(&format!("nuq{bits}.{name}_outlier_channel"));
                let channel: Vec<u16> = channel.into_iter().map(bf16::to_bits).collect();
                let value = of(&format!("{name}_outlier_value"));
                let (range, zero) = (of(&format!("{name}_range")), of(&format!("{name}_zero")));
                let slots = channel.len() / tokens / heads;
                for (row, found) in found.chunks_exact(d).enumerate() {
                    if row < heads {
                        let given: Vec<f32> = given[row * d..][..d].iter().map(|x| x.to_f32()).collect();
                        assert_eq!(found, given, "{file} nuq{bits} {name}: the sink");
                        continue;
                    }
                    let mut expected: Vec<f32> = (0..d)
                        .map(|c| {
                            let at = if side == 0 { row % heads * d + c } else { row };
                            let level = books[side][usize::from(q[row * d + c])].to_f32();
                            level * range[at].to_f32() + zero[at].to_f32()
                        })
                        .collect();
                    for s in row * slots..(row + 1) * slots {
                        if channel[s] != 0xFFFF {
                            expected[usize::from(channel[s])] = value[s].to_f32();
                        }
                    }
                    if side == 0 && slots == 1 {
                        // Keys have two places at least: what comes second is kept as well.
                        let z = |c: usize| {
                            let at = row % heads * d + c;
                            (given[row * d + c].to_f32() - zero[at].to_f32()) / range[at].to_f32()
                        };
                        let rest = (0..d).filter(|&c| usize::from(channel[row]) != c && z(c).abs() > 1.0).rev();
                        if let Some(c) = rest.max_by(|&a, &b| z(a).abs().total_cmp(&z(b).abs())) {
                            (expected[c], second) = (given[row * d + c].to_f32(), second + 1);
                        }
                    }
                    assert_eq!(found, expected, "{file} nuq{bits} {name} row {row}");
                }
            }
        }
        assert_eq!(second > tokens / 8, d < 100, "{file}: {second} rows of keys have a second outlier");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let plain = layout(KvFormat::nuq4(1), 1, 64, DType::F16);
    let turned = plain.pre_rope(KeyRope { style: RopeStyle::Interleaved, rotary_dim: 64 }).unwrap();
    let row = [f16::ONE; 64];
    let rows = Rows { data: &row[..], stride: 64 };
    let append = |world: &mut World, rope: Option<kv::Rope<'_>>, slots: bool| {
        let mut copy = world.clone();
        let step = copy.step(&[1]);
        let mut batch = world.batch(&step);
        if !slots {
            batch.state_slots = None;
        }
        let before = copy.pages.clone();
        let mut cache = CacheMut {
            layout: world.layout,
            pages: &mut copy.pages,
            state: &mut copy.state,
            status: &mut copy.status,
            k_scale: world.k_scale.as_deref(),
            v_scale: world.v_scale.as_deref(),
        };
        let text = kv::append(&mut cache, &batch, rows, rows, rope).unwrap_err().to_string();
        assert_eq!(copy.pages, before);
        text
    };
    let table = [1.0f32; 64 * 64];
    let rope = kv::Rope { style: RopeStyle::Interleaved, rotary_dim: 64, table: &table };
    let mut world = World::new(turned, 1, 40, 1);
    assert_eq!(
        append(&mut world, Some(rope), true),
        "kv::append: `rope`: expected none (the layout's keys are turned when they are read), found a table"
    );
    assert_eq!(append(&mut world, None, false), "kv::append: `batch.state_slots`: expected 1 elements, found none");
    world.k_scale = Some(vec![1.0; 33]);
    assert_eq!(
        append(&mut world, None, true),
        "kv::append: `cache.k_scale`: expected a table of 160 elements, found 33 elements"
    );
    let mut world = World::new(plain, 1, 40, 1);
    world.v_scale = None;
    assert_eq!(
        append(&mut world, None, true),
        "kv::append: `cache.v_scale`: expected a table of 32 elements, found none"
    );
    let attend = |layout, rope: Option<&[f32]>| {
        let world = World::new(layout, 1, 40, 1);
        let step = world.step(&[1]);
        let options = Options { rope, ..Options::new(1.0) };
        attend(&world.cache_ref(), &world.batch(&step), rows, 1, &options).unwrap_err().to_string()
    };
    assert_eq!(
        attend(plain, Some(&table)),
        "attend: `options.rope`: expected none (the layout's keys are as they are read), found a table"
    );
    assert_eq!(
        attend(turned, None),
        "attend: `options.rope`: expected a table (the layout's keys are before RoPE), found none"
    );
    assert!(attend(turned, Some(&table[..64])).starts_with("attend: `rope.table`: expected at least 4096 elements"));
}
