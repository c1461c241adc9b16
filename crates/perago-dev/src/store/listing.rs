//! Pages: any ordered sequence of paths cut by prefix, delimiter, start and amount.

/// Which part of a listing is asked for.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// Only paths that start so.
    pub prefix: String,
    /// Paths that share what comes before its next occurrence become one row.
    pub delimiter: String,
    /// Only what comes after this.
    pub after: String,
    /// Most rows.
    pub amount: usize,
}

/// One row: a path with its item, or several paths by what they share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row<T> {
    /// A path's item.
    Item(T),
    /// Everything below a prefix.
    Prefix(String),
}

/// A page of rows.
#[derive(Clone, Debug)]
pub struct PageOf<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// What to ask for `after`, when there is more.
    pub next: Option<String>,
}

impl PageRequest {
    /// Everything, as far as one page goes.
    pub fn of(prefix: &str, after: &str, amount: usize) -> Self {
        Self { prefix: prefix.to_owned(), delimiter: String::new(), after: after.to_owned(), amount }
    }

    /// The first path that can be on the page.
    pub(super) fn start(&self) -> &str {
        self.after.as_str().max(self.prefix.as_str())
    }

    /// Cuts the page out of paths in byte order, which may begin before it.
    pub(super) fn cut<P: AsRef<str>, T>(&self, items: impl IntoIterator<Item = (P, T)>) -> PageOf<Row<T>> {
        let mut page = PageOf { rows: Vec::new(), next: None };
        let mut last = String::new();
        for (path, item) in items {
            let path = path.as_ref();
            if path <= self.after.as_str() && !self.after.is_empty() || !path.starts_with(&self.prefix) {
                if path > self.prefix.as_str() && !path.starts_with(&self.prefix) {
                    break;
                }
                continue;
            }
            let shared = self.shared(path);
            if let Some(shared) = shared
                && (shared == self.after || (shared == last && !page.rows.is_empty()))
            {
                continue;
            }
            if page.rows.len() >= self.amount {
                page.next = Some(last);
                break;
            }
            shared.unwrap_or(path).clone_into(&mut last);
            page.rows.push(shared.map_or_else(|| Row::Item(item), |shared| Row::Prefix(shared.to_owned())));
        }
        page
    }

    /// What a path shares with others behind the prefix, if a delimiter is given and occurs.
    fn shared<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.delimiter.is_empty() {
            return None;
        }
        let found = path[self.prefix.len()..].find(&self.delimiter)?;
        Some(&path[..self.prefix.len() + found + self.delimiter.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::{PageRequest, Row};

    const PATHS: [&str; 5] = ["audio.txt", "audio/0", "audio/1", "audio2/4", "z"];

    fn cut(request: &PageRequest) -> (Vec<String>, Option<String>) {
        let page = request.cut(PATHS.iter().map(|path| (*path, (*path).to_owned())));
        let rows = page.rows.into_iter().map(|row| match row {
            Row::Item(path) => path,
            Row::Prefix(prefix) => format!("{prefix}…"),
        });
        (rows.collect(), page.next)
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repetition() {
        for delimiter in ["", "/"] {
            let all = cut(&PageRequest { delimiter: delimiter.to_owned(), ..PageRequest::of("", "", 100) });
            assert_eq!(all.1, None);
            for amount in 1..6 {
                let mut seen = Vec::new();
                let mut after = Some(String::new());
                while let Some(start) = after {
                    let request = PageRequest::of("", &start, amount);
                    let (rows, next) = cut(&PageRequest { delimiter: delimiter.to_owned(), ..request });
                    seen.extend(rows);
                    after = next;
                }
                assert_eq!(seen, all.0, "{delimiter} {amount}");
            }
        }
    }

    #[test]
    fn a_prefix_is_text_and_not_a_folder() {
        assert_eq!(cut(&PageRequest::of("audio", "", 9)).0.len(), 4);
        assert_eq!(cut(&PageRequest::of("audio/", "", 9)).0, ["audio/0", "audio/1"]);
        let request = PageRequest { delimiter: "/".to_owned(), ..PageRequest::of("audio", "", 9) };
        assert_eq!(cut(&request).0, ["audio.txt", "audio/…", "audio2/…"]);
        let request = PageRequest { delimiter: "/".to_owned(), ..PageRequest::of("", "audio/1", 9) };
        assert_eq!(cut(&request).0, ["audio2/…", "z"]);
    }
}
