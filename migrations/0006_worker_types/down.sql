-- Removed types are there again.
DROP FUNCTION remove_action_type(text);
ALTER TABLE action_types DROP COLUMN removed_at;
