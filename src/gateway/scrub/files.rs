//! The files that nobody would miss, and those that nobody put there.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use super::Halted;
use super::RESTORE;
use super::Scrub;
use super::chain;
use crate::connection::State;
use crate::ids::ConnectionKey;

const STRAY: &str = "headgate did not put it there: move it away; if it was the engine that did, run `headgate store compact`";

impl Scrub<'_> {
    /// `store/` and `segments/` hold what belongs there. The top of the data directory is the operator's as well, and the
    /// keyring is looked at by its slots.
    pub(super) fn files(&mut self) -> Result<(), Halted> {
        self.begin("files");
        let directory = self.ground.store.directory().to_owned();
        for path in self.entries(&directory.join("store")) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let known = matches!(name.as_str(), "db" | "conf" | "blobs" | "anchor") || name.starts_with("snap.");
            if !known {
                self.stray(&path);
            }
            self.advance("files", 1)?;
        }
        for path in self.entries(&directory.join("store/blobs")) {
            let what = format!("{path:?}: the engine has put a value into a file that it never syncs");
            self.problem("blobs.present", what, STRAY);
        }
        for tenant in self.entries(&directory.join("segments")) {
            let Some(number) = number(&tenant, "").filter(|_| tenant.is_dir()) else {
                self.stray(&tenant);
                continue;
            };
            for connection in self.entries(&tenant) {
                let owner = number_of(&connection).map(|connection| ConnectionKey { tenant: number, connection });
                match owner.filter(|_| connection.is_dir()) {
                    Some(owner) => self.segment_folder(owner, &connection)?,
                    None => self.stray(&connection),
                }
            }
        }
        Ok(())
    }

    fn segment_folder(&mut self, owner: ConnectionKey, folder: &Path) -> Result<(), Halted> {
        if matches!(self.ground.connections.by_key(owner), Ok(None)) {
            match self.ground.vault.connection(owner) {
                // Keys come before the rows of a connection, and segments after them.
                Ok(_) => self.forgotten(&format!("whose keys and {folder:?} are there"), owner),
                Err(_) => self.problem("file.stray", format!("{folder:?} is of connection {owner}, which there is not"), STRAY),
            }
        }
        for path in self.entries(folder) {
            if number(&path, "seg").is_none() {
                self.stray(&path);
            }
            self.advance("segment files", 1)?;
        }
        Ok(())
    }

    /// Something outside of the engine tells of a connection that the engine does not know.
    fn forgotten(&mut self, whose: &str, owner: ConnectionKey) {
        let what = format!("the store does not know connection {owner}, {whose}: the engine has lost rows");
        self.problem("engine.forgot", what, RESTORE);
    }

    fn stray(&mut self, path: &Path) {
        self.problem("file.stray", format!("{path:?} is no file of headgate's"), STRAY);
    }

    /// What lies in a folder; nothing when it is not there.
    fn entries(&mut self, folder: &Path) -> Vec<PathBuf> {
        match fs::read_dir(folder) {
            Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.problem("file.unreadable", format!("{folder:?} cannot be listed: {error}"), "mend the disk or its permissions");
                Vec::new()
            }
        }
    }

    /// The list of stops reads back, and no gate is open that should not be.
    pub(super) fn stops(&mut self) -> Result<(), Halted> {
        self.begin("stops");
        match self.ground.store.check_stops() {
            Ok(check) => {
                if !check.whole {
                    self.problem("stops.length", "the list of stops does not end with a whole entry".into(), RESTORE);
                }
                for place in check.damaged {
                    let what = format!("entry {place} of the list of stops does not read back");
                    let advice = "if the machine lost power while connections were being stopped, this is a stop that was never \
                                  acknowledged; else see that every revoked connection is shown as revoked, and copy the list from a backup";
                    self.problem("stops.damaged", what, advice);
                }
                self.advance("stops", check.entries)?;
                for stop in self.ground.store.stops() {
                    if matches!(self.ground.connections.by_key(stop.owner), Ok(None)) {
                        self.forgotten("which was stopped", stop.owner);
                    }
                }
            }
            Err(error) => self.problem("stops.unreadable", chain(&error), RESTORE),
        }
        self.each_connection(Self::gate)
    }

    fn gate(&mut self, owner: ConnectionKey) -> Result<(), Halted> {
        let Ok(Some(before)) = self.ground.connections.by_key(owner) else { return Ok(()) };
        let open = match self.ground.store.gate(owner) {
            Ok(gate) => gate.open,
            Err(error) => {
                self.engine_failed(&format!("the gate of connection {owner}"), &error);
                return Ok(());
            }
        };
        // Looked at again: it may have been resumed between the two.
        let after = self.ground.connections.by_key(owner).ok().flatten();
        let shut = |state: &State| !matches!(state, State::Active(_));
        if open && shut(&before.state) && after.is_some_and(|after| shut(&after.state)) {
            let what = format!("connection {} is {} and its gate is open", before.id, before.state);
            self.problem("gate.open", what, "revoke it again, and report this");
        }
        self.advance("gates", 1)
    }

    /// Every slot of the keyring belongs to somebody, and no key of an erased connection is left.
    pub(super) fn keyring(&mut self) -> Result<(), Halted> {
        self.begin("keyring");
        let slots = match self.ground.vault.slots() {
            Ok(slots) => slots,
            Err(error) => {
                self.problem("keyring.unreadable", chain(&error), "bring an export of the keyring back");
                return Ok(());
            }
        };
        for slot in slots {
            self.advance("keys", 1)?;
            let Some(owner) = slot.connection() else { continue };
            if self.ground.vault.is_destroyed(owner) {
                let what = format!("{slot:?} is listed as destroyed and is still there");
                self.problem("keyring.undead", what, "restart headgate: every start goes through the list of destroyed keys again");
            } else if matches!(self.ground.connections.by_key(owner), Ok(None)) {
                // A connect that was cut short between its keys and its rows leaves keys that sealed nothing.
                self.advance("keys of no connection", 1)?;
            }
        }
        if let Err(error) = self.ground.vault.destroyed_list() {
            self.problem("keyring.list", chain(&error), "bring the list of destroyed keys back from an export; until then nothing starts");
        }
        Ok(())
    }
}

/// The number that a path's name is, with this extension.
fn number(path: &Path, extension: &str) -> Option<u32> {
    let found = path.extension().unwrap_or_default();
    path.file_stem()?.to_str()?.parse().ok().filter(|_| found == extension)
}

fn number_of(path: &Path) -> Option<u32> {
    number(path, "")
}
