//! Patterns of one file name, as Python's `fnmatch` reads them.

/// One element of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    AnyCharacter,
    AnyText,
    Class { negated: bool, singles: Vec<char>, ranges: Vec<(char, char)> },
}

/// A pattern of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    tokens: Vec<Token>,
}

impl NamePattern {
    /// Reads a pattern; there is none that is wrong: an open bracket without its end stands for itself.
    pub fn parse(pattern: &str) -> Self {
        let characters: Vec<char> = pattern.chars().collect();
        let mut tokens = Vec::new();
        let mut position = 0;
        while let Some(&character) = characters.get(position) {
            position += 1;
            match character {
                '*' if tokens.last() == Some(&Token::AnyText) => {}
                '*' => tokens.push(Token::AnyText),
                '?' => tokens.push(Token::AnyCharacter),
                '[' => match end_of_class(&characters, position) {
                    Some(end) => {
                        tokens.push(class(&characters[position..end]));
                        position = end + 1;
                    }
                    None => tokens.push(Token::Literal('[')),
                },
                literal => tokens.push(Token::Literal(literal)),
            }
        }
        Self { tokens }
    }

    /// Whether the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut token, mut at) = (0, 0);
        // Where to go on when a later token fails: after the last `*`, one character further than before.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match self.tokens.get(token) {
                None if at == name.len() => return true,
                Some(Token::AnyText) => {
                    retry = Some((token, at));
                    token += 1;
                    continue;
                }
                Some(single) if at < name.len() && single.accepts(name[at]) => {
                    token += 1;
                    at += 1;
                    continue;
                }
                _ => {}
            }
            match retry {
                Some((star, start)) if start < name.len() => {
                    retry = Some((star, start + 1));
                    token = star + 1;
                    at = start + 1;
                }
                _ => return false,
            }
        }
    }
}

impl Token {
    fn accepts(&self, character: char) -> bool {
        match self {
            Self::Literal(literal) => *literal == character,
            Self::AnyCharacter => true,
            Self::AnyText => false,
            Self::Class { negated, singles, ranges } => {
                let inside = singles.contains(&character)
                    || ranges.iter().any(|(low, high)| (*low..=*high).contains(&character));
                inside != *negated
            }
        }
    }
}

// The index of the bracket that ends a class starting at `start`; one directly after `[` or `[!` is a member.
fn end_of_class(characters: &[char], start: usize) -> Option<usize> {
    let mut position = start;
    if characters.get(position) == Some(&'!') {
        position += 1;
    }
    if characters.get(position) == Some(&']') {
        position += 1;
    }
    (position..characters.len()).find(|index| characters[*index] == ']')
}

// A class is cut at hyphens into chunks; a range spans from the end of one to the start of the next. Python drops a
// range that runs backwards by joining its two chunks without the ends, and reads what is left: a `!` that has come to
// the front negates, and a hyphen there is a member.
fn class(members: &[char]) -> Token {
    let mut chunks: Vec<Vec<char>> = Vec::new();
    let mut start = 0;
    let mut search = 1 + usize::from(members.first() == Some(&'!'));
    while let Some(hyphen) = (search..members.len()).find(|index| members[*index] == '-') {
        chunks.push(members[start..hyphen].to_vec());
        start = hyphen + 1;
        search = hyphen + 3;
    }
    match (members.get(start..).unwrap_or(&[]), chunks.last_mut()) {
        ([], Some(last)) => last.push('-'),
        (rest, _) => chunks.push(rest.to_vec()),
    }
    for index in (1..chunks.len()).rev() {
        let backwards = matches!((chunks[index - 1].last(), chunks[index].first()), (Some(low), Some(high)) if low > high);
        if backwards {
            let joined = chunks.remove(index);
            chunks[index - 1].pop();
            chunks[index - 1].extend(&joined[1..]);
        }
    }
    let negated = chunks[0].first() == Some(&'!');
    if negated {
        chunks[0].remove(0);
    }
    if chunks[0].is_empty() && chunks.len() > 1 {
        chunks[0].push('-');
        return Token::Class { negated, ranges: ranges(&chunks[1..]), singles: chunks.concat() };
    }
    Token::Class { negated, ranges: ranges(&chunks), singles: chunks.concat() }
}

fn ranges(chunks: &[Vec<char>]) -> Vec<(char, char)> {
    chunks.windows(2).filter_map(|pair| Some((*pair[0].last()?, *pair[1].first()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        NamePattern::parse(pattern).matches(name)
    }

    #[test]
    fn wildcards() {
        for (pattern, name, wanted) in [
            ("*.wav", "a.wav", true),
            ("*.wav", ".wav", true),
            ("*.wav", "a.wave", false),
            ("a*b*c", "a--b--b-c", true),
            ("a*b*c", "a--b--b-", false),
            ("?", "ä", true),
            ("?", "", false),
            ("*", ".hidden", true),
            ("A", "a", false),
            ("*a\n", "xa\n", true),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern:?} {name:?}");
        }
    }

    #[test]
    fn classes() {
        for (pattern, name, wanted) in [
            ("[abc]", "b", true),
            ("[!abc]", "b", false),
            ("[!abc]", "d", true),
            ("[a-c]", "b", true),
            ("[]]", "]", true),
            ("[!]a]", "b", true),
            ("[!]a]", "]", false),
            ("[a", "[a", true),
            ("[]", "[]", true),
            ("[!]", "[!]", true),
            ("[a-]", "-", true),
            ("[-a]", "-", true),
            ("[b-a]", "a", false),
            ("[!b-a]", "a", true),
            ("[z-b0-a]", "5", true),
            ("[a-c-e]", "-", true),
            ("[a-c-e]", "d", false),
            ("[^a]", "^", true),
            ("[--!!]", "x", true),
            ("[--!!a]", "a", false),
            ("[--!!a]", "-", true),
            ("[b-aa-c]", "b", true),
            ("[b-aa-c]", "-", false),
            ("[--!!-x]", "a", true),
            ("[--!!-x]", "-", false),
            ("[--!!-x]", "x", false),
            ("[&~|]", "~", true),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern:?} {name:?}");
        }
    }
}
