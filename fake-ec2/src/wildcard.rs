//! `*` and `?` in filters and policies.
//!
//! EC2's filters take `*` for any characters and `?` for none or one, with a
//! backslash before either to mean the character ("Using filtering",
//! docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html). IAM's
//! `?` is exactly one; no policy of a test needs the difference.

use regex_automata::meta::Regex;

/// A pattern, ready to match.
#[derive(Debug, Clone)]
pub(crate) enum Pattern {
    /// No wildcard in it.
    Exact(String),
    Wild(Regex),
}

impl Pattern {
    /// A pattern that matches case by case.
    pub(crate) fn new(pattern: &str) -> Self {
        if !pattern.contains(['*', '?', '\\']) {
            return Self::Exact(pattern.to_owned());
        }
        let mut regex = String::from("(?s)^");
        let mut characters = pattern.chars();
        while let Some(character) = characters.next() {
            match character {
                '*' => regex.push_str(".*"),
                '?' => regex.push_str(".?"),
                '\\' => literal(&mut regex, characters.next().unwrap_or('\\')),
                other => literal(&mut regex, other),
            }
        }
        regex.push('$');
        // A pattern too large to compile matches what it says, literally.
        Regex::new(&regex).map_or_else(|_| Self::Exact(pattern.to_owned()), Self::Wild)
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Wild(regex) => regex.is_match(text),
        }
    }
}

fn literal(regex: &mut String, character: char) {
    // A backslash makes all other punctuation mean itself; these two it would
    // make the edges of a word.
    if character.is_ascii_punctuation() && !matches!(character, '<' | '>') {
        regex.push('\\');
    }
    regex.push(character);
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn stars_and_marks_are_wild_and_all_else_is_literal() {
        for (pattern, text, matches) in [
            (
                "ubuntu/images/*-amd64-*",
                "ubuntu/images/x-amd64-server",
                true,
            ),
            ("ubuntu*", "debian", false),
            ("m?.large", "m5.large", true),
            ("m?.large", "m.large", true),
            ("m5.large", "m5xlarge", false),
            ("a[b]*", "a[b]c", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("*", "", true),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(text),
                matches,
                "{pattern} {text}"
            );
        }
    }
}
