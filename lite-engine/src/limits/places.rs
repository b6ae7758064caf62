//! Where groups can be made, as `/proc` tells it.
//!
//! The kernel has an old tree of groups for each controller, and a new one for
//! all of them; machines have the one, the other, or both side by side, with
//! the controllers in either. A group of the new tree hands a controller down
//! to the groups in it only while it has no processes of its own. So there a
//! group that holds this process is of no use, and the one around it is, if it
//! hands the controller down already: that is never changed here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A group in which groups for steps are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Of the old tree of one controller.
    Old(PathBuf),
    /// Of the new tree.
    New(PathBuf),
}

/// Where to hold steps to their limits.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) memory: Option<Place>,
    pub(super) processes: Option<Place>,
    /// In the new tree: there a group can be killed as a whole.
    pub(super) killing: Option<PathBuf>,
}

impl Places {
    /// What there is for this process.
    pub(super) fn find() -> io::Result<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        Ok(Self::of(&groups, &mounts))
    }

    fn of(groups: &str, mounts: &str) -> Self {
        let mut places = Self::default();
        for mount in mounts.lines().filter_map(Mount::of_line) {
            if mount.kind == "cgroup2" {
                let own = mount.own_group(groups, "");
                let (memory, processes) = (hands_down("memory"), hands_down("pids"));
                let around = own.parent().filter(|dir| dir.starts_with(mount.point));
                let candidates = [Some(own.as_path()), around];
                let useful = |dir: &&Path| memory(dir) || processes(dir);
                let place = candidates.into_iter().flatten().find(useful);
                let place = place.unwrap_or(&own).to_owned();
                if memory(&place) {
                    places.memory = Some(Place::New(place.clone()));
                }
                if processes(&place) {
                    places.processes = Some(Place::New(place.clone()));
                }
                places.killing = Some(place);
            } else if mount.has("memory") {
                places.memory = Some(Place::Old(mount.own_group(groups, "memory")));
            } else if mount.has("pids") {
                places.processes = Some(Place::Old(mount.own_group(groups, "pids")));
            }
        }
        places
    }
}

fn hands_down(controller: &str) -> impl Fn(&Path) -> bool {
    move |group| {
        let handed = fs::read_to_string(group.join("cgroup.subtree_control"));
        handed.is_ok_and(|handed| handed.split_whitespace().any(|one| one == controller))
    }
}

/// A tree of groups that is mounted.
struct Mount<'a> {
    root: &'a Path,
    point: &'a Path,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// `36 35 98:0 /root /point rw master:1 - kind source options`
    fn of_line(line: &'a str) -> Option<Self> {
        let (place, what) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let mut what = what.split(' ');
        let mount = Self {
            root: Path::new(place.next()?),
            point: Path::new(place.next()?),
            kind: what.next()?,
            options: what.nth(1)?,
        };
        matches!(mount.kind, "cgroup" | "cgroup2").then_some(mount)
    }

    fn has(&self, controller: &str) -> bool {
        self.options.split(',').any(|option| option == controller)
    }

    /// The group of this process in the tree of `controller`, as far as it can
    /// be seen: within a container that may be the mount itself.
    fn own_group(&self, groups: &str, controller: &str) -> PathBuf {
        let path = groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let mut controllers = fields.next()?.split(',');
            let path = fields.next()?;
            controllers.any(|one| one == controller).then_some(path)
        });
        let below = path.and_then(|path| Path::new(path).strip_prefix(self.root).ok());
        let own = self.point.join(below.unwrap_or_else(|| Path::new("")));
        if own.is_dir() {
            own
        } else {
            self.point.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of groups as files, and the line that mounts it.
    fn tree(groups: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        for (group, handed) in groups {
            let dir = folder.path().join(group);
            fs::create_dir_all(&dir).expect("created");
            fs::write(dir.join("cgroup.subtree_control"), handed).expect("written");
        }
        folder
    }

    fn mount(point: &Path, root: &str, kind: &str, options: &str) -> String {
        let point = point.display();
        format!("36 31 0:35 {root} {point} rw,relatime - {kind} {kind} {options}\n")
    }

    #[test]
    fn old_trees_are_told_by_their_controllers_beside_a_new_one_without_any() {
        let (memory, pids) = (tree(&[("a/b", "")]), tree(&[]));
        let unified = tree(&[("", "")]);
        let mounts = mount(memory.path(), "/", "cgroup", "rw,memory")
            + &mount(pids.path(), "/", "cgroup", "rw,cpu,pids")
            + &mount(unified.path(), "/", "cgroup2", "rw,nsdelegate")
            + "23 27 0:22 / /proc rw - proc proc rw\n";
        let groups = "8:cpu,pids:/\n4:memory:/a/b\n1:name=systemd:/x\n0::/\n";
        let expected = Places {
            memory: Some(Place::Old(memory.path().join("a/b"))),
            processes: Some(Place::Old(pids.path().to_owned())),
            killing: Some(unified.path().to_owned()),
        };
        assert_eq!(Places::of(groups, &mounts), expected);
    }

    #[test]
    fn in_the_new_tree_the_group_around_is_used_if_it_hands_controllers_down() {
        let unified = tree(&[
            ("", "cpu memory pids"),
            ("system.slice", "memory pids"),
            ("system.slice/agent.service", ""),
        ]);
        let mounts = mount(unified.path(), "/", "cgroup2", "rw");
        let slice = unified.path().join("system.slice");
        let expected = Places {
            memory: Some(Place::New(slice.clone())),
            processes: Some(Place::New(slice.clone())),
            killing: Some(slice),
        };
        let found = Places::of("0::/system.slice/agent.service\n", &mounts);
        assert_eq!(found, expected);
    }

    #[test]
    fn nothing_around_the_mount_is_used() {
        let unified = tree(&[("", "memory"), ("container", "")]);
        let point = unified.path().join("container");
        let mounts = mount(&point, "/docker/1", "cgroup2", "rw");
        let found = Places::of("0::/docker/1\n", &mounts);
        assert_eq!((found.memory, found.processes), (None, None));
        assert_eq!(found.killing, Some(point));
    }

    #[test]
    fn without_any_tree_there_is_no_place() {
        assert_eq!(Places::of("", ""), Places::default());
    }
}
