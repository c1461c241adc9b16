//! Workspaces of attempts: the engine of `perago-workspace` over the client of `perago-lakefs`.

mod repository;

pub use repository::LakeFsRepository;
