//! What the HTTP face keeps for itself, over the store: API keys, connect sessions, answers under idempotency keys.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde::Serialize;

use crate::api::idempotency::AnswerBook;
use crate::api::idempotency::AnswerName;
use crate::api::idempotency::KEPT;
use crate::api::idempotency::KeptAnswer;
use crate::api::key::ApiKey;
use crate::api::key::KeyBook;
use crate::api::problem::Problem;
use crate::api::session::ConnectSession;
use crate::api::session::Handle;
use crate::api::session::LIFETIME;
use crate::api::session::SessionBook;
use crate::audit::Action;
use crate::audit::Actor;
use crate::audit::Entry;
use crate::clock;
use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::erasure::Belongings;
use crate::ids::KeyId;
use crate::ids::TenantId;
use crate::store::Row;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::Unit;
use crate::store::check::RowCheck;

impl Row for ApiKey {
    const TABLE: Table = Table::ApiKeys;
    type Key = [u8; 16];
}

/// A session under the hash of its link's token, or the way to it from its name and from what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum SessionRow {
    Session(ConnectSession),
    Way { link_hash: [u8; 32], expires_at: Timestamp },
}

impl Row for SessionRow {
    const TABLE: Table = Table::Sessions;
    type Key = [u8; 32];
}

/// A part of an answer, under the answer's name and the part's number: a row of the store has a limit, an answer may be longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct AnswerRow {
    request: [u8; 32],
    status: u16,
    until: Timestamp,
    parts: u16,
    body: Vec<u8>,
}

impl Row for AnswerRow {
    const TABLE: Table = Table::Replays;
    type Key = ([u8; 32], u16);
}

/// How a scrub reads keys, sessions and answers back.
pub fn row_checks() -> Vec<RowCheck> {
    vec![RowCheck::of::<ApiKey>(), RowCheck::of::<SessionRow>(), RowCheck::of::<AnswerRow>()]
}

/// Bytes of an answer in one row.
const PART_BYTES: usize = 32 * 1024;

/// Rows that one sweep looks at between two commits.
const SWEEP_ROWS: usize = 256;

/// Removes the sessions and answers whose time is over; how many rows that were.
///
/// # Errors
/// When the store fails.
pub async fn forget_past(store: &Store, now: Timestamp) -> Result<u64, StoreError> {
    let mut removed = 0;
    let mut after = None;
    loop {
        let rows = store.scan::<SessionRow>(&[], after.as_ref(), SWEEP_ROWS)?;
        let Some((last, _)) = rows.last() else { break };
        after = Some(*last);
        let past = |row: &SessionRow| match row {
            SessionRow::Session(session) => clock::is_over(session.expires_at, LIFETIME, now),
            SessionRow::Way { expires_at, .. } => clock::is_over(*expires_at, LIFETIME, now),
        };
        let keys: Vec<_> = rows.into_iter().filter(|(_, row)| past(row)).map(|(key, _)| key).collect();
        removed += remove::<SessionRow>(store, &keys).await?;
    }
    let mut after = None;
    loop {
        let rows = store.scan::<AnswerRow>(&[], after.as_ref(), SWEEP_ROWS)?;
        let Some((last, _)) = rows.last() else { return Ok(removed) };
        after = Some(*last);
        let keys: Vec<_> = rows.into_iter().filter(|(_, row)| clock::is_over(row.until, KEPT, now)).map(|(key, _)| key).collect();
        removed += remove::<AnswerRow>(store, &keys).await?;
    }
}

async fn remove<R: Row>(store: &Store, keys: &[R::Key]) -> Result<u64, StoreError> {
    let mut unit = Unit::default();
    for key in keys {
        unit.remove::<R>(key);
    }
    if !keys.is_empty() {
        store.commit(unit).await?;
    }
    Ok(keys.len() as u64)
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } => {
                Problem::StateConflict { reason: "someone else changed the same thing meanwhile; read it again and decide anew".into() }
            }
            other => Problem::Unavailable { what: "the store", source: other.into() },
        }
    }
}

