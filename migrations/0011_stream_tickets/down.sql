-- Tickets that were not used yet are refused.
DROP TABLE stream_tickets;
