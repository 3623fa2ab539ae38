//! Making records unreadable, sweeping what is left, and certifying it. The only deleter.
//!
//! ```text
//! requested -> approved -> unreadable -> complete
//!      \-> refused
//! ```
//!
//! What is covered is a [`Scope`]; the way is one for all. An erasure destroys the scope's keys first: from then on nothing
//! of it opens, whatever happens next. Then its segment files are unlinked and its rows removed, batch by batch, each batch
//! together with how far the sweep is, so that a crash in the middle goes on where it was. While the index rows go, their
//! keyed hashes are gathered into the root that the certificate signs: it commits to the set of records without telling
//! anything of them.
//!
//! A tenant is closed by the approval itself: the unit that holds it changes the tenant's row, which every new connection
//! expects to be what it was. So no connection comes in between, and none later.

mod certificate;
mod plan;
mod row;
mod scope;
mod sweep;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit;
use crate::audit::Action;
use crate::audit::Actor;
use crate::audit::Entry;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::connection::Connection;
use crate::connection::ConnectionError;
use crate::connection::Connections;
use crate::connection::State;
use crate::connection::TenantRow;
use crate::connection::TenantState;
use crate::ids::ConnectionId;
use crate::ids::Entropy;
use crate::ids::ErasureId;
use crate::ids::TenantId;
use crate::intake::Intake;
use crate::lineage::Derivations;
use crate::lineage::EpochRow;
use crate::lineage::LineageError;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Unit;
use crate::store::check::RowCheck;
use crate::vault::Vault;
use crate::vault::VaultError;

pub use self::plan::Counts;
pub use self::plan::Extent;
pub use self::plan::Plan;
pub use self::plan::PlanRow;
use self::plan::is_unrevoked;
pub use self::row::ErasureRow;
pub use self::row::ErasureState;
pub use self::scope::Scope;

/// How a scrub reads erasures back.
pub fn row_checks() -> Vec<RowCheck> {
    vec![RowCheck::of::<ErasureRow>(), RowCheck::of::<PlanRow>()]
}

/// The first wait before an interrupted sweep is tried again; it doubles.
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// The longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(600);
/// Rows looked at in one step over a scope.
const SCOPE_STEP: usize = 500;

