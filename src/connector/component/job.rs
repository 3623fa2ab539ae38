//! Streams that are read by asynchronous jobs: created, polled until they are done, and downloaded.

use crate::connector::component::component;
use crate::connector::component::pagination::Paginator;
use crate::connector::component::partition::PartitionRouter;
use crate::connector::component::records::Decoder;
use crate::connector::component::records::DownloadExtractor;
use crate::connector::component::records::Extractor;
use crate::connector::component::records::Selector;
use crate::connector::component::requester::HttpRequester;
use crate::connector::component::requester::Requester;
use crate::connector::component::value::Count;

component! {
    /// Creates a job for every slice, asks for its status until it is done, and downloads its result.
    AsyncRetriever {
        /// Which records count, and what they become; where they are is said by `download_extractor`.
        record_selector: Selector;
        /// What the application's statuses mean.
        status_mapping: AsyncJobStatusMap;
        /// Where the status is in the answer to a poll.
        status_extractor: Extractor;
        /// Where the addresses or names of the results are; without it there is one result.
        download_target_extractor: Option<Extractor>;
        /// Where the records are in a result; without it they are the result itself.
        download_extractor: Option<DownloadExtractor>;
        /// What creates a job.
        creation_requester: Requester;
        /// What asks for its status.
        polling_requester: Requester;
        /// How long a job may take, in minutes; an hour when it is left out.
        polling_job_timeout: Option<Count> => Spec;
        /// How long to wait before a failed job is created again, in seconds.
        failed_retry_wait_time_in_seconds: Option<Count> => Spec;
        /// What asks for the results' addresses; without it they are in the answer to the last poll.
        download_target_requester: Option<Requester>;
        /// What asks for a result.
        download_requester: Requester;
        /// How one page of a result leads to the next.
        download_paginator: Option<Paginator>;
        /// What ends a job that takes too long.
        abort_requester: Option<Requester>;
        /// What deletes a job that has been read.
        delete_requester: Option<Requester>;
        /// How the stream is cut into parts, each of which is a job.
        partition_router: Option<Vec<PartitionRouter>>;
        /// How the answers about jobs are read.
        decoder: Option<Decoder>;
        /// How results are read.
        download_decoder: Option<Decoder>;
    }
}

component! {
    /// What the application's statuses of a job mean.
    AsyncJobStatusMap {
        /// It is at work.
        running: Vec<String>;
        /// It is done.
        completed: Vec<String>;
        /// It failed, and is created again.
        failed: Vec<String>;
        /// It took too long, and is created again.
        timeout: Vec<String>;
        /// There is nothing to read.
        skipped: Vec<String> = Vec::new();
    }
}

impl AsyncRetriever {
    /// Everything that it asks.
    pub fn requesters(&self) -> Vec<&HttpRequester> {
        let always = [&self.creation_requester, &self.polling_requester, &self.download_requester];
        let others = [&self.download_target_requester, &self.abort_requester, &self.delete_requester];
        always.into_iter().chain(others.into_iter().flatten()).map(|Requester::HttpRequester(requester)| requester.as_ref()).collect()
    }
}
