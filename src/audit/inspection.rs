//! The inspection of a log: everything is computed again from the leaves, and whatever does not agree is named.
//!
//! What can be found: a leaf that was deleted, edited or moved while the nodes above it stand; a node or head that was
//! changed; a log that was rewritten or cut as a whole, as soon as one signed checkpoint of before is at hand. The
//! checkpoints in the store serve for that too, but who can rewrite the store can delete them: give one that left it.

use std::collections::HashMap;

use serde::Serialize;
use serde::Serializer;

use crate::audit::AuditError;
use crate::audit::Checkpoint;
use crate::audit::Entry;
use crate::audit::Log;
use crate::audit::NoteError;
use crate::audit::NoteKey;
use crate::audit::log::SignedCheckpoint;
use crate::merkle::Frontier;
use crate::merkle::Hash;
use crate::merkle::leaf_hash;
use crate::store::AuditHead;
use crate::store::AuditLeaf;
use crate::store::AuditNode;
use crate::store::StoreError;

/// Faults that are listed before the inspection only counts on.
const FAULTS_MAX: usize = 10_000;

/// What an inspection found.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// Whether nothing speaks against the log.
    pub ok: bool,
    /// What does.
    pub problems: Vec<Fault>,
    /// The number of entries that the log says it has.
    pub tree_size: u64,
    /// The number of checkpoints that it was held against.
    pub checkpoints: u64,
}

/// Something in the log that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// An entry is gone.
    #[error("entry {index} was deleted, or no longer reads back")]
    Deleted {
        /// Where it stood.
        index: u64,
    },
    /// An entry is another than was recorded.
    #[error("entry {index} was edited: its bytes are not those that were recorded")]
    Edited {
        /// Where it stands.
        index: u64,
    },
    /// An entry stands where another was recorded.
    #[error("entry {index} was moved: what stands there was recorded as entry {recorded}")]
    Moved {
        /// Where it stands.
        index: u64,
        /// Where it belongs.
        recorded: u64,
    },
    /// A leaf that agrees with its node but is no entry.
    #[error("entry {index} is not in the form of an entry; it was not written by Headgate")]
    Foreign {
        /// Where it stands.
        index: u64,
    },
    /// An entry past the head.
    #[error("entry {index} stands beyond the head of {size} entries: the head was set back, or the entry was added by hand")]
    Beyond {
        /// Where it stands.
        index: u64,
        /// The size that the head gives.
        size: u64,
    },
    /// A node that does not follow from what is below it.
    #[error("node {index} of level {level} is missing or does not follow from the entries below it")]
    Node {
        /// Its height.
        level: u8,
        /// Its place at that height.
        index: u64,
    },
    /// A head that does not follow from the entries.
    #[error("the head's root does not follow from its {size} entries")]
    Head {
        /// Its size.
        size: u64,
    },
    /// A checkpoint that the log does not agree with.
    #[error(
        "the first {size} entries are not those that the checkpoint of {size} entries signs; they agree with the one of {agreed} \
         entries, so the difference lies behind that"
    )]
    Rewritten {
        /// The checkpoint's size.
        size: u64,
        /// The size of the last checkpoint before it that agrees.
        agreed: u64,
    },
    /// A checkpoint of a longer log.
    #[error("a checkpoint signs {size} entries and the log has {present}: its end was cut off, or an older copy was put back")]
    Cut {
        /// The checkpoint's size.
        size: u64,
        /// The log's size.
        present: u64,
    },
    /// A checkpoint that is none of this log.
    #[error("the checkpoint given is not one of this log: {0}")]
    Given(NoteError),
    /// A checkpoint in the store that is none of this log.
    #[error("the checkpoint of {size} entries in the store does not verify: {source}")]
    Kept {
        /// Its size.
        size: u64,
        /// Why not.
        source: NoteError,
    },
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Log {
    /// Inspects the log as it stands, and against a checkpoint that was kept elsewhere. It reads everything: a blocking
    /// task, not a request, is the place for it.
    ///
    /// # Errors
    /// When the store or the keyring fails; whatever is wrong with the log itself is in the result.
    pub fn inspect(&self, given: Option<&str>) -> Result<Inspection, AuditError> {
        self.inspect_at_pace(given, &mut |_| {})
    }

    /// [`Log::inspect`], telling `pace` of each entry that it goes through; a rest in there leaves others room.
    ///
    /// # Errors
    /// Those of [`Log::inspect`].
    pub fn inspect_at_pace(&self, given: Option<&str>, pace: &mut dyn FnMut(u64)) -> Result<Inspection, AuditError> {
        let keys = self.key_set()?.note_keys()?;
        let mut walk = Walk { log: self, keys, frontier: Frontier::default(), faults: Vec::new(), agreed: 0, checkpoints: 0 };
        let given = given.map(|note| Checkpoint::open(note, &walk.keys));
        let given = match given.transpose() {
            Ok(given) => given,
            Err(error) => {
                walk.fault(Fault::Given(error));
                None
            }
        };
        let head = self.head()?;
        walk.leaves(head, given.as_ref(), pace)?;
        walk.behind(head)?;
        let Walk { faults, checkpoints, .. } = walk;
        let problems = settle_moves(self, faults)?;
        Ok(Inspection { ok: problems.is_empty(), problems, tree_size: head.size, checkpoints })
    }
}

