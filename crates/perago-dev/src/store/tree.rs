//! Trees: paths with their versions, shared between commits.

use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::model::{Entry, Staged};

/// The objects of a commit by path, in byte order. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    entries: RedBlackTreeMapSync<Arc<str>, Arc<Entry>>,
    /// Combination of the hashes of all entries, independent of the order of changes.
    digest: [u8; 32],
}

impl Tree {
    pub(crate) fn get(&self, path: &str) -> Option<&Arc<Entry>> {
        self.entries.get(path)
    }

    /// Puts a version or removes a path.
    pub(crate) fn set(&mut self, path: &Arc<str>, staged: &Staged) {
        if let Some(old) = self.entries.get(path.as_ref() as &str).cloned() {
            self.combine(path, &old);
        }
        match staged {
            Some(entry) => {
                self.combine(path, entry);
                self.entries.insert_mut(Arc::clone(path), Arc::clone(entry));
            }
            None => {
                self.entries.remove_mut(path.as_ref() as &str);
            }
        }
    }

    /// Entries from a bound on.
    pub(crate) fn range_from<'a>(
        &'a self,
        from: Bound<&'a str>,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Entry>)> {
        self.entries.range::<str, _>((from, Bound::Unbounded))
    }

    /// All entries.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Entry>)> {
        self.entries.iter()
    }

    /// The id of the tree: equal for equal trees, versions' places and times included.
    pub(crate) fn id(&self) -> String {
        hexadecimal(blake3::hash(&self.digest).as_bytes())
    }

    fn combine(&mut self, path: &str, entry: &Entry) {
        let mut hasher = blake3::Hasher::new();
        for text in [path, &entry.address, &entry.checksum, &entry.content_type] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(&entry.size.to_le_bytes());
        hasher.update(&entry.mtime.to_le_bytes());
        for (key, value) in &entry.metadata {
            for text in [key, value] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        }
        for (combined, byte) in self.digest.iter_mut().zip(hasher.finalize().as_bytes()) {
            *combined ^= byte;
        }
    }
}

/// One path of two trees.
#[derive(Clone, Debug)]
pub(crate) struct Difference<'a> {
    pub(crate) path: &'a Arc<str>,
    pub(crate) left: Option<&'a Arc<Entry>>,
    pub(crate) right: Option<&'a Arc<Entry>>,
}

/// Whether two versions, or their absence, count as equal.
pub(crate) fn same(left: Option<&Arc<Entry>>, right: Option<&Arc<Entry>>) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => Arc::ptr_eq(left, right) || left.same_content(right),
        _ => false,
    }
}

/// The paths on which two trees differ, in byte order.
pub(crate) fn differences<'a>(left: &'a Tree, right: &'a Tree) -> impl Iterator<Item = Difference<'a>> {
    walk(left, right).filter(|pair| !same(pair.left, pair.right))
}

/// All paths of two trees, side by side in byte order.
pub(crate) fn walk<'a>(left: &'a Tree, right: &'a Tree) -> impl Iterator<Item = Difference<'a>> {
    Walk { left: left.iter().peekable(), right: right.iter().peekable() }
}

/// Two trees side by side.
struct Walk<'a, L, R>
where
    L: Iterator<Item = (&'a Arc<str>, &'a Arc<Entry>)>,
    R: Iterator<Item = (&'a Arc<str>, &'a Arc<Entry>)>,
{
    left: Peekable<L>,
    right: Peekable<R>,
}

impl<'a, L, R> Iterator for Walk<'a, L, R>
where
    L: Iterator<Item = (&'a Arc<str>, &'a Arc<Entry>)>,
    R: Iterator<Item = (&'a Arc<str>, &'a Arc<Entry>)>,
{
    type Item = Difference<'a>;

    fn next(&mut self) -> Option<Difference<'a>> {
        let order = match (self.left.peek(), self.right.peek()) {
            (None, None) => return None,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((left, _)), Some((right, _))) => left.cmp(right),
        };
        let left = if order.is_le() { self.left.next() } else { None };
        let right = if order.is_ge() { self.right.next() } else { None };
        let path = left.or(right).map(|(path, _)| path)?;
        Some(Difference { path, left: left.map(|(_, entry)| entry), right: right.map(|(_, entry)| entry) })
    }
}

/// Bytes as hexadecimal text.
pub fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
