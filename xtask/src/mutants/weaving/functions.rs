//! Finds the functions of a Rust file by its braces. This is no parser, but enough to find lines in a function.

use std::ops::Range;

/// A function with a body, outside of the tests.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    name: String,
    /// The text before the brace of the block that the function is in, for example `impl Display for Journal`.
    around: String,
    /// The lines between the function's braces, counted from 0.
    pub(super) body: Range<usize>,
}

impl Function {
    /// Returns true if `wanted` may mean this function: `name`, `Type::name`, or `::name` for a function outside of types.
    pub(super) fn is(&self, wanted: &str) -> bool {
        match wanted.rsplit_once("::") {
            None => self.name == wanted,
            Some(("", name)) => self.name == name && self.around.is_empty(),
            Some((of, name)) => self.name == name && words(&self.around).any(|word| word == of),
        }
    }
}

/// Returns all functions of a file whose body begins and ends on lines of its own.
pub(super) fn functions(text: &str) -> Vec<Function> {
    let code = without_words(text);
    let mut found = Vec::new();
    let mut open: Vec<(String, usize)> = Vec::new();
    let (mut line, mut head) = (0, String::new());
    for c in code.chars() {
        match c {
            '\n' => {
                line += 1;
                head.push(' ');
            }
            '{' => open.push((std::mem::take(&mut head).trim().to_owned(), line)),
            '}' => {
                head.clear();
                let Some((of, start)) = open.pop() else { continue };
                let in_tests = open.iter().any(|(of, _)| of.ends_with("mod tests"));
                let name = words(&of).skip_while(|word| *word != "fn").nth(1);
                if let Some(name) = name.filter(|_| !in_tests && start < line) {
                    let around = open.last().map_or_else(String::new, |(of, _)| of.clone());
                    found.push(Function { name: name.to_owned(), around, body: start + 1..line });
                }
            }
            // A semicolon between brackets is part of an array's type.
            ';' if head.matches('[').count() == head.matches(']').count() => head.clear(),
            _ => head.push(c),
        }
    }
    found
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// Replaces comments and quoted text by blanks, so that only code is left, each line in its place.
fn without_words(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let end = match (c, chars.get(at + 1)) {
            ('/', Some('/')) => at + length(&chars[at..], |it| it != '\n'),
            ('/', Some('*')) => comment(&chars, at),
            ('"', _) => string(&chars, at),
            ('r', Some('"' | '#')) if !is_in_word(&chars, at) => raw_string(&chars, at),
            ('\'', _) => character(&chars, at),
            _ => {
                code.push(c);
                at += 1;
                continue;
            }
        };
        let end = end.min(chars.len()).max(at + 1);
        code.extend(chars[at..end].iter().map(|&it| if it == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    code
}

fn length(chars: &[char], is: impl Fn(char) -> bool) -> usize {
    chars.iter().take_while(|it| is(**it)).count()
}

fn is_in_word(chars: &[char], at: usize) -> bool {
    // A byte string may be raw: its b is no word before the r.
    let before = |back: usize| at.checked_sub(back).and_then(|at| chars.get(at)).copied();
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    is_word(before(1)) && (before(1) != Some('b') || is_word(before(2)))
}

/// Returns the end of a block comment, which may contain other block comments.
fn comment(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
            ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Returns the end of `r"..."` or `r#"..."#`, with any number of #; the end of the r if it begins a word such as `r#type`.
fn raw_string(chars: &[char], start: usize) -> usize {
    let fences = length(&chars[start + 1..], |it| it == '#');
    let mut at = start + 1 + fences;
    if chars.get(at) != Some(&'"') {
        return start + 1;
    }
    at += 1;
    while at < chars.len() && !(chars[at] == '"' && length(&chars[at + 1..], |it| it == '#') >= fences) {
        at += 1;
    }
    at + 1 + fences
}

/// Returns the end of a character literal; the end of the quote if it begins a lifetime.
fn character(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), _) => {
            start + 3 + length(chars.get(start + 3..).unwrap_or_default(), |it| it != '\'') + 1
        }
        (Some(_), Some('\'')) => start + 3,
        _ => start + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::{functions, without_words};

    const SOURCE: &str = r##"//! A { brace } in words.
impl<'a> Journal<'a> {
    /// A fn that { is none.
    pub(crate) fn commit(&mut self) -> [u8; 2] {
        let open = '{';
        let text = "a \" { quote";
        let raw = r#"a " { fence"#;
        if open == '\'' { [0; 2] } else { [1; 2] }
    }

    fn one_line(&self) {}
}

impl Display for Journal<'_> {
    fn commit(
        &self,
        of: impl Fn(u8) -> u8, /* a { comment */
    ) -> u8
    where
        Self: Sized,
    {
        of(1)
    }
}

#[cfg(test)]
mod tests {
    fn commit() {
        assert!(true);
    }
}

fn alone() {
    work();
}
"##;

    #[test]
    fn a_function_is_found_by_its_name_and_type() {
        let all = functions(SOURCE);
        let found = |wanted: &str| {
            all.iter().filter(|it| it.is(wanted)).map(|it| (it.body.start, it.body.end)).collect::<Vec<_>>()
        };
        assert_eq!(found("commit"), [(4, 8), (21, 22)]);
        assert_eq!(found("Display::commit"), [(21, 22)]);
        assert_eq!(found("Journal::commit"), [(4, 8), (21, 22)]);
        assert_eq!(found("one_line"), []);
        assert_eq!(found("comm"), []);
        assert_eq!(found("::commit"), []);
        assert_eq!(found("::alone"), [(33, 34)]);
    }

    #[test]
    fn words_and_quotes_are_no_code_and_lines_stay_where_they_are() {
        let code = without_words(SOURCE);
        assert_eq!(code.lines().count(), SOURCE.lines().count());
        assert!(["brace", "quote", "fence", "comment", "none"].iter().all(|it| !code.contains(it)), "{code}");
        assert_eq!(code.matches('{').count(), code.matches('}').count());
        assert!(code.contains("impl<'a> Journal") || code.contains("impl< a> Journal"), "{code}");
    }
}
