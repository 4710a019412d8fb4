//! Changes of one object: any number at the same time, but one alone while it depends on how the object is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Objects that are remembered before those that nobody changes are forgotten.
const REMEMBERED_MAX: usize = 256;

/// Objects by their paths.
#[derive(Default)]
pub(crate) struct Objects(Mutex<HashMap<String, Arc<RwLock<()>>>>);

/// A change that is on its way.
#[expect(dead_code, reason = "held until the change has ended")]
pub(crate) enum Entered {
    Beside(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
}

impl Objects {
    /// Waits until a change of an object may begin: beside others, or alone.
    pub(crate) async fn enter(&self, path: &str, alone: bool) -> Entered {
        let object = self.object(path);
        match alone {
            true => Entered::Alone(object.write_owned().await),
            false => Entered::Beside(object.read_owned().await),
        }
    }

    fn object(&self, path: &str) -> Arc<RwLock<()>> {
        let mut objects = self.0.lock().expect("nobody panics with this lock");
        if objects.len() >= REMEMBERED_MAX {
            objects.retain(|_, object| Arc::strong_count(object) > 1);
        }
        Arc::clone(objects.entry(path.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_depends_on_an_object_is_alone_with_it() {
        let objects = Objects::default();
        let wait = Duration::from_millis(1);
        let first = objects.enter("/v1/volumes/v", false).await;
        let second = objects.enter("/v1/volumes/v", false).await;
        assert!(tokio::time::timeout(wait, objects.enter("/v1/volumes/v", true)).await.is_err());
        drop((first, second));
        let alone = objects.enter("/v1/volumes/v", true).await;
        assert!(tokio::time::timeout(wait, objects.enter("/v1/volumes/v", false)).await.is_err());
        objects.enter("/v1/volumes/w", true).await;
        drop(alone);
        for number in 0..2 * REMEMBERED_MAX {
            objects.enter(&format!("/v1/volumes/{number}"), true).await;
        }
        assert!(objects.0.lock().unwrap().len() <= REMEMBERED_MAX);
    }
}
