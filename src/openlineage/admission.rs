//! Taking events in: each once, wholly or not at all, in the order in which they came.

use serde_json::Map;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::ids::TenantId;
use crate::openlineage::Event;
use crate::openlineage::Graph;
use crate::openlineage::OpenLineageError;
use crate::openlineage::book::Book;
use crate::openlineage::book::EventNote;
use crate::openlineage::draft::Draft;
use crate::openlineage::event::FullName;
use crate::openlineage::event::Mention;
use crate::openlineage::event::Phase;
use crate::openlineage::head::LATEST_RUNS;
use crate::openlineage::head::NodeKind;
use crate::openlineage::link;
use crate::openlineage::link::Told;
use crate::openlineage::rows::EventRow;
use crate::openlineage::rows::List;
use crate::openlineage::rows::Named;
use crate::openlineage::rows::WHOLE;
use crate::openlineage::run::RunState;
use crate::openlineage::telling::merge;
use crate::store::StoreError;
use crate::store::Unit;

/// Events that one unit takes in at most, and the bytes past which it takes no more.
const UNIT_EVENTS_MAX: usize = 200;
const UNIT_BYTES_MAX: usize = 2 << 20;
/// How often a unit is made anew because a connection was made under the tenant meanwhile.
const ATTEMPTS_MAX: usize = 5;
/// The source of a dataset that names none.
pub(super) const SOURCE_DEFAULT: &str = "default";

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admitted {
    /// It is in the graph, durably, under this number.
    New {
        /// Its number in the tenant's graph.
        number: u64,
    },
    /// It had come before, and changes nothing.
    Known {
        /// The number that it has.
        number: u64,
    },
}

