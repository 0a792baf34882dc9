//! Checks the target of a request. HTTP parsers, the library's too, drop a raw `#` and everything behind it: the request would be
//! carried out on another key, or without its condition.

use axum::http::Uri;

use super::answer::Problem;
use super::head::too_long;

/// Upper bound on a request target, in bytes, which is the HTTP library's.
pub(super) const TARGET_BYTES_MAX: usize = 65_534;

/// Accepts only targets that the HTTP library takes unchanged.
pub(super) fn check(method: &[u8], target: &[u8]) -> Result<(), Problem> {
    if target.len() > TARGET_BYTES_MAX {
        return Err(too_long(true));
    }
    let (mut queries, mut harmless) = (0, true);
    for byte in target {
        match *byte {
            b'#' => {
                return Err(bad(
                    "the request target has a raw `#`, and HTTP drops it and everything after it: send a `#` in a key as %23",
                ));
            }
            b'?' => queries += 1,
            b'<' | b'>' | b'`' | b'"' | 0..=0x20 | 0x7f => return Err(raw_byte(*byte)),
            byte => harmless &= is_harmless(byte),
        }
    }
    if queries > 1 {
        return Err(bad(
            "the request target has two raw `?`: parameters are separated by `&`; send a `?` in a key or value \
             as %3F",
        ));
    }
    if harmless && target.starts_with(b"/") {
        return Ok(());
    }
    if std::str::from_utf8(target).is_err() {
        return Err(bad(
            "the request target is not UTF-8: a key must be UTF-8, with each byte above 127 percent-encoded, such as %C3%A4",
        ));
    }
    check_form(method, target)
}

/// Whether the HTTP library takes a byte anywhere in a path or query as it is. For most targets this spares parsing them twice.
fn is_harmless(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~%=&+,:;@!$*()'".contains(&byte)
}

/// Accepts the forms of RFC 9112, section 3.2, except that of CONNECT.
fn check_form(method: &[u8], target: &[u8]) -> Result<(), Problem> {
    match target {
        [] => return Err(bad("the request target is empty: it must begin with `/`")),
        b"*" if method == b"OPTIONS" => return Ok(()),
        b"*" => return Err(bad("the request target `*` is for OPTIONS only")),
        [b'/', ..] => return parsed(target).map(drop),
        _ => {}
    }
    let uri = parsed(target)?;
    let http = uri.scheme_str().is_some_and(|scheme| scheme == "http" || scheme == "https");
    let plain = uri
        .authority()
        .is_some_and(|authority| !authority.as_str().contains('@') && !authority.host().is_empty());
    if http && plain {
        Ok(())
    } else {
        Err(bad("the request target must begin with `/`, or be a whole URL: http://host:port/path"))
    }
}

/// Parses a target like the HTTP library, which would refuse an invalid one without giving a reason.
fn parsed(target: &[u8]) -> Result<Uri, Problem> {
    let parsed = Uri::try_from(target);
    parsed.map_err(|error| bad(format!("the request target cannot be read: {error}; it must begin with `/`")))
}

fn raw_byte(byte: u8) -> Problem {
    let shown = match byte {
        0x21..=0x7e => format!("a raw `{}`", char::from(byte)),
        _ => "a raw control character".to_owned(),
    };
    bad(format!("the request target has {shown}: send it as %{byte:02X}"))
}

fn bad(text: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::bad_request(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(method: &str, target: &str) -> Result<(), (u16, String)> {
        check(method.as_bytes(), target.as_bytes())
            .map_err(|problem| (problem.status().as_u16(), problem.text().to_owned()))
    }

    #[test]
    fn targets_that_are_taken_literally_pass() {
        for text in [
            "/",
            "/v1/kv/a",
            "/v1/kv/a?raw",
            "/v1/kv/a%23b?x=%3F",
            "//v1/kv/a",
            "/v1/kv/../x",
            "/v1/kv/a{}|\\^[]b",
            "/v1/kv/ä",
            "/v1/kv/!$&'()*+,;=:@~",
            "http://h:80/v1/kv/a?raw",
            "HTTP://h",
            "https://[::1]:8500/x",
        ] {
            assert_eq!(target("GET", text), Ok(()), "{text}");
        }
        assert_eq!(target("OPTIONS", "*"), Ok(()));
    }

    #[test]
    fn a_target_of_harmless_bytes_is_the_same_to_the_library() {
        let harmless = (0..=u8::MAX).filter(|byte| is_harmless(*byte)).map(char::from).collect::<String>();
        assert!(harmless.len() > 70);
        for first in harmless.chars() {
            let target = format!("/{first}{harmless}?{harmless}{first}");
            let uri = parsed(target.as_bytes()).expect("the library takes it");
            assert_eq!((uri.path_and_query().map(|it| it.as_str()), uri.authority()), (Some(&*target), None));
        }
    }

    #[test]
    fn targets_that_would_be_cut_or_changed_are_refused_with_what_to_send_instead() {
        for (text, words) in [
            ("/v1/kv/app#old", "%23"),
            ("/v1/kv/a?raw#", "%23"),
            ("#", "%23"),
            ("/v1/kv/a?raw?cas=0", "%3F"),
            ("/a<b", "%3C"),
            ("/a>b", "%3E"),
            ("/a`b", "%60"),
            ("/a\"b", "%22"),
            ("/a\tb", "%09"),
            ("/a\u{7f}b", "%7F"),
            ("", "must begin with `/`"),
            ("*", "for OPTIONS only"),
            ("v1/kv/a", "begin with `/`"),
            ("a", "begin with `/`"),
            ("?raw", "begin with `/`"),
            ("h:80", "begin with `/`"),
            ("http:///v1/kv/a", "begin with `/`"),
            ("ftp://h/v1/kv/a", "begin with `/`"),
            ("http://u@h/v1/kv/a", "begin with `/`"),
        ] {
            let (status, said) = target("DELETE", text).expect_err(text);
            assert_eq!(status, 400, "{text}");
            assert!(said.contains(words), "{text}: {said}");
        }
        let latin_1 = check(b"GET", b"/v1/kv/\xe4").expect_err("it is no UTF-8");
        assert!(latin_1.text().contains("not UTF-8"), "{}", latin_1.text());
    }
}
