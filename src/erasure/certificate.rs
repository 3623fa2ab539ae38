//! The certificate: a signed statement of what was erased, with the proof that the log says so too.

use crate::audit;
use crate::audit::Action;
use crate::audit::Actor;
use crate::audit::ErasureCertificate;
use crate::audit::Kept;
use crate::audit::Predicate;
use crate::audit::Statement;
use crate::audit::Subject;
use crate::digest::Digest;
use crate::erasure::ErasureError;
use crate::erasure::ErasureRow;
use crate::erasure::ErasureState;
use crate::erasure::Erasures;
use crate::erasure::entry;
use crate::store::Unit;
use crate::vault::SigningUse;

impl Erasures {
    /// Writes the entry that the certificate proves, then the certificate. The entry commits to the subject's root, not to
    /// the envelope, so that it can come first; a crash between them makes the certificate at the next start.
    pub(super) async fn certify(&self, row: ErasureRow) -> Result<(), ErasureError> {
        let row = match row.entry {
            Some(_) => row,
            None => self.complete(row).await?,
        };
        let Some(index) = row.entry else { return Ok(()) };
        let audit = self.log.prove(index).await?;
        let certificate = ErasureCertificate {
            scope: row.scope.named(&row.tenant),
            counts: audit::Counts { records: row.counts.records, versions: row.counts.versions },
            artifacts: row.artifacts(),
            keys_destroyed: row.keys_destroyed.clone(),
            started_at: row.started_at.unwrap_or(row.requested_at),
            completed_at: row.completed_at.unwrap_or(row.requested_at),
            kept: row.scope.kept().into_iter().map(|(what, why)| Kept { what, reason: why.to_owned(), until: None }).collect(),
            test: self.test,
            audit,
        };
        let subject = Subject { name: row.id.to_string(), sha256: Digest::from_bytes(row.commitment.root()) };
        let statement = Statement { subject, predicate: Predicate::Erasure(Box::new(certificate)) };
        let signed = statement.sign(&self.vault.signing_key(SigningUse::Statement)?);
        let mut unit = Unit::default();
        unit.put(&row.id.to_bytes(), &ErasureRow { state: ErasureState::Complete, certificate: Some(signed), ..row });
        self.store.commit(unit).await?;
        Ok(())
    }

    async fn complete(&self, row: ErasureRow) -> Result<ErasureRow, ErasureError> {
        let now = self.clock.now();
        let mut entry = entry(Action::ErasureCompleted, &Actor::System, &row, now);
        entry.commitment = Some(Digest::from_bytes(row.commitment.root()));
        let row = ErasureRow { completed_at: Some(now), ..row };
        let with_entry = row.clone();
        let mut unit = Unit::default();
        unit.audit_then(entry.to_leaf(), &row.id.to_bytes(), move |index| ErasureRow { entry: Some(index), ..with_entry });
        let committed = self.store.commit(unit).await?;
        Ok(ErasureRow { entry: Some(committed.first_leaf), ..row })
    }
}