impl Graph {
    /// Takes events into a tenant's graph, in their order, and returns when they are durable. The tenant is made at its first
    /// use. An event whose canonical JSON the tenant has sent before changes nothing.
    ///
    /// When this fails, events from the beginning may have been taken in; sending all of them again is right.
    ///
    /// # Errors
    /// [`OpenLineageError::Tenant`] for a tenant that takes nothing new any more, and whatever keeps the store or the keyring.
    pub async fn admit(&self, tenant: &TenantId, events: &[Event]) -> Result<Vec<Admitted>, OpenLineageError> {
        let turn = self.turn(tenant);
        let _turn = turn.lock().await;
        let number = self.connections.use_tenant(tenant).await?;
        let keys = tokio::task::block_in_place(|| self.vault.tenant_keys(number))?;
        let book = Book::new(self.store.clone(), keys);
        let (mut done, mut attempts) = (Vec::with_capacity(events.len()), 0);
        while done.len() < events.len() {
            let ahead = events[done.len()..].iter().take(UNIT_EVENTS_MAX);
            let (mut admitted, unit) = tokio::task::block_in_place(|| self.draft(&book, ahead))?;
            if let Some(mut unit) = unit {
                self.connections.expect_active(tenant, &mut unit)?;
                match self.store.commit(unit).await {
                    Ok(_) => {}
                    // A connection of the tenant was made in between: its row is another now.
                    Err(StoreError::Conflict { .. }) if attempts < ATTEMPTS_MAX => {
                        attempts += 1;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            done.append(&mut admitted);
        }
        // What had come before may be seen before it is on disk.
        self.store.rows_seen_are_durable().await?;
        Ok(done)
    }
}

impl Graph {
    /// The unit that takes in as many of these events as one may, unless all of them had come before.
    fn draft<'a>(&self, book: &Book, events: impl Iterator<Item = &'a Event>) -> Result<(Vec<Admitted>, Option<Unit>), OpenLineageError> {
        let (mut draft, mut admitted) = (Draft::begin(book)?, Vec::new());
        for event in events {
            admitted.push(draft.admit(event, self.clock.now())?);
            if draft.weight > UNIT_BYTES_MAX {
                break;
            }
        }
        let is_new = admitted.iter().any(|admitted| matches!(admitted, Admitted::New { .. }));
        Ok((admitted, is_new.then(|| draft.finish()).transpose()?))
    }
}

impl Draft<'_> {
    fn admit(&mut self, event: &Event, now: Timestamp) -> Result<Admitted, OpenLineageError> {
        let hash = self.book.event_hash(&event.canonical);
        if let Some(number) = self.number(Named::Event, hash)? {
            return Ok(Admitted::Known { number });
        }
        self.counters.events += 1;
        let number = self.counters.events;
        self.name(Named::Event, hash, number);
        let note = EventNote { received_at: now, warnings: event.warnings.clone() };
        let mut plain = postcard::to_stdvec(&note).map_err(|_| StoreError::Malformed { table: "graph events" })?;
        plain.extend_from_slice(&event.text);
        self.weight += plain.len();
        self.book.write::<EventRow>(&mut self.unit, number, &plain)?;

        let place = match (&event.run, &event.job, &event.dataset) {
            (None, None, Some(dataset)) => self.of_dataset(event, dataset)?,
            (None, Some((job, facets)), _) => self.of_job(event, job, facets)?,
            (Some(_), ..) => self.of_run(event)?,
            (None, None, None) => None,
        };
        let entry = (order(event.time), number);
        self.edge(WHOLE, List::Events, entry);
        if let Some(namespace) = place {
            self.edge(namespace, List::Events, entry);
        }
        self.tick(now, Some(event.phase as usize).map(|phase| PHASE_COUNTS[phase]));
        Ok(Admitted::New { number })
    }

    /// An event about a dataset: what it says replaces what was said of the dataset itself.
    fn of_dataset(&mut self, event: &Event, mention: &Mention) -> Result<Option<u32>, OpenLineageError> {
        let node = self.mention(event, mention)?;
        let mut told = Told::default();
        told.outputs.insert(node);
        self.tell_dataset(event, &mut told, node, mention)?;
        let is_told = told.is_explicit || told.columns.contains_key(&node);
        let jobs = self.jobs_of(&told)?;
        let mut links = if is_told { told.links(|node| jobs.contains(&node)) } else { Vec::new() };
        links.retain(|link| !link.inputs.is_empty() || link.via.is_some());
        self.link(node, links)?;
        self.version(node, None, |facets| facets.at = Some(event.time))?;
        Ok(Some(self.head(node)?.namespace_node))
    }

    /// An event about a job: it declares the job, and replaces what was declared.
    fn of_job(&mut self, event: &Event, name: &FullName, facets: &Map<String, Value>) -> Result<Option<u32>, OpenLineageError> {
        let job = self.node(NodeKind::Job, &name.namespace, &name.name, event.time)?;
        self.change(job)?.touch(event.time);
        let changed = self.merge(job, facets)?;
        let told = self.tell(event, facets, None)?;
        let says = event.inputs.is_some() || event.outputs.is_some() || told.is_explicit;
        if says {
            let jobs = self.jobs_of(&told)?;
            self.link(job, told.links(|node| jobs.contains(&node)))?;
        }
        if says || changed || self.head(job)?.versions == 0 {
            self.job_version(job, event, None)?;
        }
        Ok(Some(self.head(job)?.namespace_node))
    }

    /// An event about a run: events of one run add up.
    fn of_run(&mut self, event: &Event) -> Result<Option<u32>, OpenLineageError> {
        let Some((id, facets)) = &event.run else { return Ok(None) };
        let number = self.run(*id, event.time)?;
        let job = match &event.job {
            Some((name, facets)) => {
                let job = self.node(NodeKind::Job, &name.namespace, &name.name, event.time)?;
                self.change(job)?.touch(event.time);
                self.merge(job, facets)?;
                self.begin_run(job, number)?;
                job
            }
            None => self.change_run(number)?.job,
        };
        let run = self.change_run(number)?;
        run.advance(event.phase, event.time);
        merge(&mut run.facets, facets);
        if let Some((_, facets)) = &event.job {
            merge(&mut run.job_facets, facets);
        }
        let mut known = std::mem::take(&mut self.change_run(number)?.told);
        let no_facets = Map::new();
        let told = self.tell(event, event.job.as_ref().map_or(&no_facets, |(_, facets)| facets), Some(number))?;
        add_up(&mut known, told);
        self.change_run(number)?.told = known;
        if job == 0 {
            return Ok(None);
        }
        if let Some(parent) = facets.get("parent").and_then(|parent| parent.get("job")?.get("name")?.as_str())
            && self.facets(job)?.parent.as_deref() != Some(parent)
        {
            self.change_facets(job)?.parent = Some(parent.to_owned());
        }
        self.link_by_run(job, number, event)?;
        Ok(Some(self.head(job)?.namespace_node))
    }

    /// Makes a run one of its job's, once.
    pub(super) fn begin_run(&mut self, job: u32, number: u32) -> Result<(), OpenLineageError> {
        let run = self.change_run(number)?;
        if run.job != 0 {
            return Ok(());
        }
        run.job = job;
        let entry = (order(run.created_at), u64::from(number));
        self.edge(job, List::Runs, entry);
        let head = self.change(job)?;
        head.runs += 1;
        head.latest.insert(0, number);
        head.latest.truncate(LATEST_RUNS);
        Ok(())
    }

    /// A completed run says what its job links; one under way only adds to it, and an older one says nothing any more.
    fn link_by_run(&mut self, job: u32, number: u32, event: &Event) -> Result<(), OpenLineageError> {
        let run = self.change_run(number)?;
        let (told, began, state) = (run.told.clone(), run.created_at, run.state);
        let jobs = self.jobs_of(&told)?;
        let links = told.links(|node| jobs.contains(&node));
        let head = self.head(job)?;
        if links.is_empty() || head.told_at.is_some_and(|newest| newest > began) {
            return Ok(());
        }
        let before = head.links.clone();
        let after = match state {
            RunState::Completed => links,
            _ => {
                let mut after = before.clone();
                links.into_iter().for_each(|link| link::add(&mut after, link));
                after
            }
        };
        if before != after {
            self.link(job, after)?;
        }
        let is_over = matches!(event.phase, Phase::Complete | Phase::Fail | Phase::Abort);
        if state == RunState::Completed {
            self.change(job)?.told_at = Some(began);
        }
        if is_over {
            let known = self.change_run(number)?.job_version;
            if known == 0 && (before != self.head(job)?.links || self.head(job)?.versions == 0) {
                self.job_version(job, event, Some(number))?;
            }
            let version = self.head(job)?.versions;
            let run = self.change_run(number)?;
            if run.job_version == 0 {
                run.job_version = version;
            }
        }
        Ok(())
    }

    fn job_version(&mut self, job: u32, event: &Event, run: Option<u32>) -> Result<(), OpenLineageError> {
        let by_run = run.map(|number| self.change_run(number).map(|run| run.id.clone())).transpose()?;
        let head = self.head(job)?;
        let (inputs, outputs) = head.datasets();
        self.version(job, None, |facets| {
            (facets.by_run, facets.at, facets.inputs, facets.outputs) = (by_run, Some(event.time), inputs, outputs);
        })?;
        Ok(())
    }
}

/// The place in the hourly counts of each phase: start, complete, fail, abort, other.
const PHASE_COUNTS: [usize; 6] = [0, 4, 1, 2, 3, 4];

/// A time as an order: rising, before 1970 too, in microseconds.
pub(super) fn order(at: Timestamp) -> u64 {
    at.as_microsecond().cast_unsigned() ^ (1 << 63)
}

fn add_up(known: &mut Told, told: Told) {
    known.inputs.extend(told.inputs);
    known.outputs.extend(told.outputs);
    known.is_explicit |= told.is_explicit;
    for (target, sources) in told.explicit {
        known.explicit.entry(target).or_default().extend(sources);
    }
    known.columns.extend(told.columns);
}
