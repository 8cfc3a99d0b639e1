//! The text of one `printf` (C standard, 7.21.6.1, as far as CUDA C++ has it: no `n`, no wide characters).

/// Where the values come from.
pub trait Values {
    /// The next argument, of 4 or 8 bytes; `None` when it cannot be read.
    fn next(&mut self, bytes: u32) -> Option<u64>;
    /// The text at an address; `None` when it cannot be read.
    fn text(&mut self, address: u64) -> Option<String>;
}

/// Characters that a width or a precision may ask for: what C requires of an implementation (7.21.6.1), more are not padded.
const LONGEST: usize = 4095;

/// One conversion: `%`, flags, width, precision, length, letter.
struct Spec {
    minus: bool,
    plus: bool,
    space: bool,
    hash: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
    long: bool,
    /// `h` and `hh`: bits that count.
    bits: u32,
}

/// The text and the number of arguments used.
pub fn formatted(format: &str, values: &mut impl Values) -> Option<(String, u32)> {
    let (mut out, mut used) = (String::new(), 0);
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        out += &rest[..start];
        let (spec, letter, after) = spec(&rest[start + 1..], values, &mut used)?;
        rest = after;
        if letter == '%' {
            out.push('%');
        } else if letter != '\0' {
            used += 1;
            out += &spec.show(letter, values)?;
        }
    }
    Some((out + rest, used))
}

/// Reads a conversion behind its `%`; the letter is NUL where the text ends.
fn spec<'f>(text: &'f str, values: &mut impl Values, used: &mut u32) -> Option<(Spec, char, &'f str)> {
    let flags = text.len() - text.trim_start_matches(['-', '+', ' ', '#', '0']).len();
    let has = |c: char| text[..flags].contains(c);
    let mut s = Spec {
        minus: has('-'),
        plus: has('+'),
        space: has(' '),
        hash: has('#'),
        zero: has('0'),
        width: 0,
        precision: None,
        long: false,
        bits: 32,
    };
    let mut rest = &text[flags..];
    let mut number = |rest: &mut &'f str| -> Option<i32> {
        if let Some(after) = rest.strip_prefix('*') {
            *rest = after;
            *used += 1;
            return values.next(4).map(|v| v as i32);
        }
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let value = rest[..digits].parse().unwrap_or(0);
        *rest = &rest[digits..];
        Some(value)
    };
    let width = number(&mut rest)?;
    (s.minus, s.width) = (s.minus || width < 0, (width.unsigned_abs() as usize).min(LONGEST));
    if let Some(after) = rest.strip_prefix('.') {
        rest = after;
        s.precision = usize::try_from(number(&mut rest)?).ok();
    }
    let length = rest.len() - rest.trim_start_matches(['h', 'l', 'j', 'z', 't', 'L']).len();
    s.long = rest[..length].contains(['l', 'j', 'z', 't']);
    s.bits = [32, 16, 8][rest[..length].matches('h').count().min(2)];
    rest = &rest[length..];
    let letter = rest.chars().next().unwrap_or('\0');
    Some((s, letter, &rest[letter.len_utf8().min(rest.len())..]))
}

impl Spec {
    fn show(&self, letter: char, values: &mut impl Values) -> Option<String> {
        let (sign, body) = match letter {
            'd' | 'i' => {
                let value = values.next(if self.long { 8 } else { 4 })?;
                let spare = if self.long { 0 } else { 64 - self.bits };
                let value = ((value << spare) as i64) >> spare;
                (self.sign(value < 0), self.digits(value.unsigned_abs().to_string()))
            }
            'u' | 'x' | 'X' | 'o' => {
                let value = values.next(if self.long { 8 } else { 4 })?;
                let value = if self.long { value } else { value & (u64::MAX >> (64 - self.bits)) };
                let prefix = if self.hash && value != 0 { letter } else { ' ' };
                match letter {
                    'u' => ("", self.digits(value.to_string())),
                    'x' => (if prefix == 'x' { "0x" } else { "" }, self.digits(format!("{value:x}"))),
                    'X' => (if prefix == 'X' { "0X" } else { "" }, self.digits(format!("{value:X}"))),
                    _ => (if prefix == 'o' { "0" } else { "" }, self.digits(format!("{value:o}"))),
                }
            }
            'p' => ("0x", format!("{:x}", values.next(8)?)),
            'c' => return Some(self.pad("", (values.next(4)? as u8 as char).to_string(), false)),
            's' => {
                let address = values.next(8)?;
                let text = values.text(address)?;
                let kept = self.precision.map_or(text.len(), |p| p.min(text.len()));
                return Some(self.pad("", String::from_utf8_lossy(&text.as_bytes()[..kept]).into_owned(), false));
            }
            'f' | 'F' | 'e' | 'E' | 'g' | 'G' | 'a' | 'A' => {
                let value = f64::from_bits(values.next(8)?);
                let sign = self.sign(value.is_sign_negative());
                let magnitude = value.abs();
                let text = if magnitude.is_finite() {
                    self.float(letter.to_ascii_lowercase(), magnitude)
                } else {
                    if value.is_nan() { "nan" } else { "inf" }.to_string()
                };
                let text = if letter.is_ascii_uppercase() { text.to_uppercase() } else { text };
                return Some(self.pad(sign, text, magnitude.is_finite()));
            }
            other => return Some(format!("%{other}")),
        };
        // A precision turns the flag `0` off.
        Some(self.pad(sign, body, self.precision.is_none()))
    }

