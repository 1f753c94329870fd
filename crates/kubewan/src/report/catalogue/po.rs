//! The form of the catalogue's files: that of gettext's `.po`, as far as it is used (gettext manual, "The Format of PO
//! Files"). They are compiled in, so a slip in one is a fault of ours, which the tests find.

/// A text in both languages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The text, or the format string, as the sources have it.
    pub english: String,
    /// The same in Chinese.
    pub chinese: String,
    /// Places of the English text that only its grammar needs, from a line `#. without is lies`.
    pub without: Vec<String>,
    /// The line it begins in.
    pub line: usize,
}

#[derive(Clone, Copy)]
enum Side {
    English,
    Chinese,
}

/// The messages of a file; its header, which has no text, is none.
pub fn messages(text: &str) -> Vec<Message> {
    let (mut messages, mut without) = (Vec::new(), Vec::new());
    let mut side = Side::English;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(names) = line.strip_prefix("#. without ") {
            without = names.split_whitespace().map(str::to_owned).collect();
        } else if let Some(first) = line.strip_prefix("msgid ") {
            let without = std::mem::take(&mut without);
            let english = unquoted(first);
            let message = Message { english, without, line: number + 1, ..Message::default() };
            messages.push(message);
            side = Side::English;
        } else if let Some(message) = messages.last_mut() {
            let (first, rest) = match line.strip_prefix("msgstr ") {
                Some(first) => (true, first),
                None => (false, line),
            };
            if first {
                side = Side::Chinese;
            }
            match side {
                _ if !rest.starts_with('"') => {}
                Side::English => message.english += &unquoted(rest),
                Side::Chinese => message.chinese += &unquoted(rest),
            }
        }
    }
    messages.retain(|message| !message.english.is_empty());
    messages
}

/// The text between quotes.
pub fn unquoted(text: &str) -> String {
    let text = text.trim().trim_start_matches('"');
    let (mut plain, mut signs) = (String::new(), text.chars());
    while let Some(sign) = signs.next() {
        match sign {
            '"' => break,
            '\\' => match signs.next() {
                Some('n') => plain.push('\n'),
                Some('t') => plain.push('\t'),
                Some('r') => plain.push('\r'),
                Some(sign) => plain.push(sign),
                None => {}
            },
            sign => plain.push(sign),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_gettext_reads_it() {
        let text = "# x\nmsgid \"\"\nmsgstr \"Language: zh_CN\\n\"\n\n#. without is\nmsgid \"\"\n\"a {is}\\n\"\n\"\\\"b\\\"\"\nmsgstr \"甲\\n\"\n\"乙\"\n";
        let english = "a {is}\n\"b\"".to_owned();
        let without = vec!["is".to_owned()];
        let message = Message { english, chinese: "甲\n乙".into(), without, line: 6 };
        assert_eq!(messages(text), [message]);
    }
}
