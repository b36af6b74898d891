//! Users, roles, permissions, logins.

use t4_proto::authpb;
use t4_proto::authpb::permission::Type;
use t4_proto::etcdserverpb as pb;

use super::super::ask::{Ask, ROOT};
use super::super::known::Known;
use super::super::{ROLES, USERS};
use super::Generator;

/// What permissions are granted on: several begin at one key.
const RANGES: [(&str, &str); 18] = [
    ("a", ""),
    ("a", "a2"),
    ("a", "b"),
    ("a1", ""),
    ("a1", "a2"),
    ("a2", "c"),
    ("b", ""),
    // Some of the places in the queue for a lock, and all.
    ("A/", "A/3"),
    ("A/", "A0"),
    ("b", "b1"),
    ("b", "c5"),
    ("b", "\0"),
    ("b1", "b2"),
    ("c", "c5"),
    ("c", "d"),
    ("c5", "e"),
    ("d", "\0"),
    ("\0", "\0"),
];

/// What cannot be granted.
const NO_RANGES: [(&str, &str); 4] = [("", "b"), ("", ""), ("b", "a"), ("b", "b")];

const PASSWORDS: [&str; 4] = ["one", "two", "three", ""];

impl Generator {
    pub(super) fn question(&mut self, known: &Known) -> Ask {
        match self.rng.below(10) {
            0..4 => Ask::UserGet(self.user(known)),
            4 if self.rng.chance(1, 4) => Ask::RoleGet("root".to_owned()),
            4..8 => Ask::RoleGet(self.role()),
            8 => Ask::UserList,
            _ => Ask::RoleList,
        }
    }

    /// A user who may be there.
    fn user(&mut self, known: &Known) -> String {
        if self.rng.chance(1, 3) {
            return self.rng.pick(&self.guests).clone();
        }
        let there: Vec<&String> = known.rights.users.keys().collect();
        (*self.rng.pick(&there)).clone()
    }

    fn role(&mut self) -> String {
        (*self.rng.pick(&ROLES)).to_owned()
    }

    pub(super) fn change_of_roles(&mut self, known: &Known) -> Ask {
        match self.rng.below(100) {
            0..35 => self.grant_permission(),
            35..60 => self.revoke_permission(known),
            60..84 => {
                // An administrator more, now and then.
                let role = if self.rng.chance(1, 25) { "root".to_owned() } else { self.role() };
                Ask::UserGrantRole(pb::AuthUserGrantRoleRequest { user: self.user(known), role })
            }
            84..94 => self.revoke_role(known),
            94..98 => Ask::RoleAdd(self.role()),
            98 => Ask::RoleDelete("root".to_owned()),
            _ => Ask::RoleDelete(self.role()),
        }
    }

    fn grant_permission(&mut self) -> Ask {
        let kinds = [Type::Read, Type::Write, Type::Readwrite];
        let mut perm_type = i32::from(*self.rng.pick(&kinds));
        let (mut key, mut range_end) = *self.rng.pick(&RANGES);
        match self.rng.below(40) {
            0 => (key, range_end) = *self.rng.pick(&NO_RANGES),
            1 => perm_type = 7,
            _ => {}
        }
        let (key, range_end) = (key.into(), range_end.into());
        let perm = authpb::Permission { perm_type, key, range_end };
        let perm = (!self.rng.chance(1, 60)).then_some(perm);
        Ask::RoleGrantPermission(pb::AuthRoleGrantPermissionRequest { name: self.role(), perm })
    }

    /// Mostly one that there is.
    fn revoke_permission(&mut self, known: &Known) -> Ask {
        let role = self.role();
        let (key, range_end) = *self.rng.pick(&RANGES);
        let mut request = pb::AuthRoleRevokePermissionRequest {
            role: role.clone(),
            key: key.into(),
            range_end: range_end.into(),
        };
        if let Some(held) = known.rights.roles.get(&role)
            && !held.is_empty()
            && self.rng.chance(4, 5)
        {
            let held = self.rng.pick(held);
            (request.key, request.range_end) = (held.key.clone(), held.range_end.clone());
        }
        Ask::RoleRevokePermission(request)
    }

