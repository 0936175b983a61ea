//! Who somebody is: tokens, the cookie of a browser, and the link that gives it one.
//!
//! A cookie is a time and random bits with a keyed hash that only a holder of the owner's token can make. So it outlives the host and
//! needs no list, and dies with the token. Compares in constant time. Knows nothing of routes.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::route::Scope;
use crate::host::tokens::{Tokens, random_hex};
use crate::host::workspace::Workspace;

/// How long a cookie opens.
pub(super) const COOKIE_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a link opens, once.
pub(super) const LINK_LIFE: Duration = Duration::from_secs(3600);
/// Links that are open at once; older ones are forgotten.
const LINKS_MAX: usize = 16;
/// What a key of cookies is made for.
const COOKIE_CONTEXT: &str = "prismq 2026-11 browser cookie";
/// Wrong credentials of one peer are answered once in so long,
const WRONG_PAUSE: Duration = Duration::from_millis(200);
/// but so many at once,
const WRONG_BURST: u32 = 5;
/// and not at all where that would take longer than this.
const WRONG_WAIT_MAX: Duration = Duration::from_secs(2);
/// Peers whose mistakes are remembered.
const PEERS_MAX: usize = 1024;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) scope: Scope,
    /// By a cookie, which browsers send by themselves.
    pub(super) by_cookie: bool,
}

/// Credentials of a server.
pub(super) struct Credentials {
    workspace: Workspace,
    tokens: RwLock<Tokens>,
    links: Mutex<Vec<(String, Instant)>>,
    wrong: Mutex<BTreeMap<IpAddr, Instant>>,
    /// Counts rotations; streams that were opened before end when it changes.
    epoch: watch::Sender<u64>,
}

impl Credentials {
    pub(super) fn new(workspace: Workspace, tokens: Tokens) -> Self {
        Self { workspace, tokens: RwLock::new(tokens), links: Mutex::default(), wrong: Mutex::default(), epoch: watch::Sender::new(0) }
    }

    /// Changes when all that was opened before must end: the tokens were rotated.
    pub(super) fn epoch(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    /// What a token opens.
    pub(super) fn by_token(&self, given: &[u8]) -> Option<Identity> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        // Both are looked at, so that the time does not tell which one was nearly right.
        let (owner, reader) = (same(given, tokens.owner.as_bytes()), same(given, tokens.reader.as_bytes()));
        let scope = if owner { Some(Scope::Owner) } else { reader.then_some(Scope::Read) };
        scope.map(|scope| Identity { scope, by_cookie: false })
    }

    /// What a cookie opens.
    pub(super) fn by_cookie(&self, value: &str) -> Option<Identity> {
        let (head, mac) = value.rsplit_once('.')?;
        let (issued, _) = head.split_once('.')?;
        let given = blake3::Hash::from_hex(mac).ok()?;
        let age = now_seconds().checked_sub(u64::from_str_radix(issued, 16).ok()?)?;
        // The hash compares in constant time.
        let good = given == self.sign(head) && age <= COOKIE_LIFE.as_secs();
        good.then_some(Identity { scope: Scope::Write, by_cookie: true })
    }

    /// A new cookie.
    ///
    /// # Errors
    /// When the system has no random bits.
    pub(super) fn cookie(&self) -> io::Result<String> {
        let head = format!("{:x}.{}", now_seconds(), random_hex::<16>()?);
        Ok(format!("{head}.{}", self.sign(&head).to_hex()))
    }

    fn sign(&self, head: &str) -> blake3::Hash {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        blake3::keyed_hash(&blake3::derive_key(COOKIE_CONTEXT, tokens.owner.as_bytes()), head.as_bytes())
    }

    /// A code that can be exchanged once for a cookie.
    ///
    /// # Errors
    /// When the system has no random bits.
    pub(super) fn link(&self) -> io::Result<String> {
        let code = random_hex::<32>()?;
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if links.len() >= LINKS_MAX {
            links.remove(0);
        }
        links.push((code.clone(), Instant::now()));
        Ok(code)
    }

