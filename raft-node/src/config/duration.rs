//! Durations in the notation of Go, which Consul's clients use: `1h2m`, `15.0s`, `2.98s`, `500ms`.

use std::time::Duration;

const NANOS_A_SECOND: u128 = 1_000_000_000;

/// Parses a duration like Go's `time.ParseDuration`; a negative duration becomes zero.
///
/// The result is none for anything else, including a bare number other than `0`.
#[must_use]
pub fn parse_go(text: &str) -> Option<Duration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (part, after) = component(rest)?;
        nanos = nanos.checked_add(part)?;
        rest = after;
    }
    // Go holds nanoseconds in an i64, so the maximum is about 292 years.
    let nanos = u64::try_from(nanos).ok().filter(|nanos| i64::try_from(*nanos).is_ok())?;
    Some(if negative { Duration::ZERO } else { Duration::from_nanos(nanos) })
}

/// Parses one number with its unit; returns its nanoseconds and the rest of the text.
fn component(text: &str) -> Option<(u128, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    let unit: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOS_A_SECOND,
        "m" => 60 * NANOS_A_SECOND,
        "h" => 3600 * NANOS_A_SECOND,
        _ => return None,
    };
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Digits of the fraction beyond the 18th add less than a nanosecond for every unit.
    let fraction = fraction.get(..18).unwrap_or(fraction);
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let nanos = whole.checked_mul(unit)?.checked_add(part * unit / scale)?;
    Some((nanos, rest))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_go_reads_them() {
        let cases: &[(&str, Option<u64>)] = &[
            ("1s", Some(1_000_000_000)),
            ("15.0s", Some(15_000_000_000)),
            ("2.98s", Some(2_980_000_000)),
            ("500ms", Some(500_000_000)),
            ("1h2m3s", Some(3_723_000_000_000)),
            (".5s", Some(500_000_000)),
            ("1.s", Some(1_000_000_000)),
            ("10us", Some(10_000)),
            ("10µs", Some(10_000)),
            ("7ns", Some(7)),
            ("0", Some(0)),
            ("-5s", Some(0)),
            ("+5s", Some(5_000_000_000)),
            ("0.3333333333333333333333s", Some(333_333_333)),
            ("", None),
            ("-", None),
            ("x", None),
            ("5", None),
            (".s", None),
            ("1.2.3s", None),
            ("1d", None),
            ("1 s", None),
            ("99999999999h", None),
            ("99999999999999999999999999999999999999999999h", None),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse_go(text), nanos.map(Duration::from_nanos), "{text:?}");
        }
    }
}
