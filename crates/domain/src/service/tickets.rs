use std::sync::Arc;

use crate::caller::Caller;
use crate::error::Error;
use crate::id::ActionId;
use crate::ports::{Ids, StreamTickets, TicketKept};
use crate::scope::Permission;
use crate::secret::{PlainSecret, SecretKind};
use crate::service::Retention;
use crate::ticket::{IssuedTicket, NewTicket};

/// Issues tickets for streams, and lets their bearers in.
#[derive(Clone)]
pub struct Tickets {
    tickets: Arc<dyn StreamTickets>,
    ids: Arc<dyn Ids>,
    retention: Retention,
}

impl Tickets {
    /// The use case over these ports.
    #[must_use]
    pub fn new(tickets: Arc<dyn StreamTickets>, ids: Arc<dyn Ids>) -> Self {
        Self {
            tickets,
            ids,
            retention: Retention::default(),
        }
    }

    /// The same, which says of actions that are older than what is kept that they are gone.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// Issues a ticket for the stream of an action of the caller's subject: it stands for this very caller.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:read`, [`Error::ActionNotFound`], [`Error::ActionGone`],
    /// [`Error::TooManyTickets`].
    pub async fn issue(&self, caller: &Caller, action: ActionId) -> Result<IssuedTicket, Error> {
        caller.require(Permission::ActionsRead)?;
        let secret = PlainSecret::generate(SecretKind::Ticket, || self.ids.random_bytes());
        let ticket = NewTicket {
            digest: secret.digest(),
            action,
            caller: caller.clone(),
        };
        let reach = caller.reach(Permission::ActionsRead);
        match self.tickets.keep(ticket, &reach).await? {
            TicketKept::Until(expires_at) => Ok(IssuedTicket { secret, expires_at }),
            TicketKept::TooMany => Err(Error::TooManyTickets),
            TicketKept::NoAction => Err(self.retention.not_found(action)),
        }
    }

    /// Whom a ticket for the stream of this action stands for. It is used up with this.
    ///
    /// # Errors
    /// [`Error::InvalidApiKey`] for what is no ticket, for one that is unknown, used, over or another action's, and for
    /// one whose caller is no longer valid: nobody can tell these apart.
    pub async fn redeem(&self, ticket: &str, action: ActionId) -> Result<Caller, Error> {
        // The check sum keeps random guesses away from the database.
        let secret = PlainSecret::parse(ticket).map_err(|_| Error::InvalidApiKey)?;
        if secret.kind() != SecretKind::Ticket {
            return Err(Error::InvalidApiKey);
        }
        let caller = self.tickets.take(&secret.digest(), action).await?;
        caller.ok_or(Error::InvalidApiKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{MockIds, MockStreamTickets};
    use crate::service::testing::{key_of, user};
    use chrono::DateTime;
    use uuid::Uuid;

    fn id() -> ActionId {
        ActionId::from_uuid(Uuid::from_u128(1))
    }

    fn use_case(tickets: MockStreamTickets) -> Tickets {
        let mut ids = MockIds::new();
        ids.expect_random_bytes().returning(|| [7; 64]);
        Tickets::new(Arc::new(tickets), Arc::new(ids))
    }

    async fn issue(scopes: &[&str], kept: TicketKept) -> Result<IssuedTicket, Error> {
        let caller = key_of(user(1), scopes);
        let mut tickets = MockStreamTickets::new();
        let of = caller.clone();
        tickets
            .expect_keep()
            .withf(move |ticket, reach| {
                (&ticket.caller, ticket.action, reach.owner) == (&of, id(), Some(user(1)))
            })
            .returning(move |_, _| Ok(kept));
        use_case(tickets).issue(&caller, id()).await
    }

    #[tokio::test]
    async fn a_ticket_is_for_who_may_read() {
        let until = TicketKept::Until(DateTime::UNIX_EPOCH);
        let issued = issue(&["actions:read"], until).await.unwrap();
        assert!(issued.secret.reveal().starts_with("deedt_"));
        assert_eq!(issued.expires_at, DateTime::UNIX_EPOCH);
        let refused = issue(&["actions:write"], until).await.unwrap_err();
        let scope = "actions:read".parse().unwrap();
        assert_eq!(refused, Error::InsufficientScope(scope));
    }

    #[tokio::test]
    async fn what_is_out_of_reach_has_none_and_nobody_has_too_many() {
        let check = async |kept, expected| {
            let refused = issue(&["actions:read"], kept).await.unwrap_err();
            assert_eq!(refused, expected);
        };
        check(TicketKept::NoAction, Error::ActionNotFound).await;
        check(TicketKept::TooMany, Error::TooManyTickets).await;
    }

    #[tokio::test]
    async fn only_a_ticket_is_looked_for() {
        let secret = |kind| PlainSecret::generate(kind, || [9; 64]);
        let mut tickets = MockStreamTickets::new();
        let digest = secret(SecretKind::Ticket).digest();
        tickets
            .expect_take()
            .withf(move |found, action| (*found, *action) == (digest, id()))
            .times(1)
            .returning(|_, _| Ok(Some(key_of(user(1), &["actions:read"]))));
        let use_case = use_case(tickets);
        let key = secret(SecretKind::ApiKey);
        for wrong in ["", "deedt_", key.reveal()] {
            let refused = use_case.redeem(wrong, id()).await;
            assert_eq!(refused, Err(Error::InvalidApiKey), "{wrong}");
        }
        let ticket = secret(SecretKind::Ticket);
        let caller = use_case.redeem(ticket.reveal(), id()).await.unwrap();
        assert_eq!(caller.subject(), Some(user(1)));
    }

    #[tokio::test]
    async fn an_unknown_ticket_is_nobodys() {
        let mut tickets = MockStreamTickets::new();
        tickets.expect_take().returning(|_, _| Ok(None));
        let ticket = PlainSecret::generate(SecretKind::Ticket, || [9; 64]);
        let refused = use_case(tickets).redeem(ticket.reveal(), id()).await;
        assert_eq!(refused, Err(Error::InvalidApiKey));
    }
}
