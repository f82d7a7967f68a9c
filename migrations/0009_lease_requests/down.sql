-- A request that is made again is a new one.
DROP INDEX action_leases_by_request;
ALTER TABLE action_leases
  DROP COLUMN request,
  DROP COLUMN request_place;
