//! Names that identify a task and its owner.

use crate::error::ContractError;

/// Checks a task name: not blank, and usable as one path segment.
///
/// Outer spaces are kept, because the name is Conductor's key for the task.
pub fn check_task_name(name: &str) -> Result<(), ContractError> {
    if name.trim().is_empty() {
        return Err(ContractError::new("PERAGO-TASK-NAME", "task name is required"));
    }
    if name.contains(['/', '\\']) {
        return Err(ContractError::new("PERAGO-TASK-NAME", "task name must not contain path separators")
            .with_hint("separate the parts of a name with dots, for example features.build"));
    }
    Ok(())
}

/// Checks that an owner is named; Conductor refuses a TaskDef without one.
pub fn check_owner_email(owner_email: &str) -> Result<(), ContractError> {
    if owner_email.trim().is_empty() {
        return Err(ContractError::new("PERAGO-OWNER-EMAIL", "owner_email is required"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_for_blanks_and_separators() {
        for (name, keyword) in
            [("", "required"), (" \t", "required"), ("a/b", "separators"), ("a\\b", "separators")]
        {
            let error = check_task_name(name).unwrap_err();
            assert!(error.message().contains(keyword), "{name:?}: {error}");
            assert_eq!(error.code(), "PERAGO-TASK-NAME");
        }
        assert_eq!(check_task_name(" demo.mix "), Ok(()));
    }

    #[test]
    fn owner_must_not_be_blank() {
        assert!(check_owner_email("  ").unwrap_err().message().contains("owner_email is required"));
        assert_eq!(check_owner_email("ops@example.com"), Ok(()));
    }
}
