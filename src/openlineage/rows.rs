//! The graph's rows. Whatever is larger than a row lies in pieces.

use serde::Deserialize;
use serde::Serialize;

use crate::ids::ConnectionKey;
use crate::store::Row;
use crate::store::Table;
use crate::store::check::RowCheck;

/// Hours of which the counts are kept: eight days, one more than the longest time that is asked about.
pub(super) const HOURS_KEPT: usize = 8 * 24;

/// The next numbers of a tenant's graph and what is counted of it: numbers only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CountersRow {
    /// Nodes so far: the last one's number, for they count from 1.
    pub nodes: u32,
    /// Runs so far.
    pub runs: u32,
    /// Distinct events so far.
    pub events: u64,
    /// Jobs, datasets and sources in the lists.
    pub listed: [u32; 3],
    /// What happened in an hour, oldest first; hours in which nothing did are not there.
    pub hours: Vec<Hour>,
}

/// What happened in an hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hour {
    /// Hours since 1970.
    pub hour: u32,
    /// Events that start, complete, fail, abort, and others.
    pub events: [u32; 5],
    /// Jobs, datasets and sources at its end.
    pub listed: [u32; 3],
}

impl Row for CountersRow {
    const TABLE: Table = Table::GraphCounters;
    type Key = ConnectionKey;
}

/// What a name's number is a number of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Named {
    Node = 0,
    Run = 1,
    Event = 2,
}

/// The number behind the keyed hash of a name, under (owner, [`Named`], hash).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NameRow(pub u64);

impl Row for NameRow {
    const TABLE: Table = Table::GraphNames;
    type Key = (ConnectionKey, (u8, [u8; 16]));
}

/// The lists that edges make, and what their order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum List {
    /// Of a node: the nodes that hold a link with it; in the order of their numbers.
    Linked = 0,
    /// Of a dataset: the datasets whose columns come from it.
    ColumnsTo = 1,
    /// Of a namespace, or of the whole graph: jobs, by their numbers.
    Jobs = 2,
    /// Datasets likewise.
    Datasets = 3,
    /// Of the graph: namespaces.
    Namespaces = 4,
    /// Of the graph: sources.
    Sources = 5,
    /// Of the graph: tags.
    Tags = 6,
    /// Of a namespace, or of the graph: events by their time.
    Events = 7,
    /// Of a job: runs by the time of their first event.
    Runs = 8,
}

/// The node whose lists are those of the whole graph.
pub(super) const WHOLE: u32 = 0;

/// That something stands in a list, under (owner, node, list, order, number).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EdgeRow;

/// The key of an [`EdgeRow`].
pub(super) type EdgeKey = (ConnectionKey, (u32, (u8, (u64, u64))));

impl Row for EdgeRow {
    const TABLE: Table = Table::GraphEdges;
    type Key = EdgeKey;
}

/// A row of a table whose things lie in pieces: a compressed text, cut, each piece sealed to its place.
pub(super) trait PieceRow: Row<Key = (ConnectionKey, (u64, u16))> {
    /// What such a thing is called.
    const NOUN: &'static str;
    /// A row of it.
    fn of(piece: Piece) -> Self;
    /// The piece.
    fn piece(self) -> Piece;
}

/// A piece of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    /// How many pieces there are.
    pub of: u16,
    /// The sealed piece.
    pub sealed: Vec<u8>,
}

macro_rules! pieces {
    ($($(#[doc = $doc:literal])* $name:ident = $table:ident, $noun:literal;)+) => {
        $(
            $(#[doc = $doc])*
            #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
            pub(super) struct $name(Piece);

            impl Row for $name {
                const TABLE: Table = Table::$table;
                type Key = (ConnectionKey, (u64, u16));
            }

            impl PieceRow for $name {
                const NOUN: &'static str = $noun;

                fn of(piece: Piece) -> Self {
                    $name(piece)
                }

                fn piece(self) -> Piece {
                    self.0
                }
            }
        )+
    };
}

pieces! {
    /// What a node is, under its number.
    NodeRow = GraphNodes, "node";
    /// The facets of a node, under its number in the upper half and the version in the lower; version 0 is now.
    FacetsRow = GraphFacets, "version";
    /// A run, under its number.
    RunRow = GraphRuns, "run";
    /// An event, under its number.
    EventRow = GraphEvents, "event";
}

/// How a scrub reads the rows back.
pub(super) fn row_checks() -> Vec<RowCheck> {
    vec![
        RowCheck::of::<CountersRow>(),
        RowCheck::of::<NameRow>(),
        RowCheck::of::<EdgeRow>(),
        RowCheck::of::<NodeRow>(),
        RowCheck::of::<FacetsRow>(),
        RowCheck::of::<RunRow>(),
        RowCheck::of::<EventRow>(),
    ]
}
