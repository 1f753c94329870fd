//! The language that people are told things in. Machines are told everything in English: `-o json`, events, codes, the log
//! file.

use std::sync::atomic::{AtomicBool, Ordering};

/// A language that kubewan speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// That of the sources.
    English,
    /// By the catalogue in `zh/`.
    Chinese,
}

/// What POSIX asks in turn (XBD 8.2): the first of them that has a value decides.
const VARIABLES: [&str; 3] = ["LC_ALL", "LC_MESSAGES", "LANG"];

static CHINESE: AtomicBool = AtomicBool::new(false);

impl Language {
    /// The language of an environment. One whose terminal reads another encoding than UTF-8 would show signs that nobody
    /// can read, so it is told in English.
    pub fn of_environment(value: impl Fn(&str) -> Option<String>) -> Language {
        let locale = VARIABLES.iter().find_map(|name| value(name).filter(|v| !v.is_empty()));
        let locale = locale.unwrap_or_default();
        let (name, encoding) = locale.split_once('.').unwrap_or((&locale, "UTF-8"));
        let encoding = encoding.split('@').next().unwrap_or_default();
        let is_utf8 = matches!(encoding.to_ascii_lowercase().as_str(), "utf-8" | "utf8");
        match name == "zh" || name.starts_with("zh_") {
            true if is_utf8 => Language::Chinese,
            _ => Language::English,
        }
    }

    /// Makes it so for all that is told from now on.
    pub fn apply(self) {
        CHINESE.store(self == Language::Chinese, Ordering::Relaxed);
    }

    /// The language that people are told things in now.
    pub fn now() -> Language {
        #[cfg(test)]
        if let Some(language) = of_test::language() {
            return language;
        }
        match CHINESE.load(Ordering::Relaxed) {
            true => Language::Chinese,
            false => Language::English,
        }
    }
}

/// A test's own language: tests run side by side.
#[cfg(test)]
pub mod of_test {
    use std::cell::Cell;

    use super::Language;

    thread_local! {
        static LANGUAGE: Cell<Option<Language>> = const { Cell::new(None) };
    }

    pub(super) fn language() -> Option<Language> {
        LANGUAGE.get()
    }

    /// Does something in Chinese.
    pub fn in_chinese<T>(work: impl FnOnce() -> T) -> T {
        LANGUAGE.set(Some(Language::Chinese));
        let result = work();
        LANGUAGE.set(None);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn language(all: &str, messages: &str, lang: &str) -> Language {
        Language::of_environment(|name| {
            let values = [("LC_ALL", all), ("LC_MESSAGES", messages), ("LANG", lang)];
            values.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_says_the_language() {
        for locale in ["zh", "zh_CN", "zh_CN.UTF-8", "zh_TW.utf8", "zh_CN.UTF-8@pinyin"] {
            assert_eq!(language("", "", locale), Language::Chinese, "{locale}");
        }
        for locale in ["", "C", "C.UTF-8", "en_US.UTF-8", "zh_CN.GBK", "zha_CN"] {
            assert_eq!(language("", "", locale), Language::English, "{locale}");
        }
        assert_eq!(language("C", "zh_CN.UTF-8", "zh_CN.UTF-8"), Language::English);
        assert_eq!(language("", "zh_CN.UTF-8", "C"), Language::Chinese);
    }
}
