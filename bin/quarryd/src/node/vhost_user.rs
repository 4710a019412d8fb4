//! Exports over vhost-user: a socket each, on the core that owns the volume.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use quarry_api_types::VolumePath;
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_target::Export;

use super::DataNode;
use super::exports::export_error;

impl DataNode {
    /// Makes the sockets of all exports, and from now on those of new ones.
    pub async fn serve_vhost_user(&self) {
        self.has_sockets.store(true, Ordering::SeqCst);
        for export in self.vhost_user.list() {
            if let Err(error) = self.open_socket(&export).await {
                tracing::error!(export = %export.name, %error, "an export is not served over vhost-user");
            }
        }
    }

    /// Where a machine finds the export of `path`.
    pub(super) fn socket_of(&self, path: &VolumePath) -> PathBuf {
        self.settings.vhost_user.join(format!("{path}.sock"))
    }

    /// Serves an export, now or when the node begins to serve.
    pub(super) async fn put_socket(&self, export: Export) -> Result<()> {
        self.vhost_user.insert(export.clone()).map_err(|error| export_error(&error))?;
        if !self.has_sockets.load(Ordering::SeqCst) {
            return Ok(());
        }
        let opened = self.open_socket(&export).await;
        if opened.is_err() {
            // Nobody is connected: there was no socket.
            let _ = self.vhost_user.remove(&export.name);
        }
        opened
    }

    async fn open_socket(&self, export: &Export) -> Result<()> {
        let folder = &self.settings.vhost_user;
        make_folder(folder).map_err(|error| {
            let what = format!("the folder {} for sockets cannot be made", folder.display());
            NodeError::new(ErrorKind::Unavailable, what).caused_by(&error)
        })?;
        let (name, path) = (export.name.clone(), folder.join(format!("{}.sock", export.name)));
        self.cores
            .call(export.core, move |state| async move { state.open_vhost_user(&name, path).await })
            .await?
    }

    /// Takes the socket of an export away, which is in no table any more.
    pub(super) async fn close_socket(&self, export: &Export) -> Result<()> {
        let name = export.name.clone();
        self.cores.call(export.core, move |state| async move { state.close_vhost_user(&name) }).await
    }
}

#[expect(clippy::disallowed_methods, reason = "a folder of the control plane, made when an export is")]
fn make_folder(folder: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)
}

#[cfg(test)]
mod tests;
