//! Leases: how a worker performs actions.

use deed_api::lease::{
    CompleteLease, DoneBody, FailLease, Heartbeat, HeartbeatBody, LeaseActions, LeasesBody,
    ReleaseLease, ReportEvents, ReportedBody, WorkerEvent,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::builder::Client;
use crate::error::Error;
use crate::operation::{self, Operation};

impl Client {
    /// Leases actions that wait. Not repeated after a lost connection: what was granted then would be nobody's until
    /// its leases run out.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn lease_actions(&self, leases: &LeaseActions) -> Result<LeasesBody, Error> {
        let request = self.request(operation::LEASE_ACTIONS, &[]).json(leases)?;
        self.send(&request).await?.json()
    }

    /// Renews leases; one verdict each, in the order asked.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn renew_leases(&self, leases: &Heartbeat) -> Result<HeartbeatBody, Error> {
        let request = self.request(operation::RENEW_LEASES, &[]).json(leases)?;
        self.send(&request).await?.json()
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

    /// Ends an attempt with an error.
    ///
    /// # Errors
    /// [`Error`]; refused as `lease_lost` when somebody else performs the action.
    pub async fn fail_lease(&self, lease_id: &str, failure: &FailLease) -> Result<(), Error> {
        let _: DoneBody = self
            .about_lease(operation::FAIL_LEASE, lease_id, failure)
            .await?;
        Ok(())
    }

    /// Gives an action back; no attempt is used.
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
