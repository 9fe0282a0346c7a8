//! A directory, and nothing outside of it.
//!
//! Whatever is served goes through here. A path that a client names is taken apart by [`hq::resolve`], which
//! knows no way up; then links are followed, and what they lead to must be in the directory, too. Names that
//! begin with a dot are for nobody (`.git`, `.env`, files on their way), but for `.well-known` (RFC 8615).
//! Only files and directories are opened: a pipe would wait, a device could do anything.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use tower_http::services::fs::{Backend, TokioBackend, TokioFile};

use crate::hq::{self, Refusal};

/// The directory; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Inside(Arc<PathBuf>);

impl Inside {
    /// # Errors
    /// It is no directory, or cannot be read.
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        let root = directory.canonicalize()?;
        // Whether it is a directory, and may be read, is better known now than at the first request.
        std::fs::read_dir(&root)?;
        Ok(Self(Arc::new(root)))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// The file or directory that a path of a request names.
    pub(crate) async fn find(&self, path: &str) -> Result<PathBuf, Refusal> {
        self.real(&hq::resolve(&self.0, path)?).await.map_err(|error| Refusal::of(&error))
    }

    /// The name of a file that is to be made.
    pub(crate) async fn place(&self, path: &str) -> Result<PathBuf, Refusal> {
        let file = hq::resolve(&self.0, path)?;
        let (Some(directory), Some(name), false) = (file.parent(), file.file_name(), path.ends_with('/')) else {
            return Err(Refusal::BadRequest);
        };
        if !directory.starts_with(&*self.0) {
            return Err(Refusal::BadRequest);
        }
        if is_hidden(name) {
            return Err(Refusal::Forbidden);
        }
        let directory = self.real(directory).await.map_err(|error| Refusal::of(&error))?;
        let file = directory.join(name);
        match tokio::fs::symlink_metadata(&file).await {
            Ok(_) => Err(Refusal::Conflict),
            Err(_) => Ok(file),
        }
    }

    /// What a name leads to.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`] if that is outside, [`ErrorKind::NotFound`] if it is hidden, or neither file
    /// nor directory.
    pub(crate) async fn real(&self, file: &Path) -> io::Result<PathBuf> {
        let real = tokio::fs::canonicalize(file).await?;
        let inside = real.strip_prefix(&*self.0).map_err(|_| io::Error::from(ErrorKind::PermissionDenied))?;
        let hidden = |component| matches!(component, Component::Normal(name) if is_hidden(name));
        if inside.components().any(hidden) {
            return Err(ErrorKind::NotFound.into());
        }
        let metadata = tokio::fs::metadata(&real).await?;
        match metadata.is_file() || metadata.is_dir() {
            true => Ok(real),
            false => Err(ErrorKind::NotFound.into()),
        }
    }
}

/// Whether a name is for nobody.
fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") && name != ".well-known"
}

/// What `tower-http` opens beside the file that was asked for, a compressed one or an index, is found here, too.
/// What must not be served is as if it were not there, so that it takes the next best.
impl Backend for Inside {
    type File = TokioFile;
    type Metadata = Metadata;
    type OpenFuture = Pin<Box<dyn Future<Output = io::Result<TokioFile>> + Send>>;
    type MetadataFuture = Pin<Box<dyn Future<Output = io::Result<Metadata>> + Send>>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let inside = self.clone();
        Box::pin(async move { TokioBackend.open(inside.real(&path).await.map_err(as_if_not_there)?).await })
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let inside = self.clone();
        Box::pin(async move { tokio::fs::metadata(inside.real(&path).await.map_err(as_if_not_there)?).await })
    }
}

fn as_if_not_there(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::PermissionDenied => ErrorKind::NotFound.into(),
        _ => error,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn nothing_leads_out() {
        let directory = tempfile::tempdir().unwrap();
        let (root, outside) = (directory.path().join("root"), directory.path().join("outside"));
        fs::create_dir_all(root.join("deep/.git")).unwrap();
        fs::create_dir_all(root.join(".well-known")).unwrap();
        fs::create_dir(&outside).unwrap();
        for file in ["root/a", "root/.env", "root/deep/.git/config", "root/.well-known/x", "outside/secret"] {
            fs::write(directory.path().join(file), file).unwrap();
        }
        symlink("a", root.join("alias")).unwrap();
        symlink(&root, root.join("deep/up")).unwrap();
        symlink(outside.join("secret"), root.join("link")).unwrap();
        symlink(&outside, root.join("ways")).unwrap();
        symlink(".env", root.join("shown")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(root.join("pipe")).status().unwrap().success());
        let inside = Inside::new(&root).unwrap();
        for path in ["/", "/a", "/alias", "/deep", "/deep/up/a", "/.well-known/x", "/deep/../a"] {
            let found = inside.find(path).await;
            assert_eq!(found.is_ok(), path != "/deep/../a", "{path}: {found:?}");
        }
        for (path, refusal) in [
            ("/link", Refusal::Forbidden),
            ("/ways/secret", Refusal::Forbidden),
            ("/ways", Refusal::Forbidden),
            ("/.env", Refusal::NotFound),
            ("/shown", Refusal::NotFound),
            ("/deep/.git/config", Refusal::NotFound),
            ("/deep/up/.env", Refusal::NotFound),
            ("/dangling", Refusal::NotFound),
            ("/pipe", Refusal::NotFound),
            ("/a/b", Refusal::NotFound),
            ("/%2e%2e/outside/secret", Refusal::NotFound),
            ("/none", Refusal::NotFound),
        ] {
            assert_eq!(inside.find(path).await, Err(refusal), "{path}");
        }
        assert_eq!(inside.place("/new").await, Ok(inside.root().join("new")));
        for (path, refusal) in [
            ("/", Refusal::BadRequest),
            ("/new/", Refusal::BadRequest),
            ("/a", Refusal::Conflict),
            ("/dangling", Refusal::Conflict),
            ("/.new", Refusal::Forbidden),
            ("/ways/new", Refusal::Forbidden),
            ("/none/new", Refusal::NotFound),
            ("/deep/.git/new", Refusal::NotFound),
            ("/../new", Refusal::NotFound),
        ] {
            assert_eq!(inside.place(path).await, Err(refusal), "{path}");
        }
        let opened = |name: &str| inside.open(root.join(name));
        assert!(opened("a").await.is_ok());
        assert_eq!(opened("link").await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}