/// The walk over all leaves, from the first.
struct Walk<'a> {
    log: &'a Log,
    keys: Vec<NoteKey>,
    frontier: Frontier,
    faults: Vec<Fault>,
    /// The size of the last checkpoint that agreed.
    agreed: u64,
    checkpoints: u64,
}

impl Walk<'_> {
    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    fn leaves(&mut self, head: AuditHead, given: Option<&Checkpoint>, pace: &mut dyn FnMut(u64)) -> Result<(), AuditError> {
        let mut kept = self.kept_after(None)?;
        self.compare(given, 0);
        for index in 0..head.size {
            pace(index);
            let hash = self.leaf(index)?;
            for (id, hash) in self.frontier.push(hash).into_iter().skip(1) {
                if self.node(id.level, id.index)? != Some(hash) {
                    self.fault(Fault::Node { level: id.level, index: id.index });
                }
            }
            let size = index + 1;
            if let Some((kept_size, checkpoint)) = kept.take_if(|(kept_size, _)| *kept_size == size) {
                self.compare(Some(&checkpoint), size);
                kept = self.kept_after(Some(kept_size))?;
            }
            self.compare(given, size);
        }
        if self.frontier.root() != head.root {
            self.fault(Fault::Head { size: head.size });
        }
        let given = given.map(|checkpoint| checkpoint.size);
        for size in kept.map(|(size, _)| size).into_iter().chain(given).filter(|size| *size > head.size) {
            // The log may have grown since the walk began.
            let present = self.log.head()?.size;
            if size > present {
                self.checkpoints += 1;
                self.fault(Fault::Cut { size, present });
            }
        }
        Ok(())
    }

    /// The hash to go on with: the leaf's own when it is as recorded, else the recorded one, so that one fault stays one.
    fn leaf(&mut self, index: u64) -> Result<Hash, AuditError> {
        let recorded = self.node(0, index)?;
        let leaf = match readable(self.log.store.get::<AuditLeaf>(&index))? {
            Some(AuditLeaf(leaf)) => leaf,
            None => {
                self.fault(Fault::Deleted { index });
                return Ok(recorded.unwrap_or_default());
            }
        };
        let hash = leaf_hash(&leaf);
        if recorded.is_none() {
            self.fault(Fault::Node { level: 0, index });
        } else if recorded != Some(hash) {
            self.fault(Fault::Edited { index });
        } else if Entry::from_leaf(&leaf).is_err() {
            self.fault(Fault::Foreign { index });
        }
        Ok(recorded.unwrap_or(hash))
    }

    fn node(&self, level: u8, index: u64) -> Result<Option<Hash>, AuditError> {
        Ok(readable(self.log.store.get::<AuditNode>(&(level, index)))?.map(|node| node.0))
    }

    fn compare(&mut self, checkpoint: Option<&Checkpoint>, size: u64) {
        let Some(checkpoint) = checkpoint.filter(|checkpoint| checkpoint.size == size) else { return };
        self.checkpoints += 1;
        if checkpoint.root == self.frontier.root() {
            self.agreed = size;
        } else {
            self.fault(Fault::Rewritten { size, agreed: self.agreed });
        }
    }

    /// The next checkpoint in the store that verifies; those that do not are faults.
    fn kept_after(&mut self, mut after: Option<u64>) -> Result<Option<(u64, Checkpoint)>, AuditError> {
        loop {
            let next = self.log.store.scan::<SignedCheckpoint>(&[], after.as_ref(), 1)?.into_iter().next();
            let Some((size, SignedCheckpoint { note })) = next else { return Ok(None) };
            match Checkpoint::open(&note, &self.keys) {
                Ok(checkpoint) if checkpoint.size == size && size > 0 => return Ok(Some((size, checkpoint))),
                Ok(checkpoint) if checkpoint.size == size => {}
                Ok(_) => self.fault(Fault::Kept { size, source: NoteError::NotCheckpoint }),
                Err(source) => self.fault(Fault::Kept { size, source }),
            }
            after = Some(size);
        }
    }

    /// What stands behind the head. The head is read last: what was appended during the walk lies before it.
    fn behind(&mut self, head: AuditHead) -> Result<(), AuditError> {
        let last = head.size.checked_sub(1);
        let rows = self.log.store.scan::<AuditLeaf>(&[], last.as_ref(), FAULTS_MAX)?;
        let size = self.log.head()?.size;
        for (index, _) in rows.into_iter().filter(|(index, _)| *index >= size) {
            self.fault(Fault::Beyond { index, size });
        }
        Ok(())
    }
}

