//! Which dataset feeds which: the rules that OpenLineage gives to whoever draws edges.
//!
//! A lineage facet on the event is the whole truth about its datasets; what it does not mention hangs on the event's own job
//! and feeds nothing through it. Without one, the columns say it; an output without columns comes from every input.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

/// Stands for the job whose event it is, among the numbers of nodes.
pub(super) const OWN: u32 = 0;

/// Something that passes through one place: every input feeds every output of the same link, and nothing of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The job that it passes through; [`None`] for the one that holds the link.
    pub via: Option<u32>,
    /// Numbers of nodes, rising.
    pub inputs: Vec<u32>,
    /// Numbers of nodes, rising.
    pub outputs: Vec<u32>,
}

impl Link {
    fn new(inputs: impl IntoIterator<Item = u32>, outputs: impl IntoIterator<Item = u32>) -> Self {
        Link { via: None, inputs: inputs.into_iter().collect(), outputs: outputs.into_iter().collect() }
    }

    /// Whether another link says all that this one says.
    pub(super) fn is_within(&self, other: &Link) -> bool {
        let within = |few: &[u32], many: &[u32]| few.iter().all(|node| many.binary_search(node).is_ok());
        self.via == other.via && within(&self.inputs, &other.inputs) && within(&self.outputs, &other.outputs)
    }

    /// Every node of it.
    pub(super) fn members(&self) -> impl Iterator<Item = u32> + '_ {
        self.via.iter().chain(&self.inputs).chain(&self.outputs).copied()
    }
}

/// Adds a link to others, unless they say it already; those that it says go.
pub(super) fn add(links: &mut Vec<Link>, link: Link) {
    if links.iter().any(|known| link.is_within(known)) {
        return;
    }
    links.retain(|known| !known.is_within(&link));
    links.push(link);
}

/// What events have told about the datasets of a run, of a job or of a dataset: of a run it is added up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    pub inputs: BTreeSet<u32>,
    pub outputs: BTreeSet<u32>,
    /// Whether a lineage facet was there at all.
    pub is_explicit: bool,
    /// From that facet: what feeds a target; [`OWN`] is the event's own job on either side.
    pub explicit: BTreeMap<u32, BTreeSet<u32>>,
    /// From column lineage: what feeds an output.
    pub columns: BTreeMap<u32, BTreeSet<u32>>,
}

impl Told {
    /// The links that follow. `is_job` tells the job kinds among the nodes of an explicit facet.
    pub fn links(&self, is_job: impl Fn(u32) -> bool) -> Vec<Link> {
        let mut links = Vec::new();
        if self.is_explicit {
            self.explicit_links(&is_job, &mut links);
            return links;
        }
        let (with, without): (Vec<u32>, Vec<u32>) = self.outputs.iter().partition(|output| self.columns.contains_key(output));
        for output in &with {
            add(&mut links, Link::new(self.columns[output].iter().copied(), [*output]));
        }
        if !without.is_empty() || with.is_empty() {
            add(&mut links, Link::new(self.inputs.iter().copied(), without));
        } else {
            self.hang(&mut links);
        }
        links.retain(|link| link.members().next().is_some());
        links
    }

    fn explicit_links(&self, is_job: &impl Fn(u32) -> bool, links: &mut Vec<Link>) {
        for (&target, sources) in &self.explicit {
            let to_job = target == OWN || is_job(target);
            let (jobs, datasets): (Vec<u32>, Vec<u32>) = sources.iter().partition(|source| **source == OWN || is_job(**source));
            if to_job {
                // Into a job: its sources hang on it. A job that feeds a job is a node like any other.
                let inputs = datasets.into_iter().chain(jobs.into_iter().filter(|job| *job != OWN));
                let mut inputs: Vec<u32> = inputs.collect();
                inputs.sort_unstable();
                let via = (target != OWN).then_some(target);
                add(links, Link { via, ..Link::new(inputs, []) });
                continue;
            }
            for job in jobs {
                add(links, Link { via: (job != OWN).then_some(job), ..Link::new([], [target]) });
            }
            // Without a source it is still this job's own.
            add(links, Link::new(datasets, [target]));
        }
        self.hang(links);
    }

    /// What no link mentions hangs on the job by itself.
    fn hang(&self, links: &mut Vec<Link>) {
        let mentioned: BTreeSet<u32> = links.iter().flat_map(Link::members).collect();
        for input in self.inputs.difference(&mentioned) {
            links.push(Link::new([*input], []));
        }
        for output in self.outputs.difference(&mentioned) {
            links.push(Link::new([], [*output]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(inputs: &[u32], outputs: &[u32]) -> Told {
        Told { inputs: inputs.iter().copied().collect(), outputs: outputs.iter().copied().collect(), ..Told::default() }
    }

    fn sets(pairs: &[(u32, &[u32])]) -> BTreeMap<u32, BTreeSet<u32>> {
        pairs.iter().map(|(target, sources)| (*target, sources.iter().copied().collect())).collect()
    }

    /// Goal: the four rules. Method: one job with inputs 1, 2, 3 and outputs 11, 12, told in each way. 50 is another job.
    #[test]
    fn edges_follow_the_rules() {
        let is_job = |node: u32| node == 50;
        let plain = told(&[1, 2, 3], &[11, 12]);
        assert_eq!(plain.links(is_job), [Link::new([1, 2, 3], [11, 12])]);

        let columns = Told { columns: sets(&[(11, &[1])]), ..plain.clone() };
        assert_eq!(columns.links(is_job), [Link::new([1], [11]), Link::new([1, 2, 3], [12])]);
        let all = Told { columns: sets(&[(11, &[1]), (12, &[2])]), ..plain.clone() };
        assert_eq!(all.links(is_job), [Link::new([1], [11]), Link::new([2], [12]), Link::new([3], [])]);

        // The facet beats the columns, and 3 and 12 hang on the job.
        let explicit = Told { is_explicit: true, explicit: sets(&[(11, &[2])]), ..all.clone() };
        assert_eq!(explicit.links(is_job), [Link::new([2], [11]), Link::new([1], []), Link::new([3], []), Link::new([], [12])]);
        let empty = Told { is_explicit: true, ..plain.clone() };
        assert_eq!(empty.links(is_job).len(), 5, "a facet that names nothing leaves nothing connected");

        // A job of its own feeds 11, another feeds 12, and 1 feeds that other job.
        let jobs = Told { is_explicit: true, explicit: sets(&[(11, &[OWN]), (12, &[50]), (50, &[1])]), ..plain };
        let via = |link: Link| Link { via: Some(50), ..link };
        let links = jobs.links(is_job);
        assert!(
            links.contains(&Link::new([], [11])) && links.contains(&via(Link::new([1], []))) && links.contains(&via(Link::new([], [12])))
        );
    }

    /// Goal: a link that says less goes where one says more.
    #[test]
    fn links_add_up() {
        let mut links = vec![Link::new([1], [])];
        add(&mut links, Link::new([1], [11]));
        add(&mut links, Link::new([], [11]));
        assert_eq!(links, [Link::new([1], [11])]);
    }
}