impl KeyBook for Store {
    fn find(&self, id: KeyId) -> BoxFuture<'_, Result<Option<ApiKey>, Problem>> {
        async move { Ok(self.get::<ApiKey>(&id.to_bytes())?) }.boxed()
    }

    fn insert(&self, key: ApiKey, actor: Actor) -> BoxFuture<'_, Result<(), Problem>> {
        async move {
            let mut unit = Unit::default();
            unit.expect::<ApiKey>(&key.id.to_bytes(), None).put(&key.id.to_bytes(), &key);
            unit.audit(key_entry(&key, Action::KeyCreated, actor, key.created_at).to_leaf());
            self.commit(unit).await?;
            Ok(())
        }
        .boxed()
    }

    fn list(&self, after: Option<KeyId>, limit: usize) -> BoxFuture<'_, Result<Vec<ApiKey>, Problem>> {
        async move {
            let rows = self.scan::<ApiKey>(&[], after.map(KeyId::to_bytes).as_ref(), limit)?;
            Ok(rows.into_iter().map(|(_, key)| key).collect())
        }
        .boxed()
    }

    fn revoke(&self, key: ApiKey, at: Timestamp, actor: Actor) -> BoxFuture<'_, Result<ApiKey, Problem>> {
        async move {
            let revoked = ApiKey { revoked_at: Some(at), ..key.clone() };
            let mut unit = Unit::default();
            unit.expect(&key.id.to_bytes(), Some(&key)).put(&key.id.to_bytes(), &revoked);
            unit.audit(key_entry(&key, Action::KeyRevoked, actor, at).to_leaf());
            self.commit(unit).await?;
            Ok(revoked)
        }
        .boxed()
    }
}

/// Of a tenant that is erased: its API keys are refused, its links gone.
impl Belongings for Store {
    fn end<'a>(&'a self, tenant: &'a TenantId, at: Timestamp) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let mut after = None;
            loop {
                let rows = self.scan::<ApiKey>(&[], after.as_ref(), SWEEP_ROWS)?;
                let Some((last, _)) = rows.last() else { break };
                after = Some(*last);
                let mut unit = Unit::default();
                for (id, key) in rows.into_iter().filter(|(_, key)| key.tenant.as_ref() == Some(tenant) && key.revoked_at.is_none()) {
                    unit.audit(key_entry(&key, Action::KeyRevoked, Actor::System, at).to_leaf());
                    unit.expect(&id, Some(&key)).put(&id, &ApiKey { revoked_at: Some(at), ..key });
                }
                self.commit(unit).await?;
            }
            let mut after = None;
            loop {
                let rows = self.scan::<SessionRow>(&[], after.as_ref(), SWEEP_ROWS)?;
                let Some((last, _)) = rows.last() else { return Ok(()) };
                after = Some(*last);
                let mut unit = Unit::default();
                for (_, row) in rows {
                    if let SessionRow::Session(session) = row
                        && session.tenant == *tenant
                    {
                        remove_session(&mut unit, &session);
                    }
                }
                self.commit(unit).await?;
            }
        }
        .boxed()
    }
}

fn key_entry(key: &ApiKey, action: Action, actor: Actor, at: Timestamp) -> Entry {
    let mut entry = Entry::new(at, actor, action);
    entry.tenant = key.tenant.clone();
    entry.object = Some(key.id.to_string());
    entry
}

impl AnswerBook for Store {
    fn find(&self, name: AnswerName) -> BoxFuture<'_, Result<Option<KeptAnswer>, Problem>> {
        async move {
            let mut rows = self.scan::<AnswerRow>(&name.0, None, usize::from(u16::MAX))?.into_iter().map(|(_, row)| row);
            let Some(AnswerRow { request, status, until, parts, mut body }) = rows.next() else { return Ok(None) };
            // Parts of a longer answer that stood here before may lie behind the last.
            rows.take(usize::from(parts.saturating_sub(1))).for_each(|row| body.extend(row.body));
            Ok(Some(KeptAnswer { request, status, body, until }))
        }
        .boxed()
    }

    fn keep(&self, name: AnswerName, answer: KeptAnswer) -> BoxFuture<'_, Result<(), Problem>> {
        async move {
            let KeptAnswer { request, status, body, until } = answer;
            let chunks: Vec<&[u8]> = if body.is_empty() { vec![&[]] } else { body.chunks(PART_BYTES).collect() };
            let parts = u16::try_from(chunks.len()).map_err(Problem::internal)?;
            let mut unit = Unit::default();
            for (number, chunk) in (0..parts).zip(chunks) {
                unit.put(&(name.0, number), &AnswerRow { request, status, until, parts, body: chunk.to_vec() });
            }
            self.commit(unit).await?;
            Ok(())
        }
        .boxed()
    }
}