/// A row that does not read back is as good as gone.
fn readable<R>(row: Result<Option<R>, StoreError>) -> Result<Option<R>, AuditError> {
    match row {
        Err(StoreError::Malformed { .. }) => Ok(None),
        row => Ok(row?),
    }
}

/// An edited entry whose bytes were recorded at another place of these was moved.
fn settle_moves(log: &Log, faults: Vec<Fault>) -> Result<Vec<Fault>, AuditError> {
    let mut recorded = HashMap::new();
    for fault in &faults {
        if let Fault::Edited { index } | Fault::Deleted { index } = fault
            && let Some(node) = readable(log.store.get::<AuditNode>(&(0, *index)))?
        {
            recorded.insert(node.0, *index);
        }
    }
    let settle = |fault| match fault {
        Fault::Edited { index } => {
            let found = readable(log.store.get::<AuditLeaf>(&index))?.and_then(|leaf| recorded.get(&leaf_hash(&leaf.0)).copied());
            Ok(found.map_or(Fault::Edited { index }, |recorded| Fault::Moved { index, recorded }))
        }
        other => Ok(other),
    };
    faults.into_iter().map(settle).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use data_encoding::BASE64;
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::audit::Action;
    use crate::audit::Actor;
    use crate::clock::Clock;
    use crate::clock::Timestamp;
    use crate::ids::Entropy;
    use crate::merkle;
    use crate::secret::Secret;
    use crate::store::Options;
    use crate::store::Store;
    use crate::store::Unit;
    use crate::vault::MasterKey;
    use crate::vault::Vault;

    fn entry(number: u64) -> Entry {
        let mut entry = Entry::new(Timestamp::UNIX_EPOCH, Actor::System, Action::RecordsRead);
        entry.count = Some(number);
        entry
    }

    fn new_log() -> (TempDir, Log) {
        let dir = tempfile::tempdir().unwrap();
        let master = MasterKey::new(Secret::new([1; 32]));
        let vault = Vault::create(dir.path(), &master, Entropy::system(), Clock::manual(Timestamp::UNIX_EPOCH)).unwrap();
        let store = Store::open(dir.path(), &Options::default()).unwrap();
        (dir, Log::new(store, Arc::new(vault)))
    }

    /// A log of `count` entries with a checkpoint of half of them.
    async fn filled(count: u64) -> (TempDir, Log) {
        let (dir, log) = new_log();
        let entries: Vec<Entry> = (0..count).map(entry).collect();
        let (first, rest) = entries.split_at(entries.len() / 2);
        assert_eq!(log.append(first).await.unwrap(), 0);
        log.checkpoint().await.unwrap();
        assert_eq!(log.append(rest).await.unwrap(), first.len() as u64);
        (dir, log)
    }

    async fn tamper(log: &Log, change: impl for<'a> FnOnce(&'a mut Unit) -> &'a mut Unit) {
        let mut unit = Unit::default();
        change(&mut unit);
        log.store.commit(unit).await.unwrap();
    }

    /// Writes a whole other log of these leaves over the present one, as one who holds the disk but no signing key would.
    async fn rewrite(log: &Log, leaves: &[Vec<u8>]) {
        let (mut unit, mut frontier) = (Unit::default(), Frontier::default());
        for index in 0..log.head().unwrap().size {
            unit.remove::<AuditLeaf>(&index);
        }
        for (index, leaf) in (0..).zip(leaves) {
            unit.put(&index, &AuditLeaf(leaf.clone()));
            for (id, hash) in frontier.push(leaf_hash(leaf)) {
                unit.put(&(id.level, id.index), &AuditNode(hash));
            }
        }
        unit.put(&(), &AuditHead { size: frontier.size(), root: frontier.root() });
        log.store.commit(unit).await.unwrap();
    }

    /// Every proof that the log gives verifies against the checkpoint that it signs, and the certificate's proof with them.
    #[tokio::test]
    async fn proofs_verify_against_checkpoints() {
        let (_dir, log) = filled(37).await;
        let keys = log.key_set().unwrap().note_keys().unwrap();
        let checkpoint = Checkpoint::open(&log.checkpoint().await.unwrap(), &keys).unwrap();
        assert_eq!((checkpoint.size, checkpoint.root), (37, log.head().unwrap().root));
        let decode = |text: &String| -> Hash { BASE64.decode(text.as_bytes()).unwrap().try_into().unwrap() };
        for index in 0..37 {
            let proof = log.prove(index).await.unwrap();
            assert_eq!(Entry::from_leaf(&BASE64.decode(proof.leaf.as_bytes()).unwrap()).unwrap(), entry(index));
            let hashes: Vec<Hash> = proof.proof.hashes.iter().map(decode).collect();
            let leaf = decode(&proof.proof.leaf_hash);
            assert_eq!(merkle::verify_inclusion(&leaf, index, 37, &hashes, &checkpoint.root), Ok(()));
        }
        let earlier = log.store.get::<SignedCheckpoint>(&18).unwrap().unwrap().note;
        let earlier = Checkpoint::open(&earlier, &keys).unwrap();
        let hashes: Vec<Hash> = log.consistency(18, 37).unwrap().hashes.iter().map(decode).collect();
        assert_eq!(merkle::verify_consistency(18, 37, &hashes, &earlier.root, &checkpoint.root), Ok(()));
        assert!(log.consistency(18, 38).is_err() && log.consistency(0, 37).is_err());
        assert!(log.inclusion(37, None).is_err() && log.inclusion(0, Some(38)).is_err() && log.entry(37).is_err());
        let inspection = log.inspect(None).unwrap();
        assert!(inspection.ok && inspection.tree_size == 37 && inspection.checkpoints == 2, "{inspection:?}");
    }

    /// Goal: each deletion, edit and exchange of an entry is named, at every position.
    #[tokio::test]
    async fn every_changed_entry_is_named() {
        const SIZE: u64 = 9;
        let (_dir, log) = filled(SIZE).await;
        for index in 0..SIZE {
            let leaf = AuditLeaf(entry(index).to_leaf());
            tamper(&log, |unit| unit.remove::<AuditLeaf>(&index)).await;
            assert_eq!(log.inspect(None).unwrap().problems, [Fault::Deleted { index }]);
            tamper(&log, |unit| unit.put(&index, &AuditLeaf(entry(99).to_leaf()))).await;
            assert_eq!(log.inspect(None).unwrap().problems, [Fault::Edited { index }]);
            let other = (index + 1) % SIZE;
            tamper(&log, |unit| unit.put(&index, &AuditLeaf(entry(other).to_leaf())).put(&other, &leaf)).await;
            let mut moved = [Fault::Moved { index, recorded: other }, Fault::Moved { index: other, recorded: index }];
            moved.sort_by_key(|fault| matches!(fault, Fault::Moved { index: at, .. } if *at == index.max(other)));
            assert_eq!(log.inspect(None).unwrap().problems, moved);
            tamper(&log, |unit| unit.put(&index, &leaf).put(&other, &AuditLeaf(entry(other).to_leaf()))).await;
            assert!(log.inspect(None).unwrap().ok);
        }
    }

    /// Goal: a log that was rewritten in itself without fault is found by any checkpoint of before.
    #[tokio::test]
    async fn a_rewritten_log_is_found_by_a_checkpoint() {
        let leaves: Vec<Vec<u8>> = (0..10).map(|number| entry(number).to_leaf()).collect();
        for kind in ["edit", "delete", "cut", "swap"] {
            let (_dir, log) = filled(10).await;
            let outside = log.checkpoint().await.unwrap();
            let mut other = leaves.clone();
            match kind {
                "edit" => other[7] = entry(70).to_leaf(),
                "delete" => drop(other.remove(7)),
                "cut" => other.truncate(8),
                _ => other.swap(7, 8),
            }
            rewrite(&log, &other).await;
            tamper(&log, |unit| unit.remove::<SignedCheckpoint>(&10)).await;
            let alone = log.inspect(None).unwrap();
            assert!(alone.ok, "{kind}: without the later checkpoint nothing tells: {:?}", alone.problems);
            let found = log.inspect(Some(&outside)).unwrap().problems;
            match found[..] {
                [Fault::Rewritten { size: 10, agreed: 5 }] => assert!(kind == "edit" || kind == "swap"),
                [Fault::Cut { size: 10, present }] => assert_eq!(present, if kind == "cut" { 8 } else { 9 }),
                _ => panic!("{kind}: {found:?}"),
            }
        }
    }

    /// Nodes, head, leaves behind the head and kept checkpoints are looked at as well.
    #[tokio::test]
    async fn the_rest_of_the_log_is_inspected_too() {
        let (_dir, log) = filled(6).await;
        tamper(&log, |unit| unit.put(&(1u8, 1u64), &AuditNode([0; 32]))).await;
        assert_eq!(log.inspect(None).unwrap().problems, [Fault::Node { level: 1, index: 1 }]);

        let (_dir, log) = filled(6).await;
        let head = log.head().unwrap();
        tamper(&log, |unit| unit.put(&(), &AuditHead { size: 5, ..head })).await;
        assert_eq!(log.inspect(None).unwrap().problems, [Fault::Head { size: 5 }, Fault::Beyond { index: 5, size: 5 }]);

        let (_dir, log) = filled(6).await;
        let (_other_dir, other) = filled(6).await;
        let foreign = other.checkpoint().await.unwrap();
        assert!(matches!(log.inspect(Some(&foreign)).unwrap().problems[..], [Fault::Given(NoteError::UnknownSigner { .. })]));
        assert!(matches!(log.inspect(Some("hello")).unwrap().problems[..], [Fault::Given(NoteError::Malformed)]));
        tamper(&log, |unit| unit.put(&3, &SignedCheckpoint { note: foreign })).await;
        assert!(matches!(log.inspect(None).unwrap().problems[..], [Fault::Kept { size: 3, .. }]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        /// Entries that come in any grouping make the same log, before and after a reopen.
        #[test]
        fn grouping_makes_no_difference(groups in prop::collection::vec(1usize..5, 1..6)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (_dir, log) = new_log();
            let mut frontier = Frontier::default();
            for group in groups {
                let entries: Vec<Entry> = (0..group as u64).map(|number| entry(frontier.size() + number)).collect();
                let first = runtime.block_on(log.append(&entries)).unwrap();
                prop_assert_eq!(first, frontier.size());
                entries.iter().for_each(|entry| drop(frontier.push(leaf_hash(&entry.to_leaf()))));
                prop_assert_eq!(log.head().unwrap().root, frontier.root());
            }
            prop_assert!(log.inspect(None).unwrap().ok);
        }
    }
}