    /// First from those who have become administrators.
    fn revoke_role(&mut self, known: &Known) -> Ask {
        let others = known.rights.users.keys().filter(|name| *name != "root");
        let admins: Vec<&String> = others.filter(|name| known.rights.is_admin(name)).collect();
        let (name, role) = match admins.first() {
            Some(name) => ((*name).clone(), "root".to_owned()),
            None if self.rng.chance(1, 20) => ("root".to_owned(), "root".to_owned()),
            None => (self.user(known), self.role()),
        };
        Ask::UserRevokeRole(pb::AuthUserRevokeRoleRequest { name, role })
    }

    pub(super) fn change_of_users(&mut self, known: &Known) -> Ask {
        let name = self.rng.pick(&self.guests).clone();
        match self.rng.below(20) {
            0..9 => self.add_user(name),
            9..14 => Ask::UserDelete(name),
            14 => Ask::UserDelete("root".to_owned()),
            15 => {
                // Whoever has had a password goes on with another.
                let name = (*self.rng.pick(&USERS[1..])).to_owned();
                let password = format!("{}{}", name, known.logins.len());
                Ask::UserChangePassword(pb::AuthUserChangePasswordRequest {
                    name,
                    password,
                    ..Default::default()
                })
            }
            _ => {
                let password = (*self.rng.pick(&PASSWORDS)).to_owned();
                let hashes = ["", "", "", "no hash!"];
                let hashed_password = (*self.rng.pick(&hashes)).to_owned();
                Ask::UserChangePassword(pb::AuthUserChangePasswordRequest {
                    name,
                    password,
                    hashed_password,
                })
            }
        }
    }

    fn add_user(&mut self, name: String) -> Ask {
        let name = if self.rng.chance(1, 20) { String::new() } else { name };
        let no_password = self.rng.chance(1, 5);
        let options = (no_password || self.rng.chance(1, 2))
            .then_some(authpb::UserAddOptions { no_password });
        let password = (*self.rng.pick(&PASSWORDS)).to_owned();
        Ask::UserAdd(pb::AuthUserAddRequest { name, password, options, ..Default::default() })
    }

    /// Right or wrong, but never so often wrong that T4 lets it wait.
    pub(super) fn login(&mut self, known: &Known) -> Ask {
        if self.rng.chance(1, 15) {
            return self.login_of_nobody();
        }
        let place = self.rng.below(self.guests.len() as u64) as usize;
        let name = match self.rng.chance(1, 6) {
            true => (*self.rng.pick(&USERS)).to_owned(),
            false => self.guests[place].clone(),
        };
        let right = known.passwords.get(&name).cloned();
        if !known.may_fail(&name) {
            return match right {
                Some(right) => ask_login(name, &right),
                None => {
                    self.replace_guest(known, place);
                    self.login_of_nobody()
                }
            };
        }
        match right {
            Some(right) if self.rng.chance(1, 2) => ask_login(name, &right),
            _ => {
                let password = *self.rng.pick(&PASSWORDS);
                ask_login(name, password)
            }
        }
    }

    fn login_of_nobody(&mut self) -> Ask {
        ask_login(format!("nobody{}", self.rng.next_u64()), "one")
    }

    /// Nobody can log in as that any more without a wait: another takes the place.
    fn replace_guest(&mut self, known: &Known, place: usize) {
        let new = self.new_name();
        let old = std::mem::replace(&mut self.guests[place], new.clone());
        if known.is_there(&old) {
            self.planned.push_back((ROOT, Ask::UserDelete(old)));
        }
        let added = self.add_user(new);
        self.planned.push_back((ROOT, added));
    }
}

fn ask_login(name: String, password: &str) -> Ask {
    Ask::Authenticate(pb::AuthenticateRequest { name, password: password.to_owned() })
}