/// Why an erasure was not begun, or not finished.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    /// There is none of this id.
    #[error("there is no erasure {id}")]
    Unknown {
        /// What was asked for.
        id: ErasureId,
    },
    /// The connection still fetches.
    #[error("connection {connection} is {state}; revoke it first, or ask for both with `revoke`")]
    NotRevoked {
        /// Which.
        connection: ConnectionId,
        /// Its state.
        state: &'static str,
    },
    /// Another erasure covers the same.
    #[error("what is to be erased is covered by erasure {by} already; look at that one")]
    Covered {
        /// The other.
        by: ErasureId,
    },
    /// An erasure within the same tenant has not ended.
    #[error("erasure {by} of a connection of the same tenant is under way; approve this one again when that is complete")]
    UnderWay {
        /// The other.
        by: ErasureId,
    },
    /// There is no such tenant.
    #[error("there is no tenant {tenant}")]
    UnknownTenant {
        /// What was asked for.
        tenant: TenantId,
    },
    /// It cannot be approved in its state.
    #[error("erasure {id} is {state}; only a requested one can be approved")]
    NotRequested {
        /// Which.
        id: ErasureId,
        /// Its state.
        state: &'static str,
    },
    /// A connection or tenant could not be read or moved.
    #[error("it cannot be erased")]
    Connection(#[from] ConnectionError),
    /// The store failed; the erasure goes on at the next start.
    #[error("the erasure is not finished; it goes on by itself")]
    Store(#[from] StoreError),
    /// The keyring failed; the erasure goes on at the next start.
    #[error("the keys are not destroyed yet; it is tried again")]
    Vault(#[from] VaultError),
    /// What was made from the records could not be told.
    #[error("what was made from the records cannot be told; it is tried again")]
    Lineage(#[source] LineageError),
    /// The certificate could not be made.
    #[error("the certificate of the erasure cannot be made yet; it is tried again")]
    Audit(#[from] audit::AuditError),
}

impl From<LineageError> for ErasureError {
    fn from(error: LineageError) -> Self {
        match error {
            LineageError::Store(error) => ErasureError::Store(error),
            other => ErasureError::Lineage(other),
        }
    }
}

/// What stands under a tenant's name and not under its connections: API keys, links. Other floors keep it.
pub trait Belongings: Send + Sync {
    /// Ends it: keys are refused and links are gone when this returns. Asked again, it does what is left.
    fn end<'a>(&'a self, tenant: &'a TenantId, at: Timestamp) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// All erasures. Clones share them.
#[derive(Clone)]
pub struct Erasures {
    store: Store,
    vault: Arc<Vault>,
    derivations: Derivations,
    connections: Connections,
    intake: Intake,
    belongings: Arc<dyn Belongings>,
    log: audit::Log,
    clock: Clock,
    entropy: Entropy,
    test: bool,
    tasks: TaskTracker,
    ended: CancellationToken,
    /// One act on erasures at a time: what is asked for twice is told so.
    acting: Arc<tokio::sync::Mutex<()>>,
    /// One sweep at a time: what one takes, another neither plans nor takes.
    sweeping: Arc<tokio::sync::Mutex<()>>,
}

impl Erasures {
    /// Over a store and what is kept in it. `test` marks what a test directory signs.
    pub fn new(connections: Connections, intake: Intake, store: Store, vault: Arc<Vault>, log: audit::Log, ground: Ground) -> Self {
        let Ground { belongings, clock, entropy, test } = ground;
        let derivations = Derivations::new(store.clone(), vault.clone());
        Erasures {
            store,
            vault,
            derivations,
            connections,
            intake,
            belongings,
            log,
            clock,
            entropy,
            test,
            tasks: TaskTracker::new(),
            ended: CancellationToken::new(),
            acting: Arc::default(),
            sweeping: Arc::default(),
        }
    }

    /// What erasing a connection would cover; nothing is changed.
    ///
    /// # Errors
    /// When the connection is unknown.
    pub fn plan(&self, connection: ConnectionId) -> Result<Plan, ErasureError> {
        let found = self.connections.find(connection)?;
        let (scope, tenant) = (Scope::Connection { connection, owner: found.key }, found.tenant.clone());
        let counts = self.counts(&scope)?;
        Ok(Plan { scope, tenant, unrevoked: Some(found).filter(is_unrevoked), counts })
    }

    /// What erasing a tenant would cover; nothing is changed.
    ///
    /// # Errors
    /// [`ErasureError::UnknownTenant`].
    pub fn plan_tenant(&self, tenant: &TenantId) -> Result<Plan, ErasureError> {
        let number = self.connections.tenant(tenant)?.ok_or_else(|| ErasureError::UnknownTenant { tenant: tenant.clone() })?;
        let scope = Scope::Tenant { number };
        Ok(Plan { scope, tenant: tenant.clone(), unrevoked: self.unrevoked(number)?, counts: self.counts(&scope)? })
    }

    fn unrevoked(&self, tenant: u32) -> Result<Option<Connection>, ErasureError> {
        let mut after = None;
        loop {
            let step = self.connections.list(Some(tenant), after, SCOPE_STEP)?;
            let Some(last) = step.last() else { return Ok(None) };
            after = Some(last.key);
            if let Some(found) = step.into_iter().find(is_unrevoked) {
                return Ok(Some(found));
            }
        }
    }

    /// Asks for an erasure of what is revoked; an operator has to approve it.
    ///
    /// # Errors
    /// [`ErasureError::NotRevoked`], [`ErasureError::Covered`].
    pub async fn request(&self, plan: Plan, reason: Option<String>, actor: Actor) -> Result<ErasureRow, ErasureError> {
        let _acting = self.acting.lock().await;
        let plan = self.again(plan)?;
        refuse_unrevoked(plan.unrevoked.as_ref())?;
        // Also one of which the store has lost the erasure: an old copy of it beside today's keyring.
        if let Some(by) = self.covering(&plan.scope)? {
            return Err(ErasureError::Covered { by });
        }
        let now = self.clock.now();
        let row = ErasureRow::requested(ErasureId::new(now, &self.entropy), &plan, reason, now);
        let mut unit = Unit::default();
        unit.expect::<ErasureRow>(&row.id.to_bytes(), None).put(&row.id.to_bytes(), &row);
        unit.audit(entry(Action::ErasureRequested, &actor, &row, now).to_leaf());
        self.store.commit(unit).await?;
        Ok(row)
    }

    /// The plan as it is at this moment.
    fn again(&self, plan: Plan) -> Result<Plan, ErasureError> {
        match plan.scope {
            Scope::Connection { connection, .. } => self.plan(connection),
            Scope::Tenant { .. } => self.plan_tenant(&plan.tenant),
        }
    }

    /// The erasure that covers a scope, unless it was refused.
    fn covering(&self, scope: &Scope) -> Result<Option<ErasureId>, ErasureError> {
        let covers = |row: &ErasureRow| row.scope.covers(scope) && row.state != ErasureState::Refused;
        Ok(self.all()?.iter().find(|row| covers(row)).map(|row| row.id))
    }

    fn all(&self) -> Result<Vec<ErasureRow>, ErasureError> {
        Ok(self.store.scan::<ErasureRow>(&[], None, usize::MAX)?.into_iter().map(|(_, row)| row).collect())
    }

    /// One erasure.
    ///
    /// # Errors
    /// [`ErasureError::Unknown`].
    pub fn find(&self, id: ErasureId) -> Result<ErasureRow, ErasureError> {
        self.store.get::<ErasureRow>(&id.to_bytes())?.ok_or(ErasureError::Unknown { id })
    }

    /// At most `limit` erasures behind `before`, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub fn list(&self, before: Option<ErasureId>, limit: usize) -> Result<Vec<ErasureRow>, ErasureError> {
        let rows = self.store.scan_back::<ErasureRow>(&[], before.map(ErasureId::to_bytes).as_ref(), limit)?;
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }

    /// Approves an erasure: when this returns, nothing of its scope opens any more. The sweep follows by itself.
    ///
    /// # Errors
    /// [`ErasureError::NotRequested`], [`ErasureError::Covered`]; for a tenant that was connected since
    /// [`ErasureError::NotRevoked`], and [`ErasureError::UnderWay`]; or what kept the keys
    /// from being destroyed, in which case it is tried again.
    pub async fn approve(&self, id: ErasureId, actor: Actor) -> Result<ErasureRow, ErasureError> {
        let _acting = self.acting.lock().await;
        let now = self.clock.now();
        let before = self.find(id)?;
        if before.state != ErasureState::Requested {
            return Err(ErasureError::NotRequested { id, state: before.state.name() });
        }
        if let Some(by) = self.all()?.iter().find(|other| other.id != id && other.is_approved() && other.scope.covers(&before.scope)) {
            return Err(ErasureError::Covered { by: by.id });
        }
        let row = ErasureRow { state: ErasureState::Approved, started_at: Some(now), ..before.clone() };
        let mut unit = Unit::default();
        unit.expect(&id.to_bytes(), Some(&before)).put(&id.to_bytes(), &row);
        unit.audit(entry(Action::ErasureApproved, &actor, &row, now).to_leaf());
        if let Scope::Tenant { number } = row.scope {
            self.close_tenant(&mut unit, &row, number, now)?;
        }
        self.store.commit(unit).await?;
        let row = self.make_unreadable(row).await?;
        self.sweep_soon(row.clone());
        Ok(row)
    }

    /// Adds that a tenant takes no new connections. The row is expected as it was before its connections were looked at: one
    /// that is made in between changes it, and the approval is refused.
    fn close_tenant(&self, unit: &mut Unit, row: &ErasureRow, number: u32, now: Timestamp) -> Result<(), ErasureError> {
        let slug = row.tenant.as_str().to_owned();
        let before = self.store.get::<TenantRow>(&slug)?.ok_or_else(|| ErasureError::UnknownTenant { tenant: row.tenant.clone() })?;
        refuse_unrevoked(self.unrevoked(number)?.as_ref())?;
        let under_way = |other: &ErasureRow| other.is_approved() && other.state != ErasureState::Complete;
        if let Some(other) = self.all()?.iter().find(|other| row.scope.covers(&other.scope) && under_way(other)) {
            return Err(ErasureError::UnderWay { by: other.id });
        }
        let state = TenantState::Erasing { since: now, by: row.id };
        unit.expect(&slug, Some(&before)).put(&slug, &TenantRow { state, ..before });
        Ok(())
    }

    /// Destroys the keys, then says so in the store.
    async fn make_unreadable(&self, before: ErasureRow) -> Result<ErasureRow, ErasureError> {
        let now = self.clock.now();
        self.forget(&before.scope)?;
        let destroyed = tokio::task::block_in_place(|| before.scope.destroy(&self.vault))?;
        let row = ErasureRow { state: ErasureState::Unreadable, keys_destroyed: destroyed.ids, ..before.clone() };
        let mut unit = Unit::default();
        unit.expect(&row.id.to_bytes(), Some(&before)).put(&row.id.to_bytes(), &row);
        unit.audit(entry(Action::ErasureUnreadable, &Actor::System, &row, now).to_leaf());
        // Whoever opened keys before they were destroyed, and has not written yet, does not write any more.
        let tenant = row.scope.tenant();
        let EpochRow(epoch) = self.store.get::<EpochRow>(&tenant)?.unwrap_or_default();
        unit.put(&tenant, &EpochRow(epoch + 1));
        match row.scope {
            Scope::Connection { connection, owner } => {
                let found = self.connections.by_key(owner)?.ok_or(ConnectionError::Unknown { id: connection })?;
                unit.put(&owner, &erased(found, now, row.id));
            }
            Scope::Tenant { .. } => {
                let slug = row.tenant.as_str().to_owned();
                if let Some(tenant) = self.store.get::<TenantRow>(&slug)? {
                    unit.put(&slug, &TenantRow { state: TenantState::Erased { at: now, by: Some(row.id) }, ..tenant });
                }
            }
        }
        self.store.commit(unit).await?;
        Ok(row)
    }

    /// Lets go of what is held in memory to take in more of a scope.
    fn forget(&self, scope: &Scope) -> Result<(), ErasureError> {
        let Scope::Tenant { number } = scope else {
            if let Scope::Connection { owner, .. } = scope {
                self.intake.forget(*owner);
            }
            return Ok(());
        };
        let mut after = None;
        loop {
            let step = self.connections.list(Some(*number), after, SCOPE_STEP)?;
            let Some(last) = step.last() else { return Ok(()) };
            after = Some(last.key);
            step.iter().for_each(|connection| self.intake.forget(connection.key));
        }
    }

    /// Goes on with every erasure that a crash or an error interrupted. Called at start, and now and then.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn resume(&self) -> Result<(), ErasureError> {
        let _acting = self.acting.lock().await;
        for row in self.all()? {
            self.destroy_again(&row)?;
            match row.state {
                ErasureState::Approved => {
                    let row = self.make_unreadable(row).await?;
                    self.sweep_soon(row);
                }
                ErasureState::Unreadable => self.sweep_soon(row),
                ErasureState::Requested | ErasureState::Complete | ErasureState::Refused => {}
            }
        }
        Ok(())
    }

    /// Keys that the store knows to be destroyed, and the keyring does not: it is an older one, and so was the list that came
    /// with it.
    fn destroy_again(&self, row: &ErasureRow) -> Result<(), ErasureError> {
        let is_gone = matches!(row.state, ErasureState::Unreadable | ErasureState::Complete);
        if is_gone && row.scope.destroyed_at(&self.vault).is_none() {
            tracing::warn!(erasure = %row.id, "the keyring is older than an erasure: its keys are destroyed again");
            tokio::task::block_in_place(|| row.scope.destroy(&self.vault))?;
        }
        Ok(())
    }

    fn sweep_soon(&self, row: ErasureRow) {
        let erasures = self.clone();
        self.tasks.spawn(async move {
            let (id, mut wait) = (row.id, RETRY_FIRST);
            while let Err(error) = erasures.finish(id).await {
                tracing::error!(erasure = %id, error = &error as &dyn std::error::Error, "an erasure's sweep was interrupted; it is tried again");
                tokio::select! {
                    () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY_MAX),
                    () = erasures.ended.cancelled() => return,
                }
            }
        });
    }

    /// Sweeps and certifies from where the row says that the erasure is; first those of the same tenant that are in the middle,
    /// because what they have taken in part cannot be planned by another.
    async fn finish(&self, id: ErasureId) -> Result<(), ErasureError> {
        let _sweeping = self.sweeping.lock().await;
        let row = self.find(id)?;
        if self.planned(&row)?.is_none() {
            for other in self.all()?.into_iter().filter(|other| other.id != id && other.scope.tenant() == row.scope.tenant()) {
                if other.state == ErasureState::Unreadable && self.planned(&other)?.is_some() {
                    self.carry_out(other).await?;
                }
            }
        }
        self.carry_out(row).await
    }

    async fn carry_out(&self, row: ErasureRow) -> Result<(), ErasureError> {
        if row.state != ErasureState::Unreadable {
            return Ok(());
        }
        let plan = self.plan_for_good(&row).await?;
        let row = self.sweep(row).await?;
        if plan.root != row.commitment.root() {
            tracing::error!(
                erasure = %row.id, planned.records = plan.records, planned.artifacts = plan.artifacts, records = row.counts.records,
                artifacts = row.artifacts(), "an erasure has removed another set than was planned; its certificate signs what was removed"
            );
        }
        self.certify(row).await
    }

    /// Waits for the sweeps that have begun; none begins afterwards.
    pub async fn close(&self) {
        self.ended.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What erasures stand on besides the store.
#[derive(Clone)]
pub struct Ground {
    /// What is a tenant's own.
    pub belongings: Arc<dyn Belongings>,
    /// The clock.
    pub clock: Clock,
    /// The randomness.
    pub entropy: Entropy,
    /// Whether the data directory was created with `--test`.
    pub test: bool,
}

/// The connection as an erased one, whatever the keyring made of its state when it was read.
fn erased(connection: Connection, at: Timestamp, by: ErasureId) -> Connection {
    match connection.revoked() {
        Ok(revoked) => revoked.erase(at, Some(by)).into(),
        Err(mut connection) => {
            if let State::Erased(erased) = &mut connection.state {
                erased.by = Some(by);
            }
            connection
        }
    }
}

fn entry(action: Action, actor: &Actor, row: &ErasureRow, at: Timestamp) -> Entry {
    let mut entry = Entry::new(at, actor.clone(), action);
    entry.tenant = Some(row.tenant.clone());
    entry.connection = row.scope.connection();
    entry.object = Some(row.id.to_string());
    entry.count = Some(row.counts.records);
    entry
}

fn refuse_unrevoked(connection: Option<&Connection>) -> Result<(), ErasureError> {
    let refusal = |found: &Connection| ErasureError::NotRevoked { connection: found.id, state: found.state.name() };
    connection.map_or(Ok(()), |found| Err(refusal(found)))
}
