-- By which request a lease was granted, so that the same request again is answered with the same leases. A server that
-- does not know the columns leaves them out: what it grants is not known again. Of two that grant leases for one
-- request at the same time the index lets one through. Neither column ever changes: heartbeats stay HOT updates.
ALTER TABLE action_leases
  ADD COLUMN request bytea,                                 -- SHA-256 of the API key's id and the request's
  ADD COLUMN request_place int2,                            -- which of that request's leases: 1, 2, …
  ADD CONSTRAINT action_leases_request_whole CHECK ((request IS NULL) = (request_place IS NULL)),
  ADD CONSTRAINT action_leases_request_length CHECK (octet_length(request) = 32);
CREATE UNIQUE INDEX action_leases_by_request ON action_leases (request, request_place) WHERE request IS NOT NULL;
