//! The byte layout of pages and windows against its documentation: golden pages, and a second decoder written from
//! docs/kv-layout.md alone.

mod kv_world;

use half::{bf16, f16};
use kv_world::{KIVI_FORMATS, TOKEN_FORMATS, World, formats, noise, rng};
use lowbit::cache::{KeyRope, KvCode, KvFormat, KvLayout, KvScale, KvShape, nuq_key_table, nuq_value_table};
use lowbit::format::{Codebook, DType, Half16, RopeStyle};
use lowbit::reference::attend::dequantize;
use rand::RngExt;

fn layout(format: KvFormat, num_kv_heads: usize, head_dim: usize, page_tokens: usize, dtype: DType) -> KvLayout {
    KvLayout::new(KvShape { num_kv_heads, head_dim, page_tokens, max_append: 3, dtype }, format).unwrap()
}

/// The golden input of docs/kv-layout.md.
fn golden_rows(tokens: usize) -> (Vec<f16>, Vec<f16>) {
    let rows = |f: fn(i32, i32) -> f32| -> Vec<f16> {
        (0..tokens as i32).flat_map(|t| (0..64).map(move |c| f16::from_f32(f(t, c)))).collect()
    };
    (
        rows(|t, c| ((1 + t % 5) * ((37 * t + 11 * c + t * c) % 61 - 30)) as f32 / 8.0),
        rows(|t, c| ((1 + t % 3) * ((29 * t + 17 * c + 3 * t * c) % 53 - 20)) as f32 / 16.0),
    )
}

#[test]
fn golden_pages() {
    for (name, format) in [
        ("float", KvFormat::FLOAT),
        ("int8", KvFormat::INT8),
        ("e4m3", KvFormat::E4M3),
        ("e5m2", KvFormat::E5M2),
        ("int8_e4m3", KvFormat::INT8_E4M3),
        ("int8_int4", KvFormat::INT8_INT4),
        ("int4", KvFormat::INT4),
        ("nvfp4", KvFormat::NVFP4),
        ("nuq4", KvFormat::nuq4(0)),
        ("nuq3", KvFormat::nuq3(0)),
        ("kivi4", KvFormat::kivi4(32)),
        ("kivi4_g64", KvFormat::kivi4(64).with_token_group(64)),
        ("int8_static", KvFormat::INT8_STATIC),
        ("q8_0", KvFormat::Q8_0),
        ("q8_0_q4_0", KvFormat::Q8_0_Q4_0),
        ("q4_0", KvFormat::Q4_0),
        ("kivi2", KvFormat::kivi2(32)),
        ("kivi2_g64", KvFormat::kivi2(64).with_token_group(64)),
        ("kivi8_2", KvFormat::kivi8_2(32)),
    ] {
        let tokens = format.tile_tokens();
        let scales = |given: Option<Vec<f32>>, first: f32| {
            given
                .map(|s| if s.len() == 1 { vec![first] } else { (0..64).map(|c| first * (1 + c % 4) as f32).collect() })
        };
        let mut layout = layout(format, 1, 64, tokens, DType::F16);
        if format.k.scale == KvScale::ChannelRange {
            layout = layout.pre_rope(KeyRope { style: RopeStyle::HalfSplit, rotary_dim: 64 }).unwrap();
        }
        let mut world = World::new(layout, 1, 2 * tokens, 1);
        if format.k.scale == KvScale::ChannelRange {
            let n = 1 << format.k.code.bits();
            let half = |x: f32| f16::from_f32(x);
            let book = Codebook::new(&(0..n).map(|i| half((2 * i + 1 - n) as f32 / n as f32)).collect::<Vec<_>>());
            let range: Vec<f16> = (0..64).map(|c| half(4.0 * (1 + c % 4) as f32)).collect();
            let zero: Vec<f16> = (0..64).map(|c| half((c % 3) as f32 / 2.0 - 0.5)).collect();
            let book = book.unwrap();
            world.k_scale = Some(nuq_key_table(&book, &range, &zero).unwrap());
            world.v_scale = Some(nuq_value_table(&book).unwrap());
        } else {
            (world.k_scale, world.v_scale) = (scales(world.k_scale, 1.0 / 64.0), scales(world.v_scale, 1.0 / 32.0));
        }
        let (k, v) = golden_rows(tokens);
        let step = world.step(&[tokens]);
        world.append(&step, &k, &v, true);
        let page_bytes = world.layout.page_bytes();
        let page = &world.pages[world.table[0] as usize * page_bytes..][..page_bytes];
        let path = format!("{}/tests/data/kv_page_{name}.hex", env!("CARGO_MANIFEST_DIR"));
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let hex: Vec<String> =
            page.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
        for (i, (found, expected)) in hex.iter().zip(golden.lines()).enumerate() {
            assert_eq!(found, expected, "{name}: bytes from {}", 32 * i);
        }
        assert_eq!(hex.len(), golden.lines().count(), "{name}");
        let document = include_str!("../docs/kv-layout.md");
        let tile = world.layout.tile();
        for part in [tile.k_codes, tile.v_codes, tile.k_meta, tile.v_meta].iter().filter(|part| part.bytes > 0) {
            assert!(document.contains(&hex[part.offset / 32]), "{name}: the document's line of byte {}", part.offset);
        }
    }
}

