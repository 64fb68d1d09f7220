//! Reads the work tree: its files as git sees them, and its packages as cargo sees them.
//!
//! Never judges: that is `tidy`. Paths are relative to the root, with `/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The work tree as the rules of `tidy` see it. Tests build it from literals.
#[derive(Default)]
pub(crate) struct Repo {
    pub(crate) files: Vec<File>,
    pub(crate) packages: Vec<Package>,
}

pub(crate) struct File {
    pub(crate) path: String,
    /// `None` where the content is not text.
    pub(crate) text: Option<String>,
}

/// A member of the workspace.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest: String,
    /// `lib.rs`, or `main.rs` where there is no library.
    pub(crate) root_file: String,
    /// As declared in the manifest: features and targets do not hide a dependency from the rules.
    pub(crate) dependencies: Vec<Dependency>,
}

pub(crate) struct Dependency {
    /// The package's name, also where the manifest renames it.
    pub(crate) name: String,
    pub(crate) dev: bool,
}

impl Repo {
    pub(crate) fn read(root: &Path) -> Result<Repo> {
        let mut files = Vec::new();
        for path in paths(root)? {
            let whole = root.join(&path);
            // A deleted file that git still lists, or a symbolic link to nowhere, is no file of ours.
            let Ok(bytes) = std::fs::read(&whole) else { continue };
            files.push(File { path, text: String::from_utf8(bytes).ok() });
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));

        let metadata = output(cargo(root).args(["metadata", "--no-deps", "--format-version", "1"]))?;
        let packages = packages(root, &serde_json::from_str(&metadata)?)?;
        Ok(Repo { files, packages })
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path)?.text.as_deref()
    }

    /// The Rust files, each with its text.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        let rust = self.files.iter().filter(|file| file.path.ends_with(".rs"));
        rust.filter_map(|file| Some((file.path.as_str(), file.text.as_deref()?)))
    }
}

impl Package {
    /// The folder of the package, such as `crates/otaria-core`.
    pub(crate) fn folder(&self) -> &str {
        self.manifest.strip_suffix("/Cargo.toml").unwrap_or("")
    }
}

/// The root of the workspace: where cargo says this package is, two folders up.
pub(crate) fn root() -> Result<PathBuf> {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    let root = Path::new(&here).ancestors().nth(2).context("xtask lies under crates/")?;
    ensure!(root.join("Cargo.lock").is_file(), "{} is not the root of the workspace", root.display());
    Ok(root.to_owned())
}

/// The cargo that started this command, to be run in the root of the workspace.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// What the packages reachable from one package are, resolved for that package alone: one name a line.
pub(crate) fn reachable(root: &Path, package: &str, edges: &str) -> Result<Vec<String>> {
    let tree =
        output(cargo(root).args(["tree", "--prefix", "none", "--edges", edges, "--package", package]))?;
    let mut names: Vec<String> =
        tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Runs a command to its end and returns what it printed; its complaints go to our stderr.
fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(std::process::Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Tracked files and new ones that are not ignored. Where git is missing, or this is no clone, the tree
/// itself is walked instead, without `target` and `.git`.
fn paths(root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    if let Ok(listed) = git.output()
        && listed.status.success()
    {
        let listed = String::from_utf8(listed.stdout).context("a file's name is not UTF-8")?;
        let mut paths: Vec<String> =
            listed.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect();
        paths.sort();
        paths.dedup(); // A file in the middle of a merge is listed once for each side.
        return Ok(paths);
    }

    let mut paths = Vec::new();
    walk(root, root, &mut paths)?;
    Ok(paths)
}

fn walk(root: &Path, folder: &Path, paths: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let relative = relative(root, &path)?;
        if entry.file_type()?.is_dir() {
            if !matches!(relative.as_str(), "target" | ".git") {
                walk(root, &path, paths)?;
            }
        } else {
            paths.push(relative);
        }
    }
    Ok(())
}

fn relative(root: &Path, path: &Path) -> Result<String> {
    let inside = path.strip_prefix(root).with_context(|| format!("{} is outside", path.display()))?;
    Ok(inside.to_str().context("a file's name is not UTF-8")?.replace('\\', "/"))
}

fn packages(root: &Path, metadata: &Value) -> Result<Vec<Package>> {
    let text = |value: &Value, key: &str| -> Result<String> {
        Ok(value[key].as_str().with_context(|| format!("cargo metadata lacks `{key}`"))?.to_owned())
    };
    let list = |value: &Value, key: &str| -> Result<Vec<Value>> {
        Ok(value[key].as_array().with_context(|| format!("cargo metadata lacks `{key}`"))?.clone())
    };

    let mut packages = Vec::new();
    for package in list(metadata, "packages")? {
        let targets = list(&package, "targets")?;
        let of_kind = |kind: &str| {
            targets.iter().find(|t| t["kind"].as_array().is_some_and(|k| k.contains(&kind.into())))
        };
        let target =
            of_kind("lib").or_else(|| of_kind("bin")).context("a package has neither lib nor bin")?;

        let mut dependencies = Vec::new();
        for dependency in list(&package, "dependencies")? {
            dependencies
                .push(Dependency { name: text(&dependency, "name")?, dev: dependency["kind"] == "dev" });
        }
        packages.push(Package {
            name: text(&package, "name")?,
            manifest: relative(root, Path::new(&text(&package, "manifest_path")?))?,
            root_file: relative(root, Path::new(&text(target, "src_path")?))?,
            dependencies,
        });
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_work_tree_can_be_read() {
        let repo = Repo::read(&root().unwrap()).unwrap();
        let this = repo.packages.iter().find(|package| package.name == "xtask").unwrap();
        assert_eq!(this.manifest, "crates/xtask/Cargo.toml");
        assert_eq!(this.folder(), "crates/xtask");
        assert_eq!(this.root_file, "crates/xtask/src/main.rs");
        assert!(this.dependencies.iter().any(|dependency| dependency.name == "clap" && !dependency.dev));
        assert!(repo.text("crates/xtask/src/repo.rs").is_some());
        assert!(repo.text("target/CACHEDIR.TAG").is_none());
    }

    #[test]
    fn a_tree_without_git_is_walked() {
        let root = root().unwrap().join("crates/xtask");
        let mut paths = Vec::new();
        walk(&root, &root, &mut paths).unwrap();
        assert!(paths.contains(&"src/main.rs".to_owned()));
    }
}
