//! A worker that performs nothing, in batches.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use deed_client::Client;
use deed_client::api::lease::{CompleteLease, FinishItem, FinishLeases, LeaseActions, LeaseBody};
use serde_json::value::RawValue;

/// How long a worker waits for work in one call, in seconds.
const WAIT: u32 = 2;

/// Performs actions of one type, so many at a time, until it is over and nothing is left.
pub(crate) struct Performer<'a> {
    pub(crate) client: &'a Client,
    pub(crate) action_type: &'a str,
    pub(crate) batch: u16,
    pub(crate) is_over: &'a AtomicBool,
}

impl Performer<'_> {
    /// The end of one batch and the lease of the next go in one call. Tells what was granted, and how many were performed.
    ///
    /// # Errors
    /// The first call that fails, and a lease that was lost.
    pub(crate) async fn run(
        &self,
        number: usize,
        on_granted: impl Fn(&[LeaseBody]),
        on_performed: impl Fn(u64),
    ) -> anyhow::Result<()> {
        let output = RawValue::from_string("{\"ok\":true}".to_owned())?;
        let request = LeaseActions {
            types: vec![self.action_type.to_owned()],
            max: Some(self.batch),
            wait_seconds: Some(WAIT),
            lease_seconds: None,
            request_id: None,
            worker: format!("bench-{number}"),
        };
        let mut granted = self.client.lease_actions(&request).await?.leases;
        loop {
            on_granted(&granted);
            if granted.is_empty() {
                if self.is_over.load(Ordering::Relaxed) {
                    return Ok(());
                }
                granted = self.client.lease_actions(&request).await?.leases;
                continue;
            }
            let items = granted
                .into_iter()
                .map(|lease| FinishItem {
                    lease_id: lease.lease_id,
                    complete: Some(CompleteLease {
                        output: output.clone(),
                    }),
                    fail: None,
                })
                .collect();
            let ends = FinishLeases {
                items,
                then_lease: Some(request.clone()),
            };
            let finished = self.client.finish_leases(&ends).await?;
            if let Some(lost) = finished.results.iter().find(|result| !result.ok) {
                bail!("{} was not finished: {:?}", lost.lease_id, lost.error);
            }
            on_performed(u64::try_from(finished.results.len())?);
            granted = finished.leases;
        }
    }
}
