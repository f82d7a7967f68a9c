//! Leases: how a worker performs actions.

use std::time::Duration;

use deed_api::lease::{
    CompleteLease, DoneBody, FailLease, FinishLeases, FinishedBody, Heartbeat, HeartbeatBody,
    LeaseActions, LeasesBody, ReleaseLease, ReportEvents, ReportedBody, WorkerEvent,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::builder::Client;
use crate::error::Error;
use crate::operation::{self, Operation};

impl Client {
    /// Leases actions that wait. With a `request_id` it is repeated after a lost connection, and granted the same;
    /// without one it is not: what was granted then would be nobody's until its leases run out.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn lease_actions(&self, leases: &LeaseActions) -> Result<LeasesBody, Error> {
        let wait = Duration::from_secs(leases.wait_seconds.unwrap_or_default().into());
        let request = self.request(operation::LEASE_ACTIONS, &[]).json(leases)?;
        let request = match leases.request_id {
            Some(_) => request.repeatable(),
            None => request,
        };
        self.send(&request.patient(wait)).await?.json()
    }

    /// Renews leases; one verdict each, in the order asked.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn renew_leases(&self, leases: &Heartbeat) -> Result<HeartbeatBody, Error> {
        let request = self.request(operation::RENEW_LEASES, &[]).json(leases)?;
        self.send(&request).await?.json()
    }

    /// Ends actions and attempts, and leases the next; one result each, in the order given. Repeated after a lost
    /// connection, and written once, unless it leases without a `request_id`.
    ///
    /// # Errors
    /// [`Error`]. A lease that is lost is none: its result says so.
    pub async fn finish_leases(&self, ends: &FinishLeases) -> Result<FinishedBody, Error> {
        let next = ends.then_lease.as_ref();
        let wait = next.and_then(|next| next.wait_seconds).unwrap_or_default();
        let request = self.request(operation::FINISH_LEASES, &[]).json(ends)?;
        let request = match next {
            Some(LeaseActions {
                request_id: None, ..
            }) => request,
            Some(_) | None => request.repeatable(),
        };
        let patient = request.patient(Duration::from_secs(wait.into()));
        self.send(&patient).await?.json()
    }

    /// Writes output and progress. Repeated after a lost connection: the same events are written once.
    ///
    /// # Errors
    /// [`Error`]; refused as `lease_lost` when somebody else performs the action.
    pub async fn report_events(
        &self,
        lease_id: &str,
        events: &ReportEvents,
    ) -> Result<ReportedBody, Error> {
        self.about_lease(operation::REPORT_EVENTS, lease_id, events)
            .await
    }

    /// Writes many small events, which go line by line: the first one has the position `from_seq`. Repeated after a lost
    /// connection: the same events are written once.
    ///
    /// # Errors
    /// [`Error`]; refused as `lease_lost` when somebody else performs the action.
    pub async fn report_lines(
        &self,
        lease_id: &str,
        from_seq: u32,
        events: &[WorkerEvent],
    ) -> Result<ReportedBody, Error> {
        let request = self
            .request(operation::REPORT_EVENTS, &[lease_id])
            .query(&format!("from_seq={from_seq}"))
            .lines(events)?;
        self.send(&request).await?.json()
    }

    /// Ends an action with its output. Repeated after a lost connection: it is written once.
    ///
    /// # Errors
    /// [`Error`]; refused as `lease_lost` when somebody else performs the action.
    pub async fn complete_lease(
        &self,
        lease_id: &str,
        output: &CompleteLease,
    ) -> Result<(), Error> {
        let _: DoneBody = self
            .about_lease(operation::COMPLETE_LEASE, lease_id, output)
            .await?;
        Ok(())
    }

    /// Ends an attempt with an error. Repeated after a lost connection, it may be refused as `lease_lost` because the
    /// first one was heard.
    ///
    /// # Errors
    /// [`Error`]; refused as `lease_lost` when somebody else performs the action.
    pub async fn fail_lease(&self, lease_id: &str, failure: &FailLease) -> Result<(), Error> {
        let _: DoneBody = self
            .about_lease(operation::FAIL_LEASE, lease_id, failure)
            .await?;
        Ok(())
    }

    /// Gives an action back; no attempt is used. Repeated after a lost connection, it may be refused as `lease_lost`
    /// because the first one was heard.
    ///
    /// # Errors
    /// [`Error`]; refused as `lease_lost` when somebody else performs the action.
    pub async fn release_lease(&self, lease_id: &str) -> Result<(), Error> {
        let _: DoneBody = self
            .about_lease(operation::RELEASE_LEASE, lease_id, &ReleaseLease {})
            .await?;
        Ok(())
    }

    async fn about_lease<T: DeserializeOwned>(
        &self,
        operation: &'static Operation,
        lease_id: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let request = self.request(operation, &[lease_id]).json(body)?;
        self.send(&request).await?.json()
    }
}
