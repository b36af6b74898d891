//! What tokens are, from the text of `--auth-token` to keys that follow their
//! files.
//!
//! What keys are good, and what a token is, is `t4-auth-rbac`'s; who shows one,
//! `t4-etcd-api`'s.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use t4_auth_rbac::TokenProvider;
use t4_auth_rbac::jwt::{JwtKeys, KeyError};
use t4_auth_rbac::password::Cost;
use t4_etcd_api::{AuthConfig as ApiAuth, Tokens};
use t4_tls_config::read_regular_file;

use crate::config::AuthConfig;
use crate::error::StartError;

/// How often the files are looked at: new keys are in force within two seconds.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Reads what was asked for, and the files that it names.
pub(crate) fn load(config: &AuthConfig) -> Result<ApiAuth, StartError> {
    let asked = TokenProvider::parse(&config.token)?;
    for option in &asked.unknown {
        tracing::warn!(option, "this option of --auth-token is not known and has no effect");
    }
    let tokens = match asked.provider {
        TokenProvider::Simple => Tokens::Simple,
        TokenProvider::None => Tokens::None,
        TokenProvider::Jwt(options) => {
            Tokens::Jwt(Arc::new(JwtKeys::load(options, read_regular_file)?))
        }
    };
    let bcrypt_cost =
        Cost::new(config.bcrypt_cost).ok_or(StartError::BcryptCost { cost: config.bcrypt_cost })?;
    Ok(ApiAuth { required: config.required, tokens, bcrypt_cost })
}

/// The thread that follows the files of the keys; ends when this is dropped.
pub(crate) struct KeyFollower {
    /// What is sent on it is told of the look that follows; its end is the
    /// thread's.
    look: Option<Sender<Sender<()>>>,
    thread: Option<JoinHandle<()>>,
}

impl KeyFollower {
    /// Follows the files of `tokens`, if there are any.
    pub(crate) fn start(tokens: &Tokens) -> Result<Option<Self>, StartError> {
        let Tokens::Jwt(keys) = tokens else { return Ok(None) };
        let (look, looks) = channel();
        let keys = keys.clone();
        let thread = std::thread::Builder::new()
            .name("t4-token-keys".to_owned())
            .spawn(move || follow(&keys, &looks))
            .map_err(StartError::Thread)?;
        Ok(Some(KeyFollower { look: Some(look), thread: Some(thread) }))
    }

    /// Looks at the files soon; what is returned receives once that is done.
    pub(crate) fn reload_now(&self) -> Receiver<()> {
        let (done, when_done) = channel();
        if let Some(look) = &self.look {
            // It ends only when this is dropped.
            let _ = look.send(done);
        }
        when_done
    }
}

impl Drop for KeyFollower {
    fn drop(&mut self) {
        self.look = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn follow(keys: &JwtKeys, looks: &Receiver<Sender<()>>) {
    let mut said = None;
    loop {
        let asked = match looks.recv_timeout(LOOK_INTERVAL) {
            Ok(done) => Some(done),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        tell(keys.reload(), &mut said);
        // Nobody has to wait for it.
        let _ = asked.map(|done| done.send(()));
    }
}

/// Says what came of a look; the same failure once.
fn tell(outcome: Result<bool, KeyError>, said: &mut Option<KeyError>) {
    match outcome {
        Ok(changed) => {
            if changed {
                tracing::info!("new keys of tokens are in force");
            } else if said.is_some() {
                tracing::info!("the keys of tokens on the disk are again those in force");
            }
            *said = None;
        }
        Err(error) => {
            if said.as_ref() != Some(&error) {
                tracing::error!(%error, "new keys of tokens are not taken; the old ones stay");
                *said = Some(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::time::SystemTime;

    fn config(token: String) -> AuthConfig {
        AuthConfig { token, ..AuthConfig::default() }
    }

    #[test]
    fn texts_become_tokens() {
        assert!(matches!(load(&config("simple".into())).unwrap().tokens, Tokens::Simple));
        assert!(matches!(load(&config(String::new())).unwrap().tokens, Tokens::None));
        for (wrong, part) in [
            ("jwt", "sign-method is missing"),
            ("jwt,sign-method=HS256", "missing key data"),
            ("jwt,sign-method=HS256,priv-key=/nowhere/at/all", "/nowhere/at/all"),
        ] {
            let error = load(&config(wrong.into())).unwrap_err().to_string();
            assert!(error.contains("auth: ") && error.contains(part), "{wrong}: {error}");
        }
    }

    #[test]
    fn new_keys_come_into_force_and_bad_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, b"the first secret").unwrap();
        let token = format!("jwt,sign-method=HS256,priv-key={}", file.display());
        let Tokens::Jwt(keys) = load(&config(token)).unwrap().tokens else { panic!("no keys") };
        let now = SystemTime::now();
        let before = keys.sign(now, "alice", 1).unwrap();
        let mut said = None;

        std::fs::write(&file, b"").unwrap();
        tell(keys.reload(), &mut said);
        assert!(said.is_some() && keys.verify(now, &before).is_ok(), "the old one stays");
        std::fs::write(&file, b"the second secret").unwrap();
        tell(keys.reload(), &mut said);
        assert!(said.is_none() && keys.verify(now, &before).is_err());
    }

    /// Nobody writes into the pipe: to wait for that would be to wait for ever.
    #[test]
    fn a_pipe_in_the_place_of_a_key_is_not_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let dir = tempfile::tempdir().unwrap();
        let (file, pipe) = (dir.path().join("secret"), dir.path().join("pipe"));
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let token = |path: &Path| format!("jwt,sign-method=HS256,priv-key={}", path.display());
        let refused = load(&config(token(&pipe))).unwrap_err().to_string();
        assert!(refused.contains("pipe: it is a named pipe, not a regular file"), "{refused}");

        std::fs::write(&file, b"the first secret").unwrap();
        let tokens = load(&config(token(&file))).unwrap().tokens;
        let Tokens::Jwt(keys) = &tokens else { panic!("no keys") };
        let now = SystemTime::now();
        let before = keys.sign(now, "alice", 1).unwrap();
        std::fs::rename(&pipe, &file).unwrap();
        let mut said = None;
        tell(keys.reload(), &mut said);
        assert!(said.is_some() && keys.verify(now, &before).is_ok(), "the old one stays");
        // It looks, and ends.
        let follower = KeyFollower::start(&tokens).unwrap().unwrap();
        follower.reload_now();
        drop(follower);
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, b"the second secret").unwrap();
        tell(keys.reload(), &mut said);
        assert!(said.is_none() && keys.verify(now, &before).is_err());
    }

    #[test]
    fn the_follower_looks_when_asked_and_ends() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, b"the first secret").unwrap();
        let token = format!("jwt,sign-method=HS256,priv-key={}", file.display());
        let tokens = load(&config(token)).unwrap().tokens;
        let Tokens::Jwt(keys) = &tokens else { panic!("no keys") };
        let before = keys.sign(SystemTime::now(), "alice", 1).unwrap();
        let follower = KeyFollower::start(&tokens).unwrap().unwrap();
        std::fs::write(&file, b"the second secret").unwrap();
        follower.reload_now();
        while keys.verify(SystemTime::now(), &before).is_ok() {
            std::thread::yield_now();
        }
        drop(follower);
        assert!(KeyFollower::start(&Tokens::Simple).unwrap().is_none());
    }
}
