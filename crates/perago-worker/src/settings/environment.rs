//! The variables as one map: the process environment over `.env`.

use std::collections::BTreeMap;
use std::path::Path;

use super::dotenv;
use super::error::SettingsError;
use super::table;

/// Variables by name.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, String>,
    #[cfg(test)]
    reads: std::cell::RefCell<std::collections::BTreeSet<String>>,
}

impl Environment {
    /// The variables of a map alone.
    pub fn new(values: BTreeMap<String, String>) -> Self {
        Self {
            values,
            #[cfg(test)]
            reads: std::cell::RefCell::default(),
        }
    }

    /// `process_env` over the `.env` file of `directory`.
    ///
    /// # Errors
    /// When the file is there but cannot be read.
    pub fn read(directory: &Path, process_env: &BTreeMap<String, String>) -> Result<Self, SettingsError> {
        Ok(Self::merged(process_env, dotenv::read(&directory.join(dotenv::FILE_NAME))?))
    }

    /// `process_env` over variables from elsewhere.
    pub fn merged(process_env: &BTreeMap<String, String>, mut below: BTreeMap<String, String>) -> Self {
        below.extend(process_env.iter().map(|(name, value)| (name.clone(), value.clone())));
        Self::new(below)
    }

    /// The value of a variable of the table, as it is written.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        debug_assert!(table::find(name).is_some(), "{name} is not in the table of variables");
        #[cfg(test)]
        self.reads.borrow_mut().insert(name.to_owned());
        self.values.get(name).map(String::as_str)
    }

    /// The stripped value of a variable of the table; blank counts as unset.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// All variables in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The variables as a map.
    pub fn into_values(self) -> BTreeMap<String, String> {
        self.values
    }

    #[cfg(test)]
    pub(crate) fn names_read(&self) -> std::collections::BTreeSet<String> {
        self.reads.borrow().clone()
    }
}

/// The process environment; what is not UTF-8 has its odd bytes replaced.
pub fn process_environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect()
}
