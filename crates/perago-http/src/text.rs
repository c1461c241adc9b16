//! Other people's words in our messages.

/// Longest text of a server that is repeated, in characters.
const LIMIT: usize = 500;

/// `text` on one line and short enough to print.
pub fn excerpt(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &flat[..end]),
        None => flat,
    }
}

#[cfg(test)]
mod tests {
    use super::{LIMIT, excerpt};

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(excerpt(" a\n\tb "), "a b");
        let cut = excerpt(&"ä".repeat(5_000));
        assert_eq!(cut.chars().count(), LIMIT + 1);
        assert!(cut.ends_with('…'));
    }
}
