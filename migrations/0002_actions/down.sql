DROP VIEW action_states;
DROP TABLE action_events;
DROP TABLE action_leases;
DROP TABLE action_queue;
DROP TABLE action_results;
DROP TABLE actions;
DROP TABLE action_types;
DROP FUNCTION uuid_floor(timestamptz);
