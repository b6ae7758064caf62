//! Finds whom a step is to run as.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, initgroups, setgid, setgroups, setuid};

/// A user and a group, of this machine or just numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    /// Where the machine knows it.
    name: Option<CString>,
}

impl Account {
    /// Finds `name`, `uid`, `name:group` or `uid:gid`. Without a group it is the
    /// user's own, or where the machine doesn't know the user, that of the same number.
    pub(crate) fn find(user: &str) -> Result<Self, String> {
        let (user, group) = user
            .split_once(':')
            .map_or((user, None), |(u, g)| (u, Some(g)));
        let known = match user.parse() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)),
            Err(_) => User::from_name(user),
        };
        let known = known.map_err(|errno| errno.desc().to_owned())?;
        let uid = known
            .as_ref()
            .map(|known| known.uid)
            .or_else(|| user.parse().ok().map(Uid::from_raw));
        let uid = uid.ok_or("no such user")?;
        let gid = match group {
            Some(group) => group_id(group)?,
            None => known
                .as_ref()
                .map_or_else(|| Gid::from_raw(uid.as_raw()), |known| known.gid),
        };
        Ok(Self {
            uid,
            gid,
            name: known.and_then(|known| CString::new(known.name).ok()),
        })
    }

    /// It is who this process runs as.
    pub(crate) fn is_own(&self) -> bool {
        (self.uid, self.gid) == (geteuid(), getegid())
    }

    /// Turns this process into the user's, with all of the user's groups.
    pub(crate) fn become_it(self) -> Result<(), String> {
        if self.is_own() {
            return Ok(());
        }
        let Self { uid, gid, name } = self;
        name.map_or_else(|| setgroups(&[gid]), |name| initgroups(&name, gid))
            .and_then(|()| setgid(gid))
            .and_then(|()| setuid(uid))
            .map_err(|errno| errno.desc().to_owned())
    }
}

fn group_id(group: &str) -> Result<Gid, String> {
    if let Ok(gid) = group.parse() {
        return Ok(Gid::from_raw(gid));
    }
    let known = Group::from_name(group).map_err(|errno| errno.desc().to_owned())?;
    Ok(known.ok_or("no such group")?.gid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_takes_its_group_along_and_an_unknown_name_is_nobody() {
        let root = Account::find("root").expect("root is everywhere");
        assert_eq!((root.uid.as_raw(), root.gid.as_raw()), (0, 0));
        let number = Account::find("54321").expect("a number");
        assert_eq!((number.uid.as_raw(), number.gid.as_raw()), (54321, 54321));
        let both = Account::find("54321:0").expect("numbers");
        assert_eq!((both.uid.as_raw(), both.gid.as_raw()), (54321, 0));
        assert!(Account::find("nobody-has-this-name").is_err());
        assert!(Account::find("root:no-such-group").is_err());
    }
}