/// A page, read as docs/kv-layout.md says and by nothing else.
struct Page<'a> {
    bytes: &'a [u8],
    format: KvFormat,
    d: usize,
    page_tokens: usize,
    bf16: bool,
    scales: [f32; 2],
}

impl Page<'_> {
    fn half(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn f16(&self, at: usize) -> f32 {
        f16::from_bits(self.half(at)).to_f32()
    }

    fn e4m3(byte: u8) -> f32 {
        let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
        assert!(byte & 0x7F != 0x7F, "NaN is never stored");
        let magnitude = match exponent {
            0 => mantissa * 2f32.powi(-9),
            _ => (8.0 + mantissa) * 2f32.powi(exponent - 10),
        };
        if byte & 0x80 != 0 { -magnitude } else { magnitude }
    }

    /// Key (side 0) or value (side 1) of a head, slot and channel.
    fn value(&self, side: usize, head: usize, slot: usize, channel: usize) -> f32 {
        let d = self.d;
        // Channels that share a scale of 4-bit codes of a token.
        let size = if d.is_multiple_of(32) { 32 } else { 16 };
        let sides = [self.format.k, self.format.v];
        let tile = match self.format.k.scale {
            KvScale::TokenGroup(tokens) => tokens as usize,
            _ if sides.iter().any(|side| matches!(side.code, KvCode::Int4 | KvCode::E2m1 | KvCode::Q4_0)) => 32,
            _ => 16,
        };
        let [k_codes, v_codes] = sides.map(|side| match side.code {
            KvCode::Float => 2 * tile * d,
            KvCode::Int4 | KvCode::E2m1 | KvCode::Q4_0 => tile * d / 2,
            KvCode::Int2 => tile * d / 4,
            _ => tile * d,
        });
        let [k_meta, v_meta] = sides.map(|side| match side.scale {
            KvScale::Token => 4 * tile,
            KvScale::HeadBlock(_) => 2 * d,
            KvScale::Block => tile * d / 16,
            KvScale::ChannelGroup(_) => 4 * tile * d / size,
            KvScale::TokenGroup(_) => 4 * d,
            _ => 0,
        });
        let record = k_codes + v_codes + k_meta + v_meta;
        let start = (head * (self.page_tokens / tile) + slot / tile) * record;
        let (codes_at, meta_at) = (start + side * k_codes, start + k_codes + v_codes + side * k_meta);
        let what = sides[side];
        let token = slot % tile;
        // All places are searched for the one that the document gives this token and channel.
        let mut found = None;
        for g in 0..8 {
            for t in 0..4 {
                let lane = 4 * g + t;
                let mut place = |at_token: usize, at_channel: usize, value: usize| {
                    if (at_token, at_channel) == (token, channel) {
                        assert!(found.replace(value).is_none(), "two places");
                    }
                };
                // Byte of word w of the lane in region `region` of N words a lane.
                let word = |n: usize, region: usize, w: usize| {
                    let last = n / 4 * 4;
                    region * 128 * n
                        + if w < last {
                            512 * (w / 4) + 16 * lane + 4 * (w % 4)
                        } else if n % 4 >= 2 && w < last + 2 {
                            128 * last + 8 * lane + 4 * (w - last)
                        } else {
                            128 * w + 4 * lane
                        }
                };
                // Byte of a key's row that byte j of word w holds.
                let row = |n: usize, w: usize, j: usize| match w {
                    w if w < n / 4 * 4 => 64 * (w / 4) + 16 * t + 4 * (w % 4) + j,
                    _ => 16 * w + 4 * t + j,
                };
                match (what.code, side) {
                    (KvCode::Float, 0) => {
                        for (x, w, j) in grid([2, d / 8, 2]) {
                            place(8 * x + g, row(d / 8, w, 2 * j) / 2, word(d / 8, x, w) + 2 * j);
                        }
                    }
                    (KvCode::Float, _) => {
                        for (m, b, re) in grid([d / 16, 2, 4]) {
                            let (r, e) = (re / 2, re % 2);
                            let half = 256 * m + 8 * lane + 2 * (2 * b + r) + e;
                            place(8 * b + 2 * t + e, d / 8 * g + 2 * m + r, 2 * half);
                        }
                    }
                    (KvCode::Q8_0, 0) => {
                        for (x, w, be) in grid([tile / 8, d / 16, 4]) {
                            place(8 * x + g, 16 * w + 4 * t + be, word(d / 16, x, w) + be);
                        }
                    }
                    (KvCode::Q8_0, _) => {
                        for (x, m, re) in grid([tile / 8, d / 16, 4]) {
                            let (r, e) = (re / 2, re % 2);
                            place(8 * x + 2 * t + e, 16 * m + 2 * g + r, word(d / 16, x, m) + re);
                        }
                    }
                    (KvCode::Int2, 0) => {
                        for (x, w, n) in grid([tile / 32, d / 16, 16]) {
                            let (i, h, b, e) = (n % 4 / 2, n % 2, n / 4 % 2, n / 8);
                            let token = 32 * x + 16 * i + 8 * h + g;
                            place(token, 16 * w + 4 * t + 2 * b + e, 8 * word(d / 16, x, w) + 2 * n);
                        }
                    }
                    (KvCode::Int2, _) => {
                        for (x, w, n) in grid([tile / 32, d / 16, 16]) {
                            let (v, i, u, r, h, e) = (w / 2, w % 2, n % 4 / 2, n % 2, n / 4 % 2, n / 8);
                            let token = 32 * x + 16 * i + 8 * h + 2 * t + e;
                            place(token, 32 * v + 16 * u + 2 * g + r, 8 * word(d / 16, x, w) + 2 * n);
                        }
                    }
                    (KvCode::Int8 | KvCode::E4m3 | KvCode::E5m2 | KvCode::Uint8, 0) => {
                        for (x, w, j) in grid([tile / 8, d / 16, 4]) {
                            place(8 * x + g, row(d / 16, w, j), word(d / 16, x, w) + j);
                        }
                    }
                    (KvCode::Int8 | KvCode::E4m3 | KvCode::E5m2, _) => {
                        for (x, m, re) in grid([tile / 8, d / 16, 4]) {
                            let (r, e) = (re / 2, re % 2);
                            place(8 * x + 2 * t + e, d / 8 * g + 2 * m + r, word(d / 16, x, m) + 2 * r + e);
                        }
                    }
                    (_, 0) => {
                        let whole = d.is_multiple_of(32) && what.code != KvCode::E2m1;
                        for (ih, j, n) in grid([tile / 8, if whole { d / 32 } else { 0 }, 8]) {
                            let (i, h) = (ih / 2, ih % 2);
                            let byte = word(d / 16, i, h * (d / 32) + j);
                            place(16 * i + 8 * h + g, 32 * j + 8 * t + n, 8 * byte + 4 * n);
                        }
                        for (ih, w, be) in grid([4, if whole { 0 } else { d / 16 }, 4]) {
                            let (i, h, b, e) = (ih / 2, ih % 2, be / 2, be % 2);
                            let bit = 8 * word(d / 16, i, w) + 4 * (2 * h + b + 4 * e);
                            place(16 * i + 8 * h + g, 16 * w + 4 * t + 2 * b + e, bit);
                        }
                    }
                    _ => {
                        for (ih, v, ef) in grid([tile / 8, d / 32, 8]) {
                            let (i, h, e, f) = (ih / 2, ih % 2, ef / 4, ef % 4);
                            let byte = word(d / 16, i, h * (d / 32) + v);
                            let channel = 32 * v + 16 * (f / 2) + 2 * g + f % 2;
                            place(16 * i + 8 * h + 2 * t + e, channel, 8 * byte + 16 * e + 4 * f);
                        }
                        for (ih, r, e) in grid([if d.is_multiple_of(32) { 0 } else { 4 }, 2, 2]) {
                            let (i, h) = (ih / 2, ih % 2);
                            let bit = 8 * word(d / 16, i, d / 16 - 1) + 4 * (2 * h + r + 4 * e);
                            place(16 * i + 8 * h + 2 * t + e, d - 16 + 2 * g + r, bit);
                        }
                    }
                }
            }
        }
        let at = found.expect("every element has a place");
        match what.code {
            KvCode::Float if self.bf16 => bf16::from_bits(self.half(codes_at + at)).to_f32(),
            KvCode::Float => self.f16(codes_at + at),
            KvCode::E4m3 => Self::e4m3(self.bytes[codes_at + at]) * self.scales[side],
            // The upper byte of an f16.
            KvCode::E5m2 => f16::from_bits(u16::from(self.bytes[codes_at + at]) << 8).to_f32() * self.scales[side],
            KvCode::Int8 if what.scale == KvScale::Channel => {
                (f32::from(self.bytes[codes_at + at]) - 128.0) * self.scales[side]
            }
            KvCode::Int8 => {
                let scale = meta_at + 4 * (tile / 8 * (token % 8) + token / 8);
                let scale = f32::from_le_bytes(self.bytes[scale..scale + 4].try_into().unwrap());
                (f32::from(self.bytes[codes_at + at]) - 128.0) * scale
            }
            KvCode::Q8_0 | KvCode::Q4_0 => {
                let q = match what.code {
                    KvCode::Q8_0 => f32::from(self.bytes[codes_at + at]) - 128.0,
                    _ => f32::from(self.bytes[codes_at + at / 8] >> (at % 8) & 15) - 8.0,
                };
                let (i, h, j) = (token / 16, token % 16 / 8, channel / 32);
                let scale = match side {
                    0 => 2 * ((8 * i + token % 8) * (d / 32) + j) + h,
                    _ => tile / 4 * (4 * j + token % 8 / 2) + 4 * i + 2 * h + token % 2,
                };
                q * self.f16(meta_at + 2 * scale)
            }
            KvCode::E2m1 => {
                let q = self.bytes[codes_at + at / 8] >> (at % 8) & 15;
                let magnitude = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][usize::from(q & 7)];
                let (i, h, j) = (token / 16, token % 16 / 8, channel / 16);
                let block = match side {
                    0 => 4 * (d / 16 * (token % 8) + j) + 2 * h + i,
                    _ => 8 * (4 * j + token % 8 / 2) + 4 * i + 2 * (token % 2) + h,
                };
                let scale = Self::e4m3(self.bytes[meta_at + block]) * self.scales[side];
                if q & 8 == 0 { magnitude * scale } else { -magnitude * scale }
            }
            _ => {
                let q = match what.code {
                    KvCode::Int4 => self.bytes[codes_at + at / 8] >> (at % 8) & 15,
                    KvCode::Int2 => self.bytes[codes_at + at / 8] >> (at % 8) & 3,
                    _ => self.bytes[codes_at + at],
                };
                let (scale, min) = if let (0, KvScale::ChannelGroup(_)) = (side, what.scale) {
                    let (i, h, g, x) = (token / 16, token % 16 / 8, token % 8, token / 8);
                    let (groups, j) = (d / size, channel / size);
                    let pairs = groups / 2;
                    let min =
                        if j == 2 * pairs { 64 * pairs + 4 * g + x } else { 8 * (pairs * g + j / 2) + 2 * x + j % 2 };
                    (2 * ((8 * i + g) * groups + j) + h, 32 * groups + min)
                } else if side == 0 && (what.code != KvCode::Int4 || !d.is_multiple_of(32)) {
                    (channel, d + channel)
                } else if side == 0 {
                    let (a, t, e, u, b) =
                        (channel / 32, channel % 32 / 8, channel % 8 / 4, channel % 4 / 2, channel % 2);
                    (8 * (4 * a + t) + 4 * u + 2 * b + e, d + 8 * (4 * a + t) + 4 * b + 2 * u + e)
                } else {
                    let (x, i, h, t, e) = (token / 32, token % 32 / 16, token % 16 / 8, token % 8 / 2, token % 2);
                    let (at, j) = (64 * x * d / size, channel / size);
                    (at + 8 * (4 * j + t) + 4 * i + 2 * h + e, at + 32 * d / size + 8 * (4 * j + t) + 4 * h + 2 * i + e)
                };
                f32::from(q) * self.f16(meta_at + 2 * scale) + self.f16(meta_at + 2 * min)
            }
        }
    }
}

