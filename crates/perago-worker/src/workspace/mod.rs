//! Workspaces of attempts: the engine of `perago-workspace` over the client of `perago-lakefs`.

mod adoption;
mod housekeeping;
mod keeper;
mod open;
mod repository;
mod service;
mod sweep;
mod used_repositories;
mod verdict;

pub use perago_workspace::GlobDialect;

pub use adoption::{AdoptedWork, Adopting, KeptWork};
pub use housekeeping::{Housekeeper, Housekeeping};
pub use keeper::{Keeping, KeeperHandle, WorkspaceMail, Workspaces};
pub(crate) use open::{housekeeping, open};
pub use repository::LakeFsRepository;
pub use service::{Operation, Published, Transfer, Workspace, WorkspaceService};
pub use sweep::{Fate, Kind, Leftover, Sweep, SweepOptions, sweep};
pub use used_repositories::UsedRepositories;
pub use verdict::{ConductorJudge, judge_task};