    /// Takes a code; whether it was good. It is no more afterwards.
    pub(super) fn redeem(&self, code: &str) -> bool {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|(_, made)| made.elapsed() <= LINK_LIFE);
        let found = links.iter().position(|(known, _)| same(known.as_bytes(), code.as_bytes()));
        found.map(|at| links.remove(at)).is_some()
    }

    /// Makes new tokens; the old ones, all cookies, all links and all open streams end.
    ///
    /// # Errors
    /// When they cannot be written down; then the old ones go on.
    pub(super) fn rotate(&self) -> io::Result<()> {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        *tokens = Tokens::rotate(&self.workspace)?;
        drop(tokens);
        self.links.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.epoch.send_modify(|epoch| *epoch += 1);
        Ok(())
    }

    /// How long the answer to wrong credentials has to wait, so that a peer gets five of them in a second; none where it asks so fast that
    /// it would wait too long. Right ones are never held up by that.
    pub(super) fn wrong(&self, peer: IpAddr, now: Instant) -> Option<Duration> {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() >= PEERS_MAX {
            wrong.retain(|_, due| *due > now);
        }
        if wrong.len() >= PEERS_MAX {
            return None;
        }
        // When the last of them is paid for, at one each `WRONG_PAUSE`; so many may be owed.
        let due = wrong.get(&peer).map_or(now, |due| now.max(*due)) + WRONG_PAUSE;
        let wait = due.duration_since(now).saturating_sub(WRONG_PAUSE * WRONG_BURST);
        if wait > WRONG_WAIT_MAX {
            return None;
        }
        wrong.insert(peer, due);
        Some(wait)
    }
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Compares in a time that does not depend on where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> (tempfile::TempDir, Credentials) {
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = Workspace::at(folder.path()).expect("a workspace");
        let tokens = Tokens::of(&workspace).expect("tokens");
        (folder, Credentials::new(workspace, tokens))
    }

    #[test]
    fn tokens_are_compared_whole() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd"));
        assert!(!same(b"abc", b"ab"));
        let (_folder, credentials) = credentials();
        let tokens = credentials.tokens.read().expect("no panic").clone();
        assert_eq!(credentials.by_token(tokens.owner.as_bytes()).map(|who| who.scope), Some(Scope::Owner));
        assert_eq!(credentials.by_token(tokens.reader.as_bytes()).map(|who| who.scope), Some(Scope::Read));
        assert_eq!(credentials.by_token(b""), None);
    }

    #[test]
    fn a36_rotation_kills_cookies_links_and_streams() {
        let (_folder, credentials) = credentials();
        let cookie = credentials.cookie().expect("a cookie");
        assert_eq!(credentials.by_cookie(&cookie), Some(Identity { scope: Scope::Write, by_cookie: true }));
        for forged in ["", "..", "0.0.0", &cookie[1..], &format!("f{cookie}"), &format!("{cookie}0")] {
            assert_eq!(credentials.by_cookie(forged), None, "{forged}");
        }
        let (first, second) = (credentials.link().expect("a link"), credentials.link().expect("a link"));
        assert!(credentials.redeem(&first) && !credentials.redeem(&first), "a link opens once");
        let mut epoch = credentials.epoch();
        assert!(!epoch.has_changed().expect("it lives"));
        credentials.rotate().expect("rotated");
        assert!(epoch.has_changed().expect("it lives"));
        epoch.mark_unchanged();
        assert_eq!((credentials.by_cookie(&cookie), credentials.redeem(&second)), (None, false));
    }

    #[test]
    fn a02_wrong_tokens_are_counted_by_peer() {
        let (_folder, credentials) = credentials();
        let (one, other, now) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]), Instant::now());
        let waits: Vec<_> = (0..18).map(|_| credentials.wrong(one, now).map(|wait| wait.as_millis())).collect();
        assert_eq!(waits[..7], [0, 0, 0, 0, 0, 200, 400].map(Some));
        assert_eq!(waits[14..], [Some(2000), None, None, None]);
        assert_eq!(credentials.wrong(other, now), Some(Duration::ZERO));
        assert_eq!(credentials.wrong(one, now + Duration::from_secs(10)), Some(Duration::ZERO), "it is forgotten");
    }
}