fn grid(n: [usize; 3]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..n[0]).flat_map(move |a| (0..n[1]).flat_map(move |b| (0..n[2]).map(move |c| (a, b, c))))
}

fn agree<T: Half16>(format: KvFormat, d: usize, page_tokens: usize, seed: u64) {
    let heads = 2;
    let tokens = page_tokens + format.tile_tokens() + 5;
    let layout = layout(format, heads, d, page_tokens, T::DTYPE);
    let mut world = World::new(layout, 1, tokens + 200, seed);
    let row = world.row();
    let typed = |seed| -> Vec<T> { noise(tokens * row, seed).iter().map(|x| T::from_f32(x.to_f32())).collect() };
    let (k, v) = (typed(seed + 1), typed(seed + 2));
    let step = world.step(&[tokens]);
    world.append(&step, &k, &v, true);
    // A call that reads everything as codes that can be: one more token far ahead would need codes of all keys, so the
    // last whole group of R below `tokens` is where codes end.
    let step = world.step(&[0]);
    let step = kv_world::Step { cu_q_lens: vec![0, 1], max_q_len: 1, total_q: 1, ..step };
    let (read, status) = dequantize(&world.cache_ref(), &world.batch(&step), 0).unwrap();
    assert_eq!(status, lowbit::cache::Status::OK);
    let read = read.unwrap();
    let residual = layout.residual();
    let p0 = tokens - 1;
    let (keys, values) = match residual {
        0 => (tokens, tokens),
        r => (p0 / r * r, p0.saturating_sub(r)),
    };
    let mut random = rng(seed + 3);
    for _ in 0..400 {
        let (t, head, channel) =
            (random.random_range(0..tokens), random.random_range(0..heads), random.random_range(0..d));
        let start = world.table[t / page_tokens] as usize * layout.page_bytes();
        let scale = |s: &Option<Vec<f32>>| {
            s.as_ref().map_or(1.0, |s| if s.len() == heads { s[head] } else { s[head * d + channel] })
        };
        let page = Page {
            bytes: &world.pages[start..start + layout.page_bytes()],
            format,
            d,
            page_tokens,
            bf16: T::DTYPE == DType::Bf16,
            scales: [scale(&world.k_scale), scale(&world.v_scale)],
        };
        let rows = (residual + 2 * 3 - 1).div_ceil(format.tile_tokens()) * format.tile_tokens();
        for (side, read, coded) in [(0, &read.k, keys), (1, &read.v, values)] {
            let expected = if t < coded {
                page.value(side, head, t % page_tokens, channel)
            } else {
                let slot = world.slots[0] as usize * 4 * heads * rows * d;
                let at = slot + 2 * (((side * heads + head) * rows + t % rows) * d + channel);
                let bits = u16::from_le_bytes([world.state[at], world.state[at + 1]]);
                if T::DTYPE == DType::Bf16 { bf16::from_bits(bits).to_f32() } else { f16::from_bits(bits).to_f32() }
            };
            let found = read[(t * heads + head) * d + channel];
            assert_eq!(found.to_bits(), expected.to_bits(), "{format} side {side} token {t} channel {channel}");
        }
    }
}

#[test]
fn a_second_decoder_reads_the_same() {
    for (i, format) in formats().into_iter().chain(TOKEN_FORMATS).chain(KIVI_FORMATS).enumerate() {
        for &d in format.head_dims() {
            let sizes = [16, 32, 64, 128].into_iter().filter(|&p| p >= format.tile_tokens());
            let least = format.tile_tokens().max(32);
            for page_tokens in sizes.filter(|p| *p == least || [64, 128].contains(&d)) {
                agree::<f16>(format, d, page_tokens, 100 * i as u64 + d as u64);
            }
            agree::<bf16>(format, d, least, 7000 + i as u64);
        }
    }
}
