//! Why users, tokens and tenants cannot be read or changed.

use std::io;
use std::path::PathBuf;

use quarry_api_types::Name;

/// The answer of the store.
pub type Result<T> = std::result::Result<T, AccessError>;

/// Why users, tokens and tenants cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// There is no such thing.
    #[error("{sort} '{name}' does not exist")]
    NotFound {
        /// `user`, `token` or `tenant`.
        sort: &'static str,
        /// The name or id.
        name: String,
    },
    /// The name is taken.
    #[error("{sort} '{name}' exists already")]
    Taken {
        /// `user` or `tenant`.
        sort: &'static str,
        /// The name.
        name: Name,
    },
    /// There are so many already.
    #[error("there are {most} {sort}s already, the most that a node keeps")]
    TooMany {
        /// `user`, `token` or `tenant`.
        sort: &'static str,
        /// The bound.
        most: usize,
    },
    /// The name belongs to a tenant, and the user does not.
    #[error("'{name}' is a name of tenant '{tenant}'")]
    NameOfTenant {
        /// The name.
        name: Name,
        /// The tenant.
        tenant: String,
    },
    /// Nobody else could make another admin.
    #[error("'{name}' is the last admin")]
    LastAdmin {
        /// The user.
        name: Name,
    },
    /// A tenant has users.
    #[error("tenant '{tenant}' has users, '{user}' for one")]
    HasUsers {
        /// The tenant.
        tenant: Name,
        /// One of them.
        user: Name,
    },
    /// User and password do not belong together. Which of the two is wrong is not said.
    #[error("user or password is wrong")]
    WrongPassword,
    /// Another process has the file open.
    #[error("{} is in use: another quarryd runs with this data directory", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A newer Quarry wrote it.
    #[error(
        "{} has version {found}, this quarryd reads up to {supported}: start the newer quarryd again", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u64,
        /// The highest version that can be read.
        supported: u64,
    },
    /// A record is none.
    #[error("{} is damaged: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The file cannot be made or moved.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Reading or writing the file failed.
    #[error("cannot {operation} {}", path.display())]
    Storage {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<redb::Error>,
    },
}
