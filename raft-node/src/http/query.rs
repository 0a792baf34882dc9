//! The query of a request: the parameters behind the `?`.

use super::answer::Problem;

/// The parameters of a request, decoded, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Parses a query. A malformed query is refused as a whole: silently dropping a parameter could drop a write's condition.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode_plus(name)?, decode_plus(value)?))
        });
        let pairs = pairs.collect::<Option<_>>();
        pairs
            .map(|pairs| Self { pairs })
            .ok_or_else(|| Problem::bad_request("Invalid query: not percent-encoded UTF-8"))
    }

    /// Whether a parameter is present, with or without a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The value of a parameter, which is empty if only the name is given. If the parameter is repeated, its first value counts.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter; an empty value counts as absent.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.value(name).filter(|value| !value.is_empty())
    }

    /// Parses the value of a parameter as a number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.value(name) else { return Ok(None) };
        // Rust's parser accepts a leading plus, and Go's, which Consul uses, does not.
        let number = text.parse().ok().filter(|_| !text.starts_with('+'));
        number.map(Some).ok_or_else(|| {
            Problem::bad_request(format!(
                "Invalid {name} value {text:?}: it must be a whole number from 0 to 2^64-1"
            ))
        })
    }

    /// Refuses a write whose parameters may mean something else to its client than to this server: if a condition is silently
    /// ignored, the write becomes unconditional. `known` are the parameters that change the effect of a write.
    pub(crate) fn plain(&self, known: &[&str]) -> Result<(), Problem> {
        for (number, (name, _)) in self.pairs.iter().enumerate() {
            let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if !name.chars().all(sane) {
                let text = format!("Invalid parameter name {name:?}: parameters are separated by `&`");
                return Err(Problem::bad_request(text));
            }
            let Some(meant) = known.iter().find(|known| name.eq_ignore_ascii_case(known)) else { continue };
            if name != meant {
                let text = format!("Invalid parameter name {name:?}: did you mean {meant:?}?");
                return Err(Problem::bad_request(text));
            }
            if self.pairs[..number].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::bad_request(format!("The parameter {name:?} is given twice")));
            }
        }
        Ok(())
    }

    /// Whether a switch that widens a write is on: `?recurse`, `?recurse=true` or `?recurse=1`. Other values are refused.
    pub(crate) fn switch(&self, name: &str) -> Result<bool, Problem> {
        match self.value(name) {
            None => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => Err(Problem::bad_request(format!(
                "Invalid {name} value {other:?}: ?{name} and ?{name}=true turn it on, and without it it is off"
            ))),
        }
    }

    /// Refuses requests with more than one of the parameters `names`, in Consul's words.
    pub(crate) fn conflict(&self, names: &[&str]) -> Result<(), Problem> {
        if names.iter().filter(|name| self.has(name)).count() > 1 {
            return Err(Problem::bad_request(format!("Conflicting flags: {}", self.encode())));
        }
        Ok(())
    }

    /// Encodes all parameters, sorted by name.
    fn encode(&self) -> String {
        let mut pairs: Vec<_> = self.pairs.iter().collect();
        pairs.sort_by(|one, other| one.0.cmp(&other.0));
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        pairs.join("&")
    }
}

/// Decodes percent-encoding; none if it is malformed or the result is not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (high, low) = (hex(*rest.first()?)?, hex(*rest.get(1)?)?);
            out.push(high << 4 | low);
            rest = &rest[2..];
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// Decodes like [`decode`], and turns `+` into a space.
fn decode_plus(text: &str) -> Option<String> {
    if text.contains('+') { decode(&text.replace('+', " ")) } else { decode(text) }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Percent-encodes all bytes but letters, digits and `-_.~`; a space becomes `+`.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(text).unwrap()
    }

    #[test]
    fn parameters_are_found_with_and_without_values() {
        let query = query("recurse&separator=%2F&dc=&a=1&a=2&x+y=p%20q");
        assert!(query.has("recurse") && !query.has("raw"));
        assert_eq!(query.value("separator"), Some("/"));
        assert_eq!((query.value("dc"), query.filled("dc")), (Some(""), None));
        assert_eq!(query.value("a"), Some("1"));
        assert_eq!(query.value("x y"), Some("p q"));
    }

    #[test]
    fn a_malformed_query_is_refused() {
        for text in ["cas=%", "cas=%4", "cas=%zz", "%ff=1"] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_refused_with_the_name_of_the_parameter() {
        assert_eq!(query("cas=18446744073709551615").number("cas").unwrap(), Some(u64::MAX));
        assert_eq!(query("").number("cas").unwrap(), None);
        for text in ["cas", "cas=", "cas=x", "cas=-1", "cas=%2B1", "cas=18446744073709551616", "cas=1.0"] {
            let problem = query(text).number("cas").unwrap_err();
            assert!(problem.text().contains("Invalid cas value"), "{text}");
        }
    }

    #[test]
    fn a_write_whose_condition_would_be_passed_over_is_refused() {
        let known = ["cas", "recurse"];
        for text in ["", "cas=1", "recurse", "dc=x&other=1&a.b-c_d"] {
            assert!(query(text).plain(&known).is_ok(), "{text}");
        }
        for (text, words) in [
            ("CAS=1", "did you mean \"cas\"?"),
            ("Recurse", "did you mean \"recurse\"?"),
            ("cas=1&cas=2", "\"cas\" is given twice"),
            ("raw;cas=0", "separated by `&`"),
            ("raw?cas=0", "separated by `&`"),
            (" cas=0", "separated by `&`"),
        ] {
            let problem = query(text).plain(&known).unwrap_err();
            assert!(problem.text().contains(words), "{text}: {}", problem.text());
        }
    }

    #[test]
    fn a_switch_is_on_off_or_refused() {
        for (text, on) in [("", false), ("recurse", true), ("recurse=true", true), ("recurse=1", true)] {
            assert_eq!(query(text).switch("recurse"), Ok(on), "{text}");
        }
        for text in ["recurse=false", "recurse=0", "recurse=no", "recurse=True", "recurse=%20"] {
            let problem = query(text).switch("recurse").unwrap_err();
            assert!(problem.text().contains("Invalid recurse value"), "{text}");
        }
    }

    #[test]
    fn conflicts_name_all_parameters_in_order() {
        let problem =
            query("release=y&cas=1&acquire=x&p=a%20b/").conflict(&["cas", "acquire", "release"]).unwrap_err();
        assert_eq!(problem.text(), "Conflicting flags: acquire=x&cas=1&p=a+b%2F&release=y");
        assert!(query("cas=1").conflict(&["cas", "recurse"]).is_ok());
    }

    #[test]
    fn percent_encoding_is_decoded_once() {
        assert_eq!(decode("a%2Fb%252F+c").as_deref(), Some("a/b%2F+c"));
        assert_eq!(decode("%c3%A4").as_deref(), Some("ä"));
        assert_eq!(decode("%ff"), None);
        assert_eq!(decode("a%"), None);
    }
}
