//! The engine's rows, one by one, and the audit log over its leaves.

use super::Halted;
use super::REPORT;
use super::RESTORE;
use super::ROWS_AT_ONCE;
use super::Scrub;
use super::chain;
use crate::api;
use crate::audit;
use crate::authorization;
use crate::connection;
use crate::disclosure;
use crate::erasure;
use crate::lineage;
use crate::openlineage;
use crate::revocation;
use crate::run;
use crate::store;
use crate::store::check::RowCheck;

/// How each table's rows read back. Every table has its check (`every_table_is_checked`).
fn row_checks() -> Vec<RowCheck> {
    let parts = [
        store::check::row_checks(),
        audit::row_checks(),
        connection::row_checks(),
        lineage::row_checks(),
        openlineage::row_checks(),
        disclosure::row_checks(),
        authorization::keeping::row_checks(),
        run::row_checks(),
        revocation::row_checks(),
        erasure::row_checks(),
        api::keep::row_checks(),
    ];
    parts.concat()
}

impl Scrub<'_> {
    /// Every row of every table reads back, and there is no row of no table.
    pub(super) fn rows(&mut self) -> Result<(), Halted> {
        for check in row_checks() {
            self.table(check)?;
        }
        self.begin("keys of no table");
        match self.ground.store.foreign_keys(ROWS_AT_ONCE) {
            Ok(foreign) if foreign.is_empty() => {}
            Ok(foreign) => self.problem("row.foreign", format!("{} rows or more belong to no table", foreign.len()), REPORT),
            Err(error) => self.engine_failed("rows of no table", &error),
        }
        Ok(())
    }

    fn table(&mut self, check: RowCheck) -> Result<(), Halted> {
        self.begin(check.table.name());
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = match self.ground.store.raw_rows(check.table, &[], after.as_deref(), ROWS_AT_ONCE) {
                Ok(rows) => rows,
                Err(error) => {
                    self.engine_failed(check.table.name(), &error);
                    return Ok(());
                }
            };
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = Some(last.clone());
            for row in &rows {
                if let Err(error) = check.check(row) {
                    let key = data_encoding::HEXLOWER.encode(&row.0);
                    self.problem("row.malformed", format!("the row {key} of `{}`: {error}", check.table.name()), RESTORE);
                }
            }
            self.advance("rows", rows.len() as u64)?;
        }
    }

    /// The log's tree follows from its leaves, up to the head and every kept checkpoint.
    pub(super) fn audit_log(&mut self) -> Result<(), Halted> {
        self.begin("audit log");
        let log = self.ground.log.clone();
        let mut halted = false;
        let inspected = log.inspect_at_pace(None, &mut |_| halted |= self.advance("audit entries", 1).is_err());
        match inspected {
            _ if halted => return Err(Halted),
            Ok(inspection) => {
                for fault in inspection.problems {
                    self.problem("audit.fault", fault.to_string(), "see with `headgate audit verify --checkpoint`; bring a backup back");
                }
            }
            Err(error) => self.problem("audit.unreadable", chain(&error), RESTORE),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::layout::TABLES;

    /// Goal: no table is left out, and none is read by two types.
    #[test]
    fn every_table_is_checked() {
        let mut checked: Vec<_> = row_checks().iter().map(|check| check.table).collect();
        checked.sort();
        let mut all = TABLES.to_vec();
        all.sort();
        assert_eq!(checked, all);
    }
}
