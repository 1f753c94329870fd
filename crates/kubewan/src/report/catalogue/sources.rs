//! The literals of a source file, and which of them people are told.

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Calls whose literals nobody is told: they look for others' words, run programs, or say what can't be.
const NOT_TELLING: [&str; 32] = [
    "contains",
    "starts_with",
    "ends_with",
    "strip_prefix",
    "strip_suffix",
    "expect",
    "assert",
    "assert_eq",
    "debug_assert",
    "debug_assert_eq",
    "unreachable",
    "panic",
    "split",
    "split_once",
    "rsplit_once",
    "find",
    "rfind",
    "trim_start_matches",
    "trim_end_matches",
    "arg",
    "args",
    "json",
    "has_any",
    "has_all",
    "has",
    "says",
    "is_said",
    "include_str",
    "concat",
    "env",
    "said",
    "expect_err",
];

/// Calls whose literals are told, also where they are one word.
const TELLING: [&str; 2] = ["localized", "titled"];

/// A text literal.
#[derive(Clone, Debug)]
pub struct Literal {
    /// Its value.
    pub text: String,
    /// The line it stands in.
    pub line: usize,
    /// What is called with it, the nearest last.
    calls: Vec<String>,
}

impl Literal {
    /// Is a thing that is counted: `3 hosts`.
    pub fn is_counted(&self) -> bool {
        self.calls.last().is_some_and(|call| call == "counted")
    }

    /// People may be told it.
    pub fn is_told(&self) -> bool {
        // `format!` and the like are what a call is given, not the call.
        let wraps = ["format", "Some", "Ok", "Err", "into", "from", "vec", ""];
        let call = self.calls.iter().rev().find(|call| !wraps.contains(&call.as_str()));
        let call = call.map_or("", String::as_str);
        let is_one_of = |calls: &[&str]| calls.contains(&call);
        match is_one_of(&TELLING) {
            true => has_word(&self.text),
            false => !is_one_of(&NOT_TELLING) && is_text(&self.text),
        }
    }
}

/// Has a blank and, outside its places, a word.
fn is_text(text: &str) -> bool {
    text.contains(' ') && has_word(text)
}

fn has_word(text: &str) -> bool {
    let (mut run, mut depth) = (0, 0);
    text.chars().any(|sign| {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        run = if depth <= 0 && sign.is_ascii_alphabetic() { run + 1 } else { 0 };
        run >= 2
    })
}

/// The literals of a file, without those of its tests and of attributes other than `#[error]`.
pub fn literals(source: &str) -> Vec<Literal> {
    let tokens = TokenStream::from_str(source).expect("a source file");
    let mut found = Vec::new();
    collect(tokens, &mut Vec::new(), &mut found);
    found
}

fn collect(tokens: TokenStream, calls: &mut Vec<String>, found: &mut Vec<Literal>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let (mut at, mut call) = (0, String::new());
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Ident(name) => call = name.to_string(),
            TokenTree::Punct(sign) if sign.as_char() == '!' && !call.is_empty() => {}
            TokenTree::Punct(sign) if sign.as_char() == '#' => {
                let inner =
                    matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == '!');
                at += usize::from(inner);
                if let Some(TokenTree::Group(group)) = tokens.get(at) {
                    at += 1;
                    let text = group.stream().to_string();
                    match text.replace(' ', "").as_str() {
                        "cfg(test)" | "test" if !inner => at = after_item(&tokens, at),
                        text if text.starts_with("error(") => {
                            collect(group.stream(), calls, found);
                        }
                        _ => {}
                    }
                }
            }
            TokenTree::Punct(_) => call.clear(),
            TokenTree::Group(group) => {
                // A block is not what is called.
                let name = std::mem::take(&mut call);
                let called = group.delimiter() != Delimiter::Brace;
                calls.push(if called { name } else { "{".into() });
                collect(group.stream(), calls, found);
                calls.pop();
            }
            TokenTree::Literal(literal) => {
                if let Some(text) = value(&literal.to_string()) {
                    let line = literal.span().start().line;
                    found.push(Literal { text, line, calls: calls.clone() });
                }
                call.clear();
            }
        }
    }
}

/// Behind the item that begins there.
fn after_item(tokens: &[TokenTree], from: usize) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(sign) => sign.as_char() == ';',
        _ => false,
    };
    tokens[from..].iter().position(ends).map_or(tokens.len(), |end| from + end + 1)
}

/// The value of a text literal; `None`: it is none.
fn value(literal: &str) -> Option<String> {
    if let Some(raw) = literal.strip_prefix('r') {
        let raw = raw.trim_matches('#');
        return Some(raw.strip_prefix('"')?.strip_suffix('"')?.to_owned());
    }
    let text = literal.strip_prefix('"')?.strip_suffix('"')?;
    let (mut value, mut signs) = (String::new(), text.chars().peekable());
    while let Some(sign) = signs.next() {
        if sign != '\\' {
            value.push(sign);
            continue;
        }
        match signs.next()? {
            'n' => value.push('\n'),
            't' => value.push('\t'),
            'r' => value.push('\r'),
            '0' => value.push('\0'),
            'x' => {
                let digits: String = signs.by_ref().take(2).collect();
                value.push(char::from(u8::from_str_radix(&digits, 16).ok()?));
            }
            'u' => {
                let digits: String = signs.by_ref().skip(1).take_while(|c| *c != '}').collect();
                value.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
            }
            '\n' => while signs.next_if(|sign| sign.is_whitespace()).is_some() {},
            sign => value.push(sign),
        }
    }
    Some(value)
}

#[test]
fn literals_are_found_where_texts_are_made() {
    let source = r##"
        //! "a comment"
        #[error("an error of {host}")] struct E;
        #[doc = "a help"] fn f() {
            let x = format!("one\
                two {}", 3);
            call(Some("not told")).contains("others' words");
            assert!(x, "not told either");
            localized("word"); counted(3, "host"); r#"raw "text""#;
        }
        #[cfg(test)] mod tests { fn g() { "in a test"; } }
    "##;
    let told: Vec<String> =
        literals(source).into_iter().filter(Literal::is_told).map(|found| found.text).collect();
    assert_eq!(told, ["an error of {host}", "onetwo {}", "not told", "word", "raw \"text\""]);
    assert_eq!(literals(source).iter().filter(|found| found.is_counted()).count(), 1);
}