    fn sign(&self, negative: bool) -> &'static str {
        match (negative, self.plus, self.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (.., true) => " ",
            _ => "",
        }
    }

    /// At least as many digits as the precision says.
    fn digits(&self, text: String) -> String {
        let least = self.precision.unwrap_or(1).min(LONGEST);
        if least == 0 && text == "0" { String::new() } else { format!("{text:0>least$}") }
    }

    fn float(&self, letter: char, x: f64) -> String {
        let precision = self.precision.unwrap_or(6).min(LONGEST);
        match letter {
            'f' => format!("{x:.precision$}"),
            'e' => scientific(x, precision),
            'g' => {
                let precision = precision.max(1);
                let exponent = scientific(x, precision - 1);
                let power: i32 = exponent.split_once('e').and_then(|p| p.1.parse().ok()).unwrap_or(0);
                let (text, tail) = if power < -4 || power >= precision as i32 {
                    let (digits, power) = exponent.split_once('e').unwrap_or((&exponent, ""));
                    (digits.to_string(), format!("e{power}"))
                } else {
                    (format!("{x:.*}", (precision as i32 - 1 - power) as usize), String::new())
                };
                let short = text.contains('.') && !self.hash;
                let text = if short { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
                format!("{text}{tail}")
            }
            _ => hexadecimal(x),
        }
    }

    fn pad(&self, sign: &str, body: String, zeros: bool) -> String {
        let width = self.width.saturating_sub(sign.len());
        match (self.minus, self.zero && zeros) {
            (true, _) => format!("{sign}{body:<width$}"),
            (_, true) => format!("{sign}{body:0>width$}"),
            _ => format!("{:>1$}", format!("{sign}{body}"), self.width),
        }
    }
}

/// `d.ddde+xx`, at least two digits of exponent.
fn scientific(x: f64, precision: usize) -> String {
    let text = format!("{x:.precision$e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
}

/// `0x1.8p+1`: the shortest exact form.
fn hexadecimal(x: f64) -> String {
    let (field, fraction) = (x.to_bits() >> 52 & 0x7ff, x.to_bits() & ((1 << 52) - 1));
    let power = if field == 0 { if fraction == 0 { 0 } else { -1022 } } else { field as i32 - 1023 };
    let digits = format!("{fraction:013x}");
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    format!("0x{}{point}{digits}p{power:+}", u8::from(field != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct List(Vec<u64>);

    impl Values for List {
        fn next(&mut self, _bytes: u32) -> Option<u64> {
            Some(self.0.remove(0))
        }

        fn text(&mut self, address: u64) -> Option<String> {
            Some(["zero", "one", "two"][address as usize].to_string())
        }
    }

    #[track_caller]
    fn check(format: &str, values: &[u64], want: &str) {
        let (text, used) = formatted(format, &mut List(values.to_vec())).unwrap();
        assert_eq!((text.as_str(), used as usize), (want, values.len()), "{format}");
    }

    #[test]
    fn integers() {
        check("%d|%5d|%-5d|%05d|%+d|% d", &[7, 42, 42, 42, 42, 42], "7|   42|42   |00042|+42| 42");
        check("%d %i %hhd %hd", &[-5i32 as u32 as u64, 3, 0x1ff, 0x1_8000], "-5 3 -1 -32768");
        check("%u %x %X %#x %o %#o", &[u32::MAX as u64, 255, 255, 255, 8, 8], "4294967295 ff FF 0xff 10 010");
        check("%lld %llu %lx %zu", &[-1i64 as u64, u64::MAX, 1 << 40, 9], "-1 18446744073709551615 10000000000 9");
        check("%.3d|%6.3d|%-8d|%*d|%-*d|", &[5, 5, 5, 4, 5, 4, 5], "005|   005|5       |   5|5   |");
        check("%5c|%-3c|%s|%6s|%-5s|%.2s|%p", &[97, 98, 1, 2, 1, 2, 255], "    a|b  |one|   two|one  |tw|0xff");
        check("100%% %", &[], "100% ");
    }

    #[test]
    fn wide_fields_end_somewhere() {
        let length = |format: &str, values: &[u64]| formatted(format, &mut List(values.to_vec())).unwrap().0.len();
        assert_eq!(length("%99999d|%.99999x", &[1, 1]), 2 * LONGEST + 1);
        assert_eq!(length("%*d|%-*d", &[i32::MIN as u32 as u64, 1, i32::MAX as u64, 1]), 2 * LONGEST + 1);
        let f = f64::to_bits;
        assert_eq!(length("%.99999f", &[f(1.0)]), 2 + LONGEST);
        assert_eq!(length("%.99999e", &[f(1.0)]), 2 + LONGEST + 4);
        assert_eq!(length("%.99999g|%#.99999g", &[f(1.0), f(1.0)]), 2 + 1 + LONGEST);
        assert_eq!(length("%.2147483647s", &[1]), 3);
    }

    #[test]
    fn floats() {
        let f = f64::to_bits;
        check(
            "%f %.2f %8.3f|%-8.1f|%08.2f",
            &[f(1.5), f(2.25), f(-1.0), f(9.96), f(-3.25)],
            "1.500000 2.25   -1.000|10.0    |-0003.25",
        );
        check("%e %.2E %e", &[f(12345.678), f(0.00012), f(0.0)], "1.234568e+04 1.20E-04 0.000000e+00");
        check(
            "%g %g %g %g %G",
            &[f(0.0001), f(1e-5), f(123456.0), f(1234567.0), f(1e20)],
            "0.0001 1e-05 123456 1.23457e+06 1E+20",
        );
        check(
            "%a %a %f %F %+.1f",
            &[f(3.0), f(0.1), f(f64::NAN), f(f64::INFINITY), f(2.0)],
            "0x1.8p+1 0x1.999999999999ap-4 nan INF +2.0",
        );
    }
}
