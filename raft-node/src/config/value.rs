//! The raw value of a setting, and the parsers for each kind of value.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::duration::parse_go;

/// The value of a setting as it was given, before it is parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    /// One value: text, or a number or truth value as text.
    One(String),
    /// Several values: an array in the file, or a flag given more than once.
    Many(Vec<String>),
}

impl Raw {
    /// The value as it appears in an error.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::One(text) => format!("`{text}`"),
            Self::Many(texts) => format!("{texts:?}"),
        }
    }

    fn one(&self) -> Option<&str> {
        match self {
            Self::One(text) => Some(text.trim()),
            Self::Many(_) => None,
        }
    }
}

/// Maximum size that a setting takes, in bytes.
const SIZE_MAX: u64 = 1 << 30;

/// Maximum number of servers that form a cluster.
const SERVERS_MAX: u32 = 15;

pub(super) fn id(raw: &Raw) -> Option<u64> {
    raw.one()?.parse().ok().filter(|id| *id > 0)
}

pub(super) fn entries(raw: &Raw) -> Option<u64> {
    raw.one()?.parse().ok()
}

pub(super) fn keys(raw: &Raw) -> Option<u32> {
    raw.one()?.parse().ok().filter(|count| *count > 0)
}

pub(super) fn connections(raw: &Raw) -> Option<usize> {
    raw.one()?.parse().ok().filter(|count| (16..=1_000_000).contains(count))
}

pub(super) fn servers(raw: &Raw) -> Option<u32> {
    raw.one()?.parse().ok().filter(|count| (1..=SERVERS_MAX).contains(count))
}

/// Parses a path and makes it absolute, so that a reader of errors and of the log need not know the working directory.
pub(super) fn path(raw: &Raw) -> Option<PathBuf> {
    let path = raw.one().filter(|path| !path.is_empty())?;
    Some(std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path)))
}

pub(super) fn name(raw: &Raw) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let name = raw.one()?;
    ((1..=64).contains(&name.len()) && name.chars().all(allowed)).then(|| name.to_owned())
}

pub(super) fn address(raw: &Raw) -> Option<SocketAddr> {
    raw.one()?.parse().ok()
}

pub(super) fn place(raw: &Raw) -> Option<String> {
    let place = raw.one()?;
    is_place(place).then(|| place.to_owned())
}

pub(super) fn places(raw: &Raw) -> Option<Vec<String>> {
    let texts = match raw {
        Raw::One(text) => vec![text.as_str()],
        Raw::Many(texts) => texts.iter().map(String::as_str).collect(),
    };
    let places =
        texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|place| !place.is_empty());
    places.map(|place| is_place(place).then(|| place.to_owned())).collect()
}

/// A host name, IPv4 address or bracketed IPv6 address, with a port from 1.
fn is_place(text: &str) -> bool {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return address.port() != 0 && !address.ip().is_unspecified();
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let label = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    // A host of digits and dots alone is an IPv4 address that did not parse.
    let address_like = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    !address_like && host.chars().all(label) && port.parse::<u16>().is_ok_and(|port| port != 0)
}

pub(super) fn switch(raw: &Raw) -> Option<bool> {
    raw.one()?.parse().ok()
}

pub(super) fn span(raw: &Raw) -> Option<Duration> {
    const HOUR: Duration = Duration::from_secs(3600);
    let text = raw.one()?;
    let span = text.parse().map(Duration::from_millis).ok().or_else(|| parse_go(text))?;
    (Duration::from_millis(1)..=HOUR).contains(&span).then_some(span)
}

pub(super) fn size(raw: &Raw) -> Option<usize> {
    let text = raw.one()?;
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit: u64 = match unit.trim() {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    usize::try_from(bytes).ok().filter(|_| (1..=SIZE_MAX).contains(&bytes))
}

pub(super) fn level(raw: &Raw) -> Option<String> {
    let level = raw.one()?;
    // The filter takes a bare word that is not a level for the name of a module, and then nothing would be logged.
    let bare = |part: &str| {
        part.contains('=')
            || part.contains('[')
            || ["off", "error", "warn", "info", "debug", "trace"].contains(&part)
    };
    let known = !level.is_empty() && level.split(',').all(|part| bare(part.trim()));
    (known && EnvFilter::try_new(level).is_ok()).then(|| level.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Raw {
        Raw::One(text.to_owned())
    }

    #[test]
    fn a_span_is_a_go_duration_or_a_bare_number_of_milliseconds() {
        let cases = [("500ms", 500), ("1s", 1000), ("1.5s", 1500), ("250", 250), (" 7ms ", 7)];
        for (text, ms) in cases {
            assert_eq!(span(&one(text)), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "0", "0ms", "-1s", "1.5", "2h", "x", "1 s"] {
            assert_eq!(span(&one(text)), None, "{text}");
        }
    }

    #[test]
    fn a_size_is_bytes_or_has_a_binary_unit() {
        for (text, bytes) in
            [("524288", 524_288), ("512KiB", 524_288), ("10 MiB", 10 << 20), ("1GiB", 1 << 30)]
        {
            assert_eq!(size(&one(text)), Some(bytes), "{text}");
        }
        for text in ["", "0", "KiB", "10MB", "2GiB", "-1", "1.5MiB", "99999999999999999999"] {
            assert_eq!(size(&one(text)), None, "{text}");
        }
    }

    #[test]
    fn a_place_is_a_host_with_a_port() {
        for text in ["10.0.0.1:8300", "node-1.example:8300", "[::1]:8300", "localhost:1"] {
            assert_eq!(place(&one(text)).as_deref(), Some(text));
        }
        for text in [
            "",
            "node1",
            "node1:",
            ":8300",
            "node1:0",
            "node1:99999",
            "0.0.0.0:8300",
            "300.1.1.1:80",
            "a b:1",
        ] {
            assert_eq!(place(&one(text)), None, "{text}");
        }
    }

    #[test]
    fn places_come_as_a_list_or_separated_by_commas() {
        let both = vec!["a:1".to_owned(), "b:2".to_owned()];
        assert_eq!(places(&one("a:1, b:2")), Some(both.clone()));
        assert_eq!(places(&Raw::Many(both.clone())), Some(both));
        assert_eq!(places(&one("")), Some(Vec::new()));
        assert_eq!(places(&one("a:1,b")), None);
    }

    #[test]
    fn a_level_is_one_that_logs_something() {
        for text in ["info", "warn", "info,raftkit_net=debug"] {
            assert!(level(&one(text)).is_some(), "{text}");
        }
        for text in ["", "loud", "info,loud", "x=loud"] {
            assert!(level(&one(text)).is_none(), "{text}");
        }
    }
}