impl SessionBook for Store {
    fn insert(&self, session: ConnectSession, actor: Actor, at: Timestamp) -> BoxFuture<'_, Result<(), Problem>> {
        async move {
            let mut entry = Entry::new(at, actor, Action::SessionCreated);
            entry.tenant = Some(session.tenant.clone());
            entry.object = Some(session.id.to_string());
            let mut unit = Unit::default();
            unit.audit(entry.to_leaf()).expect::<SessionRow>(&session.link_hash, None);
            put_session(&mut unit, &session);
            self.commit(unit).await?;
            Ok(())
        }
        .boxed()
    }

    fn find(&self, handle: Handle) -> BoxFuture<'_, Result<Option<ConnectSession>, Problem>> {
        async move {
            let row = match self.get::<SessionRow>(&session_key(handle))? {
                Some(SessionRow::Way { link_hash, .. }) => self.get::<SessionRow>(&link_hash)?,
                row => row,
            };
            Ok(row.and_then(|row| match row {
                SessionRow::Session(session) => Some(session),
                SessionRow::Way { .. } => None,
            }))
        }
        .boxed()
    }

    fn replace(&self, expected: ConnectSession, new: ConnectSession) -> BoxFuture<'_, Result<bool, Problem>> {
        async move {
            let mut unit = Unit::default();
            unit.expect(&expected.link_hash, Some(&SessionRow::Session(expected.clone())));
            put_session(&mut unit, &new);
            match self.commit(unit).await {
                Ok(_) => Ok(true),
                Err(StoreError::Conflict { .. }) => Ok(false),
                Err(error) => Err(error.into()),
            }
        }
        .boxed()
    }
}

/// Puts a session and every way to it.
fn put_session(unit: &mut Unit, session: &ConnectSession) {
    let way = SessionRow::Way { link_hash: session.link_hash, expires_at: session.expires_at };
    unit.put(&session.link_hash, &SessionRow::Session(session.clone())).put(&session_key(Handle::Id(session.id)), &way);
    if let Some(connection) = session.connection {
        unit.put(&session_key(Handle::Connection(connection)), &way);
    }
}

/// Removes a session and every way to it.
fn remove_session(unit: &mut Unit, session: &ConnectSession) {
    unit.remove::<SessionRow>(&session.link_hash).remove::<SessionRow>(&session_key(Handle::Id(session.id)));
    if let Some(connection) = session.connection {
        unit.remove::<SessionRow>(&session_key(Handle::Connection(connection)));
    }
}

/// Where the session or the way to it stands. A token is hashed before it comes here, an id is hashed to the same width.
fn session_key(handle: Handle) -> [u8; 32] {
    match handle {
        Handle::Link(hash) => hash,
        Handle::Id(id) => Digest::of(id.to_string().as_bytes()).to_bytes(),
        Handle::Connection(id) => Digest::of(id.to_string().as_bytes()).to_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::ids::ConnectionId;
    use crate::ids::Entropy;
    use crate::ids::SessionId;
    use crate::store::Options;

    /// Sessions and answers are found by every way until they are past, then forgotten; a long answer is one answer.
    #[tokio::test]
    async fn what_is_kept_is_found_and_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path(), &Options::default()).expect("a store");
        let (entropy, now) = (Entropy::system(), Timestamp::UNIX_EPOCH);
        let session = ConnectSession {
            id: SessionId::new(now, &entropy),
            link_hash: [1; 32],
            cookie_hash: None,
            connector: "sandbox".into(),
            tenant: "acme".parse().expect("a tenant"),
            purposes: vec![],
            return_url: None,
            expires_at: now + SignedDuration::from_hours(1),
            connection: None,
        };
        SessionBook::insert(&store, session.clone(), Actor::Local, now).await.expect("kept");
        let connection = ConnectionId::new(now, &entropy);
        let ended = ConnectSession { connection: Some(connection), ..session.clone() };
        assert!(store.replace(session.clone(), ended.clone()).await.expect("a try"));
        assert!(!store.replace(session.clone(), ended.clone()).await.expect("a try"), "it is another by now");
        for handle in [Handle::Link([1; 32]), Handle::Id(session.id), Handle::Connection(connection)] {
            assert_eq!(SessionBook::find(&store, handle).await.expect("a look"), Some(ended.clone()), "{handle:?}");
        }
        let until = now + SignedDuration::from_hours(24);
        let answer = |bytes: usize| KeptAnswer { request: [2; 32], status: 200, body: vec![b'x'; bytes], until };
        for bytes in [3 * PART_BYTES + 1, 0, 5] {
            store.keep(AnswerName([3; 32]), answer(bytes)).await.expect("kept");
            assert_eq!(AnswerBook::find(&store, AnswerName([3; 32])).await.expect("a look"), Some(answer(bytes)));
        }
        assert_eq!(forget_past(&store, now).await.expect("a sweep"), 0);
        assert_eq!(forget_past(&store, until).await.expect("a sweep"), 3 + 4);
        assert_eq!(SessionBook::find(&store, Handle::Id(session.id)).await.expect("a look"), None);
    }
}
