//! Reference expressions: a name or id, then `~N`, `^N`, `@` or `$`.

use std::sync::Arc;

use super::error::{RefError, StoreError};
use super::model::{Branch, Commit, Repository, State};
use super::tree::Tree;

/// What an expression names.
pub(super) struct Resolved<'a> {
    pub(super) commit: &'a Arc<Commit>,
    pub(super) tree: &'a Tree,
    /// The branch whose staged changes show, for a bare branch name and for `branch$`.
    pub(super) branch: Option<&'a Branch>,
    /// Whether the expression asks for what is staged by `$`.
    pub(super) is_staging: bool,
}

const INVALID: &str = "ref: invalid value: validation error";

impl State {
    pub(super) fn repository(&self, name: &str) -> Result<&Repository, StoreError> {
        self.repositories.get(name).ok_or_else(StoreError::no_repository)
    }

    /// A repository that takes changes.
    pub(super) fn writable(&self, name: &str) -> Result<&Repository, StoreError> {
        let found = self.repository(name)?;
        if found.read_only { Err(StoreError::new(403, "read-only repository")) } else { Ok(found) }
    }
}

impl Repository {
    /// Finds what an expression names.
    pub(super) fn resolve(&self, expression: &str) -> Result<Resolved<'_>, RefError> {
        let invalid = || RefError::Invalid(INVALID.to_owned());
        let (name, mut modifiers) = split(expression);
        if name.is_empty() {
            return Err(invalid());
        }
        let branch = self.branches.get(name);
        let id = branch.map(|branch| &branch.head).or_else(|| self.tags.get(name)).map(String::as_str);
        let id = match id {
            Some(id) => id,
            None => self.commit_by_prefix(name)?,
        };
        let mut found = Resolved { branch, is_staging: false, ..self.at(id)? };
        match modifiers {
            "" => return Ok(found),
            "@" | "$" if branch.is_none() => return Err(invalid()),
            "@" => return Ok(Resolved { branch: None, ..found }),
            "$" => return Ok(Resolved { is_staging: true, ..found }),
            _ => found.branch = None,
        }
        while let Some(kind) = modifiers.chars().next() {
            let rest = &modifiers[kind.len_utf8()..];
            let end = rest.find(['~', '^', '@', '$']).unwrap_or(rest.len());
            let (number, after) = rest.split_at(end);
            let number: usize = match (kind, number) {
                ('~' | '^', "") => 1,
                ('~' | '^', number) => number.parse().map_err(|_| {
                    RefError::Invalid(format!("could not parse modifier {kind}{number}: {INVALID}"))
                })?,
                _ => return Err(invalid()),
            };
            found = self.step(found, kind, number)?;
            modifiers = after;
        }
        Ok(found)
    }

    /// Finds the commit that an expression names.
    pub(super) fn resolve_commit(&self, expression: &str) -> Result<Resolved<'_>, RefError> {
        let found = self.resolve(expression)?;
        if found.is_staging { Err(RefError::Staging) } else { Ok(found) }
    }

    /// A commit by its full id.
    pub(super) fn at(&self, id: &str) -> Result<Resolved<'_>, RefError> {
        let (commit, tree) = self.commits.get(id).ok_or(RefError::Missing)?;
        Ok(Resolved { commit, tree, branch: None, is_staging: false })
    }

    fn step<'a>(&'a self, from: Resolved<'a>, kind: char, number: usize) -> Result<Resolved<'a>, RefError> {
        if kind == '~' {
            let mut found = from;
            for _ in 0..number {
                let parent = found.commit.parents.first().ok_or(RefError::Missing)?;
                found = self.at(parent)?;
            }
            return Ok(found);
        }
        let Some(index) = number.checked_sub(1) else { return Ok(from) };
        let parent = from.commit.parents.get(index);
        self.at(parent.ok_or_else(|| RefError::Invalid(INVALID.to_owned()))?)
    }

    fn commit_by_prefix(&self, prefix: &str) -> Result<&str, RefError> {
        let mut found = self.commits.range(prefix.to_owned()..).map(|(id, _)| id.as_str());
        match (found.next(), found.next()) {
            (Some(id), _) if id == prefix => Ok(id),
            (Some(id), next) if id.starts_with(prefix) => {
                let is_unique = next.is_none_or(|next| !next.starts_with(prefix));
                if is_unique { Ok(id) } else { Err(RefError::Missing) }
            }
            _ => Err(RefError::Missing),
        }
    }

    /// A branch by its name, for requests that change it: no expressions.
    ///
    /// `argument` is what lakeFS calls the name where it refuses an expression.
    pub(super) fn branch(&self, name: &str, argument: &str) -> Result<&Branch, StoreError> {
        check_branch_argument(name, argument)?;
        self.branches.get(name).ok_or_else(StoreError::no_branch)
    }

    /// Whether the branch takes no direct writes.
    pub(super) fn is_protected(&self, branch: &str) -> bool {
        self.protected.iter().any(|pattern| matches(pattern, branch))
    }
}

/// Refuses what can be no branch's name.
pub(super) fn check_branch_argument(name: &str, argument: &str) -> Result<(), StoreError> {
    // The name of a default branch is not checked when its repository is made, so slashes pass here.
    let refused = name.is_empty()
        || name.starts_with('-')
        || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '/'));
    if refused {
        return Err(StoreError::invalid(format!(
            "argument {argument}: branch id: invalid value: validation error"
        )));
    }
    Ok(())
}

fn split(expression: &str) -> (&str, &str) {
    expression.split_at(expression.find(['~', '^', '@', '$']).unwrap_or(expression.len()))
}

/// Matches a name against a pattern of letters, `*` and `?`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.chars().next() {
        None => name.is_empty(),
        Some('*') => {
            matches(&pattern[1..], name)
                || name.chars().next().is_some_and(|first| matches(pattern, &name[first.len_utf8()..]))
        }
        Some(wanted) => name.chars().next().is_some_and(|first| {
            (wanted == '?' || wanted == first)
                && matches(&pattern[wanted.len_utf8()..], &name[first.len_utf8()..])
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_cover_names() {
        for (pattern, name, expected) in [
            ("main", "main", true),
            ("main", "main2", false),
            ("prot-*", "prot-1", true),
            ("*", "", true),
            ("r?-*", "r1-x", true),
            ("r?-*", "r-x", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
